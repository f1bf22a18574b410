"""The label table of RSNA: one row a film without opacity, one row a box otherwise."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from cxr_assets.cohorts.delimited import ROW, read_delimited
from cxr_assets.cohorts.ledger import Ledger, relative
from cxr_assets.cohorts.rows import find_columns, need_file
from cxr_assets.cohorts.schema import conform
from cxr_assets.errors import InputError

TABLE_NAMES = ("stage_2_train_labels.csv", "kaggle_stage_2_train_labels.csv")
IMAGE = "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"
IMAGE_HINT = "expected an id such as 0004cfab-14fd-4e49-80ba-63a80b6bddd6"
FRAME = 1024.0
_EDGES = ("x", "y", "width", "height")
_COLUMNS = {"image": "patientId", **{edge: edge for edge in _EDGES}, "target": "Target"}
_TOLERANCE = 0.5


@dataclass(frozen=True)
class Targets:
    """Films with their target, and the boxes.

    Attributes:
        source: the label table, relative to the cohort's folder.
        films: one row a film: ``row`` (its first), ``image``, ``target`` (1: an opacity; 0: none; Int8).
        boxes: the boxes table, in pixels of the 1024 film.
        links: rows of ``study_sources``.
    """

    source: str
    films: pl.DataFrame
    boxes: pl.DataFrame
    links: pl.DataFrame


def read_targets(root: Path, ledger: Ledger) -> Targets:
    """Read the label table. Raises InputError where it is not there, or has not its columns."""
    cohort = ledger.spec.name
    table = read_delimited(need_file(root, TABLE_NAMES, cohort=cohort), cohort=cohort)
    source = relative(table.path, root)
    short = find_columns(table, _COLUMNS, cohort=cohort)
    if not table.read:
        raise InputError(f"cohort 'rsna': {source} holds a header and no rows. Fetch it again. Nothing was written.")
    rows = ledger.table(source, table, release="stage 2", short=short).with_columns(pl.exclude(ROW).str.strip_chars())
    rows = _sound(rows, source, ledger)
    films = rows.group_by("image", maintain_order=True).agg(pl.col(ROW).first(), pl.col("target").max().cast(pl.Int8))
    boxed = rows.filter(pl.col("target") == 1).rename({"image": "study_id"})
    boxes = boxed.select(
        "study_id", *_EDGES, cohort=pl.lit(cohort), finding=pl.lit("lung_opacity"), source=pl.lit(source)
    )
    links = [
        part.select("study_id", source_id=pl.lit(table.digest), row_number=pl.col(ROW), role=pl.lit(role))
        for part, role in ((rows.rename({"image": "study_id"}), "label"), (boxed, "box"))
    ]
    return Targets(source, films, conform(boxes, "boxes"), conform(pl.concat(links), "study_sources"))


def _sound(rows: pl.DataFrame, source: str, ledger: Ledger) -> pl.DataFrame:
    """Rows with a film, a target, and a box where the target is 1; edges become numbers."""
    blank = pl.all_horizontal(pl.col(edge).is_in(["", "nan", "NaN"]) for edge in _EDGES)
    boxed = pl.col("target") == "1"
    rows = rows.with_columns(blank.alias("blank"))
    for bad, column, kind, hint in (
        (~pl.col("image").str.contains(IMAGE), "image", "malformed image", IMAGE_HINT),
        (~pl.col("target").is_in(["0", "1"]), "target", "malformed target", "expected 0 or 1"),
        (boxed & pl.col("blank"), "target", "target without box", "an opacity has a box"),
        (~boxed & ~pl.col("blank"), "target", "box without target", "a film without opacity has no box"),
    ):
        rows = ledger.sift(rows, bad, source=source, column=column, kind=kind, hint=hint)
    numbers = {edge: f"_{edge}" for edge in _EDGES}
    rows = rows.with_columns(pl.col(edge).cast(pl.Float64, strict=False).alias(name) for edge, name in numbers.items())
    for edge, name in numbers.items():
        bad = boxed & ~pl.col(name).is_finite().fill_null(False)
        hint = "expected a number of pixels"
        rows = ledger.sift(rows, bad, source=source, column=edge, kind="malformed box", hint=hint)
    x, y, width, height = (pl.col(name) for name in numbers.values())
    beyond = (pl.min_horizontal(x, y) < -_TOLERANCE) | (pl.max_horizontal(x + width, y + height) > FRAME + _TOLERANCE)
    same = pl.struct("image", *numbers.values())
    for bad, column, kind, hint in (
        (boxed & ((width <= 0) | (height <= 0)), "width", "empty box", "width and height must exceed 0"),
        (boxed & beyond, "x", "box outside", "the box leaves the 1024-pixel film"),
        (~boxed & boxed.any().over("image"), "target", "target contradiction", "another row gives the film a box"),
        (~same.is_first_distinct(), "image", "duplicate row", "the first is kept"),
    ):
        rows = ledger.sift(rows, bad, source=source, column=column, kind=kind, hint=hint)
    edges = [pl.col(name).alias(edge) for edge, name in numbers.items()]
    return rows.with_columns(*edges, pl.col("target").cast(pl.Int8)).drop("blank", *numbers.values())
