"""Many gaps, many tests: Holm for the family declared beforehand, the false-discovery rate for everything else."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations

import numpy as np
import polars as pl
from scipy.stats import false_discovery_control

from cxr_assets.errors import InputError, did_you_mean
from cxr_assets.evaluation.cells import OVERALL, POOLED, Lattice
from cxr_assets.evaluation.config import Hypothesis
from cxr_assets.evaluation.metrics import COUNT_METRICS, NO_FINDING, OF_NO_FINDING
from cxr_assets.evaluation.scorecard_tables import GAPS

ALPHA = 0.05
TWINS = (pl.col("metric") == "fnr") | (
    (pl.col("finding") == NO_FINDING) & pl.col("metric").is_in(["tpr", *OF_NO_FINDING.values()])
)
"""Gaps that stand in the table under another name as well: FNR is TPR upside down, No Finding's rates have names."""


def declared(lattice: Lattice) -> list[Hypothesis]:
    """The family where none is given: the pooled TPR gap of every attribute and intersection."""
    return [Hypothesis(attribute=g.attribute) for g in lattice.groupings if g.attribute != OVERALL]


def refuse_too_few(family: Sequence[Hypothesis] | None, attributes: Sequence[str], permutations: int) -> None:
    """Raise InputError where no gap of the family could ever be reported, however large: p is 1 / (permutations + 1) at least.

    Args:
        family: None for that of :func:`declared`, a gap for every intersection of the attributes.
    """
    many = 2 ** len(attributes) - 1 if family is None else len(set(family))
    needed = math.ceil(many / ALPHA) - 1
    if permutations < needed:
        raise InputError(
            f"{permutations} permutations cannot settle a family of {many} declared gaps: Holm's smallest p would be above"
            f" {ALPHA}. Ask for at least {needed} permutations, or declare fewer gaps."
        )


def refuse_unknown(family: Sequence[Hypothesis], attributes: Sequence[str], findings: Sequence[str]) -> None:
    """Raise InputError for a hypothesis that no scorecard could ever hold, so that a slip of the pen is not a silent pass."""
    rates = {*COUNT_METRICS, "auroc"}
    known = {
        "×".join(picked) for size in range(1, len(attributes) + 1) for picked in combinations(sorted(attributes), size)
    }
    for one in family:
        metrics = rates | ({"underdiagnosis_any"} if one.finding == POOLED else set(OF_NO_FINDING))
        for kind, name, names in (
            ("attribute", one.attribute, known),
            ("finding", one.finding, {POOLED, *findings}),
            ("metric that is tested", one.metric, metrics - ({"auroc"} if one.finding == POOLED else set())),
        ):
            if name not in names:
                hint = did_you_mean(name, names) or f" Known: {', '.join(sorted(names))}."
                raise InputError(f"declared gaps: there is no {kind} {name!r}.{hint} Intersections are alphabetical.")


def adjust(gaps: pl.DataFrame, family: Sequence[Hypothesis]) -> pl.DataFrame:
    """Fill ``family``, ``p_adj`` and ``reported`` of unweighted max–min gaps with a permutation p.

    A gap of the family is reported where Holm's adjusted p is at most 0.05. The others carry Benjamini and Hochberg's,
    save those that say again what another row says (TWINS).
    """
    names = ["finding", "metric", "attribute"]
    wanted = pl.DataFrame(
        [[getattr(h, n) for n in names] for h in family], schema=dict.fromkeys(names, pl.String), orient="row"
    ).unique()
    numbered = gaps.with_row_index()
    tested = numbered.filter(
        (pl.col("gap_kind") == "max_min") & (pl.col("weight_scheme") == "none") & pl.col("p_perm").is_not_null()
    )
    confirmatory = tested.join(wanted, on=names, how="semi").sort("p_perm", "index")
    others = tested.join(wanted, on=names, how="anti").filter(~TWINS)
    adjusted = pl.concat(
        [
            confirmatory.select("index", kind=pl.lit("confirmatory")).with_columns(
                adjusted=pl.Series(holm(confirmatory["p_perm"].to_numpy()), dtype=pl.Float64)
            ),
            others.select("index", kind=pl.lit("exploratory")).with_columns(
                adjusted=pl.Series(benjamini_hochberg(others["p_perm"].to_numpy()), dtype=pl.Float64)
            ),
        ]
    )
    joined = numbered.join(adjusted, on="index", how="left", maintain_order="left")
    return joined.with_columns(
        p_adj=pl.col("adjusted"),
        family=pl.coalesce("kind", "family"),
        reported=((pl.col("kind") == "confirmatory") & (pl.col("adjusted") <= ALPHA)).fill_null(False),
    ).select(list(GAPS))


def holm(p: np.ndarray) -> np.ndarray:
    """Holm's step-down adjusted p (1979) of p values in rising order."""
    m = len(p)
    return np.maximum.accumulate(np.minimum(1.0, p * (m - np.arange(m)))) if m else np.zeros(0)


def benjamini_hochberg(p: np.ndarray) -> np.ndarray:
    """Adjusted p values of the false-discovery rate (Benjamini and Hochberg 1995); NaN stays NaN."""
    p = p.astype(np.float64)
    known = np.isfinite(p)
    out = np.full(len(p), np.nan)
    if known.any():
        out[known] = false_discovery_control(p[known])
    return out
