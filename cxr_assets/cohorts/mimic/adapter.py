"""MIMIC-CXR-JPG: image and label tables, report files, and who the patients are from MIMIC-IV."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import polars as pl
from pydantic import Field

from cxr_assets.cohorts.base import CohortSpec, CuratedCohort, CurateSettings, cohort_options, patients_of
from cxr_assets.cohorts.ledger import Ledger
from cxr_assets.cohorts.mimic.demographics import join_people
from cxr_assets.cohorts.mimic.race import RaceChoices
from cxr_assets.cohorts.mimic.reports import read_reports
from cxr_assets.cohorts.mimic.tables import read_images
from cxr_assets.cohorts.rows import with_films
from cxr_assets.cohorts.schema import TABLES, conform
from cxr_assets.cohorts.splits import assign_splits

PUBLISHED = {"train": "train", "validate": "validate", "test": "test"}


class MimicOptions(RaceChoices):
    """What is particular to MIMIC-CXR."""

    labeller: Literal["chexpert", "negbio"] = Field("chexpert", description="whose labels; they are never merged")
    mimic_iv: Path | None = Field(None, description="folder of MIMIC-IV, if it does not lie in the cohort's folder")
    reports: Path | None = Field(None, description="folder or zip of the reports, if not in the cohort's folder")


class MimicAdapter:
    """Curates MIMIC-CXR-JPG 2.0.0 or 2.1.0, zipped or not."""

    def __init__(self, spec: CohortSpec) -> None:
        self.spec = spec

    def curate(self, root: Path, *, settings: CurateSettings) -> CuratedCohort:
        """Read images, labels, splits, reports and people; see ``CohortAdapter.curate``."""
        options = cohort_options(settings, MimicOptions, cohort=self.spec.name)
        ledger = Ledger(self.spec)
        images = read_images(root, ledger, labeller=options.labeller)
        rows, people_links = join_people(images.rows, root, images.source, ledger, options.mimic_iv, options)
        rows, divided = assign_splits(rows, published=PUBLISHED, settings=settings)
        ledger.note(
            divided,
            source=images.source,
            column="image",
            kind="patient in two splits",
            hint="all films went to the most guarded split",
        )
        rows = with_films(
            rows, root, (".", "files"), source=images.source, ledger=ledger, look=not settings.tables_only
        )
        reports, report_links = read_reports(rows, root, ledger, options.reports)
        rows = rows.join(report_links, on="exam_id", how="left", maintain_order="left")
        told = rows.filter(pl.col("report_source").is_not_null())
        links = [*images.links, *people_links]
        links.append(
            told.select("study_id", source_id="report_digest", row_number=pl.lit(None, pl.Int64), role=pl.lit("report"))
        )
        studies = _studies(rows, self.spec)
        ledger.close(images.source, kept=studies.height)
        return CuratedCohort(
            spec=self.spec,
            studies=studies,
            patients=patients_of(studies),
            finding_values=rows.select("study_id", *self.spec.findings),
            boxes=TABLES["boxes"].empty(),
            reports=reports,
            quarantine=ledger.quarantine(),
            sources=ledger.sources(),
            study_sources=pl.concat(conform(link, "study_sources") for link in links),
            waterfall=ledger.waterfall(),
        )


def _studies(rows: pl.DataFrame, spec: CohortSpec) -> pl.DataFrame:
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
        "age_raw",
        "age_flags",
        "age_source",
        "sex_raw",
        "race5",
        "race_only",
        "race_detail",
        "race_raw",
        "race_flags",
        "race_source",
        "ethnicity",
        "harmonisation",
        "source_path",
        "label_source",
        "report_source",
        cohort=pl.lit(spec.name),
        patient_id_kind=pl.lit("patient"),
        sex="known_sex",
        label_granularity=pl.lit("study"),
        terms=pl.lit(spec.terms),
    )
    return conform(frame.sort("patient_id", "study_number", "study_id", nulls_last=True), "studies")
