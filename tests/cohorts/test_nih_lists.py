"""Split lists and boxes of ChestX-ray14."""

from __future__ import annotations

import pytest

from cxr_assets.cohorts.splits import shared_patients
from cxr_assets.errors import InputError
from tests.cohorts.conftest import nih_row
from tests.cohorts.nih_tools import Make, curate, flow, kinds


def test_official_lists_are_kept_and_validation_is_carved_out(nih_root: Make) -> None:
    rows = [nih_row(f"{number:08d}_000.png") for number in range(1, 201)]
    names = [row.split(",")[0] for row in rows]
    cohort = curate(nih_root(rows, train_val_list=names[:150], test_list=names[150:]))
    assert cohort.studies.group_by("split_native", "split").len().sort("split").rows()[0] == ("test", "test", 50)
    validate = cohort.studies.filter(split="validate")
    assert 5 <= validate.height <= 30 and set(validate["split_native"]) == {"train_val"}
    assert curate(nih_root(rows), split_seed=5).studies["split"].n_unique() == 3


def test_the_chexnet_lists_are_read(nih_root: Make) -> None:
    rows = [nih_row(f"0000000{number}_000.png") for number in (1, 2, 3)]
    lines = [f"0000000{number}_000.png" + " 0" * 13 + " 1" for number in (1, 2, 3)]
    cohort = curate(nih_root(rows, train_list=lines[:1], val_list=lines[1:2], test_list=lines[2:]))
    assert cohort.studies["split"].to_list() == ["train", "validate", "test"]
    assert cohort.studies["split_native"].to_list() == ["train", "val", "test"]


def test_a_patient_whom_the_lists_divide_goes_to_test(nih_root: Make) -> None:
    rows = [nih_row("00000007_000.png"), nih_row("00000007_001.png"), nih_row("00000007_002.png")]
    root = nih_root(rows, train_val_list=["00000007_000.png"], test_list=["00000007_001.png"])
    cohort = curate(root)
    assert cohort.studies["split"].to_list() == ["test"] * 3
    assert shared_patients(cohort.studies).is_empty()
    assert {"patient in two splits", "not on a split list"} <= {kind for *_, kind in kinds(cohort)}


def test_list_lines_about_other_films_are_counted_not_quarantined(nih_root: Make) -> None:
    root = nih_root(
        [nih_row()], films=["00000007_000.png"], test_list=["00000007_000.png", "00000099_000.png", "../x.png"]
    )
    cohort = curate(root)
    assert flow(cohort, "test_list.txt") == {
        "read": 3,
        "dropped: malformed line": 1,
        "dropped: not in the table": 1,
        "kept": 1,
    }
    assert kinds(cohort) == [(3, "line", "../x.png", "malformed line")]


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("00000007_000.png,Effusion,1,2,0,4", "empty box"),
        ("00000007_000.png,Effusion,1000,2,30,4", "box outside"),
        ("00000007_000.png,Effusion,nan,2,3,4", "malformed box"),
        ("00000007_000.png,Effusion,x,2,3,4", "malformed box"),
        ("00000007_000.png,Gout,1,2,3,4", "unknown label"),
        ("00000009_000.png,Effusion,1,2,3,4", "no such study"),
        ("00000007_000.png,Effusion", "malformed row"),
    ],
)
def test_a_bad_box_is_quarantined(nih_root: Make, line: str, kind: str) -> None:
    good = "00000007_000.png,Infiltrate,1.5,2,3,4"
    cohort = curate(nih_root([nih_row(labels="Effusion|Infiltration")], films=["00000007_000.png"], boxes=[line, good]))
    assert cohort.boxes.select("finding", "x", "height").rows() == [("infiltration", 1.5, 4.0)]
    assert [(row, found) for row, *_, found in kinds(cohort)] == [(2, kind)]


def test_a_box_list_without_a_column_is_refused(nih_root: Make) -> None:
    root = nih_root([nih_row()])
    (root / "BBox_List_2017.csv").write_text("Image Index,Finding Label,x,y\n")
    with pytest.raises(
        InputError, match=r"BBox_List_2017.csv has no column 'w'. Seen: Image Index, Finding Label, x, y."
    ):
        curate(root)
