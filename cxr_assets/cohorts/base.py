"""What a cohort is: its facts, its curated tables, and the one method an adapter must have."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal, Protocol

import polars as pl
from pydantic import BaseModel, ConfigDict, Field, model_validator

from cxr_assets.cohorts.demographics import UNKNOWN, age_scheme
from cxr_assets.cohorts.schema import TABLES, conform


class CurateSettings(BaseModel):
    """Choices of curation that change the tables."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    age_scheme: str = Field(default="demo4", description="age bins: demo4, nm2021 or adult4")
    split_seed: int = Field(default=0, description="seed of the patient split where none is published")
    validate_share: float = Field(
        default=0.1, ge=0, lt=1, description="share of patients for choosing epochs and thresholds"
    )
    test_share: float = Field(default=0.2, ge=0, lt=1, description="share of patients for the final figures")

    @model_validator(mode="after")
    def _shares_leave_training_data(self) -> CurateSettings:
        if self.validate_share + self.test_share >= 1:
            raise ValueError("validate_share + test_share must stay below 1, or no patient is left to train on")
        return self


class CohortSpec(BaseModel):
    """Facts of a cohort that hold before any row is read. ``ages``, ``sexes`` and ``races`` span its strata."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    title: str
    findings: tuple[str, ...] = Field(description="findings the cohort has labels for, in canonical order")
    ages: tuple[str, ...] = (UNKNOWN,)
    sexes: tuple[str, ...] = (UNKNOWN,)
    races: tuple[str, ...] = (UNKNOWN,)
    terms: str
    terms_url: str
    attribution: str
    patient_id_kind: str = "patient"
    box_frame: tuple[int, int] | None = Field(
        default=None,
        description="width and height of the image that the source's boxes are drawn on; None: the film itself",
    )
    captions: Literal["labels", "impression"] = Field("labels", description="what its captions say by default")
    notes: tuple[str, ...] = ()

    def with_ages(self, scheme: str) -> CohortSpec:
        """The same cohort with its age bins in another scheme; a cohort without ages stays without."""
        return self if self.ages == (UNKNOWN,) else self.model_copy(update={"ages": age_scheme(scheme).labels})


@dataclass(frozen=True)
class CuratedCohort:
    """The curated tables of one cohort, each checked against ``schema``.

    Before films are imported, images are null and boxes are in pixels of ``spec.box_frame`` (of the film as received
    where that is None). ``films.add_films`` fills in the images and moves the boxes to stored pixels.
    """

    spec: CohortSpec
    studies: pl.DataFrame
    patients: pl.DataFrame
    findings: pl.DataFrame
    boxes: pl.DataFrame
    reports: pl.DataFrame
    quarantine: pl.DataFrame
    sources: pl.DataFrame
    study_sources: pl.DataFrame
    waterfall: pl.DataFrame

    def __post_init__(self) -> None:
        for name in TABLES:
            object.__setattr__(self, name, conform(getattr(self, name), name))

    def tables(self) -> dict[str, pl.DataFrame]:
        """Every table by name."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name in TABLES}


class CohortAdapter(Protocol):
    """Reads one data set as its owners publish it."""

    spec: CohortSpec

    def curate(self, root: Path, *, settings: CurateSettings) -> CuratedCohort:
        """Read the tables under ``root``; decode no pixel, write nothing.

        Args:
            root: the cohort's folder as received.
            settings: age scheme and split.

        Returns:
            Tables with ``source_path`` set to films that are there and lie inside ``root``.

        Raises:
            InputError: where a whole file cannot be used. A bad row goes to the quarantine instead.
        """
        ...


def patients_of(studies: pl.DataFrame) -> pl.DataFrame:
    """The patients table of a studies table: sex and race where a patient's known values agree, else null."""

    def agreed(name: str) -> pl.Expr:
        known = pl.col(name).drop_nulls()
        return pl.when(known.n_unique() == 1).then(known.first()).alias(name)

    first = [pl.col(name).first() for name in ("cohort", "patient_id_kind", "split")]
    grouped = studies.group_by("patient_id", maintain_order=True).agg(
        *first, pl.len().alias("studies"), agreed("sex"), agreed("race")
    )
    return conform(grouped.sort("patient_id"), "patients")


def melt_findings(studies: pl.DataFrame, values: pl.DataFrame, findings: tuple[str, ...]) -> pl.DataFrame:
    """The long findings table from one column a finding.

    Args:
        studies: studies table, already checked.
        values: ``study_id`` and one Int8 column a finding, one row a study in any order.
        findings: the columns to melt; their order is the order within a study.
    """
    keys = ["cohort", "study_id", "patient_id", "label_source"]
    order = pl.DataFrame({"finding": findings}).with_row_index("finding_order")
    long = (
        studies.select(keys)
        .with_row_index("study_order")
        .join(values, on="study_id", how="left", validate="1:1")
        .unpivot(on=list(findings), index=["study_order", *keys], variable_name="finding", value_name="value")
        .join(order, on="finding")
        .sort("study_order", "finding_order")
        .drop("study_order", "finding_order")
    )
    return conform(long, "findings")
