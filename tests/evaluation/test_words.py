from __future__ import annotations

import polars as pl
import pytest

from cxr_assets.evaluation.scorecard_tables import Eligibility, Scorecard
from cxr_assets.evaluation.words import tell
from tests.evaluation.simulate import card_of, simulated


@pytest.fixture(scope="module")
def planted() -> Scorecard:
    """Half of black women's positives are missed."""
    return card_of(*simulated(missed=0.5))


@pytest.fixture(scope="module")
def fair() -> Scorecard:
    """Nobody's positives are missed more than others'."""
    return card_of(*simulated(missed=0.0, seed=1))


def said(card: Scorecard) -> str:
    return "\n".join(tell(card.estimates, card.gaps))


def test_the_worst_group_of_each_attribute_is_named_with_its_interval(planted: Scorecard) -> None:
    text = said(planted)
    assert (
        "By sex, findings are seen least often in female" in text
        and "By race, findings are seen least often in black" in text
    )
    row = planted.estimates.row(
        by_predicate=(pl.col("attribute") == "sex")
        & (pl.col("group") == "female")
        & (pl.col("metric") == "tpr")
        & (pl.col("finding") == "all")
        & pl.col("primary"),
        named=True,
    )
    assert f"{row['estimate']:.3f} (95 % interval {row['ci_lo']:.3f} to {row['ci_hi']:.3f})" in text


def test_a_gap_that_is_found_comes_with_what_could_explain_it(planted: Scorecard) -> None:
    text = said(planted)
    assert "Nothing flagged on a film of somebody ill: most often in black" in text
    assert "could be an artefact of labels alone if" in text
    assert "3 gaps were declared beforehand and tested as a family (Holm); 3 are shown to be larger" in text


def test_what_is_not_found_is_not_claimed(fair: Scorecard) -> None:
    text = said(fair)
    assert "(Holm); 0 are shown to be larger than chance gives" in text and "artefact of labels" not in text
    assert "is shown to be larger than chance gives." in text


def test_groups_too_small_are_counted_and_named() -> None:
    rule = Eligibility(min_positives=60, min_negatives=60, min_patients=15, suppress_below=30)
    card = card_of(*simulated(patients=150), eligibility=rule)
    assert "groups are shown as imprecise and enter no gap" in said(card)


def test_an_empty_scorecard_says_nothing_wrong(fair: Scorecard) -> None:
    told = tell(fair.estimates.clear(), fair.gaps.clear())
    assert told == [
        "No gap could be tested against chance: too few groups are large enough, or there are no thresholds."
    ]


def test_a_difference_is_told_together_with_whether_it_is_more_than_chance(planted: Scorecard, fair: Scorecard) -> None:
    assert "in male; more than chance gives." in said(planted)
    assert "not shown to be more than chance gives." in said(fair) and "; more than chance gives." not in said(fair)
