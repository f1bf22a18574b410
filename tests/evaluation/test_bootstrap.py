from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix, roc_auc_score

from cxr_assets.evaluation import bootstrap
from cxr_assets.evaluation.bootstrap import (
    clustered_auroc,
    confusion,
    interval,
    learner_draws,
    patient_counts,
    patient_weights,
    permuted_gaps,
    rates,
    resample_counts,
    weighted_auroc,
)
from cxr_assets.evaluation.cells import groupings
from tests.evaluation.simulate import laid_out, simulated

RNG = np.random.default_rng(0)


def tied_sample(n: int = 120, patients: int = 40) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    truth = RNG.integers(0, 2, n).astype(float)
    scores = np.round(RNG.random(n) * 0.6 + 0.3 * truth, 1)
    return scores, truth, RNG.integers(0, patients, n)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 1), st.integers(0, 4)), min_size=4, max_size=30))
def test_weighted_auroc_is_that_of_scikit_learn_with_ties_and_weights(rows: list[tuple[int, int, int]]) -> None:
    scores, truth, weights = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    found = weighted_auroc(scores, truth, weights[None])[0]
    if weights[truth == 1].sum() == 0 or weights[truth == 0].sum() == 0:
        assert np.isnan(found)
    else:
        assert found == pytest.approx(roc_auc_score(truth, scores, sample_weight=weights), abs=1e-12)


@pytest.mark.parametrize("largest_cell", [6000, 1], ids=["pairs of patients", "sorted"])
def test_both_ways_to_an_auroc_agree_with_scikit_learn(monkeypatch: pytest.MonkeyPatch, largest_cell: int) -> None:
    monkeypatch.setattr(bootstrap, "_LARGEST_CELL", largest_cell)
    scores, truth, patient = tied_sample()
    weights = patient_weights(40, 30, seed=1)
    found = clustered_auroc(scores, truth, patient, weights)
    expected = [roc_auc_score(truth, scores, sample_weight=w[patient]) for w in weights]
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_without_ties_the_auroc_counts_pairs() -> None:
    scores, truth = np.array([0.1, 0.2, 0.3, 0.4]), np.array([0, 1, 0, 1])
    assert weighted_auroc(scores, truth, np.ones((1, 4))) == pytest.approx([0.75])
    assert weighted_auroc(np.full(4, 0.5), truth, np.ones((1, 4))) == pytest.approx([0.5])
    assert weighted_auroc(1 - scores, truth, np.ones((1, 4))) == pytest.approx([0.25])


def test_a_class_without_weight_leaves_the_auroc_undefined() -> None:
    scores, truth, patient = np.array([0.1, 0.9, 0.4]), np.array([0.0, 1.0, 0.0]), np.array([0, 1, 2])
    weights = np.array([[1.0, 1.0, 1.0], [2.0, 0.0, 1.0]])
    for found in (weighted_auroc(scores, truth, weights), clustered_auroc(scores, truth, patient, weights)):
        assert found[0] == 1.0 and np.isnan(found[1])


def test_rates_are_those_of_scikit_learn() -> None:
    scores, truth, _ = tied_sample()
    flagged = scores >= 0.5
    tn, fp, fn, tp = confusion_matrix(truth, flagged).ravel()
    found = rates(np.array([tp, fn, fp, tn], dtype=float))
    assert found["tpr"] == tp / (tp + fn) and found["fpr"] == fp / (fp + tn)
    assert found["ppv"] == tp / (tp + fp) and found["npv"] == tn / (tn + fn)
    assert found["flag_rate"] == flagged.mean()


def test_a_rate_without_a_denominator_is_no_number() -> None:
    found = rates(np.array([[0.0, 0.0, 3.0, 5.0], [0.0, 0.0, 0.0, 0.0]]))
    assert np.isnan(found["tpr"]).all() and found["fpr"][0] == 0.375 and np.isnan(found["fpr"][1])
    assert found["ppv"][0] == 0.0 and np.isnan(found["flag_rate"][1])


def test_counts_of_a_replicate_are_those_of_the_films_it_draws() -> None:
    films = laid_out(*simulated(patients=60, films=2))
    thresholds = np.full((2, 3), 0.5)
    indicators = confusion(films, thresholds)
    assert (indicators.sum(axis=-1) == 1).all()
    weights = patient_weights(films.patients, 5, seed=3)
    race = next(g for g in groupings(films, ["race"]) if g.attribute == "race")
    counts = resample_counts(weights, patient_counts(indicators, films, race))
    for replicate, w in enumerate(weights):
        for group in range(3):
            inside = race.member == group
            expected = (indicators[:, inside] * w[films.patient[inside]][None, :, None, None]).sum(axis=1)
            np.testing.assert_allclose(counts[replicate, group], expected)


def test_unknown_truth_scores_and_thresholds_count_nowhere() -> None:
    films = laid_out(*simulated(patients=20))
    films.truth[0, 0], films.scores[0, 1, 1] = np.nan, np.nan
    indicators = confusion(films, np.array([[0.5, 0.5, np.nan], [0.5, 0.5, 0.5]]))
    assert indicators[:, 0, 0].sum() == 0 and indicators[0, 1, 1].sum() == 0 and indicators[1, 1, 1].sum() == 1
    assert indicators[0, :, 2].sum() == 0 and indicators[1, :, 2].sum() == 20


def test_patients_are_drawn_whole_and_the_sample_comes_first() -> None:
    weights = patient_weights(50, 400, seed=0)
    assert (weights[0] == 1).all() and (weights.sum(axis=1) == 50).all()
    assert weights[1:].mean(axis=0) == pytest.approx(np.ones(50), abs=0.25)
    assert np.array_equal(weights, patient_weights(50, 400, seed=0))
    assert not np.array_equal(weights, patient_weights(50, 400, seed=1))
    draws = learner_draws(3, 100, seed=0)
    np.testing.assert_allclose(draws.sum(axis=1), 1.0)
    np.testing.assert_allclose(draws[0], 1 / 3)
    assert (learner_draws(1, 10, seed=0) == 1).all()


def test_an_interval_is_the_middle_of_the_replicates_or_nothing() -> None:
    assert interval(np.arange(1001) / 1000) == pytest.approx((0.025, 0.975))
    assert interval(np.array([1.0] * 90 + [np.nan] * 10)) == (1.0, 1.0)
    assert interval(np.array([1.0] * 89 + [np.nan] * 11)) == (None, None)
    assert interval(np.array([])) == (None, None)


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    rng, covered = np.random.default_rng(5), 0
    for trial in range(200):
        hits = rng.random(80) < 0.8
        counts = np.stack([hits, ~hits], axis=1).astype(float)
        drawn = resample_counts(patient_weights(80, 200, seed=trial), counts)
        low, high = interval((drawn[:, 0] / drawn.sum(axis=1))[1:])
        covered += low is not None and high is not None and low <= 0.8 <= high
    assert 0.88 <= covered / 200 <= 0.98


def test_shuffled_groups_show_the_gap_that_chance_alone_gives() -> None:
    """Five groups of equal TPR 0.80 with 50 positives each: mean gap 0.130 (simulated)."""
    hits = np.random.default_rng(1).random(250) < 0.8
    counts = np.zeros((250, 1, 4))
    counts[:, 0, 0], counts[:, 0, 1] = hits, ~hits
    groups = np.arange(250) % 5
    gaps = permuted_gaps(
        counts,
        groups,
        5,
        np.zeros(250, dtype=int),
        metric="tpr",
        permutations=1000,
        seed=0,
        eligible=np.ones(5, dtype=bool),
    )
    assert gaps.mean() == pytest.approx(0.130, abs=0.015)


def test_labels_are_shuffled_within_strata_only() -> None:
    counts = np.zeros((4, 1, 4))
    counts[:2, 0, 0], counts[2:, 0, 1] = 1, 1
    same = permuted_gaps(
        counts,
        np.array([0, 0, 1, 1]),
        2,
        np.array([0, 0, 1, 1]),
        metric="tpr",
        permutations=20,
        seed=0,
        eligible=np.ones(2, dtype=bool),
    )
    assert (same == 1.0).all(), "each stratum holds one group, so nothing can move"
