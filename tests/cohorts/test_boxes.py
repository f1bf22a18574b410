from __future__ import annotations

import polars as pl
import pytest

from cxr_assets.cohorts.boxes import FilmSquare, place_boxes

BOX = {
    "cohort": "c",
    "study_id": "s",
    "finding": "edema",
    "x": 10.0,
    "y": 20.0,
    "width": 40.0,
    "height": 10.0,
    "source": "f",
}
# a film of 100 x 200 pixels on a square of 50: padded to 25 x 50, or cropped from 50 x 100
PADDED = {"study_id": "s", "source_width": 100, "source_height": 200, "scale_x": 0.25, "scale_y": 0.25}
PADDED |= {"offset_x": 12.0, "offset_y": 0.0}
CROPPED = PADDED | {"scale_x": 0.5, "scale_y": 0.5, "offset_x": 0.0, "offset_y": -25.0}


@pytest.mark.parametrize(
    ("placement", "frame", "expected"),
    [
        (PADDED, None, (14.5, 5.0, 10.0, 2.5)),
        (PADDED, (200, 400), (13.25, 2.5, 5.0, 1.25)),
        (CROPPED, (50, 100), (10.0, 0.0, 40.0, 5.0)),
    ],
)
def test_boxes_are_scaled_moved_and_cut(
    placement: dict[str, object], frame: tuple[int, int] | None, expected: tuple[float, ...]
) -> None:
    placed, lost = place_boxes(pl.DataFrame([BOX]), pl.DataFrame([placement]), FilmSquare(50, frame))
    assert placed.select("x", "y", "width", "height").row(0) == expected
    assert lost.is_empty()


def test_a_box_that_the_crop_removes_is_quarantined() -> None:
    placed, lost = place_boxes(pl.DataFrame([BOX]), pl.DataFrame([CROPPED]), FilmSquare(50))
    assert placed.is_empty()
    assert lost.select("source", "value").row(0) == ("f", "s edema")
    assert lost["reason"][0].startswith("box cut away:")
