"""The demographics workbook of CheXpert: one row a patient with recorded race and ethnicity."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from cxr_assets.cohorts.delimited import ROW, read_delimited
from cxr_assets.cohorts.demographics import harmonise_sex
from cxr_assets.cohorts.ledger import Ledger, relative
from cxr_assets.cohorts.race import RACE_COLUMNS
from cxr_assets.cohorts.rows import find_columns, first_file, with_race
from cxr_assets.cohorts.schema import TABLES, conform
from cxr_assets.cohorts.workbook import WORKBOOKS, read_workbook
from cxr_assets.errors import InputError

FILES = tuple(
    f"{folder}{name}"
    for folder in ("", "CheXpert-v1.0-small/", "CheXpert-v1.0/", "CheXpert/")
    for name in (
        "CHEXPERT DEMO.xlsx",
        "CHEXPERT_DEMO.xlsx",
        "CHEXPERT DEMO.csv",
        "CHEXPERT_DEMO.csv",
        "chexpert_demo.csv",
    )
)
_COLUMNS = {"patient": "PATIENT", "race": "PRIMARY_RACE", "origin": "ETHNICITY"}
_OPTIONAL = {"gender": "GENDER"}


def join_demographics(rows: pl.DataFrame, root: Path, labels: str, ledger: Ledger) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Add recorded race and ethnicity by patient where the workbook is there, and its rows of ``study_sources``.

    The workbook's age is one per patient, so it never replaces the age of a film; its sex is compared, not used.
    """
    path = first_file(root, FILES)
    if path is None:
        return rows, TABLES["study_sources"].empty()
    reader = read_workbook if path.suffix in WORKBOOKS else read_delimited
    table = reader(path, cohort=ledger.spec.name)
    source = relative(path, root)
    short = find_columns(table, _COLUMNS, optional=_OPTIONAL, cohort=ledger.spec.name)
    people = ledger.table(source, table, release="demographics workbook", short=short)
    people = people.with_columns(pl.col("patient", "race", "origin").str.strip_chars())
    for bad, kind, hint in (
        (~pl.col("patient").str.contains(r"^patient[0-9]{5,6}$"), "malformed patient", "expected patient00001"),
        (~pl.col("patient").is_first_distinct(), "duplicate patient", "the first row of a patient is kept"),
    ):
        people = ledger.sift(people, bad, source=source, column="patient", kind=kind, hint=hint)
    ours = rows.select(patient="patient_id").unique()
    absent = people.join(ours, on="patient", how="anti")
    ledger.unused(source, kind="patient not in the label tables", rows=absent.height)
    people = people.join(ours, on="patient", how="semi", maintain_order="left")
    people = with_race(people, source=source, ledger=ledger, race="race", ethnicity="origin")
    joined = people.select(
        "harmonisation",
        *(name for name in RACE_COLUMNS if name in people.columns),
        patient_id="patient",
        race_raw="race",
        ethnicity_raw="origin",
        _row=ROW,
        _gender="gender" if "gender" in people.columns else pl.lit(""),
    )
    rows = rows.join(joined, on="patient_id", how="left", maintain_order="left")
    missed = rows.filter(pl.col("_row").is_null())
    ledger.note(
        missed.unique("patient_id", keep="first", maintain_order=True),
        source=labels,
        column="path",
        kind="patient without demographics",
        hint="not in the workbook; race and ethnicity stay null",
    )
    _compare_sexes(rows, labels, ledger)
    linked = rows.filter(pl.col("_row").is_not_null()).select(
        "study_id", source_id=pl.lit(table.digest), row_number="_row", role=pl.lit("demographics")
    )
    return rows.drop("_row", "_gender"), conform(linked, "study_sources")


def _compare_sexes(rows: pl.DataFrame, source: str, ledger: Ledger) -> None:
    """Note patients whose workbook says another sex than the label table; the label table's stays."""

    def read(text: str) -> str | None:
        try:
            return harmonise_sex(text)
        except InputError:
            return None

    words = {text: read(text) for text in rows["_gender"].drop_nulls().unique()}
    told = pl.col("_gender").replace_strict(words, default=None, return_dtype=pl.String)
    other = rows.filter(told.is_not_null() & (told != pl.col("known_sex")))
    ledger.note(
        other.unique("patient_id", keep="first", maintain_order=True),
        source=source,
        column="sex",
        kind="sex differs from the workbook",
        hint="the label table's is kept",
    )
