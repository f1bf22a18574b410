"""Which images belong to which Indiana report, and where their films are."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from cxr_assets.cohorts.delimited import ROW, read_delimited
from cxr_assets.cohorts.film_folder import LEAVES_ROOT, FilmFolder, locate_films
from cxr_assets.cohorts.ledger import Ledger, relative
from cxr_assets.cohorts.openi_reports import Report
from cxr_assets.cohorts.schema import TABLES, conform
from cxr_assets.errors import InputError

PROJECTION_NAMES = ("indiana_projections.csv", "indiana_projections.derived.csv")
FILM_FOLDERS = ("images/images_normalized", "images_normalized", "NLMCXR_png", "images", ".")
_COLUMNS = ("uid", "filename", "projection")
_IMAGES = pl.Schema({"exam_id": pl.String, "study_id": pl.String, "view_raw": pl.String, "source_path": pl.String})


def image_id(filename: str) -> str | None:
    """Study id of an image name in either form, or None where it is in neither.

    ``CXR1_1_IM-0001-3001`` (as received) and ``1_IM-0001-3001.dcm.png`` (projections table: no prefix, ``.dcm`` added)
    are the same image.
    """
    stem = filename.strip()
    for suffix in (".png", ".jpg", ".jpeg", ".dcm"):
        stem = stem.removesuffix(suffix)
    stem = stem.removeprefix("CXR")
    safe = stem.replace("_", "").replace("-", "").isalnum() and stem.isascii()
    return f"CXR{stem}" if safe and stem[:1].isdigit() and "IM-" in stem else None


def find_images(root: Path, reports: list[Report], ledger: Ledger) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Images of the reports: from the projections table where there is one, else those whose films are here.

    Returns:
        ``exam_id, study_id, view_raw, source_path``, one row an image, and its rows of ``study_sources``.
    """
    films = locate_films(root, FILM_FOLDERS)
    by_id: dict[str, str] = {}
    for name, film in films.found.items():
        if (study := image_id(name)) is not None:
            by_id.setdefault(study, film)
    for name in PROJECTION_NAMES:
        if (root / name).is_file():
            return _projected(root / name, relative(root / name, root), reports, films, by_id, ledger)
    rows = [
        (report.uid, study, None, by_id[study])
        for report in reports
        for image in report.images
        if (study := image_id(image)) in by_id
    ]
    return pl.DataFrame(rows, schema=_IMAGES, orient="row"), TABLES["study_sources"].empty()


def _projected(
    path: Path, source: str, reports: list[Report], films: FilmFolder, by_id: dict[str, str], ledger: Ledger
) -> tuple[pl.DataFrame, pl.DataFrame]:
    table = read_delimited(path, cohort="openi")
    for name in _COLUMNS:
        if name not in table.rows.columns:
            raise InputError(
                f"cohort 'openi': {source} has no column '{name}'. Seen: {', '.join(filter(None, table.header))}. "
                f"Expected {', '.join(_COLUMNS)} (docs/cohorts/openi.md). Nothing was written."
            )
    release = "derived views" if "derived" in source else "projections table"
    rows = ledger.table(source, table, release=release, short={name: name for name in _COLUMNS})
    study, exam = pl.col("study_id"), pl.col("exam_id")
    rows = rows.with_columns(
        pl.format("CXR{}", pl.col("uid").str.strip_chars()).alias("exam_id"),
        pl.Series("study_id", [image_id(name) for name in rows["filename"]], dtype=pl.String),
    )
    for bad, column, kind, hint in (
        (
            study.is_null(),
            "filename",
            "malformed name",
            "expected a name such as 1_IM-0001-3001.dcm.png, without a folder",
        ),
        (~study.is_first_distinct(), "filename", "duplicate image", "the image has a row already"),
        (
            ~study.str.starts_with(pl.format("{}_", exam)),
            "uid",
            "report mismatch",
            "the name begins with another report",
        ),
    ):
        rows = ledger.sift(rows, bad, source=source, column=column, kind=kind, hint=hint)
    known = exam.is_in([report.uid for report in reports])
    ledger.unused(source, kind="report not here", rows=rows.filter(~known).height)
    rows = rows.filter(known).with_columns(
        study.replace_strict(by_id, default=None, return_dtype=pl.String).alias("source_path")
    )
    absent = rows.filter(pl.col("source_path").is_null())
    outside = study.is_in([image for name in films.refused if (image := image_id(name)) is not None])
    kind, _, hint = LEAVES_ROOT.partition(": ")
    ledger.note(absent.filter(outside), source=source, column="filename", kind=kind, hint=hint)
    ledger.note(
        absent.filter(~outside),
        source=source,
        column="filename",
        kind="missing film",
        hint="not in images/images_normalized/, NLMCXR_png/ or images/; the study is kept without a film",
    )
    linked = rows.select("study_id", source_id=pl.lit(table.digest), row_number=pl.col(ROW), role=pl.lit("image"))
    images = rows.select("exam_id", "study_id", pl.col("projection").alias("view_raw"), "source_path")
    return images, conform(linked, "study_sources")
