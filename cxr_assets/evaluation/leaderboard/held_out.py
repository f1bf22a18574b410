"""Presets compared over the cells that no generator has learned from."""

from __future__ import annotations

from dataclasses import asdict
from itertools import combinations

import polars as pl

from cxr_assets.evaluation.leaderboard.cells import compare_cells
from cxr_assets.evaluation.leaderboard.groups import CELL
from cxr_assets.evaluation.leaderboard.metrics import ALL, METRICS, cost

COMPARISONS = {
    "a": pl.String,
    "b": pl.String,
    "metric": pl.String,
    "finding": pl.String,
    "features": pl.String,
    "cells": pl.Int64,
    "a_better": pl.Int64,
    "b_better": pl.Int64,
    "ties": pl.Int64,
    "p": pl.Float64,
    "mean_difference": pl.Float64,
    "ci_lo": pl.Float64,
    "ci_hi": pl.Float64,
    "null_reason": pl.String,
}


def compare_held_out(scores: pl.DataFrame, *, seed: int = 0) -> pl.DataFrame:
    """Every pair of presets in every headline figure, over held-out cells; no row where no cell was held out.

    A preset's figure in a cell is its mean over seeds. Figures of which 1 is best are compared by their distance from it,
    and so is their difference.

    Args:
        scores: as ``generator_scores``.
    """
    wanted = [name for name, metric in METRICS.items() if metric.headline]
    held = scores.filter((pl.col("attribute") == CELL) & (pl.col("finding") == ALL) & pl.col("metric").is_in(wanted))
    presets = held["preset"].unique(maintain_order=True).to_list()
    rows = []
    for (metric, features), part in held.group_by(["metric", "features"], maintain_order=True):
        better = METRICS[str(metric)].better
        by_cell: dict[str, dict[str, float | None]] = {}
        means = part.group_by("group", "preset", maintain_order=True).agg(pl.col("value").mean())
        for cell, preset, value in means.rows():
            near = cost(str(metric), value) if value is not None and better == "one" else value
            by_cell.setdefault(cell, {})[preset] = near
        for a, b in combinations(presets, 2):
            made = compare_cells(by_cell, a, b, higher_is_better=better == "higher", seed=seed)
            rows.append({"a": a, "b": b, "metric": metric, "finding": ALL, "features": features, **asdict(made)})
    return pl.DataFrame(rows, schema=COMPARISONS)
