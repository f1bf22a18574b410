from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import bootstrap
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from cxr_assets.evaluation import kernels
from cxr_assets.evaluation.calibration import equal_mass_bins, expected_calibration_error
from cxr_assets.evaluation.resampling import (
    Draws,
    bca_interval,
    interval,
    learner_draws,
    patient_draws,
    percentile_interval,
)

Film = tuple[int, int, int, int]
films = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 1), st.integers(0, 4), st.integers(-1, 2)), min_size=1, max_size=30
)
"""Score in fifths, truth, patient, group: few values, so that ties, lone classes and empty groups are common."""


def columns(rows: list[Film]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    score, truth, patient, member = (np.array(c) for c in zip(*rows, strict=True))
    return score / 5, truth, patient, member


def tied_sample(seed: int = 0, n: int = 150, patients: int = 40) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores on a coarse grid, truth and patient."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 2, n)
    return np.round(rng.random(n) * 0.6 + 0.3 * truth, 1), truth, rng.integers(0, patients, n)


def taken(draws: Draws, patient: np.ndarray, replicate: int) -> np.ndarray:
    """Rows of the films that a replicate draws, each as often as it is drawn."""
    return np.repeat(np.arange(len(patient)), draws.by_patient[patient, replicate])


def oracle(truth: np.ndarray, scores: np.ndarray, weights: np.ndarray | None = None) -> tuple[float, float]:
    """AUROC and average precision of scikit-learn; NaN where a class is missing or weighs nothing."""
    weights = np.ones(len(truth)) if weights is None else weights
    pos, neg = weights[truth == 1].sum(), weights[truth == 0].sum()
    auroc = roc_auc_score(truth, scores, sample_weight=weights) if pos and neg else np.nan
    return auroc, average_precision_score(truth, scores, sample_weight=weights) if pos else np.nan


@settings(max_examples=80, deadline=None)
@given(films)
def test_auroc_and_average_precision_of_the_sample_are_those_of_scikit_learn(rows: list[Film]) -> None:
    scores, truth, patient, member = columns(rows)
    found = Draws.make(5, 1, 0, seed=0).ranks(patient, scores, truth, member, 3)
    for group in range(3):
        own = member == group
        expected = oracle(truth[own], scores[own])
        np.testing.assert_allclose([f[0, group] for f in found], expected, rtol=0, atol=1e-12)


@settings(max_examples=80, deadline=None)
@given(films, st.integers(0, 2**31))
def test_ranks_of_a_replicate_are_those_of_the_films_it_draws(rows: list[Film], seed: int) -> None:
    scores, truth, patient, member = columns(rows)
    draws = Draws.make(5, 1, 3, seed)
    found = draws.ranks(patient, scores, truth, member, 3)
    for replicate in range(4):
        drawn = taken(draws, patient, replicate)
        for group in range(3):
            own = drawn[member[drawn] == group]
            expected = oracle(truth[own], scores[own])
            np.testing.assert_allclose([f[replicate, group] for f in found], expected, rtol=0, atol=1e-12)


@settings(max_examples=80, deadline=None)
@given(films, st.lists(st.sampled_from([0.0, 0.5, 1.0, 3.0]), min_size=30, max_size=30))
def test_weights_of_films_enter_ranks_as_in_scikit_learn(rows: list[Film], weights: list[float]) -> None:
    scores, truth, patient, _ = columns(rows)
    value = np.array(weights[: len(rows)])
    found = Draws.make(5, 1, 0, seed=0).ranks(patient, scores, truth, np.zeros_like(truth), 1, value)
    np.testing.assert_allclose([f[0, 0] for f in found], oracle(truth, scores, value), rtol=0, atol=1e-12)


def test_without_ties_the_auroc_counts_pairs() -> None:
    scores, truth, alone = np.array([0.1, 0.2, 0.3, 0.4]), np.array([0, 1, 0, 1]), np.zeros(4, dtype=int)
    draws = Draws.make(4, 1, 0, seed=0)

    def auroc(given: np.ndarray) -> float:
        return float(draws.ranks(np.arange(4), given, truth, alone, 1)[0][0, 0])

    assert (auroc(scores), auroc(np.full(4, 0.5)), auroc(1 - scores)) == (0.75, 0.5, 0.25)


def test_a_class_that_is_not_drawn_leaves_the_auroc_undefined() -> None:
    draws = Draws(np.array([[1, 2, 0], [1, 0, 2], [1, 1, 1]], dtype=np.uint8), np.ones((3, 1)))
    auroc, precision = draws.ranks(
        np.arange(3), np.array([0.1, 0.9, 0.4]), np.array([0, 1, 0]), np.zeros(3, dtype=int), 1
    )
    assert auroc[0, 0] == 1.0 and np.isnan(auroc[1, 0]) and auroc[2, 0] == 1.0
    assert precision[0, 0] == 1.0 and np.isnan(precision[1, 0]) and precision[2, 0] == 1.0


@settings(max_examples=60, deadline=None)
@given(films, st.integers(0, 2**31))
def test_sums_of_a_replicate_are_those_of_the_films_it_draws(rows: list[Film], seed: int) -> None:
    scores, _, patient, member = columns(rows)
    draws = Draws.make(5, 1, 3, seed)
    counts, sums = (draws.sums(patient, member + 1, 4, v) for v in (None, scores))
    for replicate in range(4):
        drawn = taken(draws, patient, replicate)
        expected = [np.bincount(member[drawn] + 1, w, minlength=4) for w in (None, scores[drawn])]
        np.testing.assert_array_equal(counts[replicate], expected[0])
        np.testing.assert_allclose(sums[replicate], expected[1], rtol=0, atol=1e-12)


def test_every_figure_of_a_replicate_is_that_of_the_films_it_draws() -> None:
    scores, truth, patient = tied_sample()
    draws = Draws.make(40, 1, 20, seed=4)
    flagged, bins = scores >= 0.5, equal_mass_bins(scores, 5)
    tp, pos = (draws.sums(patient, np.zeros_like(patient), 1, v)[:, 0] for v in (flagged * truth, truth))
    films = draws.sums(patient, np.zeros_like(patient), 1)[:, 0]
    squares = draws.sums(patient, np.zeros_like(patient), 1, (scores - truth) ** 2)[:, 0]
    errors = np.abs(draws.sums(patient, bins, 5, scores - truth)).sum(axis=1)
    for replicate in range(21):
        rows = taken(draws, patient, replicate)
        assert tp[replicate] / pos[replicate] == pytest.approx(flagged[rows][truth[rows] == 1].mean(), abs=1e-12)
        brier = brier_score_loss(truth[rows], scores[rows])
        assert squares[replicate] / films[replicate] == pytest.approx(brier, abs=1e-12)
        ece = expected_calibration_error(scores[rows], truth[rows], bins[rows])
        assert errors[replicate] / films[replicate] == pytest.approx(ece, abs=1e-12)


def test_more_replicates_than_a_block_and_threads_leave_every_figure_where_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scores, truth, patient = tied_sample()
    draws, alone = Draws.make(40, 1, 150, seed=4), np.zeros_like(patient)
    threads = draws.ranks(patient, scores, truth, alone, 1), draws.sums(patient, truth, 2)
    monkeypatch.setattr(kernels, "over_cores", lambda total, block, work, each: work(0, total))
    serial = draws.ranks(patient, scores, truth, alone, 1), draws.sums(patient, truth, 2)
    np.testing.assert_array_equal(np.stack(threads[0]), np.stack(serial[0]))
    np.testing.assert_array_equal(threads[1], serial[1])
    for replicate in (63, 64, 65, 128, 150):
        rows = taken(draws, patient, replicate)
        assert threads[0][0][replicate, 0] == pytest.approx(oracle(truth[rows], scores[rows])[0], abs=1e-12)


def test_two_learners_are_averaged_as_they_are_drawn() -> None:
    draws = Draws.make(40, 2, 50, seed=1)
    each = [draws.ranks(p, s, t, np.zeros_like(p), 1)[0] for s, t, p in (tied_sample(0), tied_sample(1))]
    found = draws.mean(np.stack(each))
    assert found[0, 0] == pytest.approx((each[0][0, 0] + each[1][0, 0]) / 2)
    drawn = draws.learners
    assert set(drawn[1:, 0]) == {0.0, 0.5, 1.0}, "some replicates hold one learner twice"
    expected = drawn[:, 0] * each[0][:, 0] + drawn[:, 1] * each[1][:, 0]
    np.testing.assert_allclose(found[:, 0], expected, rtol=0, atol=1e-12)


def test_a_learner_that_is_not_drawn_does_not_make_a_replicate_undefined() -> None:
    draws = Draws(np.ones((1, 3), dtype=np.uint8), np.array([[0.5, 0.5], [1.0, 0.0], [0.0, 1.0]]))
    found = draws.mean(np.array([[0.4, 0.6, 0.8], [0.2, np.nan, np.nan]]))
    np.testing.assert_array_equal(found, [0.4 * 0.5 + 0.2 * 0.5, 0.6, np.nan])


def test_patients_are_drawn_whole_and_the_sample_comes_first() -> None:
    draws = patient_draws(50, 400, seed=0)
    assert (draws[:, 0] == 1).all() and (draws.sum(axis=0) == 50).all()
    assert draws[:, 1:].mean(axis=1) == pytest.approx(np.ones(50), abs=0.25)
    assert draws[:, 1:].var() == pytest.approx(1 - 1 / 50, abs=0.03), "multinomial, each patient with chance 1/50"
    assert not np.array_equal(draws, patient_draws(50, 400, seed=1))


def test_a_replicate_is_the_same_however_many_follow_it() -> None:
    np.testing.assert_array_equal(patient_draws(50, 400, seed=0)[:, :71], patient_draws(50, 70, seed=0))


def test_training_seeds_are_drawn_with_weights_that_sum_to_one() -> None:
    draws = learner_draws(3, 100, seed=0)
    np.testing.assert_allclose(draws.sum(axis=1), 1.0)
    np.testing.assert_allclose(draws[0], 1 / 3)
    assert (learner_draws(1, 10, seed=0) == 1).all()


def test_an_interval_is_the_middle_of_the_replicates_or_nothing() -> None:
    assert interval(np.arange(1001) / 1000) == pytest.approx((0.025, 0.975))
    assert interval(np.array([1.0] * 90 + [np.nan] * 10)) == (1.0, 1.0)
    assert interval(np.array([1.0] * 89 + [np.nan] * 11)) == (None, None)
    assert interval(np.array([])) == (None, None)


def test_intervals_of_many_columns_are_those_of_each_alone() -> None:
    values = np.random.default_rng(0).normal(size=(200, 4))
    values[:10, 1], values[:30, 2], values[:, 3] = np.nan, np.nan, np.nan
    low, high = percentile_interval(values)
    for column in range(4):
        alone = interval(values[:, column])
        ends = None if np.isnan(low[column]) else low[column], None if np.isnan(high[column]) else high[column]
        assert ends == alone
    assert np.isfinite(low).tolist() == [True, True, False, False]
    assert np.isnan(percentile_interval(np.empty((0, 2)))[0]).all()


def resampled_means(x: np.ndarray, replicates: int = 2000) -> np.ndarray:
    draws = Draws.make(len(x), 1, replicates, seed=3)
    return draws.sums(np.arange(len(x)), np.zeros(len(x), dtype=int), 1, x)[:, 0] / len(x)


def test_bca_interval_of_a_mean_is_that_of_scipy_on_the_same_replicates() -> None:
    x = np.random.default_rng(0).exponential(size=60)
    values = resampled_means(x)
    given = SimpleNamespace(bootstrap_distribution=values[1:])
    scipys = bootstrap((x,), np.mean, method="BCa", n_resamples=0, bootstrap_result=given)  # type: ignore[arg-type]
    found = bca_interval(values, (x - x.mean()) / len(x))
    assert found == pytest.approx(tuple(scipys.confidence_interval), abs=1e-9)
    percentile = interval(values[1:])
    assert found[1] - percentile[1] > 0.01, "the skew of the sample moves it"  # type: ignore[operator]


def test_bca_interval_of_a_ratio_is_that_of_scipy_up_to_chance() -> None:
    """Positives found over positives there, of 80 patients with one to five of them."""
    rng = np.random.default_rng(1)
    there = rng.integers(1, 6, 80).astype(float)
    hits = rng.binomial(there.astype(int), 0.9).astype(float)
    draws, zero = Draws.make(80, 1, 6000, seed=0), np.zeros(80, dtype=int)
    values = draws.sums(np.arange(80), zero, 1, hits)[:, 0] / draws.sums(np.arange(80), zero, 1, there)[:, 0]
    found = bca_interval(values, (hits - values[0] * there) / there.sum())

    def ratio(a: np.ndarray, b: np.ndarray, axis: int = -1) -> np.ndarray:
        return a.sum(axis=axis) / b.sum(axis=axis)

    scipys = bootstrap((hits, there), ratio, paired=True, method="BCa", n_resamples=6000, rng=2, vectorized=True)
    assert found == pytest.approx(tuple(scipys.confidence_interval), abs=0.004)


@pytest.mark.parametrize("influence", [np.zeros(5), np.array([1.0, 0, 0, 0, 0]), np.empty(0)])
@pytest.mark.parametrize("own", [0.0, 0.5, 1.0])
def test_bca_interval_stays_within_the_replicates_however_odd_they_are(own: float, influence: np.ndarray) -> None:
    for replicates in (np.full(200, 0.5), np.array([0.0, 1.0] * 100), np.append(np.full(199, 0.5), np.nan)):
        low, high = bca_interval(np.append(own, replicates), influence)
        assert low is not None and high is not None
        assert np.nanmin(replicates) <= low <= high <= np.nanmax(replicates)


def test_bca_interval_is_nothing_without_a_figure_or_with_too_few_replicates() -> None:
    nothing = np.zeros(3)
    assert bca_interval(np.append(np.nan, np.ones(50)), nothing) == (None, None)
    assert bca_interval(np.append(1.0, np.full(50, np.nan)), nothing) == (None, None)
    assert bca_interval(np.append([1.0], [1.0] * 89 + [np.nan] * 11), nothing) == (None, None)
    assert bca_interval(np.array([1.0]), nothing) == (None, None)


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    rng, covered = np.random.default_rng(5), 0
    for trial in range(120):
        hits = (rng.random(80) < 0.8).astype(float)
        found = Draws.make(80, 1, 200, seed=trial).sums(np.arange(80), np.zeros(80, dtype=int), 1, hits)[:, 0] / 80
        low, high = interval(found[1:])
        covered += low is not None and high is not None and low <= 0.8 <= high
    assert 0.88 <= covered / 120 <= 0.99
