"""The leaderboard in pictures: figures by method with their seeds, and the same requests drawn by every method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from cxr_assets.evaluation.figures import COLOURS
from cxr_assets.evaluation.leaderboard.metrics import ALL, METRICS
from cxr_assets.evaluation.leaderboard.ranking import BEST
from cxr_assets.keys import Stratum
from cxr_assets.plots import figure_png

ARROWS = {"higher": "↑", "lower": "↓", "one": "→ 1"}
REAL_ROW = "real"
_EMPTY = 205


def headline_figures(table: pl.DataFrame) -> list[tuple[str, str]]:
    """(metric, features) of the figures that stand in chart and table, in the order they are declared in."""
    shown = table.filter((pl.col("attribute") == ALL) & (pl.col("finding") == ALL) & pl.col("mean").is_not_null())
    found = shown.select("metric", "features").unique(maintain_order=True).rows()
    order = [name for name, metric in METRICS.items() if metric.headline]
    return sorted((f for f in found if f[0] in order), key=lambda f: (order.index(f[0]), f[1]))


def title_of(metric: str, features: str) -> str:
    """What a panel or a column is called: the figure, which way is better, and what it was measured with."""
    told = METRICS[metric]
    return f"{told.title} {ARROWS[told.better]}" + (f"\n({features})" if features else "")


def chart(scores: pl.DataFrame, table: pl.DataFrame) -> bytes:
    """One panel a headline figure: a pale dot a seed, the mean and one standard deviation of each preset; PNG.

    Dashed: the floor that real films have among themselves, or the same figure on real films. Filled: named best.
    """
    from matplotlib.figure import Figure

    overall = (pl.col("attribute") == ALL) & (pl.col("finding") == ALL)
    panels = headline_figures(table)
    presets = table["preset"].unique(maintain_order=True).to_list()
    across = min(3, max(1, len(panels)))
    down = max(1, -(-len(panels) // across))
    size = (1.0 + 3.2 * across, down * (1.1 + 0.3 * max(len(presets), 2)))
    figure = Figure(figsize=size, dpi=90, layout="constrained")
    for number, (metric, features) in enumerate(panels):
        axes = figure.add_subplot(down, across, number + 1)
        mine = overall & (pl.col("metric") == metric) & (pl.col("features") == features)
        for row in table.filter(mine).iter_rows(named=True):
            at, colour = presets.index(row["preset"]), COLOURS[presets.index(row["preset"]) % len(COLOURS)]
            seeds = scores.filter(mine & (pl.col("preset") == row["preset"]))["value"].drop_nulls().to_list()
            axes.plot(seeds, [at] * len(seeds), "o", color=colour, alpha=0.35, markersize=4)
            if row["mean"] is not None:
                style = "full" if row["verdict"] == BEST else "none"
                axes.errorbar(
                    row["mean"], at, xerr=row["sd"], fmt="D", color=colour, fillstyle=style, capsize=3, markersize=5
                )
        for reference in ("floor", "ceiling"):
            values = table.filter(mine)[reference].drop_nulls()
            if len(values):
                axes.axvline(float(values[0]), color="grey", linestyle="--", linewidth=1)
        axes.set_yticks(range(len(presets)), presets if number % across == 0 else [], fontsize=8)
        axes.set_ylim(len(presets) - 0.5, -0.5)
        axes.set_title(title_of(metric, features), fontsize=8)
        axes.tick_params(axis="x", labelsize=7)
        axes.grid(axis="x", alpha=0.3)
    return figure_png(figure)


def shared_requests(images: Mapping[str, pl.DataFrame], *, most: int) -> list[tuple[str, int]]:
    """(stratum, index) that every method has an image of: findings by turns, cells spread evenly, at most ``most``.

    Images that did not pass are shown too: a sheet of the good ones alone would not show what a method draws.
    """
    held = [set(frame.select("stratum", "index").iter_rows()) for frame in images.values()]
    both = sorted(set.intersection(*held)) if held else []
    by_finding: dict[str, list[tuple[str, int]]] = {}
    for stratum, index in both:
        by_finding.setdefault(Stratum.parse(stratum).finding, []).append((stratum, index))
    findings = sorted(by_finding)
    found: list[tuple[str, int]] = []
    for turn in range(most):
        if not findings or len(found) == min(most, len(both)):
            break
        left = [request for request in by_finding[findings[turn % len(findings)]] if request not in found]
        if left:
            found.append(left[len(left) * (turn + 1) // (most + 1)])
    return found


def film_sheet(films: Mapping[str, Sequence[np.ndarray | None]], columns: Sequence[str], *, cell: int = 80) -> bytes:
    """Films side by side, one row a method and one column a request; PNG.

    Args:
        films: by row, uint8 ``(cell, cell)`` each, None where there is none.
        columns: what each column was asked to show.
    """
    from matplotlib.figure import Figure

    sheet = np.full((max(1, len(films)) * cell, max(1, len(columns)) * cell), _EMPTY, np.uint8)
    for row, shown in enumerate(films.values()):
        for column, film in enumerate(shown):
            if film is not None:
                sheet[row * cell : (row + 1) * cell, column * cell : (column + 1) * cell] = film
    height, width = sheet.shape
    figure = Figure(figsize=(3.2 + width / 90, 1.8 + height / 90), dpi=90, layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(sheet, cmap="gray", vmin=0, vmax=255, aspect="equal")
    axes.set_xticks(np.arange(len(columns)) * cell + cell / 2, columns, fontsize=7, rotation=40, ha="left")
    axes.xaxis.tick_top()
    axes.set_yticks(np.arange(len(films)) * cell + cell / 2, list(films), fontsize=8)
    axes.tick_params(length=0)
    for edge in axes.spines.values():
        edge.set_visible(False)
    return figure_png(figure)
