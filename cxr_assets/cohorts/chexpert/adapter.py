"""CheXpert as its owners publish it: label tables, the demographics workbook, films; or the CheXpert Plus table."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from cxr_assets.cohorts.base import CohortSpec, CuratedCohort, CurateSettings, cohort_options, patients_of
from cxr_assets.cohorts.chexpert.demographics import join_demographics
from cxr_assets.cohorts.chexpert.plus import PLUS_TABLES, read_plus
from cxr_assets.cohorts.chexpert.tables import RELEASES, read_tables
from cxr_assets.cohorts.ledger import Ledger
from cxr_assets.cohorts.race import RACE_COLUMNS
from cxr_assets.cohorts.rows import first_file, with_age, with_films, with_sex
from cxr_assets.cohorts.schema import TABLES, conform
from cxr_assets.cohorts.splits import assign_splits

PUBLISHED = {"train": "train", "valid": "test", "test": "test"}
"""Published split to ours: the 200 and 500 patients that radiologists labelled are for evaluation."""
_TOP_AGE = 90.0


class ChexpertOptions(BaseModel):
    """What is particular to CheXpert."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    split: Literal["patient", "official"] = Field(
        "patient", description="patient: a test share of train's patients is held out too, since 700 are too few"
    )
    labels: Literal["impression", "findings", "report"] = Field(
        "impression", description="CheXpert Plus: the section that the labels were read from"
    )


class ChexpertAdapter:
    """Curates CheXpert (either size), or CheXpert Plus where its table lies in the folder."""

    def __init__(self, spec: CohortSpec) -> None:
        self.spec = spec

    def curate(self, root: Path, *, settings: CurateSettings) -> CuratedCohort:
        """Read labels, demographics and reports; see ``CohortAdapter.curate``."""
        options = cohort_options(settings, ChexpertOptions, cohort=self.spec.name)
        ledger = Ledger(self.spec)
        plus = first_file(root, PLUS_TABLES)
        read = read_plus(plus, root, ledger, labels=options.labels) if plus is not None else read_tables(root, ledger)
        rows, source = read.rows, read.source
        rows = _with_ages(rows, source, ledger)
        rows = with_sex(rows, source=source, ledger=ledger, patient="patient_id")
        if plus is None:
            rows, links = join_demographics(rows, root, source, ledger)
        else:
            links = TABLES["study_sources"].empty()
        carve = ("validate", "test") if options.split == "patient" else ("validate",)
        rows, divided = assign_splits(rows, published=PUBLISHED, settings=settings, carve=carve)
        ledger.note(
            divided,
            source=source,
            column="path",
            kind="patient in two splits",
            hint="all films went to the most guarded split",
        )
        rows = with_films(rows, root, _folders(root), source=source, ledger=ledger, look=not settings.tables_only)
        studies = _studies(rows, self.spec)
        for table, kept in _kept(studies, rows, source).iter_rows():
            ledger.close(table, kept=kept)
        values = rows.select("study_id", *(name for name in self.spec.findings if name in rows.columns))
        return CuratedCohort(
            spec=self.spec,
            studies=studies,
            patients=patients_of(studies),
            finding_values=values,
            boxes=TABLES["boxes"].empty(),
            reports=read.reports,
            quarantine=ledger.quarantine(),
            sources=ledger.sources(),
            study_sources=pl.concat([*read.links, links]),
            waterfall=ledger.waterfall(),
        )


def _kept(studies: pl.DataFrame, rows: pl.DataFrame, source: str) -> pl.DataFrame:
    """How many studies each table gave; ``rows`` name their table where there are several."""
    table = "source" if "source" in rows.columns else pl.lit(source).alias("source")
    made_from = studies.select("study_id").join(rows.select("study_id", table), on="study_id")
    return made_from.group_by("source").len()


def _with_ages(rows: pl.DataFrame, source: str, ledger: Ledger) -> pl.DataFrame:
    """Age per film. 0 stands for a missing age (three rows of train), 90 for 90 and more."""
    rows = with_age(rows, source=source, ledger=ledger)
    zero, top = pl.col("age_years") == 0, pl.col("age_years") == _TOP_AGE
    ledger.note(rows.filter(zero), source=source, column="age", kind="age 0", hint="means not known; set to null")
    return rows.with_columns(
        pl.when(zero).then(None).otherwise(pl.col("age_years")).alias("age_years"),
        pl.when(zero).then(pl.lit("zero")).when(top).then(pl.lit("topcoded")).otherwise("age_flags").alias("age_flags"),
    )


def _folders(root: Path) -> list[str]:
    """Folders that ``patientNNNNN/…`` may lie in: by release, by split, and the numbered batches of newer copies."""
    homes = [".", *RELEASES, *sorted(p.name for p in root.glob("CheXpert-v1.0 batch*")), "PNG"]
    splits = ("train", "valid", "test")
    inside = [name if home == "." else f"{home}/{name}" for home in homes for name in splits]
    return [*inside, *homes]


def _studies(rows: pl.DataFrame, spec: CohortSpec) -> pl.DataFrame:
    harmonised = [
        name for name in (*RACE_COLUMNS, "harmonisation", "race_raw", "ethnicity_raw") if name in rows.columns
    ]
    frame = rows.select(
        "study_id",
        "patient_id",
        "exam_id",
        "study_number",
        "view",
        "view_raw",
        "split_native",
        "split",
        "age_years",
        "age_flags",
        "source_path",
        "label_source",
        *harmonised,
        cohort=pl.lit(spec.name),
        patient_id_kind=pl.lit("patient"),
        age_raw="age",
        age_source=pl.lit("as reported for the film"),
        sex="known_sex",
        sex_raw="sex",
        label_granularity=pl.lit("study"),
        report_source="report_source" if "report_source" in rows.columns else pl.lit(None, pl.String),
        terms=pl.lit(spec.terms),
    )
    return conform(frame.sort("patient_id", "study_number", "study_id"), "studies")
