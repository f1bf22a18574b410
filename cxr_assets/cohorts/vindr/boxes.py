"""Boxes that several readers drew around the same thing, as one."""

from __future__ import annotations

import numpy as np
import polars as pl
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from cxr_assets.cohorts.vindr.readings import EDGES

SAME_ABOVE = 0.4
"""Overlap (intersection over union) above which two boxes of a finding are of the same thing."""


def merge_boxes(boxes: pl.DataFrame) -> pl.DataFrame:
    """Merge the boxes of each film and finding that overlap, directly or through others.

    Args:
        boxes: ``study_id``, ``finding``, ``reader`` and ``EDGES`` in pixels.

    Returns:
        ``study_id``, ``finding``, ``x``, ``y``, ``width``, ``height``: the mean of each edge; ``source``: the readers who
        drew it, such as ``R8|R10``.
    """
    boxes = boxes.unique().sort("study_id", "finding", *EDGES, "reader").with_row_index("box")
    one, other = (boxes.select("box", "study_id", "finding", *EDGES) for _ in range(2))
    pairs = (
        one.join(other, on=["study_id", "finding"], suffix="_b")
        .filter((pl.col("box") < pl.col("box_b")) & (_overlap() > SAME_ABOVE))
        .select("box", "box_b")
    )
    first, second = pairs["box"].to_numpy(), pairs["box_b"].to_numpy()
    graph = coo_array((np.ones(len(first), np.int8), (first, second)), shape=(boxes.height, boxes.height))
    thing = connected_components(graph, directed=False)[1] if boxes.height else np.empty(0, np.int32)
    number = pl.col("reader").str.extract("([0-9]+)").cast(pl.Int64)
    readers = pl.col("reader").sort_by(number).unique(maintain_order=True)
    left, top, right, low = (pl.col(edge).mean() for edge in EDGES)
    return (
        boxes.with_columns(pl.Series("thing", thing))
        .group_by("study_id", "finding", "thing", maintain_order=True)
        .agg(
            left.alias("x"),
            top.alias("y"),
            (right - left).alias("width"),
            (low - top).alias("height"),
            readers.str.join("|").alias("source"),
        )
        .drop("thing")
    )


def _overlap() -> pl.Expr:
    """Intersection over union of the boxes ``EDGES`` and ``EDGES`` with ``_b``."""
    left, top, right, low = (pl.col(edge) for edge in EDGES)
    left_b, top_b, right_b, low_b = (pl.col(f"{edge}_b") for edge in EDGES)
    width = (pl.min_horizontal(right, right_b) - pl.max_horizontal(left, left_b)).clip(0)
    height = (pl.min_horizontal(low, low_b) - pl.max_horizontal(top, top_b)).clip(0)
    shared = width * height
    return shared / ((right - left) * (low - top) + (right_b - left_b) * (low_b - top_b) - shared)
