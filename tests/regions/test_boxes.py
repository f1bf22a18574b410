from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from cxr_assets.regions.boxes import box_mask, iou, recall


def boxes(*rows: tuple[str, str, float, float, float, float]) -> pl.DataFrame:
    schema = {"study_id": pl.String, "finding": pl.String, **dict.fromkeys(("x", "y", "width", "height"), pl.Float64)}
    return pl.DataFrame(list(rows), schema=schema, orient="row")


def test_overlap_on_known_boxes() -> None:
    first = np.array([[0, 0, 4, 4], [10, 10, 2, 2]])
    second = np.array([[0, 0, 4, 4], [2, 0, 4, 4], [2, 2, 4, 4], [4, 0, 4, 4], [1, 1, 2, 2]])
    np.testing.assert_allclose(iou(first, second), [[1, 8 / 24, 4 / 28, 0, 4 / 16], [0, 0, 0, 0, 0]])
    np.testing.assert_allclose(iou(first, second), iou(second, first).T)


def test_empty_boxes_overlap_nothing() -> None:
    flat = np.array([[1.0, 1.0, 0.0, 0.0]])
    assert iou(flat, flat).tolist() == [[0.0]]
    assert iou(np.empty((0, 4)), flat).shape == (0, 1) and iou(flat, np.empty((0, 4))).shape == (1, 0)


def test_recall_counts_true_boxes_that_were_found() -> None:
    truth = boxes(
        ("a", "edema", 0, 0, 10, 10),
        ("a", "edema", 50, 50, 10, 10),
        ("b", "edema", 0, 0, 10, 10),
        ("b", "hernia", 0, 0, 10, 10),
    )
    found = boxes(
        ("a", "edema", 1, 0, 10, 10),
        ("a", "edema", 0, 1, 10, 10),
        ("b", "hernia", 0, 0, 4, 4),
        ("c", "edema", 0, 0, 10, 10),
        ("a", "hernia", 50, 50, 10, 10),
    )
    made = {r["finding"]: (r["value"], r["n"]) for r in recall(truth, found).iter_rows(named=True)}
    assert made == {"edema": (pytest.approx(1 / 3), 3), "hernia": (0.0, 1), "all": (0.25, 4)}
    low = recall(truth, found, threshold=0.15)
    assert set(low["metric"]) == {"recall_iou_0.15"}
    assert dict(low.select("finding", "value").iter_rows())["hernia"] == 1.0


def test_recall_without_true_boxes_says_nothing() -> None:
    assert recall(boxes(), boxes(("a", "edema", 0, 0, 1, 1))).is_empty()
    assert recall(boxes(("a", "edema", 0, 0, 1, 1)), boxes())["value"].to_list() == [0.0, 0.0]


def test_a_mask_sets_one_bit_a_finding() -> None:
    mask = box_mask(np.array([[1, 2, 3, 2], [2, 2, 1, 1], [0.4, 5.6, 1.0, 0.2]]), [0, 3, 13], 8)
    assert mask.dtype == np.uint32 and mask.shape == (8, 8)
    assert mask[2:4, 1:4].tolist() == [[1, 9, 1], [1, 1, 1]]
    assert mask[5, :2].tolist() == [1 << 13, 1 << 13], "a box covers every pixel that it touches"
    mask[2:4, 1:4] = mask[5, :2] = 0
    assert (mask == 0).all()


@pytest.mark.parametrize(
    ("box", "pixels"),
    [((-3, -3, 5, 5), 4), ((6, 6, 9, 9), 4), ((-9, 0, 4, 8), 0), ((0, -9, 8, 4), 0), ((9, 9, 4, 4), 0)],
)
def test_what_lies_outside_the_film_marks_nothing_in_it(box: tuple[float, ...], pixels: int) -> None:
    assert (box_mask(np.array([box]), [0], 8) > 0).sum() == pixels
