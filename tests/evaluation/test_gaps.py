from __future__ import annotations

import fairlearn.metrics as fairlearn
import numpy as np
import pytest
from fairlearn.metrics import MetricFrame
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cxr_assets.evaluation import gaps
from cxr_assets.evaluation.metrics import COUNT_METRICS, confusion_kind, flag_rate, fpr, tpr

rows = st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(0, 3)), min_size=4, max_size=60)
"""Flagged, present, group."""


def counts_of(flagged: np.ndarray, present: np.ndarray, member: np.ndarray) -> np.ndarray:
    """Counts ``(1, 4, 4)``: one replicate, four groups."""
    slot = member * 4 + confusion_kind(flagged, present)
    return np.bincount(slot, minlength=16).reshape(1, 4, 4).astype(float)


def both_classes(counts: np.ndarray) -> np.ndarray:
    """Groups that have positives and negatives, bool ``(4,)``."""
    return np.isfinite(tpr(counts)[0]) & np.isfinite(fpr(counts)[0])


@settings(max_examples=25, deadline=None)
@given(rows)
def test_gaps_of_groups_with_both_classes_are_those_of_fairlearn(films: list[tuple[bool, bool, int]]) -> None:
    flagged, present, member = (np.array(c) for c in zip(*films, strict=True))
    shown = both_classes(counts_of(flagged, present, member))
    assume(shown.sum() >= 2)
    inside = shown[member]
    flagged, present, member = flagged[inside], present[inside], member[inside]
    counts = counts_of(flagged, present, member)
    given = {"y_true": present.astype(int), "y_pred": flagged.astype(int), "sensitive_features": member}
    odds = gaps.equalized_odds(tpr(counts), fpr(counts), shown)
    expected = {
        "equal opportunity": (gaps.max_min(tpr(counts), shown), fairlearn.equal_opportunity_difference(**given)),
        "parity": (gaps.max_min(flag_rate(counts), shown), fairlearn.demographic_parity_difference(**given)),
        "odds": (odds["equalized_odds_max"], fairlearn.equalized_odds_difference(agg="worst_case", **given)),
        "mean odds": (odds["equalized_odds_mean"], fairlearn.equalized_odds_difference(agg="mean", **given)),
        "fpr": (
            gaps.max_min(fpr(counts), shown),
            MetricFrame(metrics=fairlearn.false_positive_rate, **given).difference(method="between_groups"),
        ),
    }
    for name, (found, value) in expected.items():
        assert found[0] == pytest.approx(value, abs=1e-9), name


def test_a_group_without_positives_leaves_the_gap_of_the_others_where_fairlearn_jumps_to_one() -> None:
    present = np.array([True, True, True, True, False, False])
    member = np.array([0, 0, 1, 1, 2, 2])
    flagged = np.ones(6, dtype=bool)
    theirs = fairlearn.equal_opportunity_difference(present.astype(int), flagged.astype(int), sensitive_features=member)
    values = tpr(counts_of(flagged, present, member))
    shown = gaps.usable(values, np.ones(4, dtype=bool))
    assert theirs == 1.0 and shown.tolist() == [True, True, False, False]
    assert gaps.max_min(values, shown)[0] == 0.0


def test_groups_that_are_not_eligible_enter_no_gap() -> None:
    values = np.array([[0.1, 0.5, 0.9, np.nan]])
    assert gaps.max_min(values, gaps.usable(values, np.array([False, True, True, True])))[0] == pytest.approx(0.4)


def test_an_undefined_replicate_makes_that_gap_undefined_and_no_other() -> None:
    values = np.array([[0.5, 0.8], [np.nan, 0.8], [0.6, 0.8]])
    found = gaps.max_min(values, gaps.usable(values, np.ones(2, dtype=bool)))
    np.testing.assert_allclose(found, [0.3, np.nan, 0.2])


@pytest.mark.parametrize("metric", [*COUNT_METRICS, "auroc", "brier", "ece_debiased", "underdiagnosis"])
def test_the_worst_group_is_the_lowest_or_the_highest_as_the_metric_has_it(metric: str) -> None:
    values = np.array([[0.4, 0.2, 0.9, 0.99, np.nan]])
    shown = np.array([True, True, True, False, False])
    high_is_worse = metric in ("fpr", "fnr", "brier", "ece_debiased", "underdiagnosis")
    assert gaps.ends(values, shown, metric) == ((2, 1) if high_is_worse else (1, 2))


def test_scaled_auroc_and_mean_deviation_on_known_values() -> None:
    values, overall = np.array([[0.8, 0.9, 0.7]]), np.array([0.82])
    everyone = np.ones(3, dtype=bool)
    assert gaps.deviation(values, overall, everyone)[0] == pytest.approx((0.02 + 0.08 + 0.12) / 3)
    assert gaps.equity_scaled(values, overall, everyone)[0] == pytest.approx(0.82 / 1.22)
    two = np.array([True, True, False])
    assert gaps.equity_scaled(values, overall, two)[0] == pytest.approx(0.82 / 1.10)


@given(st.integers(2, 6), st.integers(1, 3))
def test_repeating_groups_moves_the_scaled_auroc_but_not_the_mean_deviation(groups: int, times: int) -> None:
    values = np.random.default_rng(groups).uniform(0.6, 0.9, (1, groups))
    many, overall = np.tile(values, times), np.array([0.75])
    once, often = np.ones(groups, dtype=bool), np.ones(groups * times, dtype=bool)
    assert gaps.deviation(many, overall, often)[0] == pytest.approx(gaps.deviation(values, overall, once)[0])
    assert gaps.equity_scaled(many, overall, often)[0] <= gaps.equity_scaled(values, overall, once)[0] + 1e-12


def test_distance_to_the_median_is_signed_and_of_each_replicate() -> None:
    values = np.array([[0.5, 0.7, 0.9, 0.1], [0.6, 0.6, 0.3, 0.1]])
    found = gaps.to_median(values, np.array([True, True, True, False]))
    np.testing.assert_allclose(found, [[-0.2, 0.0, 0.2], [0.0, 0.0, -0.3]])


def drawn(rates: np.ndarray, positives: np.ndarray, seed: int, replicates: int = 400) -> np.ndarray:
    """Rates of a sample with these true rates, and of its replicates."""
    rng = np.random.default_rng(seed)
    own = rng.binomial(positives, rates) / positives
    return np.vstack([own, rng.binomial(positives, own, (replicates, len(rates))) / positives])


def test_shrinking_is_the_formula_on_known_values() -> None:
    """Variances .01 and .03 over the replicates, rates .2 apart: tau² = .02 - .02 and nothing is left."""
    own = np.array([0.6, 0.8])
    spread = np.sqrt(np.array([0.01, 0.03]) / 2)
    values = np.vstack([own, own + spread, own - spread])  # two replicates: their variance is 2 spread²
    np.testing.assert_allclose(gaps.shrunken(values)[0], [0.7, 0.7])
    wide = values + np.array([-0.1, 0.1])  # variance of the rates .08, tau² .06
    expected = 0.7 + np.array([0.06 / 0.07, 0.06 / 0.09]) * np.array([-0.2, 0.2])
    np.testing.assert_allclose(gaps.shrunken(wide)[0], expected)


def test_shrinking_takes_most_of_the_gap_of_equal_groups_and_little_of_a_true_one() -> None:
    positives = np.array([50, 60, 80, 100, 400])
    left = {}
    for name, rates in (("equal", np.full(5, 0.8)), ("unequal", np.array([0.5, 0.6, 0.7, 0.8, 0.9]))):
        raw, shrunk = 0.0, 0.0
        for seed in range(40):
            values = drawn(rates, positives, seed)
            raw += np.ptp(values[0])
            shrunk += np.ptp(gaps.shrunken(values)[0])
        left[name] = shrunk / raw
    assert left["equal"] < 0.45 and left["unequal"] > 0.85


def test_shrunken_rates_lie_between_each_rate_and_the_mean() -> None:
    values = drawn(np.array([0.6, 0.7, 0.9]), np.array([50, 50, 50]), seed=0)
    found, mean = gaps.shrunken(values), values.mean(axis=1, keepdims=True)
    assert (np.abs(found - mean) <= np.abs(values - mean) + 1e-12).all()
    assert ((found - mean) * (values - mean) >= -1e-12).all()


def test_groups_without_spread_keep_their_rates() -> None:
    values = np.tile([0.5, 0.9], (5, 1))
    np.testing.assert_array_equal(gaps.shrunken(values), values)
    same = np.tile([0.7, 0.7], (5, 1))
    np.testing.assert_allclose(gaps.shrunken(same), same)
