from __future__ import annotations

import pytest

from cxr_assets.cohorts.labels import (
    CANONICAL,
    EXTRA,
    FINDINGS,
    NIH_FINDINGS,
    NIH_LABELS,
    OPENI_FINDINGS,
    nih_values,
    openi_values,
)


def test_the_vocabulary_is_the_common_fourteen_and_four_more() -> None:
    assert len(CANONICAL) == 14
    assert CANONICAL[0] == "no_finding" and CANONICAL[-1] == "support_devices"
    assert EXTRA == ("emphysema", "fibrosis", "hernia", "infiltration")
    assert (*CANONICAL, *EXTRA) == FINDINGS


def test_nih_has_no_value_for_what_it_does_not_label() -> None:
    assert set(FINDINGS) - set(NIH_FINDINGS) == {"enlarged_cardiomediastinum", "fracture", "support_devices"}


@pytest.mark.parametrize(
    ("labels", "positive"),
    [
        (["No Finding"], {"no_finding"}),
        (["Mass", "Nodule"], {"lung_lesion", "lung_opacity"}),
        (["Pleural_Thickening"], {"pleural_other"}),
        (["Effusion", "Hernia"], {"pleural_effusion", "hernia"}),
        (["Infiltration"], {"infiltration", "lung_opacity"}),
    ],
)
def test_nih_labels(labels: list[str], positive: set[str]) -> None:
    values = nih_values(labels)
    assert {finding for finding, value in values.items() if value == 1} == positive
    assert set(values.values()) <= {0, 1}
    assert tuple(values) == NIH_FINDINGS


def test_infiltration_is_never_consolidation_or_pneumonia() -> None:
    values = nih_values(["Infiltration"])
    assert values["consolidation"] == values["pneumonia"] == 0


def test_every_nih_label_is_mapped_once() -> None:
    assert len(NIH_LABELS) == 15


def test_openi_normal_is_negative_for_pathology_and_silent_on_devices() -> None:
    values = openi_values(["normal"])
    assert values["no_finding"] == 1 and values["edema"] == 0 and values["support_devices"] is None


@pytest.mark.parametrize(
    ("headings", "positive"),
    [
        (["Catheters, Indwelling/right"], {"support_devices"}),
        (["Mediastinum/enlarged"], {"enlarged_cardiomediastinum"}),
        (["Mediastinum/prominent/mild"], set()),
        (["Thickening/pleura/apex/left"], {"pleural_other"}),
        (["Thickening/bronchovascular"], set()),
        (["Mass/breast/large"], set()),
        (["Mass/lung/hilum/right", "Opacity/lung"], {"lung_lesion", "lung_opacity"}),
        (["Calcified Granuloma/lung"], set()),
        (["Hydropneumothorax"], {"pneumothorax", "pleural_effusion"}),
    ],
)
def test_openi_headings(headings: list[str], positive: set[str]) -> None:
    values = openi_values(headings)
    assert {finding for finding, value in values.items() if value == 1} == positive
    assert values["no_finding"] == 0
    assert {value for finding, value in values.items() if finding not in positive | {"no_finding"}} == {None}


@pytest.mark.parametrize("headings", [[], ["No Indexing"], ["Technical Quality of Image Unsatisfactory "]])
def test_openi_says_nothing_where_the_coder_said_nothing(headings: list[str]) -> None:
    assert openi_values(headings) == dict.fromkeys(OPENI_FINDINGS)
