"""PadChest as its owners publish it: one label table, and films in numbered folders."""

from __future__ import annotations

from pathlib import Path

import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from cxr_assets.cohorts.base import CohortSpec, CuratedCohort, CurateSettings, cohort_options, patients_of
from cxr_assets.cohorts.delimited import ROW, read_delimited
from cxr_assets.cohorts.ledger import Ledger, relative
from cxr_assets.cohorts.padchest.labels import finding_values
from cxr_assets.cohorts.padchest.rows import sound_rows, with_demographics
from cxr_assets.cohorts.rows import find_columns, need_file, with_named_films
from cxr_assets.cohorts.schema import TABLES, conform
from cxr_assets.cohorts.splits import assign_splits
from cxr_assets.errors import InputError

TABLE_NAMES = ("PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv",)
FILM_FOLDERS = ("[0-9]*", "images/[0-9]*", "images", "images-224", ".")
_COLUMNS = {
    "image": "ImageID",
    "study_date": "StudyDate_DICOM",
    "study": "StudyID",
    "patient": "PatientID",
    "birth": "PatientBirth",
    "sex": "PatientSex_DICOM",
    "view": "Projection",
    "method": "MethodLabel",
    "labels": "Labels",
}


class PadchestOptions(BaseModel):
    """What is particular to PadChest."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    laminar: bool = Field(default=False, description="count laminar (plate-like) atelectasis as atelectasis")
    callus: bool = Field(default=False, description="count the callus of a healed rib fracture as a fracture")


class PadchestAdapter:
    """Curates PadChest, or any slice of it."""

    def __init__(self, spec: CohortSpec) -> None:
        self.spec = spec

    def curate(self, root: Path, *, settings: CurateSettings) -> CuratedCohort:
        """Read the label table; see ``CohortAdapter.curate``."""
        spec = self.spec
        options = cohort_options(settings, PadchestOptions, cohort=spec.name)
        ledger = Ledger(spec)
        # Lists of codes are printed over several lines, inside quotes.
        table = read_delimited(need_file(root, TABLE_NAMES, cohort=spec.name), cohort=spec.name, multiline=True)
        source = relative(table.path, root)
        short = find_columns(table, _COLUMNS, cohort=spec.name)
        if not table.read:
            raise InputError(
                f"cohort 'padchest': {source} holds a header and no rows. Fetch it again. Nothing was written."
            )
        rows = ledger.table(source, table, release=f"{len(table.header)} columns", short=short)
        rows = sound_rows(rows, source, ledger)
        rows = with_demographics(rows, source, ledger)
        rows, values = finding_values(rows, source, ledger, laminar=options.laminar, callus=options.callus)
        rows = with_named_films(rows, root, FILM_FOLDERS, source=source, ledger=ledger, look=not settings.tables_only)
        unlisted = rows.with_columns(pl.lit(None, pl.String).alias("split_native"))
        rows, _ = assign_splits(unlisted, published={}, settings=settings)
        studies = _studies(rows, spec)
        ledger.close(source, kept=studies.height)
        link = rows.select("study_id", pl.lit(table.digest).alias("source_id"), pl.col(ROW).alias("row_number"))
        return CuratedCohort(
            spec=spec,
            studies=studies,
            patients=patients_of(studies),
            finding_values=values,
            boxes=TABLES["boxes"].empty(),
            reports=TABLES["reports"].empty(),
            quarantine=ledger.quarantine(),
            sources=ledger.sources(),
            study_sources=pl.concat([link.with_columns(role=pl.lit(role)) for role in ("label", "demographics")]),
            waterfall=ledger.waterfall(),
        )


def _studies(rows: pl.DataFrame, spec: CohortSpec) -> pl.DataFrame:
    frame = rows.select(
        "study_id",
        "patient_id",
        "study_number",
        "split",
        "age_years",
        "age_flags",
        "source_path",
        "label_source",
        cohort=pl.lit(spec.name),
        patient_id_kind=pl.lit("patient"),
        exam_id="study",
        view="known_view",
        view_raw="view",
        age_source=pl.when(pl.col("age_years").is_not_null()).then(pl.lit("year of study minus year of birth")),
        sex="known_sex",
        sex_raw="sex",
        label_granularity=pl.lit("study"),
        terms=pl.lit(spec.terms),
    )
    return conform(frame.sort("patient_id", "study_number", "study_id", nulls_last=True), "studies")
