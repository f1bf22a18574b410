"""The leaderboard as Markdown, for a page of results."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import polars as pl

from cxr_assets.evaluation.leaderboard.metrics import ALL
from cxr_assets.evaluation.leaderboard.plots import headline_figures, title_of
from cxr_assets.evaluation.leaderboard.ranking import BEST

TEMPLATE = Path(__file__).parents[1] / "leaderboard.md.j2"
NONE = "–"


def overall(table: pl.DataFrame) -> pl.DataFrame:
    """Standings over all films and findings."""
    return table.filter((pl.col("attribute") == ALL) & (pl.col("finding") == ALL))


def cell(row: Mapping[str, Any] | None) -> str:
    """Mean ± standard deviation of the seeds, bold where the preset is named best."""
    if row is None or row["mean"] is None:
        return NONE
    text = f"{row['mean']:.3g}" + (f" ± {row['sd']:.2g}" if row["sd"] is not None else "")
    return f"**{text}**" if row["verdict"] == BEST else text


def _row(rows: pl.DataFrame, **wanted: str) -> dict[str, Any] | None:
    found = rows.filter(*(pl.col(name) == value for name, value in wanted.items()))
    return found.row(0, named=True) if found.height else None


def markdown(table: pl.DataFrame, facts: Mapping[str, Any], cells: pl.DataFrame | None = None) -> str:
    """The page: headline figures by preset, the kernel distance by group, and what held-out cells say.

    Args:
        cells: comparisons over held-out cells, as ``compare_held_out`` gives them.
        facts: ``cohort``, ``judge``, ``compared`` and ``missing`` method keys, and ``sets``: digest by method.
    """
    rows = overall(table)
    figures = headline_figures(table)
    presets = table["preset"].unique(maintain_order=True).to_list()
    seeds = {p: rows.filter(pl.col("preset") == p)["seeds"].max() for p in presets}
    lines = [
        [p, str(seeds[p]), *(cell(_row(rows, preset=p, metric=m, features=f)) for m, f in figures)] for p in presets
    ]
    groups = table.filter((pl.col("metric") == "kernel_distance") & ~pl.col("attribute").str.contains("×"))
    space = groups["features"].first() if groups.height else ""
    groups = groups.filter((pl.col("features") == space) & pl.col("mean").is_not_null())
    by_group = [
        [f"{a}: {g}" if a != ALL else "all films"]
        + [cell(_row(groups, preset=p, attribute=a, group=g)) for p in presets]
        + [_reference(_row(groups, attribute=a, group=g))]
        for a, g in groups.select("attribute", "group").unique(maintain_order=True).rows()
    ]
    template = jinja2.Template(TEMPLATE.read_text(encoding="utf-8"), trim_blocks=True, lstrip_blocks=True)
    return template.render(
        facts=facts,
        columns=["preset", "seeds", *(title_of(m, f).replace("\n", " ") for m, f in figures)],
        lines=lines,
        reference=["real films", "", *(_reference(_row(rows, metric=m, features=f)) for m, f in figures)],
        presets=presets,
        space=space,
        by_group=by_group,
        held_out=[] if cells is None else [_comparison(row) for row in cells.iter_rows(named=True) if row["cells"]],
        named=rows.filter(pl.col("verdict") == BEST).height,
    )


def _comparison(row: Mapping[str, Any]) -> list[str]:
    """One line about two presets over held-out cells."""
    where = f" ({row['ci_lo']:+.3g} to {row['ci_hi']:+.3g})" if row["ci_lo"] is not None else ""
    difference = NONE if row["mean_difference"] is None else f"{row['mean_difference']:+.3g}{where}"
    won = f"{row['a_better']} to {row['b_better']}" + (f", {row['ties']} alike" if row["ties"] else "")
    p = NONE if row["p"] is None else f"{row['p']:.2g}"
    return [
        f"{row['a']} against {row['b']}",
        title_of(row["metric"], row["features"]).replace("\n", " "),
        won,
        difference,
        p,
    ]


def _reference(row: Mapping[str, Any] | None) -> str:
    value = None if row is None else row["floor"] if row["floor"] is not None else row["ceiling"]
    return NONE if value is None else f"{value:.3g}"


def terminal(table: pl.DataFrame) -> pl.DataFrame:
    """Headline figures over all films, for a terminal: the columns that people read."""
    figures = pl.DataFrame(headline_figures(table), schema=["metric", "features"], orient="row")
    shown = figures.cast(pl.String).join(overall(table), on=["metric", "features"], how="left", maintain_order="left")
    return shown.select(
        "metric", "features", "preset", "mean", "sd", "seeds", "floor", "ceiling", "direction", "verdict"
    )
