"""Anybody's table, with DICOM films or others, by a mapping. How to write one: docs/cohorts/table.md."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from cxr_assets.cohorts.base import CohortSpec, CuratedCohort, CurateSettings, cohort_options, patients_of
from cxr_assets.cohorts.delimited import ROW
from cxr_assets.cohorts.schema import TABLES, conform
from cxr_assets.cohorts.table.accounts import ACCOUNT, Accounts
from cxr_assets.cohorts.table.dicom_rows import joined, read_films
from cxr_assets.cohorts.table.mapping import TableMapping
from cxr_assets.cohorts.table.mapping_file import TableOptions, described, read_mapping
from cxr_assets.cohorts.table.people import with_meanings, with_people, with_splits, with_tags
from cxr_assets.cohorts.table.places import FilmIndex, index_films
from cxr_assets.cohorts.table.rows import (
    PLACE,
    REPORTS,
    SOURCE_ID,
    named_columns,
    read_rows,
    sound_rows,
    with_places,
    with_study_ids,
)
from cxr_assets.cohorts.table.values import finding_values
from cxr_assets.cohorts.table.words import Unknowns
from cxr_assets.errors import InputError, SettingsError

_TAG_TITLES = {
    "age": "PatientAge",
    "sex": "PatientSex",
    "race_text": "EthnicGroup",
    "d_view": "ViewPosition",
    PLACE: "path",
}


class TableAdapter:
    """Curates a table that nobody wrote an adapter for, a folder of DICOM files, or both."""

    def __init__(self, spec: CohortSpec) -> None:
        self.spec = spec

    def described(self, root: Path, settings: CurateSettings) -> CohortSpec:
        """Findings, recorded axes, terms and the rest as the mapping says; see ``base.Describes``."""
        return described(self.spec, read_mapping(root, settings, cohort=self.spec.name))

    def curate(self, root: Path, *, settings: CurateSettings) -> CuratedCohort:
        """Read the mapping, its tables and the tags of its DICOM files; see ``CohortAdapter.curate``."""
        file = read_mapping(root, settings, cohort=self.spec.name)
        mapping, spec = file.mapping, described(self.spec, file)
        ledger = Accounts(spec, _titles(mapping))
        ledger.file(file.source, digest=file.digest, size=file.size, release="mapping", rows=(0, 0))
        rows = read_rows(root, mapping, ledger, cohort=spec.name)
        if mapping.tables and not mapping.dicom and rows.is_empty():
            raise InputError(
                f"cohort {spec.name!r}: {', '.join(part.source for part in mapping.tables)} holds no row that can be"
                " read. Nothing was written."
            )
        unknowns = Unknowns()
        rows = with_meanings(sound_rows(rows, root, mapping, ledger), mapping, unknowns, ledger)
        look = not settings.tables_only
        index = index_films(root, mapping.roots, cohort=spec.name) if look or mapping.dicom else None
        rows = with_places(rows, index, mapping, ledger, tell=look)
        if mapping.dicom and index is not None:
            rows = _with_dicom(rows, root, index, mapping, settings, ledger, cohort=spec.name)
        if rows.is_empty():
            raise InputError(
                f"cohort {spec.name!r}: no row and no film is left that can be used. First complaints:"
                f" {'; '.join(ledger.quarantine()['reason'].head(3)) or 'none, the folders hold no DICOM file'}."
                " Nothing was written."
            )
        rows = with_study_ids(rows, ledger, tables=len(mapping.tables))
        rows = _with_patients(rows, mapping, ledger)
        values = finding_values(rows, mapping, unknowns, ledger)
        unknowns.refuse(cohort=spec.name)
        rows = with_splits(with_people(rows, mapping, ledger), settings, ledger)
        studies = _studies(rows, mapping, spec, look=look)
        _close(rows.join(studies, on="study_id", how="semi"), mapping, ledger)
        return CuratedCohort(
            spec=spec,
            studies=studies,
            patients=patients_of(studies),
            finding_values=values,
            boxes=TABLES["boxes"].empty(),
            reports=_reports(rows, mapping, spec),
            quarantine=ledger.quarantine(),
            sources=ledger.sources(),
            study_sources=_study_sources(rows, mapping),
            waterfall=ledger.waterfall(),
        )


def _close(rows: pl.DataFrame, mapping: TableMapping, ledger: Accounts) -> None:
    """Count the rows of each table that became studies; a DICOM file may meet a row, and is counted with that."""
    used = dict(rows.group_by(ACCOUNT).len().iter_rows())
    for part in mapping.tables:
        ledger.close(part.source, kept=used.get(part.source, 0))


def _titles(mapping: TableMapping) -> dict[str, str]:
    """What the columns in hand are called where they come from: in the tables, else in DICOM."""
    named = named_columns(mapping)
    derived = {"age": "age_years", "race_text": "race", "ethnicity_text": "ethnicity", "split_native": "split"}
    return {**_TAG_TITLES, **named, **{name: named[origin] for name, origin in derived.items() if origin in named}}


def _with_dicom(
    rows: pl.DataFrame,
    root: Path,
    index: FilmIndex,
    mapping: TableMapping,
    settings: CurateSettings,
    ledger: Accounts,
    *,
    cohort: str,
) -> pl.DataFrame:
    options = cohort_options(settings, TableOptions, cohort=cohort)
    salt = options.salt(root)
    if salt is None and not {"patient_id", "study_id", "exam_id"} <= mapping.columns.given().keys():
        raise SettingsError(
            f"cohort {cohort!r}: ids are taken from DICOM files and need a secret of the site to be hashed with:"
            " curate.options.site_salt, env:NAME or file:PATH. Keep it: another one gives other ids."
        )
    films, refused = read_films(
        root, index, ledger, salt=salt or "", allow_secondary_capture=options.allow_secondary_capture
    )
    return with_tags(joined(rows, films, refused, mapping, ledger), mapping, ledger)


def _with_patients(rows: pl.DataFrame, mapping: TableMapping, ledger: Accounts) -> pl.DataFrame:
    """Fill ``patient_id`` where nobody tells patients apart: with what ``patient_id_kind`` names."""
    if not mapping.columns.patient_id and mapping.id_kind != "patient":
        stand_in = "study_id" if mapping.id_kind == "image" else "exam_id"
        hint = "patient_id_kind says that it stands for the patient"
        rows = ledger.sift(rows, pl.col(stand_in).is_null(), column=stand_in, kind="no patient", hint=hint)
        return rows.with_columns(pl.col(stand_in).alias("patient_id"))
    of_several = pl.col("exam_id").is_not_null() & (pl.col("patient_id").n_unique().over("exam_id") > 1)
    ledger.note(
        rows.filter(of_several),
        column="exam_id",
        kind="exam of several patients",
        hint="an exam has one patient; the rows are kept, and may be in different splits",
    )
    return rows


def _studies(rows: pl.DataFrame, mapping: TableMapping, spec: CohortSpec, *, look: bool) -> pl.DataFrame:
    race = ("race5", "race_only", "race_detail", "race_flags", "ethnicity", "harmonisation")
    frame = rows.select(
        "study_id",
        "patient_id",
        "exam_id",
        "view",
        "view_raw",
        "split_native",
        "split",
        "age_years",
        "age_raw",
        "age_flags",
        "age_source",
        "sex_raw",
        "race_raw",
        "ethnicity_raw",
        *(name for name in race if "race5" in rows.columns),
        sex="known_sex",
        study_number="known_number",
        cohort=pl.lit(spec.name),
        patient_id_kind=pl.lit(spec.patient_id_kind),
        source_path=pl.col(PLACE) if look else pl.lit(None, pl.String),
        label_source=pl.lit(mapping.label_source),
        label_granularity=pl.lit(mapping.label_granularity),
        report_source=pl.when(pl.any_horizontal(_is_written(name) for name in REPORTS)).then(pl.col(ACCOUNT)),
        terms=pl.lit(spec.terms),
    )
    return conform(frame.sort("patient_id", "study_number", "study_id", nulls_last=True), "studies")


def _is_written(section: str) -> pl.Expr:
    return pl.col(section).str.strip_chars().fill_null("") != ""


def _reports(rows: pl.DataFrame, mapping: TableMapping, spec: CohortSpec) -> pl.DataFrame:
    """Non-empty sections of each report, verbatim."""
    sections = [name for name in REPORTS if name in mapping.columns.given()]
    parts = [
        rows.filter(_is_written(name)).select(
            pl.lit(spec.name).alias("cohort"),
            "study_id",
            pl.lit(name.removeprefix("report_")).alias("section"),
            pl.col(name).alias("text"),
        )
        for name in sections
    ]
    return conform(pl.concat([TABLES["reports"].empty(), *parts]).sort("study_id", maintain_order=True), "reports")


def _study_sources(rows: pl.DataFrame, mapping: TableMapping) -> pl.DataFrame:
    """The row of its table that each study came from, once for everything that the table gave."""
    given = mapping.columns.given()
    roles = {
        "label": bool(mapping.vocabulary),
        "demographics": any(name in given for name in ("age_years", "sex", "race", "ethnicity")),
        "image": "path" in given,
        "split": "split" in given,
        "report": any(name in given for name in REPORTS),
    }
    known = rows.filter(pl.col(SOURCE_ID).is_not_null())
    parts = [
        known.select("study_id", source_id=SOURCE_ID, row_number=ROW, role=pl.lit(role))
        for role, is_given in roles.items()
        if is_given
    ]
    return conform(pl.concat([TABLES["study_sources"].empty(), *parts]), "study_sources")
