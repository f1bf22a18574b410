"""The curated tables that every cohort ends in, column by column, and the one function that enforces them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import polars as pl

from cxr_assets.cohorts.demographics import RACES, SEXES
from cxr_assets.cohorts.labels import FINDINGS, LABEL_SOURCES
from cxr_assets.cohorts.race import ETHNICITIES, RACE_AXES, RACE_DETAILS
from cxr_assets.errors import InputError

SPLITS = ("train", "validate", "test")
VIEWS = ("PA", "AP", "LATERAL")
ID_KINDS = ("patient", "study", "report", "image")
SECTIONS = ("findings", "impression", "indication", "comparison", "narrative", "last_paragraph")
ROLES = ("image", "label", "demographics", "report", "split", "box")


@dataclass(frozen=True)
class Column:
    """One column: its type, its meaning, whether null is a value, and the closed vocabulary if it has one."""

    name: str
    dtype: pl.DataType | type[pl.DataType]
    meaning: str
    nullable: bool = False
    allowed: tuple[str | int, ...] = ()


@dataclass(frozen=True)
class Table:
    """A curated table: what one row is, its columns in order, and the columns that tell rows apart."""

    name: str
    grain: str
    columns: tuple[Column, ...]
    key: tuple[str, ...] = ()

    @property
    def schema(self) -> pl.Schema:
        """Column names and types, in order."""
        return pl.Schema({column.name: column.dtype for column in self.columns})

    def empty(self) -> pl.DataFrame:
        """The table without rows."""
        return pl.DataFrame(schema=self.schema)


def _text(name: str, meaning: str, *allowed: str) -> Column:
    return Column(name, pl.String, meaning, allowed=allowed)


def _maybe(name: str, meaning: str, *allowed: str, dtype: type[pl.DataType] = pl.String) -> Column:
    return Column(name, dtype, meaning, nullable=True, allowed=allowed)


def _number(name: str, meaning: str, dtype: type[pl.DataType] = pl.Int64) -> Column:
    return Column(name, dtype, meaning)


_COHORT = _text("cohort", "slug of the cohort")
_STUDY = _text("study_id", "unique name of the study (one image row) in its cohort")
_PATIENT = _text("patient_id", "the patient as text, leading zeros kept; what patient_id_kind says it is")
_KIND = _text("patient_id_kind", "what patient_id really identifies", *ID_KINDS)
_SEX = _maybe("sex", "harmonised sex, null where unknown or contradictory", *SEXES)
_RACE5 = _maybe("race5", "recorded race on one axis, Hispanic ethnicity first; null where unknown", *RACES)
_RACE_ONLY = _maybe("race_only", "recorded race without ethnicity; null where unknown", *RACE_AXES["race_only"])
_ETHNICITY = _maybe("ethnicity", "Hispanic ethnicity where it is recorded or said by the race text", *ETHNICITIES)
_SPLIT = _text("split", "the split in force; a patient is in one only", *SPLITS)
_FINDING = _text("finding", "slug of the finding", *FINDINGS)
_TERMS = _text("terms", "tag of the licence terms that the row is under")

_TABLES = (
    Table(
        "studies",
        "one image of one patient (or one report where its image is not at hand)",
        (
            _COHORT,
            _STUDY,
            _PATIENT,
            _KIND,
            _maybe("exam_id", "the source's own grouping of images into a study or report"),
            _maybe("study_number", "order in time within the patient", dtype=pl.Int64),
            _maybe("view", "projection; null where unknown, as for a film that is only called frontal", *VIEWS),
            _maybe("view_raw", "projection as the source writes it"),
            _maybe("split_native", "the split that the source publishes, in its words"),
            _SPLIT,
            _maybe("age_years", "age at the study in years, 0 to 120", dtype=pl.Float64),
            _maybe("age_raw", "age as the source writes it"),
            _maybe("age_flags", "what is odd about the age, joined by '|'; null if nothing is"),
            _maybe("age_source", "how age_years was decided"),
            _SEX,
            _maybe("sex_raw", "sex as the source writes it"),
            _RACE5,
            _RACE_ONLY,
            _maybe("race_detail", "the group as recorded where race5 is coarser, or the field is split", *RACE_DETAILS),
            _maybe("race_raw", "race as the source writes it; several values of one patient are joined by '|'"),
            _maybe("race_flags", "what is odd about race or ethnicity, joined by '|'; null if nothing is"),
            _maybe("race_source", "how race was decided where the source has several values"),
            _ETHNICITY,
            _maybe("ethnicity_raw", "ethnicity as the source writes it"),
            _maybe("harmonisation", "version of the race table that was used"),
            _maybe("image_digest", "SHA-256 of the stored PNG, 64 hex digits; null without a film"),
            _maybe("image_file", "stored PNG, path relative to the data root; null without a film"),
            _maybe("width", "width of the stored image in pixels", dtype=pl.Int64),
            _maybe("height", "height of the stored image in pixels", dtype=pl.Int64),
            _maybe("source_path", "film as received, path relative to the cohort's folder; null without one"),
            _text("label_source", "who or what made the labels", *LABEL_SOURCES),
            _text("label_granularity", "what the labels were made for", "study", "image"),
            _maybe("report_source", "file or release that the report came from; null without one"),
            _TERMS,
        ),
        ("study_id",),
    ),
    Table(
        "patients",
        "one patient",
        (
            _COHORT,
            _PATIENT,
            _KIND,
            _number("studies", "number of studies"),
            _SEX,
            _RACE5,
            _RACE_ONLY,
            _ETHNICITY,
            _SPLIT,
        ),
        ("patient_id",),
    ),
    Table(
        "finding_values",
        "the labels of one study: 1 positive, 0 negative, -1 uncertain, null not mentioned or not in the vocabulary",
        (_STUDY, *(Column(slug, pl.Int8, f"label of {slug}", True, (1, 0, -1)) for slug in FINDINGS)),
        ("study_id",),
    ),
    Table(
        "cohort_findings",
        "one finding of the cohort's vocabulary",
        (_COHORT, _FINDING, _number("position", "canonical order, from 0")),
        ("finding",),
    ),
    Table(
        "boxes",
        "one box around one finding",
        (
            _COHORT,
            _STUDY,
            _FINDING,
            _number("x", "left edge in pixels of the stored image", pl.Float64),
            _number("y", "upper edge in pixels of the stored image", pl.Float64),
            _number("width", "width in pixels of the stored image", pl.Float64),
            _number("height", "height in pixels of the stored image", pl.Float64),
            _text("source", "file or process that drew the box"),
        ),
    ),
    Table(
        "films",
        "one stored film: how the pixels received became the pixels stored (stored = received * scale + offset)",
        (
            _COHORT,
            _STUDY,
            _text("phash", "perceptual hash, 256 bits as 64 hex digits"),
            _text("received_as", "format and mode, or transfer syntax, photometric interpretation and stored bits"),
            _number("source_width", "width as received in pixels"),
            _number("source_height", "height as received in pixels"),
            _number("scale_x", "stored pixels per received pixel, across", pl.Float64),
            _number("scale_y", "stored pixels per received pixel, down", pl.Float64),
            _number("offset_x", "stored x of the received left edge", pl.Float64),
            _number("offset_y", "stored y of the received upper edge", pl.Float64),
        ),
        ("study_id",),
    ),
    Table(
        "near_duplicates",
        "two studies whose films are the same picture (cohorts/likeness.py)",
        (
            _text("study_a", "one study"),
            _text("study_b", "the other"),
            _number("distance", "bits in which their perceptual hashes differ, at most 24 of 256"),
        ),
        ("study_a", "study_b"),
    ),
    Table(
        "reports",
        "one non-empty section of the report of one study",
        (_COHORT, _STUDY, _text("section", "which section", *SECTIONS), _text("text", "verbatim")),
        ("study_id", "section"),
    ),
    Table(
        "quarantine",
        "one complaint about one row or file; the row is dropped, or kept with the value set to null",
        (
            _COHORT,
            _text("source", "file, relative to the cohort's folder"),
            _maybe("row", "line in the file, the header being line 1; null for a whole file", dtype=pl.Int64),
            _maybe("column", "column at fault"),
            _maybe("value", "what it held"),
            _text("reason", "kind of fault, then what was expected"),
        ),
    ),
    Table(
        "sources",
        "one file of the cohort as received",
        (
            _text("source_id", "SHA-256 of the file"),
            _COHORT,
            _text("path", "relative to the cohort's folder"),
            _number("bytes", "size"),
            _number("rows_read", "rows it held"),
            _number("rows_kept", "rows that were used"),
            _TERMS,
            _text("terms_url", "where the terms are stated"),
            _text("release", "release or header variant that was recognised"),
        ),
        ("source_id", "path"),
    ),
    Table(
        "study_sources",
        "one study × one source file that it came from",
        (
            _STUDY,
            _text("source_id", "SHA-256 of the file"),
            _maybe("row_number", "line in the file, null for a whole file", dtype=pl.Int64),
            _text("role", "what the file gave", *ROLES),
        ),
    ),
    Table(
        "waterfall",
        "one step of one source: rows read = rows kept + every kind dropped",
        (
            _COHORT,
            _text("source", "file or folder, relative to the cohort's folder"),
            _text("step", "'read', 'kept' or 'dropped: <kind>'"),
            _number("rows", "how many"),
        ),
        ("source", "step"),
    ),
)
TABLES: Mapping[str, Table] = MappingProxyType({table.name: table for table in _TABLES})


def conform(frame: pl.DataFrame, table_name: str) -> pl.DataFrame:
    """Cast, order and check a frame as a curated table.

    Columns that may be null and are absent are added as null. Everything else that does not fit raises: unknown or
    missing columns, values that do not cast, nulls and words outside the vocabulary, repeated keys.

    Raises:
        InputError: naming table, column, row (counted from 0), value and what was expected.
    """
    try:
        table = TABLES[table_name]
    except KeyError:
        raise InputError(f"table {table_name!r} does not exist. Choose one of {', '.join(TABLES)}.") from None
    names = [column.name for column in table.columns]
    if unknown := [name for name in frame.columns if name not in names]:
        raise InputError(f"table {table_name!r}: unknown column {unknown[0]!r}. Its columns are {', '.join(names)}.")
    required = [column.name for column in table.columns if not column.nullable]
    if absent := [name for name in required if name not in frame.columns]:
        raise InputError(f"table {table_name!r}: no column {absent[0]!r}. Seen: {', '.join(frame.columns)}.")
    frame = frame.select(
        pl.col(column.name) if column.name in frame.columns else pl.lit(None, column.dtype).alias(column.name)
        for column in table.columns
    )
    for column in _suspect(frame, table.columns):
        frame = frame.with_columns(_checked(frame[column.name], column, table_name))
    if table.key and (repeated := frame.select(pl.struct(table.key).is_duplicated().arg_true())).height:
        row = repeated.item(0, 0)
        values = ", ".join(f"{name}={frame[name][row]!r}" for name in table.key)
        raise InputError(f"table {table_name!r}: row {row} repeats the key {values}. Keys must be unique.")
    return frame


def _suspect(frame: pl.DataFrame, columns: tuple[Column, ...]) -> list[Column]:
    """Columns that are of another type or hold something that is not allowed: all are looked at in one pass."""
    tests = {}
    for column in columns:
        if frame.schema[column.name] == column.dtype:
            value, bad = pl.col(column.name), []
            if not column.nullable:
                bad.append(value.null_count() > 0)
            if column.allowed:
                allowed = pl.Series(column.allowed).cast(column.dtype)
                bad.append(~value.is_in(allowed.implode()).all())
            if column.dtype == pl.Float64:
                bad.append(value.is_nan().any())
            tests[column.name] = pl.any_horizontal(bad) if bad else pl.lit(False)
    found = frame.select(**tests).row(0, named=True) if tests else {}
    return [column for column in columns if found.get(column.name, True)]


def _checked(series: pl.Series, column: Column, table_name: str) -> pl.Series:
    """One column cast to its type, or InputError for the first value that does not fit."""
    if column.dtype == pl.String and series.dtype.is_numeric():
        raise InputError(
            f"table {table_name!r}, column {column.name!r}: holds {series.dtype}, expected text. "
            "Numbers lose leading zeros."
        )
    cast = series.cast(column.dtype, strict=False)
    lost = cast.is_null() & series.is_not_null()
    if series.dtype.is_float():
        lost = lost | series.is_nan() | (cast.cast(series.dtype) != series)
    faults = {f"expected {column.dtype}": lost.fill_null(False)}
    if not column.nullable:
        faults["null is not allowed"] = cast.is_null()
    if column.allowed:
        allowed = pl.Series(column.allowed).cast(column.dtype)
        faults[f"expected one of {', '.join(map(str, column.allowed))}"] = (
            ~cast.is_in(allowed.implode()) & cast.is_not_null()
        )
    for expected, fault in faults.items():
        if fault.any():
            row = fault.arg_true()[0]
            raise InputError(f"table {table_name!r}, column {column.name!r}, row {row}: {series[row]!r}; {expected}.")
    return cast
