"""The label tables of CheXpert v1.0 and v1.0-small: train, valid, and the test labels that came later."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from cxr_assets.cohorts.chexpert_labels import LABEL_COLUMNS, contradictions, with_labels
from cxr_assets.cohorts.delimited import ROW, read_delimited
from cxr_assets.cohorts.labels import CANONICAL
from cxr_assets.cohorts.ledger import Ledger, relative
from cxr_assets.cohorts.rows import find_columns, first_file
from cxr_assets.cohorts.schema import TABLES
from cxr_assets.errors import InputError

RELEASES = ("CheXpert-v1.0-small", "CheXpert-v1.0", "CheXpert")
_FILES = {
    "train": ("train.csv", "chexpert_train.csv"),
    "valid": ("valid.csv", "val_labels.csv"),
    "test": ("test.csv", "test_labels.csv"),
}
_PATH = r"(?:^|[/\\])(patient[0-9]{5,6})/(study[0-9]{1,3})/(view[0-9]{1,2}_(frontal|lateral))\.(?:jpg|jpeg|png)$"
_COLUMNS = {"path": "Path"}
_OPTIONAL = {"sex": "Sex", "age": "Age", "plane": "Frontal/Lateral", "projection": "AP/PA"}
_LATERAL = ("LL", "RL")


@dataclass(frozen=True)
class ReadTables:
    """Rows of every label table together, the table that complaints are made about, reports, and rows of study_sources."""

    rows: pl.DataFrame
    source: str
    reports: pl.DataFrame
    links: list[pl.DataFrame]


def read_tables(root: Path, ledger: Ledger) -> ReadTables:
    """Rows of train, valid and test, as far as they are there.

    Raises:
        InputError: if there is no table at all, or one without a needed column.
    """
    parts, links, main = [], [], ""
    for split, names in _FILES.items():
        places = [f"{home}/{name}" if home else name for home in ("", *RELEASES) for name in names]
        if (path := first_file(root, places)) is None:
            continue
        rows, digest, source = _read(path, root, split, ledger)
        main = main or source
        parts.append(rows)
        roles = ("label", "demographics") if split != "test" else ("label",)
        links += [
            rows.select("study_id", source_id=pl.lit(digest), row_number=pl.col(ROW), role=pl.lit(role))
            for role in roles
        ]
    if not parts:
        raise InputError(
            f"cohort {ledger.spec.name!r}: {root} holds no train.csv, valid.csv or test_labels.csv, nor a folder"
            f" {' or '.join(RELEASES)} with them; see docs/cohorts/chexpert.md. Nothing was written."
        )
    rows = pl.concat(parts)
    first = pl.col("study_id").is_first_distinct()
    if not rows.select(first.all()).item():
        for split in _FILES:
            made_from = rows.filter(split_native=split)["source"].unique().to_list()
            if made_from:
                again = rows.filter(~first & (pl.col("split_native") == split))
                ledger.sift(
                    again,
                    pl.lit(True),
                    source=made_from[0],
                    column="path",
                    kind="duplicate film",
                    hint="an earlier row or table has it",
                )
        rows = rows.filter(first)
        links = [link.join(rows.select("study_id", ROW), on="study_id", how="semi") for link in links]
    return ReadTables(rows, main, TABLES["reports"].empty(), links)


def _read(path: Path, root: Path, split: str, ledger: Ledger) -> tuple[pl.DataFrame, str, str]:
    table = read_delimited(path, cohort=ledger.spec.name)
    source = relative(path, root)
    if not table.read:
        raise InputError(f"cohort {ledger.spec.name!r}: {source} holds a header and no rows. Nothing was written.")
    wanted = {**_COLUMNS, **LABEL_COLUMNS}
    # Tables of the later release hold labels only.
    short = find_columns(
        table,
        wanted if split == "test" or "sex" not in table.rows.columns else {**wanted, **_OPTIONAL},
        cohort=ledger.spec.name,
    )
    rows = ledger.table(source, table, release=_release(table.rows["path"], split), short=short)
    rows = sound_paths(rows, source, ledger)
    rows = with_labels(rows, source=source, ledger=ledger)
    ledger.note(
        contradictions(rows),
        source=source,
        column="no_finding",
        kind="label contradiction",
        hint="No Finding is 1 beside a pathology at 1 or -1; kept as the source says",
    )
    rows = rows.with_columns(
        pl.col(name).str.strip_chars() if name in rows.columns else pl.lit(None, pl.String).alias(name)
        for name in _OPTIONAL
    )
    rows = with_views(rows, source, ledger).with_columns(
        split_native=pl.lit(split),
        label_source=pl.lit("nlp_report" if split == "train" else "radiologist_image"),
        source=pl.lit(source),
    )
    kept = [ROW, "path", "study_id", "exam_id", "patient_id", "study_number", "sex", "age", "view", "view_raw"]
    return rows.select(*kept, "split_native", "label_source", "source", *CANONICAL), table.digest, source


def _release(paths: pl.Series, split: str) -> str:
    """Release named by the first element of the paths; the folder of the user says nothing."""
    first = paths.head(1).str.split("/").list.first().to_list()
    return f"{first[0] if first and first[0].startswith('CheXpert') else 'no release prefix'}: {split}"


def sound_paths(rows: pl.DataFrame, source: str, ledger: Ledger) -> pl.DataFrame:
    """Ids from the tail of each path; its beginning differs between releases and is not looked at.

    Adds ``patient_id``, ``exam_id``, ``study_number``, ``study_id`` and ``plane_named``; ``path`` becomes the tail.
    """
    tail = pl.col("path").str.strip_chars()
    rows = ledger.sift(
        rows,
        tail.str.contains(r"\.\.|[\x00-\x1f]"),
        source=source,
        column="path",
        kind="unsafe path",
        hint="a film's path holds no '..' and no control character",
    )
    parts = tail.str.extract_groups(_PATH)
    rows = rows.with_columns(parts.alias("_parts"))
    rows = ledger.sift(
        rows,
        pl.col("_parts").struct[0].is_null(),
        source=source,
        column="path",
        kind="malformed path",
        hint="expected …/patientNNNNN/studyN/viewN_frontal.jpg",
    )
    patient, study, view = (pl.col("_parts").struct[index] for index in range(3))
    suffix = tail.str.extract(r"(\.[a-z]+)$")
    rows = rows.with_columns(
        patient.alias("patient_id"),
        pl.concat_str(patient, study, separator="_").alias("exam_id"),
        study.str.slice(5).cast(pl.Int64).alias("study_number"),
        pl.concat_str(patient, study, view, separator="_").alias("study_id"),
        pl.col("_parts").struct[3].alias("plane_named"),
        pl.concat_str([pl.concat_str(patient, study, view, separator="/"), suffix]).alias("path"),
    )
    rows = rows.drop("_parts")
    return ledger.sift(
        rows,
        ~pl.col("study_id").is_first_distinct(),
        source=source,
        column="path",
        kind="duplicate film",
        hint="the film has a row already",
    )


def with_views(rows: pl.DataFrame, source: str, ledger: Ledger) -> pl.DataFrame:
    """``view`` and ``view_raw``. Films that are called frontal and projected LL or RL are lateral, with a note."""
    plane, projection = pl.col("plane").fill_null(""), pl.col("projection").fill_null("").str.to_uppercase()
    lateral = (plane.str.to_lowercase() == "lateral") | ((plane == "") & (pl.col("plane_named") == "lateral"))
    mislaid = ~lateral & projection.is_in(_LATERAL)
    rows = rows.with_columns(
        pl.when(lateral | mislaid)
        .then(pl.lit("LATERAL"))
        .when(projection.is_in(["AP", "PA"]))
        .then(projection)
        .alias("view"),
        pl.concat_str(pl.col("plane").fill_null(pl.col("plane_named")), projection, separator=" ")
        .str.strip_chars()
        .alias("view_raw"),
        mislaid.alias("_mislaid"),
    )
    for odd, kind, hint in (
        (pl.col("_mislaid"), "lateral called frontal", "LL and RL are lateral projections; filed as LATERAL"),
        (
            ~lateral & (projection != "") & ~projection.is_in(["AP", "PA", *_LATERAL]),
            "unknown view",
            "expected AP, PA, LL, RL or blank; set to null",
        ),
    ):
        ledger.note(rows.filter(odd), source=source, column="projection", kind=kind, hint=hint)
    return rows.drop("_mislaid")
