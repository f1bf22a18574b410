"""ChestX-ray14 (NIH Clinical Center): every published form of its tables. Format and pitfalls: docs/cohorts/nih.md."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from cxr_assets.cohorts.base import CohortSpec, CuratedCohort, CurateSettings, patients_of
from cxr_assets.cohorts.delimited import ROW, Delimited, read_delimited
from cxr_assets.cohorts.labels import NIH_FINDINGS, nih_values
from cxr_assets.cohorts.ledger import Ledger, relative
from cxr_assets.cohorts.nih_boxes import read_boxes
from cxr_assets.cohorts.nih_rows import sound_rows, with_demographics
from cxr_assets.cohorts.nih_splits import assign, read_lists
from cxr_assets.cohorts.rows import find_columns, need_file, with_named_films
from cxr_assets.cohorts.schema import TABLES, conform
from cxr_assets.errors import InputError

TABLE_NAMES = ("Data_Entry_2017_v2020.csv", "Data_Entry_2017.csv", "sample_labels.csv")
FILM_FOLDERS = ("images", "images_[0-9]*/images", "images_[0-9]*", ".")

_COLUMNS = {
    "image": "Image Index",
    "labels": "Finding Labels",
    "follow_up": "Follow-up #",
    "patient": "Patient ID",
    "age": "Patient Age",
    "sex": ("Patient Sex", "Patient Gender"),
    "view": "View Position",
}


class NihAdapter:
    """Curates ChestX-ray14, or any slice of it, from the folder it was unpacked in."""

    def __init__(self, spec: CohortSpec) -> None:
        self.spec = spec

    def curate(self, root: Path, *, settings: CurateSettings) -> CuratedCohort:
        """Read the label table, the split lists and the boxes; see ``CohortAdapter.curate``."""
        spec = self.spec
        ledger = Ledger(spec)
        table = read_delimited(need_file(root, TABLE_NAMES, cohort=spec.name), cohort=spec.name)
        source = relative(table.path, root)
        short = find_columns(table, _COLUMNS, cohort=spec.name)
        if not table.read:
            raise InputError(f"cohort 'nih': {source} holds a header and no rows. Fetch it again. Nothing was written.")
        rows = ledger.table(source, table, release=_variant(table), short=short)
        rows = sound_rows(rows, source, ledger)
        lists = read_lists(root, ledger)
        rows = with_demographics(rows, source, ledger)
        rows = assign(rows, lists, settings=settings, source=source, ledger=ledger)
        rows = with_named_films(rows, root, FILM_FOLDERS, source=source, ledger=ledger, look=not settings.tables_only)
        studies = _studies(rows, spec)
        ledger.close(source, kept=studies.height)
        boxes, box_sources = read_boxes(root, rows, ledger)
        study_sources = [
            rows.select(
                "study_id", pl.lit(table.digest).alias("source_id"), pl.col(ROW).alias("row_number"), role=pl.lit(role)
            )
            for role in ("label", "demographics")
        ]
        return CuratedCohort(
            spec=spec,
            studies=studies,
            patients=patients_of(studies),
            finding_values=_values(rows),
            boxes=boxes,
            reports=TABLES["reports"].empty(),
            quarantine=ledger.quarantine(),
            sources=ledger.sources(),
            study_sources=pl.concat([*study_sources, lists.study_sources(rows), box_sources]),
            waterfall=ledger.waterfall(),
        )


def _variant(table: Delimited) -> str:
    """Name of the header variant, kept with the source."""
    names = [name.strip() for name in table.header]
    traits = [
        "underscored header"
        if "Image_Index" in names
        else "bracketed header"
        if "Height]" in names
        else "plain header",
        "Patient Sex" if "patientsex" in table.rows.columns else "Patient Gender",
        *(["trailing comma"] if names[-1] == "" else []),
    ]
    return f"{table.path.name.split('.')[0]}: {', '.join(traits)}"


def _studies(rows: pl.DataFrame, spec: CohortSpec) -> pl.DataFrame:
    frame = rows.select(
        "study_id",
        "study_number",
        "split_native",
        "split",
        "age_years",
        "age_flags",
        "source_path",
        "patient_id",
        cohort=pl.lit(spec.name),
        patient_id_kind=pl.lit("patient"),
        view="known_view",
        view_raw="view",
        age_raw="age",
        age_source=pl.lit("as reported"),
        sex="known_sex",
        sex_raw="sex",
        label_source=pl.lit("nlp_report"),
        label_granularity=pl.lit("image"),
        terms=pl.lit(spec.terms),
    )
    return conform(frame.sort("patient_id", "study_number", "study_id", nulls_last=True), "studies")


def _values(rows: pl.DataFrame) -> pl.DataFrame:
    """One Int8 column a finding; each distinct combination of labels is worked out once."""
    combinations = rows.select("labels", "parts").unique(subset="labels")
    table = pl.DataFrame(
        [{"labels": labels, **nih_values(parts)} for labels, parts in combinations.iter_rows()],
        schema={"labels": pl.String, **dict.fromkeys(NIH_FINDINGS, pl.Int8)},
    )
    return rows.select("study_id", "labels").join(table, on="labels", how="left").drop("labels")
