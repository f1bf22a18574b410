from __future__ import annotations

import pytest

from cxr_assets.cohorts.label_maps import (
    PADCHEST_CALLUS,
    PADCHEST_FINDINGS,
    PADCHEST_LABELS,
    PADCHEST_LAMINAR,
    PADCHEST_NORMAL,
    PADCHEST_SILENT,
    PADCHEST_UNMAPPED,
    RSNA_FINDINGS,
    VINDR_FINDINGS,
    VINDR_KAGGLE,
    VINDR_LABELS,
    padchest_map,
)
from cxr_assets.cohorts.labels import FINDINGS
from cxr_assets.cohorts.registry import cohort_spec


@pytest.mark.parametrize(
    ("name", "findings"), [("padchest", PADCHEST_FINDINGS), ("vindr", VINDR_FINDINGS), ("rsna", RSNA_FINDINGS)]
)
def test_a_preset_names_the_findings_of_its_map(name: str, findings: tuple[str, ...]) -> None:
    assert cohort_spec(name).findings == findings


def test_labels_are_written_as_they_are_compared() -> None:
    for label in [*PADCHEST_LABELS, *VINDR_LABELS]:
        assert label == " ".join(label.lower().split()) != ""


def test_the_published_tree_is_mapped_silent_or_known_to_be_neither() -> None:
    mapped = {label for labels in padchest_map(laminar=False, callus=False).values() for label in labels}
    assert len(PADCHEST_LABELS) == 193
    assert not mapped & (PADCHEST_UNMAPPED | PADCHEST_SILENT | {PADCHEST_NORMAL})
    assert {PADCHEST_LAMINAR, PADCHEST_CALLUS} <= PADCHEST_UNMAPPED


def test_options_add_a_label_and_change_nothing_else() -> None:
    plain, all_of = padchest_map(laminar=False, callus=False), padchest_map(laminar=True, callus=True)
    added = {finding: set(all_of[finding]) - set(plain[finding]) for finding in plain}
    assert {finding: labels for finding, labels in added.items() if labels} == {
        "atelectasis": {PADCHEST_LAMINAR},
        "fracture": {PADCHEST_CALLUS},
    }


def test_infiltration_is_no_consolidation_and_no_pneumonia() -> None:
    assert VINDR_LABELS["infiltration"] == ("infiltration", "lung_opacity")
    assert [
        finding for finding, labels in padchest_map(laminar=True, callus=True).items() if "infiltrates" in labels
    ] == ["lung_opacity"]
    assert "infiltration" not in PADCHEST_FINDINGS


def test_the_challenge_has_its_fifteen_classes_in_order() -> None:
    assert len(VINDR_KAGGLE) == 15
    assert (VINDR_KAGGLE[0], VINDR_KAGGLE[8], VINDR_KAGGLE[14]) == ("aortic enlargement", "nodule/mass", "no finding")
    assert {finding for mapped in VINDR_LABELS.values() for finding in mapped} <= set(FINDINGS)
