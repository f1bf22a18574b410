"""What other tables know of RSNA's films: their class, the headers of their DICOM files, and whose they are."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import polars as pl

from cxr_assets.cohorts.delimited import ROW, Delimited, decode, normal_name, read_bytes, read_delimited
from cxr_assets.cohorts.label_maps import RSNA_CLASSES
from cxr_assets.cohorts.ledger import Ledger, relative
from cxr_assets.cohorts.rows import Wanted, find_columns, first_file
from cxr_assets.cohorts.rsna.targets import IMAGE, IMAGE_HINT
from cxr_assets.cohorts.schema import TABLES, conform
from cxr_assets.errors import InputError

CLASS_TABLES = ("stage_2_detailed_class_info.csv",)
HEADER_TABLES = ("dicom_headers.csv", "kaggle_stage_2_train_images_dicom_headers.csv")
MAP_TABLES = (
    "nih_mapping.csv",
    "pneumonia-challenge-dataset-mappings_2018.csv",
    "pneumonia-challenge-dataset-mappings_2018.json",
)
_IMAGE_COLUMN = ("patientId", "subset_img_id")
_NIH_COLUMN = ("img_id", "Image Index")
_NIH_FILM = r"^([0-9]{8})_[0-9]{3}\.(?:png|jpe?g)$"

Joined = tuple[pl.DataFrame, pl.DataFrame]
"""The films with what was joined, and rows of ``study_sources``."""


def join_classes(films: pl.DataFrame, root: Path, source: str, ledger: Ledger) -> Joined:
    """Add ``normal`` (Int8), the value of No Finding, from the detailed class; null without that table.

    Rows repeat once a box. A film with two classes has none; one whose class and target disagree is noted, and null.
    """
    opened = _open(root, CLASS_TABLES, {"image": "patientId", "class": "class"}, ledger, release="detailed classes")
    if opened is None:
        return films.with_columns(pl.lit(None, pl.Int8).alias("normal")), TABLES["study_sources"].empty()
    rows, place, digest = opened
    told = pl.col("class").str.to_lowercase()
    hint = f"expected {', '.join(RSNA_CLASSES)}"
    unknown = ~told.is_in(list(RSNA_CLASSES))
    rows = ledger.sift(rows, unknown, source=place, column="class", kind="unknown class", hint=hint)
    rows = ledger.sift(
        rows.with_columns(told),
        pl.col("class").n_unique().over("image") > 1,
        source=place,
        column="class",
        kind="class contradiction",
        hint="the film has two classes; No Finding is null",
    )
    rows = _one_each(rows, films, place, ledger, repeated="repeated once a box")
    films = films.join(rows.select("image", "class"), on="image", how="left", maintain_order="left")
    denied = (pl.col("class") == "lung opacity") != (pl.col("target") == 1)
    hint = "the class says otherwise than the target; No Finding is null"
    ledger.note(films.filter(denied), source=source, column="class", kind="class contradicts target", hint=hint)
    value = pl.col("class").replace_strict(dict(RSNA_CLASSES), default=None, return_dtype=pl.Int8)
    films = films.with_columns(pl.when(~denied).then(value).alias("normal"))
    _note_unlisted(films, "class", source, ledger, place)
    return films.drop("class"), _links(rows, digest, "label")


def join_headers(
    films: pl.DataFrame, root: Path, source: str, ledger: Ledger
) -> tuple[pl.DataFrame, pl.DataFrame, str | None]:
    """Add ``age``, ``sex`` and ``view`` as the DICOM headers say, and ``header_row``, null for a film without header.

    The last result is the table that was used.
    """
    wanted = {"image": "PatientID", "age": "PatientAge", "sex": "PatientSex", "view": "ViewPosition"}
    opened = _open(root, HEADER_TABLES, wanted, ledger, release="DICOM headers")
    fields = ("age", "sex", "view")
    if opened is None:
        nulls = [pl.lit(None, pl.String).alias(name) for name in fields]
        header_row = pl.lit(None, pl.Int64).alias("header_row")
        return films.with_columns(*nulls, header_row), TABLES["study_sources"].empty(), None
    rows, place, digest = opened
    rows = _one_each(rows, films, place, ledger, repeated="repeated header")
    found = rows.select("image", *fields, header_row=ROW)
    films = films.join(found, on="image", how="left", maintain_order="left")
    _note_unlisted(films, "header_row", source, ledger, place)
    return films, _links(rows, digest, "demographics"), place


def join_patients(films: pl.DataFrame, root: Path, source: str, ledger: Ledger) -> Joined:
    """Add ``patient_id`` and ``patient_id_kind``: the patient of ChestX-ray14 where the map knows the film, else itself."""
    wanted = {"image": _IMAGE_COLUMN, "nih": _NIH_COLUMN}
    alone = films.with_columns(pl.col("image").alias("patient_id"), patient_id_kind=pl.lit("image"))
    opened = _open(root, MAP_TABLES, wanted, ledger, release="map to ChestX-ray14")
    if opened is None:
        return alone, TABLES["study_sources"].empty()
    rows, place, digest = opened
    hint = "expected the name of a film of ChestX-ray14 (00000061_012.png)"
    bad = ~pl.col("nih").str.contains(_NIH_FILM)
    rows = ledger.sift(rows, bad, source=place, column="nih", kind="malformed name", hint=hint)
    rows = ledger.sift(
        rows,
        pl.col("nih").n_unique().over("image") > 1,
        source=place,
        column="nih",
        kind="map contradiction",
        hint="the film is mapped to two; its patient stays unknown",
    )
    rows = _one_each(rows, films, place, ledger, repeated="repeated row")
    found = rows.select("image", pl.col("nih").str.extract(_NIH_FILM).alias("patient"))
    films = films.join(found, on="image", how="left", maintain_order="left")
    _note_unlisted(films, "patient", source, ledger, place)
    known = pl.col("patient").is_not_null()
    films = films.with_columns(
        pl.coalesce("patient", "image").alias("patient_id"),
        pl.when(known).then(pl.lit("patient")).otherwise(pl.lit("image")).alias("patient_id_kind"),
    )
    return films.drop("patient"), _links(rows, digest, "demographics")


def _open(
    root: Path, names: tuple[str, ...], wanted: Wanted, ledger: Ledger, *, release: str
) -> tuple[pl.DataFrame, str, str] | None:
    """Rows with a sound ``image``, the table's place and its digest; None where it is not there."""
    cohort = ledger.spec.name
    path = first_file(root, names)
    if path is None:
        return None
    table = _read_json(path, cohort) if path.suffix == ".json" else read_delimited(path, cohort=cohort)
    place = relative(path, root)
    short = find_columns(table, wanted, cohort=cohort)
    rows = ledger.table(place, table, release=release, short=short).with_columns(pl.exclude(ROW).str.strip_chars())
    bad = ~pl.col("image").str.contains(IMAGE)
    rows = ledger.sift(rows, bad, source=place, column="image", kind="malformed image", hint=IMAGE_HINT)
    return rows, place, table.digest


def _read_json(path: Path, cohort: str) -> Delimited:
    """The organisers' map, a list of objects, as a table of the two fields that are wanted."""
    data = read_bytes(path, cohort=cohort)
    try:
        entries = json.loads(decode(data))
    except (ValueError, RecursionError) as error:
        raise InputError(f"cohort {cohort!r}: {path.name} is no JSON ({error}). Nothing was written.") from error
    header = ("subset_img_id", "img_id")
    if not isinstance(entries, list):
        raise InputError(
            f"cohort {cohort!r}: {path.name} is no list of objects with {' and '.join(header)}. Nothing was written."
        )
    texts = [[entry.get(name) if isinstance(entry, dict) else None for name in header] for entry in entries]
    rows = pl.DataFrame(
        [
            (number, *(text if isinstance(text, str) else "" for text in pair))
            for number, pair in enumerate(texts, start=1)
        ],
        schema={ROW: pl.Int64, **{normal_name(name): pl.String for name in header}},
        orient="row",
    )
    ragged = pl.DataFrame(schema={ROW: pl.Int64, "line": pl.String})
    return Delimited(path, hashlib.sha256(data).hexdigest(), len(data), header, rows, ragged)


def _one_each(rows: pl.DataFrame, films: pl.DataFrame, place: str, ledger: Ledger, *, repeated: str) -> pl.DataFrame:
    """The first row of each film that is curated; the others are counted."""
    here = pl.col("image").is_in(films["image"].implode())
    ledger.unused(place, kind="not in the label table", rows=rows.filter(~here).height)
    rows = rows.filter(here)
    again = ~pl.col("image").is_first_distinct()
    ledger.unused(place, kind=repeated, rows=rows.filter(again).height)
    return rows.filter(~again)


def _note_unlisted(films: pl.DataFrame, column: str, source: str, ledger: Ledger, place: str) -> None:
    absent = films.filter(pl.col(column).is_null())
    ledger.note(
        absent, source=source, column="image", kind="not listed", hint=f"{place} has no usable row for this film"
    )


def _links(rows: pl.DataFrame, digest: str, role: str) -> pl.DataFrame:
    linked = rows.select(study_id="image", source_id=pl.lit(digest), row_number=pl.col(ROW), role=pl.lit(role))
    return conform(linked, "study_sources")
