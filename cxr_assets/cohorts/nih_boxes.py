"""The boxes of ChestX-ray14, drawn by a radiologist on the 1024-pixel films."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from cxr_assets.cohorts.delimited import ROW, Delimited, read_delimited
from cxr_assets.cohorts.labels import NIH_BOX_LABELS
from cxr_assets.cohorts.ledger import Ledger, relative
from cxr_assets.cohorts.schema import TABLES, conform
from cxr_assets.errors import InputError

FILE_NAME = "BBox_List_2017.csv"
FRAME = 1024.0
_TOLERANCE = 0.5
_COLUMNS = {"image": "imageindex", "label": "findinglabel", "x": "x", "y": "y", "width": "w", "height": "h"}
_PUBLISHED = {"imageindex": "Image Index", "findinglabel": "Finding Label"}


def read_boxes(root: Path, rows: pl.DataFrame, ledger: Ledger) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Read the box list if it is there.

    Args:
        root: the cohort's folder.
        rows: curated rows with ``image``, ``study_id`` and ``parts`` (the film's labels).
        ledger: takes the rows that cannot be used, and notes on boxes whose finding is not among the film's labels.

    Returns:
        The boxes table in pixels of the 1024 frame, and its rows of ``study_sources``.
    """
    path = next((path for path in (root / FILE_NAME, root / f"{FILE_NAME}.gz") if path.is_file()), None)
    if path is None:
        return TABLES["boxes"].empty(), TABLES["study_sources"].empty()
    table = read_delimited(path, cohort=ledger.spec.name)
    source = relative(path, root)
    boxes = ledger.table(source, table, release=", ".join(filter(None, table.header)), short=_columns(table, source))
    boxes = boxes.with_columns(pl.exclude(ROW).str.strip_chars())
    boxes = _sound(boxes, rows, source, ledger)
    linked = boxes.select("study_id", source_id=pl.lit(table.digest), row_number=pl.col(ROW), role=pl.lit("box"))
    finding = pl.col("label").replace_strict(dict(NIH_BOX_LABELS), return_dtype=pl.String)
    curated = boxes.select(
        pl.lit(ledger.spec.name).alias("cohort"),
        "study_id",
        finding.alias("finding"),
        "x",
        "y",
        "width",
        "height",
        pl.lit(source).alias("source"),
    )
    ledger.close(source, kept=curated.height)
    return conform(curated, "boxes"), conform(linked, "study_sources")


def _columns(table: Delimited, source: str) -> dict[str, str]:
    seen = set(table.rows.columns)
    columns = {**_COLUMNS, "x": "bboxx"} if "bboxx" in seen else _COLUMNS
    for normal in columns.values():
        if normal not in seen:
            raise InputError(
                f"cohort 'nih': {source} has no column '{_PUBLISHED.get(normal, normal)}'. "
                f"Seen: {', '.join(filter(None, table.header))}. "
                f"Expected one of the two published headers (docs/cohorts/nih.md). Nothing was written."
            )
    return columns


def _sound(boxes: pl.DataFrame, rows: pl.DataFrame, source: str, ledger: Ledger) -> pl.DataFrame:
    known = [label for label in NIH_BOX_LABELS if label != "No Finding"]
    boxes = ledger.sift(
        boxes,
        ~pl.col("label").is_in(known),
        source=source,
        column="label",
        kind="unknown label",
        hint=f"expected one of {', '.join(known)}",
    )
    for name in ("x", "y", "width", "height"):
        number = pl.col(name).cast(pl.Float64, strict=False)
        boxes = (
            ledger.sift(
                boxes.with_columns(number.alias("_number")),
                ~pl.col("_number").is_finite() | pl.col("_number").is_null(),
                source=source,
                column=name,
                kind="malformed box",
                hint="expected a number of pixels",
            )
            .with_columns(pl.col("_number").alias(name))
            .drop("_number")
        )
    right, low = pl.col("x") + pl.col("width"), pl.col("y") + pl.col("height")
    empty = (pl.col("width") <= 0) | (pl.col("height") <= 0)
    boxes = ledger.sift(
        boxes, empty, source=source, column="width", kind="empty box", hint="width and height must exceed 0"
    )
    outside = (pl.min_horizontal("x", "y") < -_TOLERANCE) | (pl.max_horizontal(right, low) > FRAME + _TOLERANCE)
    boxes = ledger.sift(
        boxes, outside, source=source, column="x", kind="box outside", hint="the box leaves the 1024-pixel film"
    )
    boxes = boxes.join(rows.select("image", "study_id", "parts"), on="image", how="left", maintain_order="left")
    boxes = ledger.sift(
        boxes,
        pl.col("study_id").is_null(),
        source=source,
        column="image",
        kind="no such study",
        hint="the label table has no usable row for this film",
    )
    published = pl.col("label").replace({"Infiltrate": "Infiltration"})
    odd = ~pl.col("parts").list.contains(published)
    ledger.note(
        boxes.filter(odd),
        source=source,
        column="label",
        kind="box without label",
        hint="not among the film's labels; kept",
    )
    return boxes
