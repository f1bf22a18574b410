"""Plots are looked at by people; what can be tested is that they are drawn, change with what they show, and stand thin data."""

from __future__ import annotations

import io

import numpy as np
import polars as pl
import pytest
from PIL import Image

from cxr_assets.evaluation.curves import gap_against_auroc, reliability_curves
from cxr_assets.evaluation.figures import forest_of_groups, gap_by_arm, intersection_map
from cxr_assets.evaluation.scorecard_tables import Scorecard
from tests.evaluation.simulate import WORST, card_of, simulated


@pytest.fixture(scope="module")
def cards() -> tuple[Scorecard, Scorecard]:
    """An arm with a planted gap and one without."""
    return card_of(*simulated(missed=0.5)), card_of(*simulated(missed=0.0), arm="m.r025")


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("L"))


def differ(one: bytes, two: bytes) -> bool:
    return one != two and pixels(one).std() > 0


def test_the_forest_moves_with_the_estimates(cards: tuple[Scorecard, Scorecard]) -> None:
    one, two = (forest_of_groups(c.estimates, metric="tpr") for c in cards)
    assert differ(one, two)
    assert pixels(forest_of_groups(cards[0].estimates.clear(), metric="tpr")).size > 0


def test_suppressed_groups_are_not_in_the_forest(cards: tuple[Scorecard, Scorecard]) -> None:
    card = cards[0].estimates
    hidden = card.with_columns(
        estimate=pl.when(pl.col("group") == WORST).then(None).otherwise("estimate"),
        ci_lo=pl.when(pl.col("group") == WORST).then(None).otherwise("ci_lo"),
    )
    before, after = (pixels(forest_of_groups(c, metric="tpr")).shape[0] for c in (card, hidden))
    assert after < before, "one line less"


def test_gap_plots_hold_every_arm(cards: tuple[Scorecard, Scorecard]) -> None:
    gaps = pl.concat([c.gaps for c in cards])
    replicates = pl.concat([c.replicates for c in cards])
    for draw in (
        lambda g: gap_by_arm(g, attribute="race×sex", group=WORST),
        lambda g: gap_against_auroc(replicates, g, attribute="race×sex"),
    ):
        assert differ(draw(gaps), draw(gaps.filter(pl.col("arm") == "m.r025")))
        assert pixels(draw(gaps.clear())).size > 0


def test_the_map_of_intersections_moves_with_the_estimates(cards: tuple[Scorecard, Scorecard]) -> None:
    one, two = (intersection_map(c.estimates, attribute="race×sex") for c in cards)
    assert differ(one, two)
    assert pixels(intersection_map(cards[0].estimates.clear(), attribute="race×sex")).size > 0


def test_reliability_leaves_out_bins_of_few_films(cards: tuple[Scorecard, Scorecard]) -> None:
    rows = cards[0].reliability
    assert differ(reliability_curves(rows, attribute="sex"), reliability_curves(rows, attribute="sex", least=10**6))
    assert pixels(reliability_curves(rows.clear(), attribute="sex")).size > 0
