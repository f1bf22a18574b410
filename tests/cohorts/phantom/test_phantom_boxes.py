from __future__ import annotations

import numpy as np

from cxr_assets.cohorts.phantom.boxes import boxes_from_masks
from cxr_assets.cohorts.phantom.population import sample_requests
from cxr_assets.cohorts.phantom.render import render


def test_boxes_of_a_known_mask() -> None:
    mask = np.zeros((1, 64, 64), np.bool_)
    mask[0, 10:20, 5:9] = True
    mask[0, 40:42, 30:60] = True
    boxes = boxes_from_masks(["a"], {"edema": mask})
    assert boxes.rows() == [("a", "edema", 5, 10, 4, 10), ("a", "edema", 30, 40, 30, 2)]


def test_specks_have_no_box_unless_they_are_all_there_is() -> None:
    speck = np.zeros((2, 128, 128), np.bool_)
    speck[:, 3, 3] = True
    speck[1, 50:60, 50:60] = True
    boxes = boxes_from_masks(["alone", "beside"], {"lung_lesion": speck})
    assert boxes.rows() == [("alone", "lung_lesion", 3, 3, 1, 1), ("beside", "lung_lesion", 50, 50, 10, 10)]


def test_no_mask_gives_a_typed_empty_table() -> None:
    boxes = boxes_from_masks(["a"], {"edema": np.zeros((1, 8, 8), np.bool_)})
    assert boxes.is_empty() and boxes.columns == ["study_id", "finding", "x", "y", "w", "h"]


def test_every_finding_drawn_has_a_box_inside_the_image() -> None:
    requests = sample_requests(30, 4, severity=(0.5, 1.0))
    drawn = render(requests.studies, requests.truth, size=96, seed=0)
    boxes = boxes_from_masks(requests.studies["study_id"].to_list(), drawn.masks)
    present = requests.truth.filter("present").select("study_id", "finding")
    assert present.join(boxes, on=["study_id", "finding"], how="anti").is_empty()
    assert boxes.join(present, on=["study_id", "finding"], how="anti").is_empty()
    assert boxes["x"].min() >= 0 and (boxes["x"] + boxes["w"]).max() <= 96 and boxes["w"].min() >= 1
