"""CheXpert Plus: one table of films, demographics and reports, and labels as JSON lines."""

from __future__ import annotations

import hashlib
from pathlib import Path

import polars as pl

from cxr_assets.cohorts.chexpert.label_lines import FAULT, FAULTS, read_label_lines
from cxr_assets.cohorts.chexpert.tables import ReadTables, sound_paths, with_views
from cxr_assets.cohorts.chexpert_labels import contradictions, with_labels
from cxr_assets.cohorts.delimited import ROW, read_bytes, read_delimited
from cxr_assets.cohorts.labels import CANONICAL
from cxr_assets.cohorts.ledger import Ledger, relative
from cxr_assets.cohorts.rows import find_columns, first_file, with_race
from cxr_assets.cohorts.schema import conform
from cxr_assets.errors import InputError

PLUS_TABLES = ("df_chexpert_plus_240401.csv", "df_chexpert_plus.csv")
_COLUMNS = {
    "path": "path_to_image",
    "plane": "frontal_lateral",
    "projection": "ap_pa",
    "age": "age",
    "sex": "sex",
    "race": "race",
    "origin": "ethnicity",
    "split_native": "split",
}
_SECTIONS = {
    "impression": "section_impression",
    "findings": "section_findings",
    "narrative": "section_narrative",
    "indication": "section_clinical_history",
    "history": "section_history",
    "comparison": "section_comparison",
}
_SPLITS = ("train", "valid", "test")
_LABELS = {name: f"{name}_fixed.json" for name in ("impression", "findings", "report")}


def read_plus(path: Path, root: Path, ledger: Ledger, *, labels: str) -> ReadTables:
    """Rows, reports and labels of the release.

    Args:
        labels: section that the labels were read from: impression, findings or report.

    Raises:
        InputError: for a missing column or label file.
    """
    table = read_delimited(path, cohort=ledger.spec.name, multiline=True)
    source = relative(path, root)
    short = find_columns(table, {**_COLUMNS, **_SECTIONS}, cohort=ledger.spec.name)
    rows = ledger.table(source, table, release="CheXpert Plus", short=short)
    rows = sound_paths(rows.with_columns(pl.col(list(_COLUMNS)).str.strip_chars()), source, ledger)
    ledger.note(
        rows.filter(~pl.col("split_native").is_in(_SPLITS)),
        source=source,
        column="split_native",
        kind="unknown split",
        hint=f"expected {', '.join(_SPLITS)}; the film follows its patient, or is dealt out by a hash of the patient",
    )
    rows = with_views(rows, source, ledger)
    rows = with_race(rows, source=source, ledger=ledger, race="race", ethnicity="origin")
    rows = rows.rename({"race": "race_raw", "origin": "ethnicity_raw"}).with_columns(
        label_source=pl.lit("nlp_report"), report_source=pl.lit(source)
    )
    rows, digest = _join_labels(rows, root, ledger, labels)
    ledger.note(
        contradictions(rows),
        source=source,
        column="path",
        kind="label contradiction",
        hint="No Finding is 1 beside a pathology at 1 or -1; kept as the source says",
    )
    links = [
        rows.select("study_id", source_id=pl.lit(table.digest), row_number=pl.col(ROW), role=pl.lit(role))
        for role in ("demographics", "report")
    ]
    links.append(
        rows.filter(pl.col("_label_row").is_not_null()).select(
            "study_id", source_id=pl.lit(digest), row_number="_label_row", role=pl.lit("label")
        )
    )
    return ReadTables(
        rows, source, _reports(rows, ledger.spec.name), [conform(link, "study_sources") for link in links]
    )


def _join_labels(rows: pl.DataFrame, root: Path, ledger: Ledger, labels: str) -> tuple[pl.DataFrame, str]:
    name = _LABELS[labels]
    path = first_file(root, [name, f"chexpert_labels/{name}", f"labels/{name}"])
    if path is None:
        raise InputError(
            f"cohort {ledger.spec.name!r}: {root} holds no {name} (nor in chexpert_labels/). Put it there, or choose other"
            " labels with --set curate.options.labels=findings. Nothing was written."
        )
    data = read_bytes(path, cohort=ledger.spec.name)
    source, digest = relative(path, root), hashlib.sha256(data).hexdigest()
    frame = read_label_lines(data, path, cohort=ledger.spec.name)
    ledger.open(source, rows=frame.height)
    ledger.file(source, digest=digest, size=len(data), release=f"labels of the {labels}")
    tail = pl.col("path").str.extract(r"(patient[0-9]+/study[0-9]+/view[0-9]+_\w+)\.")
    frame = frame.with_columns(tail.str.replace_all("/", "_").alias("study_id"))
    for bad, kind, hint in (
        *((pl.col(FAULT) == fault, fault, expected) for fault, expected in FAULTS.items()),
        (pl.col("study_id").is_null(), "malformed path", "expected …/patientNNNNN/studyN/viewN_frontal.jpg"),
    ):
        frame = ledger.sift(frame, bad, source=source, column="path", kind=kind, hint=hint)
    frame = with_labels(frame, source=source, ledger=ledger)
    frame = ledger.sift(
        frame,
        ~pl.col("study_id").is_first_distinct(),
        source=source,
        column="path",
        kind="duplicate film",
        hint="the film has labels already",
    )
    unknown = frame.join(rows, on="study_id", how="anti")
    ledger.unused(source, kind="film not in the table", rows=unknown.height)
    joined = rows.join(
        frame.drop("path", FAULT).rename({ROW: "_label_row"}), on="study_id", how="left", maintain_order="left"
    )
    joined = joined.with_columns(pl.lit(None, pl.Int8).alias(name) for name in CANONICAL if name not in joined.columns)
    return joined, digest


def _reports(rows: pl.DataFrame, cohort: str) -> pl.DataFrame:
    """Non-blank sections, verbatim. The history stands in for a missing clinical history."""
    indication = pl.when(pl.col("indication").str.strip_chars() != "").then("indication").otherwise("history")
    sections = [name for name in _SECTIONS if name != "history"]
    long = rows.with_columns(indication.alias("indication")).unpivot(
        on=sections, index="study_id", variable_name="section", value_name="text"
    )
    full = long.filter(pl.col("text").str.strip_chars() != "")
    return conform(full.select(pl.lit(cohort).alias("cohort"), "study_id", "section", "text"), "reports")
