"""Named, versioned ways to look at a cohort: age bins, axis of race, label policy. None of them changes a stored row.

Curated tables hold what the source says (four label values, age in years, two axes of race). A choice is applied when
rows are read: by ``apply_choices`` in Python, by the views ``studies`` and ``labels`` in SQL. Both read the same tables
(``choice_tables``), so another choice stales what was computed with the old one and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import polars as pl
from pydantic import BaseModel, ConfigDict, Field, field_validator

from cxr_assets.cohorts.demographics import AGE_SCHEMES, age_scheme
from cxr_assets.cohorts.labels import FINDINGS, LABEL_SOURCES
from cxr_assets.errors import SettingsError

RaceAxis = Literal["race5", "race_only"]
Views = Literal["frontal", "all"]
Reading = Literal["positive", "negative", "ignore"]
_NUMBER: Mapping[Reading, int | None] = MappingProxyType({"positive": 1, "negative": 0, "ignore": None})


@dataclass(frozen=True)
class LabelPolicy:
    """What the two values that are neither yes nor no count as; another ``version`` reads them otherwise.

    Attributes:
        uncertain: reading of -1, for every finding that ``uncertain_of`` does not name.
        blank: reading of null. Only training does this: an unmentioned finding is never taken as truth in evaluation.
    """

    name: str
    uncertain: Reading
    blank: Reading
    meaning: str
    uncertain_of: Mapping[str, Reading] = field(default_factory=dict)
    version: int = 1

    def read(self, finding: str, value: int | None) -> int | None:
        """1, 0, or None where the value does not count."""
        if value is None:
            return _NUMBER[self.blank]
        return _NUMBER[self.uncertain_of.get(finding, self.uncertain)] if value == -1 else value

    def matrix(self, values: pl.DataFrame, findings: tuple[str, ...]) -> np.ndarray:
        """Labels as they train: float32 ``(n, findings)`` with 0, 1 and NaN (does not count)."""
        columns = [
            pl.col(finding)
            .replace_strict(
                pl.Series([1, 0, -1, None], dtype=pl.Int8),
                pl.Series([self.read(finding, value) for value in (1, 0, -1, None)], dtype=pl.Float32),
                return_dtype=pl.Float32,
            )
            .alias(finding)
            for finding in findings
        ]
        frame = values.select(columns)
        empty = np.empty((values.height, 0), np.float32)
        return np.column_stack([empty, *(frame[f].fill_null(np.nan).to_numpy() for f in findings)]).astype(np.float32)


LABEL_POLICIES: Mapping[str, LabelPolicy] = MappingProxyType(
    {
        policy.name: policy
        for policy in (
            LabelPolicy("u_ignore", "ignore", "negative", "uncertain labels do not count; unmentioned is negative"),
            LabelPolicy("u_ones", "positive", "negative", "uncertain is positive; unmentioned is negative"),
            LabelPolicy("u_zeros", "negative", "negative", "uncertain is negative; unmentioned is negative"),
            LabelPolicy(
                "u_mixed",
                "negative",
                "negative",
                "uncertain is positive for atelectasis and edema, negative elsewhere; unmentioned is negative",
                {"atelectasis": "positive", "edema": "positive"},
            ),
            LabelPolicy("stated", "ignore", "ignore", "only what is stated counts; what evaluation uses as truth"),
        )
    }
)
STATED = LABEL_POLICIES["stated"]


def label_policy(name: str) -> LabelPolicy:
    """The named policy. Raises SettingsError for an unknown name."""
    try:
        return LABEL_POLICIES[name]
    except KeyError:
        raise SettingsError(
            f"label policy {name!r} does not exist. Choose one of {', '.join(LABEL_POLICIES)}."
        ) from None


class Choices(BaseModel):
    """The choices in force in a data root."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    age_scheme: str = Field(default="demo4", description=f"age bins: {', '.join(AGE_SCHEMES)}")
    race_axis: RaceAxis = Field(
        "race5", description="race5: Hispanic ethnicity goes before race; race_only: race alone"
    )
    views: Views = Field("frontal", description="frontal: films known to be lateral are not learned from or scored")
    truth_from: tuple[str, ...] = Field(
        default=(),
        description=f"label sources that classifiers are validated and scored on, all if empty: {', '.join(LABEL_SOURCES)}",
    )
    label_policy: str = Field("u_ignore", description=f"how labels train: {', '.join(LABEL_POLICIES)}")

    @field_validator("age_scheme")
    @classmethod
    def _known_scheme(cls, name: str) -> str:
        return _named(name, age_scheme)

    @field_validator("truth_from")
    @classmethod
    def _known_sources(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := [source for source in given if source not in LABEL_SOURCES]:
            raise ValueError(f"label source {unknown[0]!r} does not exist. Choose of {', '.join(LABEL_SOURCES)}.")
        return given

    @field_validator("label_policy")
    @classmethod
    def _known_policy(cls, name: str) -> str:
        return _named(name, label_policy)

    @property
    def demographics(self) -> dict[str, Any]:
        """What decides ``age_bin`` and ``race``, with versions: part of the settings of whatever uses these columns."""
        return {
            "age_scheme": self.age_scheme,
            "age_version": age_scheme(self.age_scheme).version,
            "race_axis": self.race_axis,
        }

    @property
    def films(self) -> dict[str, Any]:
        """What decides which films are validated and scored on."""
        return {"views": self.views, "truth_from": list(self.truth_from)}

    @property
    def labels(self) -> dict[str, Any]:
        """What decides training labels, with its version."""
        return {"label_policy": self.label_policy, "label_version": label_policy(self.label_policy).version}


def _named(name: str, find: Any) -> str:
    try:
        find(name)
    except SettingsError as error:
        raise ValueError(str(error)) from error
    return name


def apply_choices(studies: pl.DataFrame, choices: Choices) -> pl.DataFrame:
    """Studies with ``age_bin`` and ``race`` as chosen; null where unknown."""
    return studies.with_columns(
        age_scheme(choices.age_scheme).bin_of(pl.col("age_years")), pl.col(choices.race_axis).alias("race")
    )


def choice_tables(choices: Choices) -> dict[str, list[list[Any]]]:
    """Rows of the reference tables ``choices``, ``age_bins`` and ``label_policies`` (columns: sql/schema)."""
    bins = [
        [scheme.name, scheme.version, label, low, high]
        for scheme in AGE_SCHEMES.values()
        for label, low, high in zip(scheme.labels, scheme.edges, [*scheme.edges[1:], None], strict=True)
    ]
    policies = [
        [policy.name, policy.version, finding, value, policy.read(finding, value)]
        for policy in LABEL_POLICIES.values()
        for finding in FINDINGS
        for value in (1, 0, -1, None)
    ]
    in_force = [[choices.age_scheme, choices.race_axis, choices.label_policy]]
    return {"choices": in_force, "age_bins": bins, "label_policies": policies}
