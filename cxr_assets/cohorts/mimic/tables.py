"""The image, split and label tables of MIMIC-CXR-JPG, joined by image and study; no study is lost for want of labels."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import polars as pl

from cxr_assets.cohorts.chexpert_labels import LABEL_COLUMNS, contradictions, with_labels
from cxr_assets.cohorts.delimited import ROW, Delimited, read_delimited
from cxr_assets.cohorts.labels import CANONICAL
from cxr_assets.cohorts.ledger import Ledger, relative
from cxr_assets.cohorts.rows import find_columns, first_file, need_file
from cxr_assets.errors import InputError

METADATA = ("mimic-cxr-2.0.0-metadata.csv", "mimic-cxr-2.1.0-metadata.csv")
SPLIT = ("mimic-cxr-2.0.0-split.csv", "mimic-cxr-2.1.0-split.csv")
TEST_LABELS = ("mimic-cxr-2.1.0-test-set-labeled.csv",)
_IMAGE = {
    "image": "dicom_id",
    "subject": "subject_id",
    "study": "study_id",
    "position": "ViewPosition",
    "date": "StudyDate",
    "time": "StudyTime",
    "view_code": "ViewCodeSequence_CodeMeaning",
    "procedure": "PerformedProcedureStepDescription",
}
_DICOM_ID = r"^[0-9a-f]{8}(?:-[0-9a-f]{8}){4}$"
_LATERAL = ("LATERAL", "LL", "RL", "XTABLE LATERAL", "SWIMMERS")
_CODES: Mapping[str, str] = {
    "postero-anterior": "PA",
    "antero-posterior": "AP",
    "lateral": "LATERAL",
    "left lateral": "LATERAL",
    "right lateral": "LATERAL",
}


@dataclass(frozen=True)
class ReadImages:
    """One row an image with labels of its study, the file that complaints are about, and rows of ``study_sources``."""

    rows: pl.DataFrame
    source: str
    links: list[pl.DataFrame]


def read_images(root: Path, ledger: Ledger, *, labeller: str) -> ReadImages:
    """Images with view, order in time, published split and labels.

    Args:
        labeller: ``chexpert`` or ``negbio``.

    Raises:
        InputError: for a missing table or column.
    """
    cohort = ledger.spec.name
    labels = tuple(f"mimic-cxr-{release}-{labeller}.csv" for release in ("2.0.0", "2.1.0"))
    paths = [need_file(root, names, cohort=cohort) for names in (METADATA, SPLIT, labels)]
    with ThreadPoolExecutor(len(paths)) as pool:
        metadata, split, labelled = pool.map(partial(read_delimited, cohort=cohort), paths)
    rows, source = _metadata(metadata, root, ledger)
    rows, split_link = _with_split(rows, split, root, ledger)
    rows, label_link = _with_study_labels(rows, labelled, root, ledger, release=f"{labeller} labels")
    links = [
        rows.select("study_id", source_id=pl.lit(metadata.digest), row_number=ROW, role=pl.lit("image")),
        split_link,
        label_link,
    ]
    rows = rows.with_columns(label_source=pl.lit("nlp_report"))
    if (path := first_file(root, TEST_LABELS)) is not None:
        rows, link = _with_radiologist_labels(rows, read_delimited(path, cohort=cohort), root, ledger)
        links.append(link)
    return ReadImages(rows, source, links)


def _metadata(table: Delimited, root: Path, ledger: Ledger) -> tuple[pl.DataFrame, str]:
    source = relative(table.path, root)
    if not table.read:
        raise InputError(f"cohort {ledger.spec.name!r}: {source} holds a header and no rows. Nothing was written.")
    short = find_columns(table, _IMAGE, cohort=ledger.spec.name)
    rows = ledger.table(source, table, release="MIMIC-CXR-JPG metadata", short=short)
    image, subject, study = (pl.col(name).str.strip_chars() for name in ("image", "subject", "study"))
    rows = rows.with_columns(image, subject, study)
    for bad, column, kind, hint in (
        (
            ~pl.col("image").str.contains(_DICOM_ID),
            "image",
            "malformed image id",
            "expected five groups of 8 hex digits",
        ),
        (
            ~pl.col("subject").str.contains("^[0-9]{8}$"),
            "subject",
            "malformed patient",
            "expected 8 digits, not 10000032.0",
        ),
        (~pl.col("study").str.contains("^[0-9]{8}$"), "study", "malformed study", "expected 8 digits"),
        (~pl.col("image").is_first_distinct(), "image", "duplicate image", "the image has a row already"),
    ):
        rows = ledger.sift(rows, bad, source=source, column=column, kind=kind, hint=hint)
    rows = rows.with_columns(
        pl.col("image").alias("study_id"),
        pl.concat_str(pl.lit("s"), "study").alias("exam_id"),
        pl.col("subject").alias("patient_id"),
        pl.concat_str(
            pl.lit("files/p"),
            pl.col("subject").str.head(2),
            pl.lit("/p"),
            "subject",
            pl.lit("/s"),
            "study",
            pl.lit("/"),
            "image",
            pl.lit(".jpg"),
        ).alias("path"),
    )
    rows = _in_time(rows, source, ledger)
    return _with_views(rows, source, ledger), source


def _in_time(rows: pl.DataFrame, source: str, ledger: Ledger) -> pl.DataFrame:
    """``study_year`` and ``study_number``, the order of a patient's studies in the shifted calendar, from 0.

    The clock is a float that lost its leading zeros: 123.5 is 00:01:23.5. Where one of a day cannot be read, the patient's
    studies of that day are ordered by id.
    """
    date = pl.col("date").str.strip_chars().str.extract(r"^([0-9]{8})(?:\.0)?$").cast(pl.Int64)
    clock = pl.col("time").str.strip_chars().str.extract(r"^([0-9]{1,6}(?:\.[0-9]*)?)$").cast(pl.Float64, strict=False)
    rows = rows.with_columns(
        date.alias("study_date"), pl.when(clock < 240_000).then(date * 1_000_000 + clock).alias("_moment")
    )
    unclear = pl.col("study_date").is_not_null() & pl.col("_moment").is_null()
    for odd, column, kind, hint in (
        (
            pl.col("study_date").is_null(),
            "date",
            "unreadable date",
            "expected YYYYMMDD; age and order stay null",
        ),
        (
            unclear,
            "time",
            "unreadable time",
            "expected HHMMSS.fff; the patient's studies of that day are ordered by id",
        ),
    ):
        ledger.note(rows.filter(odd), source=source, column=column, kind=kind, hint=hint)
    blind = rows.filter(unclear).select("patient_id", "study_date", _blind=pl.lit(True)).unique()
    if blind.height:
        rows = rows.join(blind, on=["patient_id", "study_date"], how="left", maintain_order="left")
        midnight = (pl.col("study_date") * 1_000_000).cast(pl.Float64)
        rows = rows.with_columns(pl.when("_blind").then(midnight).otherwise("_moment").alias("_moment")).drop("_blind")
    studies = (
        rows.group_by("patient_id", "exam_id").agg(pl.col("_moment").min()).sort("patient_id", "_moment", "exam_id")
    )
    order = pl.int_range(pl.len()).over("patient_id")
    studies = studies.select("exam_id", pl.when(pl.col("_moment").is_not_null()).then(order).alias("study_number"))
    first = studies.unique("exam_id", keep="first")
    rows = rows.join(first, on="exam_id", how="left", maintain_order="left")
    return rows.with_columns((pl.col("study_date") // 10_000).alias("study_year")).drop("_moment")


def _with_views(rows: pl.DataFrame, source: str, ledger: Ledger) -> pl.DataFrame:
    """``view`` and ``view_raw``: the position, else the coded view, else what the procedure's name says."""
    position = pl.col("position").str.strip_chars().str.to_uppercase()
    code = pl.col("view_code").str.strip_chars().str.to_lowercase()
    distinct = rows.select("position", "view_code", "procedure").unique()
    lateral = position.is_in(_LATERAL)
    named = code.replace_strict(dict(_CODES), default=None, return_dtype=pl.String)
    procedure = pl.col("procedure").str.to_uppercase()
    # 'CHEST (PA AND LAT)' names both projections of its study, so it tells nothing about one of its images.
    one = (
        pl.when(procedure.str.contains(r"\bPORT|\bAP\b") & ~procedure.str.contains(r"\bLAT|\bPA\b"))
        .then(pl.lit("AP"))
        .otherwise(None)
    )
    view = (
        pl.when(lateral)
        .then(pl.lit("LATERAL"))
        .when(position.is_in(["PA", "PA LLD", "PA RLD"]))
        .then(pl.lit("PA"))
        .when(position.is_in(["AP", "AP AXIAL", "AP LLD", "AP RLD"]))
        .then(pl.lit("AP"))
        .when(position == "")
        .then(pl.coalesce(named, one))
    )
    oblique = ["LPO", "RAO", "RPO", "LAO"]
    table = distinct.with_columns(
        view.alias("view"),
        ((position != "") & view.is_null() & ~position.is_in(oblique)).alias("_odd"),
        pl.when(position != "").then(pl.col("position")).otherwise(pl.col("view_code")).alias("view_raw"),
    )
    rows = rows.join(table, on=["position", "view_code", "procedure"], how="left", maintain_order="left")
    ledger.note(
        rows.filter("_odd"),
        source=source,
        column="position",
        kind="unknown view",
        hint="not in the vocabulary; set to null",
    )
    return rows.drop("_odd", "view_code", "procedure", "position")


def _with_split(rows: pl.DataFrame, table: Delimited, root: Path, ledger: Ledger) -> tuple[pl.DataFrame, pl.DataFrame]:
    source = relative(table.path, root)
    short = find_columns(table, {"image": "dicom_id", "split_native": "split"}, cohort=ledger.spec.name)
    split = ledger.table(source, table, release="MIMIC-CXR-JPG split", short=short)
    split = split.with_columns(pl.col("image", "split_native").str.strip_chars())
    words = ["train", "validate", "test"]
    for bad, column, kind, hint in (
        (~pl.col("split_native").is_in(words), "split_native", "unknown split", f"expected {', '.join(words)}"),
        (~pl.col("image").is_first_distinct(), "image", "duplicate image", "the image has a row already"),
    ):
        split = ledger.sift(split, bad, source=source, column=column, kind=kind, hint=hint)
    joined = rows.join(split.rename({ROW: "_line"}), on="image", how="left", maintain_order="left")
    listed = joined["_line"].count()
    ledger.unused(source, kind="image not in the metadata", rows=split.height - listed)
    ledger.note(
        joined.filter(pl.col("_line").is_null()),
        source=source,
        column="image",
        kind="not on the split list",
        hint="the image follows its patient, or is dealt out by a hash of the patient",
    )
    link = joined.filter(pl.col("_line").is_not_null()).select(
        "study_id", source_id=pl.lit(table.digest), row_number="_line", role=pl.lit("split")
    )
    return joined.drop("_line"), link


def _study_labels(table: Delimited, root: Path, ledger: Ledger, *, release: str) -> tuple[pl.DataFrame, str]:
    """Labels of each study: ``study``, one Int8 column a finding that the table has, and its line as ``_line``."""
    source = relative(table.path, root)
    short = find_columns(table, {"study": "study_id"}, optional=LABEL_COLUMNS, cohort=ledger.spec.name)
    if len(short) == 1:
        raise InputError(f"cohort {ledger.spec.name!r}: {source} has no label column. Nothing was written.")
    labels = ledger.table(source, table, release=release, short=short)
    labels = labels.with_columns(pl.col("study").str.strip_chars().str.strip_prefix("s"))
    labels = with_labels(labels, source=source, ledger=ledger)
    labels = ledger.sift(
        labels,
        ~pl.col("study").is_first_distinct(),
        source=source,
        column="study",
        kind="duplicate study",
        hint="the study has labels already",
    )
    return labels.rename({ROW: "_line"}), source


def _with_study_labels(
    rows: pl.DataFrame, table: Delimited, root: Path, ledger: Ledger, *, release: str
) -> tuple[pl.DataFrame, pl.DataFrame]:
    labels, source = _study_labels(table, root, ledger, release=release)
    if "no_finding" in labels.columns:
        ledger.note(
            contradictions(labels).rename({"_line": ROW}),
            source=source,
            column="no_finding",
            kind="label contradiction",
            hint="No Finding is 1 beside a pathology at 1 or -1; kept as the source says",
        )
    ours = rows.select("study").unique()
    ledger.unused(source, kind="study not in the metadata", rows=labels.join(ours, on="study", how="anti").height)
    joined = rows.join(labels, on="study", how="left", maintain_order="left")
    joined = joined.with_columns(pl.lit(None, pl.Int8).alias(name) for name in CANONICAL if name not in joined.columns)
    unlabelled = joined.filter(pl.col("_line").is_null()).unique("study", keep="first", maintain_order=True)
    ledger.note(
        unlabelled,
        source=source,
        column="study",
        kind="study without labels",
        hint="no row in the label table; its labels stay null",
    )
    link = joined.filter(pl.col("_line").is_not_null()).select(
        "study_id", source_id=pl.lit(table.digest), row_number="_line", role=pl.lit("label")
    )
    return joined.drop("_line"), link


def _with_radiologist_labels(
    rows: pl.DataFrame, table: Delimited, root: Path, ledger: Ledger
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Labels that a radiologist read from test reports replace the labeller's for those studies, whole."""
    labels, source = _study_labels(table, root, ledger, release="radiologist's labels of test reports")
    named = [name for name in CANONICAL if name in labels.columns]
    ours = rows.select("study").unique()
    ledger.unused(source, kind="study not in the metadata", rows=labels.join(ours, on="study", how="anti").height)
    joined = rows.join(labels, on="study", how="left", suffix="_read", maintain_order="left")
    read = pl.col("_line").is_not_null()
    joined = joined.with_columns(
        *(
            pl.when(read).then(pl.col(f"{name}_read") if name in named else None).otherwise(pl.col(name)).alias(name)
            for name in CANONICAL
        ),
        pl.when(read).then(pl.lit("radiologist_report")).otherwise("label_source").alias("label_source"),
    )
    link = joined.filter(read).select(
        "study_id", source_id=pl.lit(table.digest), row_number="_line", role=pl.lit("label")
    )
    return joined.drop("_line", *(f"{name}_read" for name in named)), link
