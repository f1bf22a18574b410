"""The labels of PadChest: lists written as Python literals, with stray blanks, empty strings and repeats."""

from __future__ import annotations

import polars as pl

from cxr_assets.cohorts.label_maps import (
    PADCHEST_FINDINGS,
    PADCHEST_LABELS,
    PADCHEST_NORMAL,
    PADCHEST_SILENT,
    padchest_map,
)
from cxr_assets.cohorts.labels import NO_FINDING, SUPPORT_DEVICES
from cxr_assets.cohorts.ledger import Ledger

_QUOTED = r"""'[^'\\\r\n]*'|"[^"\\\r\n]*\""""
_LITERAL = rf"^\[\s*(?:(?:{_QUOTED})(?:\s*,\s*(?:{_QUOTED}))*\s*,?\s*)?\]$"


def parse_labels(texts: pl.Series) -> pl.DataFrame:
    """Labels of texts such as ``['nodule ', '', 'copd signs']``.

    Args:
        texts: distinct texts, none null.

    Returns:
        ``labels`` (the text) and ``parts``: its labels trimmed, in lower case, without blanks and repeats; null where the
        text is no list of plain strings as Python writes it.
    """
    text = pl.col("labels")
    part = pl.element().str.slice(1).str.head(-1).str.strip_chars().str.to_lowercase()
    parts = text.str.extract_all(_QUOTED).list.eval(part.filter(part != "").unique(maintain_order=True))
    return (
        texts.alias("labels").to_frame().with_columns(pl.when(text.str.contains(_LITERAL)).then(parts).alias("parts"))
    )


def finding_values(
    rows: pl.DataFrame, source: str, ledger: Ledger, *, laminar: bool, callus: bool
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Finding values of rows with ``study_id`` and ``labels``; rows whose labels cannot be read are dropped.

    A label that is there makes its findings 1. What is not there is unmentioned and null, except where ``normal`` stands
    alone: then No Finding is 1 and every other finding 0, but devices, which a normal chest may hold. No Finding is 0
    beside any other label of the patient.

    Returns:
        The rows kept, and ``study_id`` with one Int8 column for every finding of ``PADCHEST_FINDINGS``.
    """
    table = parse_labels(rows["labels"].unique())
    known = pl.col("parts").list
    table = table.with_columns(
        odd=known.set_difference(list(PADCHEST_LABELS)).list.len() > 0,
        mixed=known.contains(PADCHEST_NORMAL) & (known.len() > 1),
        empty=(known.len() == 0) | pl.col("labels").str.to_lowercase().is_in(["", "nan"]),
    ).with_columns(_values(laminar=laminar, callus=callus))
    rows = rows.join(table, on="labels", how="left", maintain_order="left")
    rows = ledger.sift(
        rows,
        pl.col("parts").is_null() & ~pl.col("empty").fill_null(False),
        source=source,
        column="labels",
        kind="malformed labels",
        hint="expected a list of quoted labels such as ['nodule', 'copd signs']",
    )
    for bad, kind, hint in (
        ("empty", "no labels", "nothing is stated; every finding is null"),
        ("odd", "unknown label", "a label is none of the 193 of the published tree; it counts for nothing"),
        ("mixed", "normal beside other labels", "No Finding is not 1; the other labels count"),
    ):
        ledger.note(rows.filter(pl.col(bad)), source=source, column="labels", kind=kind, hint=hint)
    return rows.drop("parts", "odd", "mixed", "empty", *PADCHEST_FINDINGS), rows.select("study_id", *PADCHEST_FINDINGS)


def _values(*, laminar: bool, callus: bool) -> list[pl.Expr]:
    parts = pl.col("parts")
    normal = (parts.list.len() == 1) & (parts.list.first() == PADCHEST_NORMAL)
    telling = list(PADCHEST_LABELS - PADCHEST_SILENT - {PADCHEST_NORMAL})
    abnormal = parts.list.set_intersection(telling).list.len() > 0
    one, zero = pl.lit(1, pl.Int8), pl.lit(0, pl.Int8)
    columns = [pl.when(normal).then(one).when(abnormal).then(zero).alias(NO_FINDING)]
    for finding, labels in padchest_map(laminar=laminar, callus=callus).items():
        there = parts.list.set_intersection(list(labels)).list.len() > 0
        absent = normal & pl.lit(finding != SUPPORT_DEVICES)
        columns.append(pl.when(there).then(one).when(absent).then(zero).alias(finding))
    return columns
