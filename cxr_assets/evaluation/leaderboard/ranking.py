"""Seeds of a preset taken together, and which preset leads where the lead exceeds what another seed would give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from cxr_assets.errors import InputError
from cxr_assets.evaluation.leaderboard.metrics import FIGURE, cost, direction

LEVEL = 0.95
MIN_SEEDS = 2
BEST = "best"
BEHIND = "behind"
WITHIN = "within the spread"
FEW_SEEDS = "too few seeds"
ALONE = "alone"
NO_FIGURE = "no figure"

STANDINGS = {
    "preset": pl.String,
    "metric": pl.String,
    "finding": pl.String,
    "features": pl.String,
    "attribute": pl.String,
    "group": pl.String,
    "direction": pl.String,
    "mean": pl.Float64,
    "sd": pl.Float64,
    "seeds": pl.Int64,
    "floor": pl.Float64,
    "ceiling": pl.Float64,
    "verdict": pl.String,
    "null_reason": pl.String,
}


def clearly_less(first: Sequence[float], second: Sequence[float], *, level: float = LEVEL) -> bool | None:
    """Whether the first mean is less by more than the seeds scatter; None where either side has one seed alone.

    Welch's 95 % interval of the difference of means must exclude 0 (his two-sided test at 0.05 says the same). It needs no
    equal spread, and with two or three seeds it is as wide as so few can tell: a rule on standard deviations alone would
    name a leader by the luck of two seeds. Where neither side scatters at all, the interval is a point.
    """
    from scipy.stats import ttest_ind_from_stats

    if min(len(first), len(second)) < MIN_SEEDS:
        return None
    lead = float(np.mean(second) - np.mean(first))
    if np.ptp(first) == 0 and np.ptp(second) == 0:
        return lead > 0
    sides = [(float(np.mean(x)), float(np.std(x, ddof=1)), len(x)) for x in (first, second)]
    return lead > 0 and bool(ttest_ind_from_stats(*sides[0], *sides[1], equal_var=False).pvalue < 1 - level)


def verdicts(metric: str, values: Mapping[str, Sequence[float]]) -> dict[str, str]:
    """What is said of each preset in one figure.

    The preset with the best mean is ``best`` only if it is clearly better than every other one, not than the second
    alone: a third whose seeds scatter widely may be as good. Else nobody is named, and each is ``within the spread``, or
    ``too few seeds`` where the leader or one that it must beat has one seed.

    Args:
        values: of each preset, one value a seed; none where there is no figure.
    """
    told = dict.fromkeys(values, NO_FIGURE)
    costs = {preset: [cost(metric, v) for v in seeds] for preset, seeds in values.items() if seeds}
    if not costs:
        return told
    leader = min(costs, key=lambda preset: float(np.mean(costs[preset])))
    others = [clearly_less(costs[leader], seeds) for preset, seeds in costs.items() if preset != leader]
    if not others:
        return told | {leader: ALONE}
    if all(others):
        return told | dict.fromkeys(costs, BEHIND) | {leader: BEST}
    return told | dict.fromkeys(costs, FEW_SEEDS if None in others else WITHIN)


def standings(scores: pl.DataFrame) -> pl.DataFrame:
    """One row a preset and figure: mean, standard deviation (n - 1) and number of seeds that have it, and the verdict.

    Args:
        scores: rows of ``generator_scores``.

    Raises:
        InputError: a method has a figure twice, or a figure is of a metric that is not declared.
    """
    double = scores.group_by("method", *FIGURE).len().filter(pl.col("len") > 1)
    if double.height:
        row = double.sort("method", *FIGURE).row(0, named=True)
        raise InputError(
            f"method {row['method']!r} has {row['len']} scores of {row['metric']} ({row['group']}); one is expected."
        )
    merged = scores.group_by("preset", *FIGURE, maintain_order=True).agg(
        mean=pl.col("value").mean(),
        sd=pl.col("value").std(),
        seeds=pl.col("value").count().cast(pl.Int64),
        values=pl.col("value").drop_nulls(),
        floor=pl.col("floor").mean(),
        ceiling=pl.col("ceiling").mean(),
        null_reason=pl.col("null_reason").drop_nulls().first(),
    )
    rows: list[dict[str, Any]] = []
    for _, figure in merged.group_by(FIGURE, maintain_order=True):
        metric = figure["metric"][0]
        told = verdicts(metric, dict(figure.select("preset", "values").iter_rows()))
        for row in figure.iter_rows(named=True):
            rows.append(row | {"verdict": told[row["preset"]], "direction": direction(metric)})
    return pl.DataFrame([{name: row[name] for name in STANDINGS} for row in rows], schema=STANDINGS)


def leaders(table: pl.DataFrame) -> dict[str, str]:
    """Presets that are named best over all films and findings, by figure."""
    rows = table.filter((pl.col("verdict") == BEST) & (pl.col("attribute") == "all") & (pl.col("finding") == "all"))
    return {f"{r['metric']} {r['features']}".strip(): r["preset"] for r in rows.iter_rows(named=True)}
