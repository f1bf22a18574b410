"""The tables of a scorecard, column by column (evaluation.md §1.5), and which cells may enter a gap."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

_NAMED = {
    "arm": pl.String,
    "learner": pl.String,
    "evaluation_set": pl.String,
    "finding": pl.String,
    "attribute": pl.String,
}
ESTIMATES = {
    **_NAMED,
    "group": pl.String,
    "metric": pl.String,
    "threshold_id": pl.String,
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
    "effective_n": pl.Float64,
    "primary": pl.Boolean,
}
GAPS = {
    **_NAMED,
    "metric": pl.String,
    "threshold_id": pl.String,
    "gap_kind": pl.String,
    "groups": pl.Int64,
    "observed": pl.Float64,
    "null_mean": pl.Float64,
    "excess": pl.Float64,
    "ci_lo": pl.Float64,
    "ci_hi": pl.Float64,
    "bca_lo": pl.Float64,
    "bca_hi": pl.Float64,
    "ci_method": pl.String,
    "b_reps": pl.Int64,
    "p_perm": pl.Float64,
    "p_adj": pl.Float64,
    "family": pl.String,
    "worst_group": pl.String,
    "best_group": pl.String,
    "noise_to_explain": pl.Float64,
    "noise_kind": pl.String,
    "under_labelled_rate": pl.Float64,
    "noise_reason": pl.String,
    "reported": pl.Boolean,
    "weight_scheme": pl.String,
    "effective_n": pl.Float64,
    "null_reason": pl.String,
    "primary": pl.Boolean,
}
RELIABILITY = {
    **_NAMED,
    "group": pl.String,
    "bin": pl.Int64,
    "n": pl.Int64,
    "mean_score": pl.Float64,
    "share_positive": pl.Float64,
    "lo": pl.Float64,
    "hi": pl.Float64,
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
    """Cells that may enter a gap (evaluation.md §1.4).

    ``min_positives`` and ``min_negatives`` count films, ``min_patients`` and ``suppress_below`` patients of either class: fifty
    positive films of two people say little, and too much of them.
    """

    min_positives: int = 50
    min_negatives: int = 50
    min_patients: int = 30
    suppress_below: int = 20


@dataclass
class Scorecard:
    """The tables of one arm, replicates of the quantities that arms are compared by, and reliability curves."""

    estimates: pl.DataFrame
    gaps: pl.DataFrame
    replicates: pl.DataFrame
    reliability: pl.DataFrame


class Rows:
    """Collects rows of one table by column; what does not vary is given once."""

    def __init__(self, schema: Mapping[str, type[pl.DataType]]) -> None:
        self.schema = schema
        self._columns: dict[str, list[object]] = {name: [] for name in schema}

    def add(self, rows: int, **columns: object) -> None:
        """Append rows; a scalar stands for all of them, a NaN is written as null, a column left out is null."""
        for name, kept in self._columns.items():
            value = columns.get(name)
            if isinstance(value, np.ndarray):
                kept.extend(value.tolist())
            elif isinstance(value, list | tuple):
                kept.extend(value)
            else:
                kept.extend([value] * rows)

    def extend(self, other: Rows) -> None:
        """Append the rows of another collection."""
        for name, kept in self._columns.items():
            kept.extend(other._columns[name])

    def frame(self) -> pl.DataFrame:
        """Everything collected."""
        whole = pl.DataFrame(self._columns, schema=self.schema, strict=False)
        return whole.with_columns(pl.col(pl.Float64).fill_nan(None))
