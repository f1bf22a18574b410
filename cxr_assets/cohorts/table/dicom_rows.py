"""Every DICOM film of some folders as a row, and how such rows meet those of a table."""

from __future__ import annotations

import os
from pathlib import Path

import polars as pl

from cxr_assets.cohorts.delimited import ROW
from cxr_assets.cohorts.dicom import UnusableTags, read_tags
from cxr_assets.cohorts.film_decode import is_dicom
from cxr_assets.cohorts.table.accounts import ACCOUNT, ORIGIN, Accounts
from cxr_assets.cohorts.table.mapping import TableMapping
from cxr_assets.cohorts.table.places import FilmIndex
from cxr_assets.cohorts.table.rows import PLACE

DICOM = "DICOM files"
_SUFFIXES = (".dcm", ".dicom")
_PICTURES = (".png", ".jpg", ".jpeg")
FILMS = {
    PLACE: pl.String,
    "d_patient": pl.String,
    "d_exam": pl.String,
    "d_image": pl.String,
    "d_age": pl.String,
    "d_age_source": pl.String,
    "d_sex": pl.String,
    "d_race_raw": pl.String,
    "d_race": pl.String,
    "d_view": pl.String,
}


def read_films(
    root: Path, index: FilmIndex, ledger: Accounts, *, salt: str, allow_secondary_capture: bool
) -> tuple[pl.DataFrame, list[str]]:
    """Tags of the DICOM files in an index, and the paths of those that are refused (with their reason in the ledger).

    A file without a suffix that is no DICOM, and a DICOMDIR, are counted and passed over; what is called ``.dcm`` or
    ``.dicom`` must be one.

    Returns:
        Columns of ``FILMS``, one row a film; an empty tag is null.
    """
    paths = sorted(path for path in index.paths if not path.lower().endswith(_PICTURES))
    ledger.open(DICOM, rows=len(paths))
    rows, refused, lossy = [], [], []
    seen: dict[str, str] = {}
    passed = 0
    for path in paths:
        named = path.lower().endswith(_SUFFIXES)
        if not named and (os.path.basename(path) == "DICOMDIR" or not _begins_as_dicom(root / path)):
            passed += 1
            continue
        try:
            tags = read_tags(root / path, salt=salt, allow_secondary_capture=allow_secondary_capture)
            if not tags.image:
                raise UnusableTags("no instance UID: SOPInstanceUID is empty, so the film has no identity")
            if seen.setdefault(tags.image, path) != path:
                raise UnusableTags(f"duplicate instance: the same SOPInstanceUID as {seen[tags.image]}")
        except UnusableTags as fault:
            kind, _, hint = str(fault).partition(": ")
            ledger.drop_one(source=path, value=os.path.basename(path), kind=kind, hint=hint, account=DICOM)
            refused.append(path)
            continue
        rows.append(
            (
                path,
                tags.patient,
                tags.exam,
                tags.image,
                tags.age,
                tags.age_source,
                tags.sex,
                tags.race,
                tags.race_full,
                tags.view,
            )
        )
        if tags.is_lossy:
            lossy.append(path)
    ledger.unused(DICOM, kind="no DICOM film", rows=passed)
    films = pl.DataFrame(rows, schema=FILMS, orient="row")
    origin = pl.DataFrame({ORIGIN: lossy}, schema={ORIGIN: pl.String}).with_columns(pl.lit(None, pl.Int64).alias(ROW))
    ledger.note(
        origin,
        column=ORIGIN,
        kind="lossy film",
        hint="its pixels went through lossy compression; kept",
    )
    return films.with_columns(pl.col(pl.String).replace("", None)), refused


def _begins_as_dicom(path: Path) -> bool:
    try:
        with path.open("rb") as opened:
            return is_dicom(opened.read(132))
    except OSError:
        return False


def joined(
    rows: pl.DataFrame, films: pl.DataFrame, refused: list[str], mapping: TableMapping, ledger: Accounts
) -> pl.DataFrame:
    """Rows of the tables with the tags of their films, then the films that no row names.

    Where the tables say who the patients are, a film that they do not name has no patient and is dropped: under a hashed
    id it could be somebody who is in another split already.
    """
    rows = ledger.sift(
        rows,
        pl.col(PLACE).is_in(refused),
        column="path",
        kind="film refused",
        hint="its DICOM file is in the quarantine",
    )
    alone = films.join(rows, on=PLACE, how="anti", maintain_order="left").with_columns(
        pl.lit(DICOM).alias(ACCOUNT), pl.col(PLACE).alias(ORIGIN), pl.lit(None, pl.Int64).alias(ROW)
    )
    both = rows.join(films, on=PLACE, how="left", maintain_order="left")
    if mapping.columns.patient_id:
        hint = "no row of a table names this film, and the tables say who the patients are"
        alone = ledger.sift(alone, pl.lit(True), column=PLACE, kind="not in the table", hint=hint)
    both = pl.concat([both, alone], how="diagonal")
    for name, taken in (("study_id", "d_image"), ("exam_id", "d_exam")):
        if name not in mapping.columns.given():
            both = both.with_columns(pl.col(taken).alias(name))
    if mapping.id_kind == "patient" and not mapping.columns.patient_id:
        both = ledger.sift(
            both.with_columns(pl.col("d_patient").alias("patient_id")),
            pl.col("d_patient").is_null(),
            column=PLACE,
            kind="no patient",
            hint="PatientID is empty, or the row has no DICOM file; set patient_id_kind: image if nobody knows it",
        )
    return both
