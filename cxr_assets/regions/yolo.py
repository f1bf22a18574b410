"""Boxes as the YOLO family reads them."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl


def yolo_lines(boxes: pl.DataFrame, number: Mapping[str, int], *, width: float, height: float) -> str:
    """One line a box: number of its finding, centre, width and height as shares of the film; empty without a box.

    Args:
        boxes: ``finding, x, y, width, height`` in pixels of one film; findings without a number are left out.
        width: width of the film in pixels, as ``height``.
    """
    return "\n".join(
        f"{number[r['finding']]} {(r['x'] + r['width'] / 2) / width:.6f} {(r['y'] + r['height'] / 2) / height:.6f}"
        f" {r['width'] / width:.6f} {r['height'] / height:.6f}"
        for r in boxes.iter_rows(named=True)
        if r["finding"] in number
    )
