"""Plots of scorecards: groups, gaps before and after, and intersections."""

from __future__ import annotations

import numpy as np
import polars as pl

from cxr_assets.evaluation.metrics import WORSE_WHEN_HIGHER
from cxr_assets.plots import figure_png

COLOURS = ("#4c566a", "#2a7fb8", "#c0392b", "#3a9d5d", "#b8860b", "#7b5ea7")

_SPAN = 0.25
"""Distance from the overall figure at which a map of intersections is darkest: one scale for all maps."""


def forest_of_groups(estimates: pl.DataFrame, *, metric: str, finding: str = "all", most: int = 30) -> bytes:
    """Estimate and 95 % interval of groups of one or two attributes, the ``most`` worst served, worst first; PNG.

    Hollow and pale: too few films or patients to enter a gap; groups smaller still are not shown at all.
    """
    from matplotlib.figure import Figure

    rows = (
        estimates.filter(
            (pl.col("metric") == metric)
            & (pl.col("finding") == finding)
            & pl.col("primary")
            & pl.col("ci_lo").is_not_null()
            & (pl.col("attribute").str.count_matches("×") < 2)
            & (pl.col("attribute") != "all")
        )
        .sort("estimate", descending=metric in WORSE_WHEN_HIGHER)
        .head(most)
    )
    figure = Figure(figsize=(6, 0.6 + 0.22 * max(rows.height, 3)), dpi=90, layout="constrained")
    axes = figure.add_subplot()
    if rows.is_empty():
        axes.text(0.5, 0.5, "no group large enough to show", ha="center", va="center")
        axes.set_axis_off()
        return figure_png(figure)
    at = range(rows.height)
    for position, row in zip(at, rows.iter_rows(named=True), strict=True):
        # A corrected interval need not hold its estimate; error bars cannot be drawn inward, a line can.
        colour = "#2a5d8a" if row["eligible"] else "#9aa7b5"
        fill = "full" if row["eligible"] else "none"
        axes.plot([row["ci_lo"], row["ci_hi"]], [position, position], color=colour, linewidth=1)
        axes.plot(row["estimate"], position, "o", markersize=3, color=colour, fillstyle=fill)
    axes.set_yticks(
        list(at),
        [
            f"{r['attribute']}: {r['group']} (n⁺ {r['n_pos']})"
            if "×" not in r["attribute"]
            else f"{r['group']} (n⁺ {r['n_pos']})"
            for r in rows.iter_rows(named=True)
        ],
        fontsize=7,
    )
    overall = estimates.filter(
        (pl.col("attribute") == "all")
        & (pl.col("metric") == metric)
        & (pl.col("finding") == finding)
        & pl.col("primary")
    )
    if overall.height and overall["estimate"][0] is not None:
        axes.axvline(overall["estimate"][0], color="grey", linestyle=":", linewidth=1)
    axes.invert_yaxis()
    axes.set_xlabel(
        f"{metric.upper()} with 95 % interval; dotted: all films; hollow: imprecise; {rows.height} worst shown",
        fontsize=8,
    )
    axes.tick_params(axis="x", labelsize=7)
    axes.grid(axis="x", alpha=0.3)
    return figure_png(figure)


def gap_by_arm(gaps: pl.DataFrame, *, attribute: str, group: str) -> bytes:
    """One group's distance to all others in every arm, with 95 % intervals: before and after; PNG.

    Args:
        gaps: rows of fairness_gaps of all arms.
    """
    from matplotlib.figure import Figure

    rows = gaps.filter(
        (pl.col("gap_kind") == "group_vs_rest") & (pl.col("attribute") == attribute) & (pl.col("worst_group") == group)
    ).sort("arm", descending=True)
    figure = Figure(figsize=(6, 0.8 + 0.32 * max(rows.height, 2)), dpi=90, layout="constrained")
    axes = figure.add_subplot()
    for at, row in enumerate(rows.iter_rows(named=True)):
        if row["ci_lo"] is not None:
            colour = COLOURS[0] if row["arm"].startswith("real") else COLOURS[1]
            axes.plot([row["ci_lo"], row["ci_hi"]], [at, at], color=colour, linewidth=2)
            axes.plot(row["observed"], at, "o", color=colour, markersize=5)
    axes.set_yticks(range(rows.height), rows["arm"].to_list(), fontsize=8)
    axes.axvline(0, color="grey", linewidth=1)
    axes.set_xlabel(f"TPR of {group} less that of all others (95 % interval)", fontsize=8)
    axes.tick_params(axis="x", labelsize=7)
    axes.grid(axis="x", alpha=0.3)
    return figure_png(figure)


def intersection_map(estimates: pl.DataFrame, *, attribute: str, metric: str = "tpr", finding: str = "all") -> bytes:
    """A metric in every cell of two attributes; hatched: imprecise, empty: suppressed or nobody; PNG."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    rows = estimates.filter(
        (pl.col("attribute") == attribute)
        & (pl.col("metric") == metric)
        & (pl.col("finding") == finding)
        & pl.col("primary")
    ).with_columns(pl.col("group").str.split("×"))
    cells = [r for r in rows.iter_rows(named=True) if len(r["group"]) == 2]
    down, across = (sorted({r["group"][i] for r in cells}) for i in (0, 1))
    size = (1.6 + 1.0 * max(len(across), 2), 0.9 + 0.5 * max(len(down), 2))
    figure = Figure(figsize=size, dpi=90, layout="constrained")
    axes = figure.add_subplot()
    grid = np.full((max(len(down), 1), max(len(across), 1)), np.nan)
    for row in cells:
        if row["estimate"] is None:
            continue
        y, x = down.index(row["group"][0]), across.index(row["group"][1])
        grid[y, x] = row["estimate"]
        axes.text(x, y, f"{row['estimate']:.2f}", ha="center", va="center", fontsize=8)
        if not row["eligible"]:
            axes.add_patch(
                Rectangle((x - 0.5, y - 0.5), 1, 1, fill=False, hatch="///", edgecolor="#7b8794", linewidth=0)
            )
    overall = estimates.filter(
        (pl.col("attribute") == "all")
        & (pl.col("metric") == metric)
        & (pl.col("finding") == finding)
        & pl.col("primary")
    )["estimate"].drop_nulls()
    centre = overall[0] if len(overall) else 0.5
    colours = "RdYlBu_r" if metric in WORSE_WHEN_HIGHER else "RdYlBu"
    axes.imshow(grid, cmap=colours, aspect="auto", alpha=0.75, vmin=centre - _SPAN, vmax=centre + _SPAN)
    axes.set_xticks(range(len(across)), across, fontsize=8)
    axes.set_yticks(range(len(down)), down, fontsize=8)
    axes.set_title(f"{metric.upper()}; yellow: as all films\nred: worse; hatched: imprecise", fontsize=7)
    return figure_png(figure)
