"""The tables of a scorecard, column by column, and which cells may enter a gap."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

ESTIMATES = {
    "arm": pl.String,
    "learner": pl.String,
    "evaluation_set": pl.String,
    "finding": pl.String,
    "attribute": pl.String,
    "group": pl.String,
    "metric": pl.String,
    "n_images": pl.Int64,
    "n_patients": pl.Int64,
    "n_pos": pl.Int64,
    "n_neg": pl.Int64,
    "estimate": pl.Float64,
    "ci_lo": pl.Float64,
    "ci_hi": pl.Float64,
    "ci_method": pl.String,
    "b_reps": pl.Int64,
    "null_reason": pl.String,
    "eligible": pl.Boolean,
    "weight_scheme": pl.String,
}
GAPS = {
    "arm": pl.String,
    "learner": pl.String,
    "evaluation_set": pl.String,
    "finding": pl.String,
    "attribute": pl.String,
    "metric": pl.String,
    "gap_kind": pl.String,
    "observed": pl.Float64,
    "null_mean": pl.Float64,
    "excess": pl.Float64,
    "ci_lo": pl.Float64,
    "ci_hi": pl.Float64,
    "p_perm": pl.Float64,
    "p_adj": pl.Float64,
    "family": pl.String,
    "worst_group": pl.String,
    "best_group": pl.String,
    "reported": pl.Boolean,
}
REPLICATES = {
    "arm": pl.String,
    "finding": pl.String,
    "attribute": pl.String,
    "group": pl.String,
    "metric": pl.String,
    "quantity": pl.String,
    "replicate": pl.Int64,
    "value": pl.Float64,
}


@dataclass(frozen=True)
class Eligibility:
    """Cells that may enter a gap (evaluation.md §1.4): enough positives, negatives and patients."""

    min_positives: int = 50
    min_negatives: int = 50
    min_patients: int = 30
    suppress_below: int = 20


@dataclass
class Scorecard:
    """The tables of one arm, and replicates of the quantities that arms are compared by."""

    estimates: pl.DataFrame
    gaps: pl.DataFrame
    replicates: pl.DataFrame
