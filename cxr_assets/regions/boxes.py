"""Boxes as arrays: overlap, recall and masks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

RECALL = {"finding": pl.String, "metric": pl.String, "value": pl.Float64, "n": pl.Int64}


def iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes ``(x, y, width, height)``: shapes ``(n, 4)`` and ``(m, 4)`` give ``(n, m)``."""
    a, b = first[:, None, :].astype(float), second[None, :, :].astype(float)
    overlap = np.clip(
        np.minimum(a[..., :2] + a[..., 2:], b[..., :2] + b[..., 2:]) - np.maximum(a[..., :2], b[..., :2]), 0, None
    ).prod(axis=-1)
    union = a[..., 2:].prod(axis=-1) + b[..., 2:].prod(axis=-1) - overlap
    return np.divide(overlap, union, out=np.zeros_like(overlap), where=union > 0)


def recall(truth: pl.DataFrame, found: pl.DataFrame, *, threshold: float = 0.3) -> pl.DataFrame:
    """Share of true boxes that a found box of the same finding and study overlaps by at least ``threshold`` IoU.

    Args:
        truth, found: study_id, finding, x, y, width, height.

    Returns:
        One row a finding with true boxes (null-free), and one for ``all``.
    """
    columns = ["x", "y", "width", "height"]
    by_key = {key: part.select(columns).to_numpy() for key, part in found.group_by("study_id", "finding")}
    hits: dict[str, list[bool]] = {}
    for (study, finding), part in truth.group_by("study_id", "finding", maintain_order=True):
        guessed = by_key.get((study, finding), np.empty((0, 4)))
        best = iou(part.select(columns).to_numpy(), guessed).max(axis=1, initial=0.0)
        hits.setdefault(str(finding), []).extend((best >= threshold).tolist())
    everything = [hit for one in hits.values() for hit in one]
    rows = [*sorted(hits.items()), *([("all", everything)] if everything else [])]
    return pl.DataFrame(
        [
            {"finding": f, "metric": f"recall_iou_{threshold:g}", "value": float(np.mean(h)), "n": len(h)}
            for f, h in rows
        ],
        schema=RECALL,
    )


def box_mask(boxes: np.ndarray, bits: Sequence[int], size: int) -> np.ndarray:
    """Bit-packed mask of boxes: uint32 ``(size, size)``, bit *i* set inside every box with ``bits`` value *i*."""
    mask = np.zeros((size, size), dtype=np.uint32)
    for (x, y, width, height), bit in zip(boxes, bits, strict=True):
        left, top = max(int(np.floor(x)), 0), max(int(np.floor(y)), 0)
        bottom, right = max(int(np.ceil(y + height)), 0), max(int(np.ceil(x + width)), 0)
        mask[top:bottom, left:right] |= np.uint32(1 << bit)
    return mask
