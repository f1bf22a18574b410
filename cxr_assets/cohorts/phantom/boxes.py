"""Bounding boxes of the findings' masks."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import ndimage

from cxr_assets.cohorts.phantom.config import FINDINGS

# Connected regions below this share of the image are rims of a mask, not something a reader would box.
_SMALLEST_REGION = 4e-4

SCHEMA: dict[str, pl.DataType] = {
    "study_id": pl.String(),
    "finding": pl.String(),
    "x": pl.Int32(),
    "y": pl.Int32(),
    "w": pl.Int32(),
    "h": pl.Int32(),
}


def boxes_from_masks(study_ids: list[str], masks: dict[str, NDArray[np.bool_]]) -> pl.DataFrame:
    """One box per connected region of each finding.

    Args:
        study_ids: N ids in the order of the masks.
        masks: finding -> bool ``(N, S, S)``, as ``RenderedBatch.masks``.

    Returns:
        study_id, finding, x, y, w, h in pixels of the stored image, (x, y) the upper left pixel; ordered by study, then
        finding. A mask whose regions are all tiny keeps its largest one, so that each non-empty mask has a box.
    """
    rows: list[tuple[str, str, int, int, int, int]] = []
    for i, study_id in enumerate(study_ids):
        for finding in FINDINGS:
            if finding in masks and masks[finding][i].any():
                rows += [(study_id, finding, *box) for box in _regions(masks[finding][i])]
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def _regions(mask: NDArray[np.bool_]) -> list[tuple[int, int, int, int]]:
    """(x, y, w, h) of the connected regions of one mask ``(S, S)`` that are large enough, left to right."""
    labels, count = ndimage.label(mask, structure=np.ones((3, 3), np.int8))
    sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    floor = min(_SMALLEST_REGION * mask.size, sizes.max())
    found = []
    for size, (rows, cols) in zip(sizes, ndimage.find_objects(labels), strict=True):
        if size >= floor:
            found.append((cols.start, rows.start, cols.stop - cols.start, rows.stop - rows.start))
    return sorted(found)
