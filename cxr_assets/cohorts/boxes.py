"""Boxes from the frame that they were drawn on to the pixels of stored films."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from cxr_assets.cohorts.schema import conform


@dataclass(frozen=True)
class FilmSquare:
    """A stored film's side, and the width and height of the frame that boxes are drawn on (None: the film itself)."""

    size: int
    frame: tuple[int, int] | None = None


def place_boxes(boxes: pl.DataFrame, placements: pl.DataFrame, square: FilmSquare) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Move boxes to the pixels of the stored films and cut them at the films' edges.

    Args:
        boxes: boxes in pixels of ``square.frame``.
        placements: ``FilmImport.placements``: how each film's pixels were scaled and moved.
        square: size of the stored films and frame of the boxes.

    Returns:
        The boxes, and quarantine rows for those whose study has no film or that a crop cut away.
    """
    rows = boxes.join(placements, on="study_id", how="left", maintain_order="left")
    per_x, per_y = pl.col("scale_x"), pl.col("scale_y")
    if square.frame is not None:
        per_x = per_x * pl.col("source_width") / square.frame[0]
        per_y = per_y * pl.col("source_height") / square.frame[1]
    rows = rows.with_columns(
        ((pl.col(start) + extent) * per + pl.col(offset)).clip(0, square.size).alias(name)
        for name, start, extent, per, offset in (
            ("left", "x", 0, per_x, "offset_x"),
            ("right", "x", pl.col("width"), per_x, "offset_x"),
            ("upper", "y", 0, per_y, "offset_y"),
            ("lower", "y", pl.col("height"), per_y, "offset_y"),
        )
    )
    width, height = pl.col("right") - pl.col("left"), pl.col("lower") - pl.col("upper")
    no_film = pl.col("scale_x").is_null()
    gone = no_film | (width <= 0) | (height <= 0)
    placed = rows.filter(~gone).select(
        "cohort",
        "study_id",
        "finding",
        pl.col("left").alias("x"),
        pl.col("upper").alias("y"),
        width.alias("width"),
        height.alias("height"),
        "source",
    )
    reason = (
        pl.when(no_film)
        .then(pl.lit("box without film: its study has no stored film"))
        .otherwise(pl.lit("box cut away: it lies outside the cropped film"))
    )
    lost = rows.filter(gone).select(
        "cohort",
        "source",
        pl.lit(None, pl.Int64).alias("row"),
        pl.lit("finding").alias("column"),
        pl.format("{} {}", "study_id", "finding").alias("value"),
        reason.alias("reason"),
    )
    return conform(placed, "boxes"), conform(lost, "quarantine")
