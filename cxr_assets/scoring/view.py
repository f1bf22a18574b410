"""What the page tells of a scorecard: which figures, which findings, and in which order the models stand."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import polars as pl

from cxr_assets.evaluation.cells import POOLED
from cxr_assets.evaluation.metrics import NO_FINDING
from cxr_assets.evaluation.words import ids
from cxr_assets.scoring.score import Scored
from cxr_assets.scoring.text import metric_name, span

HEADLINE = ("auroc", "tpr", "fpr")


@dataclass(frozen=True)
class View:
    """A scorecard as the page reads it."""

    scored: Scored

    @property
    def facts(self) -> dict[str, Any]:
        return self.scored.facts

    @property
    def ids(self) -> str:
        """What is drawn for intervals and counted in groups, in the plural."""
        return ids(self.facts["settings"]["patient_id_kind"])

    @property
    def models(self) -> list[str]:
        """The baseline, then the others by name."""
        first = self.facts["baseline"]
        return [first, *(model for model in self.facts["models"] if model != first)]

    @property
    def rule(self) -> str | None:
        """The rule of the thresholds that gaps are taken at."""
        return self.facts["rules"][0] if self.facts["rules"] else None

    @property
    def metric(self) -> str:
        """What groups are compared by first: TPR (of No Finding alone FPR, its underdiagnosis); AUROC without thresholds."""
        rate = "fpr" if self.facts["findings"] == [NO_FINDING] else "tpr"
        return rate if self.rule else "auroc"

    @property
    def metrics(self) -> tuple[str, ...]:
        """Columns of figures: without thresholds, ranking alone."""
        return HEADLINE if self.rule else HEADLINE[:1]

    @cached_property
    def estimates(self) -> pl.DataFrame:
        """Figures at the primary rule and as the films are, not reweighted."""
        return self.scored.estimates.filter("primary")

    @cached_property
    def findings(self) -> list[str]:
        """Findings that tables of groups tell of: all pooled, or each by itself where nothing could be pooled."""
        pooled = self.estimates.filter((pl.col("finding") == POOLED) & pl.col("estimate").is_not_null())
        return [POOLED] if pooled.height else self.facts["findings"]

    def figures(self, rows: pl.DataFrame) -> list[str]:
        """Cells of one group or of all films: each of the metrics with its interval."""
        found = {row["metric"]: row for row in rows.iter_rows(named=True)}
        return [span(found.get(metric)) for metric in self.metrics]

    @property
    def figures_head(self) -> list[str]:
        """Heads of those cells."""
        return [metric_name(metric) for metric in self.metrics]

    def gaps(self, model: str | None = None) -> pl.DataFrame:
        """Largest less smallest figure of the groups, not reweighted, of one model or all."""
        kept = (pl.col("gap_kind") == "max_min") & pl.col("primary")
        return self.scored.gaps.filter(kept if model is None else kept & (pl.col("arm") == model))


def declared(gaps: pl.DataFrame) -> pl.DataFrame:
    """Gaps that were declared beforehand and could be tested."""
    return gaps.filter((pl.col("family") == "confirmatory") & pl.col("p_perm").is_not_null())


def as_in(models: list[str], column: str = "arm") -> pl.Expr:
    """Sorts rows as the models stand on the page."""
    order = pl.Series(range(len(models)), dtype=pl.Int64)
    return pl.col(column).replace_strict(pl.Series(models, dtype=pl.String), order, default=None)
