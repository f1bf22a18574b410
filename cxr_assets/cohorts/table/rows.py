"""Rows of the mapped tables under canonical names, those that can be used, and where their films lie."""

from __future__ import annotations

import os
from pathlib import Path

import polars as pl

from cxr_assets.cohorts.delimited import ROW
from cxr_assets.cohorts.rows import FLOAT_ID, UNSAFE_PATH
from cxr_assets.cohorts.table.accounts import ACCOUNT, ORIGIN, Accounts
from cxr_assets.cohorts.table.mapping import ColumnMapping, Columns, LabelColumn, TableMapping
from cxr_assets.cohorts.table.places import FilmIndex, located
from cxr_assets.cohorts.table.source import column_of, read_table
from cxr_assets.cohorts.table.words import is_missing

LABELS = "labels"
SOURCE_ID = "_source_id"
PLACE = "_place"
REPORTS = tuple(name for name in Columns.model_fields if name.startswith("report_"))
_IDS = ("patient_id", "study_id", "exam_id", "study_number", "path")
_SUFFIX = r"(?i)\.(?:png|jpe?g|dcm|dicom)$"


def finding_column(finding: str) -> str:
    """Short name of the column of a finding's labels."""
    return f"finding {finding}"


def named_columns(mapping: TableMapping) -> dict[str, str]:
    """Short name to the name of the column in the table, of everything that is mapped."""
    named = {name: given.column for name, given in mapping.columns.given().items()}
    if isinstance(mapping.findings, LabelColumn):
        return named | {LABELS: mapping.findings.column}
    return named | {finding_column(finding): given.column for finding, given in mapping.findings.items()}


def read_rows(root: Path, mapping: TableMapping, ledger: Accounts, *, cohort: str) -> pl.DataFrame:
    """Rows of all tables as text, every canonical column there, null where it is not mapped.

    Ids and paths are parsed and null where they are missing; reports are verbatim; the rest is as it stands.
    """
    wanted = named_columns(mapping)
    has_reports = any(name in wanted for name in REPORTS)
    parts = []
    for part in mapping.tables:
        table = read_table(root, part, multiline=has_reports, cohort=cohort)
        short = {name: column_of(table, column, cohort=cohort) for name, column in wanted.items()}
        release = f"table of {len([name for name in table.header if name.strip()])} columns"
        rows = ledger.table(part.source, table, release=release, short=short)
        parts.append(
            rows.with_columns(
                pl.lit(part.source).alias(ACCOUNT),
                pl.lit(part.source).alias(ORIGIN),
                pl.lit(table.digest).alias(SOURCE_ID),
                pl.lit(os.path.dirname(part.file)).alias("_folder"),
            )
        )
    schema = {ROW: pl.Int64, **dict.fromkeys((*wanted, ACCOUNT, ORIGIN, SOURCE_ID, "_folder"), pl.String)}
    rows = pl.concat(parts) if parts else pl.DataFrame(schema=schema)
    rows = rows.with_columns(
        pl.lit(None, pl.String).alias(name) for name in Columns.model_fields if name not in rows.columns
    )
    given = mapping.columns.given()
    return rows.with_columns(_parsed(name, given[name], mapping) for name in _IDS if name in given)


def _parsed(name: str, given: ColumnMapping, mapping: TableMapping) -> pl.Expr:
    """An id or path as it is used; its vocabulary replaces whole texts."""
    text = pl.col(name).str.strip_chars()
    if given.vocabulary:
        text = text.replace({word.strip(): meaning for word, meaning in given.vocabulary.items()})
    if given.parser == "whole":
        text = text.str.replace(r"^([+-]?[0-9]+)\.0+$", "$1")
    if given.parser in ("name", "stem"):
        text = text.str.replace_all("\\", "/", literal=True).str.extract(r"([^/]*)$")
    if given.parser == "stem":
        text = text.str.replace(_SUFFIX, "")
    return pl.when(is_missing(name, (*mapping.missing, *given.missing))).then(None).otherwise(text).alias(name)


def sound_rows(rows: pl.DataFrame, root: Path, mapping: TableMapping, ledger: Accounts) -> pl.DataFrame:
    """Rows whose patient and path can be trusted; a film or a study that stands twice is taken once."""
    given, path = mapping.columns.given(), pl.col("path")
    home = root.as_posix().rstrip("/") + "/"
    rows = rows.with_columns(
        path.str.replace_all("\\", "/", literal=True)
        .str.strip_prefix(home)
        .str.replace(r"^(?:\./+)+", "")
        .alias("path")
    )
    blank = "needed on every row; words that count as missing are listed in the mapping"
    artefact = "a number, as a program makes of an id; write ids as text, or set parser: whole where they end in .0"
    for bad, column, kind, hint in (
        (pl.col("patient_id").is_null() & ("patient_id" in given), "patient_id", "no patient", blank),
        (pl.col("study_id").is_null() & ("study_id" in given), "study_id", "no study", blank),
        *((pl.col(name).str.contains(FLOAT_ID), name, "float artefact", artefact) for name in _IDS[:3]),
        (path.str.contains(UNSAFE_PATH), "path", "unsafe path", "it must stay inside the cohort's folder"),
        (path.is_not_null() & ~path.is_first_distinct(), "path", "duplicate film", "the first row of a film is kept"),
        (
            pl.col("study_id").is_not_null() & ~pl.col("study_id").is_first_distinct(),
            "study_id",
            "duplicate study",
            "the first row of a study is kept; a study here is one film",
        ),
    ):
        rows = ledger.sift(rows, bad, column=column, kind=kind, hint=hint)
    return rows


def with_places(
    rows: pl.DataFrame, index: FilmIndex | None, mapping: TableMapping, ledger: Accounts, *, tell: bool
) -> pl.DataFrame:
    """Add ``_place``: the film relative to the root. A film that two rows lead to belongs to the first.

    Args:
        index: films that are there; None looks for none.
        tell: whether what is missing or odd about them is noted.
    """
    if index is None or rows.is_empty() or "path" not in mapping.columns.given():
        return rows.with_columns(pl.lit(None, pl.String).alias(PLACE))
    parts = []
    for (folder,), part in rows.group_by("_folder", maintain_order=True):
        found = located(part["path"], index, beside=(str(folder), ".", *mapping.roots))
        parts.append(part.with_columns(found["place"].alias(PLACE), found["complaint"].alias("_complaint")))
    rows = pl.concat(parts)
    place = pl.col(PLACE)
    rows = ledger.sift(
        rows,
        place.is_not_null() & ~place.is_first_distinct(),
        column="path",
        kind="duplicate film",
        hint="another row leads to the same file; the first is kept",
    )
    if tell:
        ledger.complain(rows.filter(pl.col("_complaint").is_not_null()), "path", pl.col("_complaint"))
        unnamed = rows.filter(pl.col("path").is_null())
        ledger.note(unnamed, column="path", kind="missing film", hint="no path; the study is kept without a film")
    return rows.drop("_complaint")


def with_study_ids(rows: pl.DataFrame, ledger: Accounts, *, tables: int) -> pl.DataFrame:
    """Fill ``study_id`` where the mapping names none: the film's path without its suffix, else the row's number."""
    film = pl.col("path").str.replace(_SUFFIX, "").str.replace_all("/", "_", literal=True)
    number = pl.format("row{}", pl.col(ROW)) if tables == 1 else pl.format("{}:row{}", pl.col(ACCOUNT), pl.col(ROW))
    rows = rows.with_columns(pl.coalesce("study_id", film, number).alias("study_id"))
    return ledger.sift(
        rows,
        ~pl.col("study_id").is_first_distinct(),
        column="study_id",
        kind="duplicate study",
        hint="made of its film's name, as another row's is; map study_id",
    )
