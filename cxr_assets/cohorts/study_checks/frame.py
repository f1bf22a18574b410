"""What a study check reads: the curated tables of one cohort, and studies of related ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from cxr_assets.cohorts.base import CohortSpec, CuratedCohort
from cxr_assets.cohorts.related import Related, read_related
from cxr_assets.cohorts.schema import TABLES
from cxr_assets.project import Project

Found = tuple[bool, dict[str, Any]]
"""Whether a check holds, and the counts that show it."""


@dataclass(frozen=True)
class CheckedCohort:
    """Tables of a cohort as curated, with what is needed to judge them.

    Attributes:
        studies: studies with ``age_bin`` and ``race`` as chosen.
        tables: every curated table by name.
        related: studies of other data roots whose cohorts share films with this one (``read_related``).
        facts: facts of the manifest.
    """

    spec: CohortSpec
    studies: pl.DataFrame
    tables: Mapping[str, pl.DataFrame]
    facts: Mapping[str, Any]
    related: Related

    def __getattr__(self, name: str) -> pl.DataFrame:
        try:
            return self.tables[name]
        except KeyError:
            raise AttributeError(name) from None

    @classmethod
    def of(cls, cohort: CuratedCohort, studies: pl.DataFrame) -> CheckedCohort:
        """A cohort that has not been stored."""
        return cls(cohort.spec, studies, cohort.tables(), {}, read_related([]))

    def complaints(self, *kinds: str) -> int:
        """Rows of the quarantine of some kinds."""
        kind = pl.col("reason").str.split(": ").list.first()
        return self.quarantine.filter(kind.is_in(kinds)).height


def stored_cohort(project: Project, facts: Mapping[str, Any]) -> CheckedCohort:
    """The curated tables of a data root, with the facts of their manifest."""
    return CheckedCohort(
        spec=project.spec,
        studies=project.studies(),
        tables={name: project.store.table(name) for name in TABLES},
        facts=facts,
        related=read_related(project.settings.related_roots),
    )


def listed(values: pl.Series, most: int = 5) -> str:
    """The first few of some values, and how many more there are."""
    more = f" and {values.len() - most} more" if values.len() > most else ""
    return ", ".join(str(value) for value in values.head(most)) + more
