"""Operating points of somebody's models: fitted on their validate rows, or given by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from cxr_assets.classification.thresholds import fit_threshold, rows_digest
from cxr_assets.errors import InputError, did_you_mean
from cxr_assets.evaluation.cells import ScoredFilms

GIVEN, NO_RULE = "given", "none"
THRESHOLDS = {
    "model": pl.String,
    "seed": pl.String,
    "finding": pl.String,
    "rule": pl.String,
    "threshold": pl.Float64,
    "fitted_on": pl.String,
    "null_reason": pl.String,
}


def operating_points(
    test: pl.DataFrame,
    validate: pl.DataFrame,
    given: float | Mapping[str, float] | None,
    rules: Sequence[str],
    notes: list[str],
) -> pl.DataFrame:
    """One row for every model, seed, finding and rule of the test rows; null with a reason where there is none.

    Args:
        given: thresholds by hand, one for all findings or by finding; they replace fitting.
        notes: what is to be told is added here.

    Raises:
        InputError: a threshold given for a finding that is not there, or outside [0, 1].
    """
    keys = ["model", "seed", "finding"]
    wanted = test.select(keys).unique().sort(keys)
    if given is not None:
        by_hand = _by_hand(given, test["finding"].unique().sort().to_list())
        if validate.height:
            notes.append("Thresholds were given by hand; the validate rows were not used.")
        frame = wanted.join(by_hand, on="finding", how="left", maintain_order="left").with_columns(rule=pl.lit(GIVEN))
        frame = frame.with_columns(null_reason=pl.when(pl.col("threshold").is_null()).then(pl.lit("not_given")))
    else:
        known = validate.filter(pl.col("truth").is_not_null() & pl.col("score").is_not_null())
        parts = known.partition_by(keys, as_dict=True)
        named = rules if validate.height else (NO_RULE,)
        rows = [
            dict(zip(keys, key, strict=True)) | {"rule": rule} | _fitted(parts.get(key), rule)
            for key in wanted.iter_rows()
            for rule in named
        ]
        frame = pl.DataFrame(rows, schema_overrides=THRESHOLDS)
    for reason, why in (
        ("not_given", "none was given"),
        ("no_validate_rows", "there are no validate rows with a known truth"),
        ("one_class", "the validate rows hold one class only"),
    ):
        lacking = frame.filter(pl.col("null_reason") == reason)
        if lacking.height:
            every = lacking.select(keys).unique().height == wanted.height
            whose = sorted({f"{f} of {m}" for f, m in lacking.select("finding", "model").iter_rows()})
            notes.append(
                f"No threshold for {'any finding' if every else ', '.join(whose)}: {why}. Nothing that needs one (TPR, FPR …) is"
                " given there."
            )
    absent = [pl.lit(None, kind).alias(name) for name, kind in THRESHOLDS.items() if name not in frame.columns]
    return frame.with_columns(absent).select(pl.col(name).cast(kind) for name, kind in THRESHOLDS.items())


def _by_hand(given: float | Mapping[str, float], findings: Sequence[str]) -> pl.DataFrame:
    """Thresholds by finding. Raises InputError for a finding that is not there, or a threshold outside [0, 1]."""
    named = dict(given) if isinstance(given, Mapping) else dict.fromkeys(findings, given)
    for finding, value in named.items():
        if finding not in findings:
            near = did_you_mean(finding, findings)
            raise InputError(f"--threshold {finding}={value}: no such finding.{near} Known: {', '.join(findings)}.")
        if not 0 <= value <= 1:
            raise InputError(f"--threshold {finding}={value}: a threshold of scores lies in [0, 1].")
    return pl.DataFrame({"finding": list(named), "threshold": [float(value) for value in named.values()]})


def _fitted(validate: pl.DataFrame | None, rule: str) -> dict[str, Any]:
    """Threshold of one model, seed and finding on its validate rows, or why there is none."""
    if validate is None:
        return {"threshold": None, "fitted_on": None, "null_reason": "no_validate_rows"}
    threshold = fit_threshold(validate["score"].to_numpy(), validate["truth"].to_numpy(), rule)
    digest = rows_digest(validate["study_id"].to_list())
    return {"threshold": threshold, "fitted_on": digest, "null_reason": "one_class" if threshold is None else None}


def by_rule(cuts: pl.DataFrame, films: ScoredFilms) -> dict[str, np.ndarray]:
    """Thresholds of one model by rule, float64 ``(learners, findings)``, NaN where there is none."""
    rules = cuts["rule"].unique(maintain_order=True)
    out = {rule: np.full((len(films.learners), len(films.findings)), np.nan) for rule in rules}
    for row in cuts.filter(pl.col("threshold").is_not_null()).iter_rows(named=True):
        out[row["rule"]][films.learners.index(row["seed"]), films.findings.index(row["finding"])] = row["threshold"]
    return out
