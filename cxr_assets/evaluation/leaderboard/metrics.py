"""What generators are compared by: every figure's name, which way is better, and what counts as a score's row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import polars as pl

from cxr_assets.errors import InputError

Direction = Literal["higher", "lower", "one"]
ALL = "all"


@dataclass(frozen=True)
class Metric:
    """One figure. ``better`` is where its best values lie; ``one`` means near 1, as real films have it by definition.

    ``headline`` figures stand in the chart and in the Markdown table, over all films and findings.
    """

    title: str
    better: Direction
    headline: bool = False


METRICS: Mapping[str, Metric] = {
    "kernel_distance": Metric("kernel distance", "lower", headline=True),
    "frechet_distance": Metric("Fréchet distance", "lower", headline=True),
    "coverage": Metric("coverage", "higher", headline=True),
    "density": Metric("density", "one"),
    "diversity": Metric("spread within a stratum, of that of real films", "one", headline=True),
    "label_auroc": Metric("findings recovered (AUROC)", "higher", headline=True),
    "sex_accuracy": Metric("sex recovered (accuracy)", "higher", headline=True),
    "sex_auroc": Metric("sex recovered (AUROC)", "higher"),
    "race_accuracy": Metric("recorded race recovered (accuracy)", "higher", headline=True),
    "age_error": Metric("age error (years)", "lower", headline=True),
    "drawn_per_second": Metric("images drawn a second", "higher"),
    "trained_per_second": Metric("images trained on a second", "higher"),
    "training_seconds": Metric("training (seconds)", "lower"),
    "peak_memory_mib": Metric("peak memory in training (MiB)", "lower"),
}

SCORES = {
    "method": pl.String,
    "preset": pl.String,
    "seed": pl.Int64,
    "metric": pl.String,
    "finding": pl.String,
    "features": pl.String,
    "attribute": pl.String,
    "group": pl.String,
    "value": pl.Float64,
    "floor": pl.Float64,
    "ceiling": pl.Float64,
    "n": pl.Int64,
    "null_reason": pl.String,
    "direction": pl.String,
}
FIGURE = ("metric", "finding", "features", "attribute", "group")
"""Columns that name a figure; with ``method`` they name a row of the scores."""


def direction(metric: str) -> Direction:
    """Where the best values of a figure lie. Raises InputError for one that is not declared."""
    if metric not in METRICS:
        raise InputError(f"metric {metric!r} is none of {', '.join(METRICS)}.")
    return METRICS[metric].better


def cost(metric: str, value: float) -> float:
    """A figure turned so that less is always better: itself, its negative, or its distance from 1."""
    better = direction(metric)
    return abs(value - 1.0) if better == "one" else value if better == "lower" else -value


def score(
    method: str,
    metric: str,
    value: float | None,
    *,
    n: int | None,
    finding: str = ALL,
    features: str = "",
    attribute: str = ALL,
    group: str = ALL,
    floor: float | None = None,
    ceiling: float | None = None,
    null_reason: str | None = None,
) -> dict[str, Any]:
    """One row of the scores but for preset and seed, which follow from the method.

    Args:
        n: films a side of a distance, films judged, or images of a mean; None where nothing was counted.
        floor: the same distance between two halves of the real films; less than that cannot be told from real.
        ceiling: the same figure on real films.
    """
    found: dict[str, Any] = {
        "method": method,
        "metric": metric,
        "finding": finding,
        "features": features,
        "attribute": attribute,
    }
    found |= {"group": group, "value": value, "floor": floor, "ceiling": ceiling, "n": n}
    return found | {"null_reason": null_reason if value is None else None, "direction": direction(metric)}
