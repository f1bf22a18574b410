from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from cxr_assets.errors import InputError
from cxr_assets.evaluation import calibration
from cxr_assets.evaluation.calibration import (
    GapAtEqualN,
    brier,
    brier_parts,
    calibration_gap_at_equal_n,
    calibration_line,
    debiased_calibration_error,
    equal_mass_bins,
    equal_width_bins,
    expected_calibration_error,
    null_calibration_error,
    reliability_table,
)
from cxr_assets.evaluation.resampling import patient_draws

tied_scores = st.lists(st.integers(0, 12), min_size=1, max_size=60).map(lambda x: np.array(x) / 12)


def calibrated(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Scores of a finding of one film in eleven, and truth that they are right about."""
    rng = np.random.default_rng(seed)
    scores = rng.beta(1, 10, n)
    return scores, (rng.random(n) < scores).astype(float)


def of_patients(seed: int, patients: int, films: int = 4) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores too extreme, truth and patient; truth of a patient's films goes together."""
    rng = np.random.default_rng(seed)
    patient = np.arange(patients).repeat(films)
    logits = rng.normal(-0.5, 1, patients)[patient] + rng.normal(0, 0.5, len(patient))
    person = rng.normal(0, 1, patients)[patient]
    truth = (rng.random(len(patient)) < 1 / (1 + np.exp(-(0.6 * logits + person)))).astype(float)
    return 1 / (1 + np.exp(-logits)), truth, patient


def test_equal_mass_bins_hold_as_many_films_each() -> None:
    scores = np.random.default_rng(0).random(1500)
    found = equal_mass_bins(scores)
    assert np.bincount(found).tolist() == [100] * 15
    assert (np.diff(found[np.argsort(scores)]) >= 0).all()


@given(tied_scores, st.integers(1, 15))
def test_equal_mass_bins_never_split_ties_and_leave_no_bin_empty(scores: np.ndarray, bins: int) -> None:
    found = equal_mass_bins(scores, bins)
    assert all(len(set(found[scores == s])) == 1 for s in scores)
    assert np.bincount(found).min() > 0
    assert found.max() < bins
    assert (np.diff(found[np.argsort(scores)]) >= 0).all()


def test_equal_width_bins_include_both_ends() -> None:
    assert equal_width_bins(np.array([0.0, 0.05, 0.1, 0.95, 1.0])).tolist() == [0, 0, 1, 9, 9]


def test_calibration_error_is_the_weighted_mean_distance_of_bins() -> None:
    scores, truth, bins = np.array([0.2, 0.4, 0.9]), np.array([0.0, 1, 1]), np.array([0, 0, 3])
    assert expected_calibration_error(scores, truth, bins) == pytest.approx((0.4 + 0.1) / 3)
    weighted = expected_calibration_error(scores, truth, bins, np.array([2.0, 1, 1]))
    assert weighted == pytest.approx((abs(0.4 - 0.6) + 0.1) / 4)
    assert np.isnan(expected_calibration_error(scores[:0], truth[:0], bins[:0]))


def test_film_counted_twice_weighs_as_two() -> None:
    scores, truth = calibrated(200)
    weights = np.random.default_rng(1).integers(0, 3, 200)
    bins = equal_mass_bins(scores)
    again = [np.repeat(a, weights) for a in (scores, truth, bins)]
    assert expected_calibration_error(scores, truth, bins, weights) == pytest.approx(expected_calibration_error(*again))
    assert brier(scores, truth, weights) == pytest.approx(brier(*again[:2]))


@pytest.mark.parametrize(("n", "error"), [(100, 0.076), (500, 0.035), (1000, 0.025), (5000, 0.011)])
def test_calibrated_model_shows_the_known_raw_error_and_no_debiased_one(n: int, error: float) -> None:
    raw, debiased = [], []
    for seed in range(60):
        scores, truth = calibrated(n, seed)
        bins = equal_mass_bins(scores)
        raw.append(expected_calibration_error(scores, truth, bins))
        debiased.append(debiased_calibration_error(scores, truth, bins))
    assert np.mean(raw) == pytest.approx(error, rel=0.08)
    assert abs(np.mean(debiased)) < 0.08 * error
    assert min(debiased) < 0


def test_debiased_error_of_a_miscalibrated_model_is_its_true_error() -> None:
    rng = np.random.default_rng(2)
    scores = rng.uniform(0.2, 0.8, 20_000)
    truth = (rng.random(20_000) < scores - 0.1).astype(float)
    assert debiased_calibration_error(scores, truth, equal_mass_bins(scores)) == pytest.approx(0.1, abs=0.02)


@pytest.mark.parametrize("n", [60, 300, 5000])
def test_null_error_is_that_of_truth_drawn_from_the_scores(n: int) -> None:
    scores, _ = calibrated(n)
    bins = equal_mass_bins(scores)
    rng = np.random.default_rng(1)
    drawn = [expected_calibration_error(scores, (rng.random(n) < scores).astype(float), bins) for _ in range(2000)]
    assert null_calibration_error(scores, bins) == pytest.approx(np.mean(drawn), rel=0.03)
    assert np.isnan(null_calibration_error(scores[:0], bins[:0]))
    assert null_calibration_error(np.array([0.0, 0.0, 1.0]), np.array([0, 0, 4])) == 0.0, "nothing varies"


@settings(max_examples=50)
@given(tied_scores, st.integers(0, 1000))
def test_brier_score_is_the_sum_of_its_parts(scores: np.ndarray, seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth, weights = rng.integers(0, 2, len(scores)).astype(float), rng.random(len(scores))
    for bins in (equal_mass_bins(scores, 4), equal_width_bins(scores)):
        parts = brier_parts(scores, truth, bins, weights)
        assert parts.brier == pytest.approx(brier(scores, truth, weights))
        assert parts.brier == pytest.approx(parts.calibration + parts.refinement)


def test_brier_parts_are_those_of_murphy_where_a_bin_has_one_score() -> None:
    rng = np.random.default_rng(3)
    bins = rng.integers(0, 5, 400)
    truth = (rng.random(400) < 0.1 + 0.15 * bins).astype(float)
    share, n = np.bincount(bins, weights=truth) / np.bincount(bins), np.bincount(bins) / 400
    scores = np.array([0.1, 0.2, 0.5, 0.6, 0.9])
    parts = brier_parts(scores[bins], truth, bins)
    assert parts.calibration == pytest.approx((n * (scores - share) ** 2).sum())
    assert parts.refinement == pytest.approx((n * share * (1 - share)).sum())


def test_no_films_have_no_brier_score() -> None:
    none = np.empty(0)
    parts = brier_parts(none, none, np.empty(0, dtype=int))
    assert np.isnan([brier(none, none), parts.brier, parts.calibration, parts.refinement]).all()


def test_calibration_line_is_the_logistic_regression_of_scikit_learn() -> None:
    scores, truth, _ = of_patients(0, 300)
    logits = np.log(scores / (1 - scores))
    model = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(logits[:, None], truth)
    found = calibration_line(scores, truth)
    assert found.slope == pytest.approx(model.coef_[0, 0], abs=1e-5)
    assert found.intercept == pytest.approx(model.intercept_[0], abs=1e-5)
    assert found.null_reason is None


def test_in_the_large_makes_the_mean_score_the_prevalence() -> None:
    scores, truth, _ = of_patients(1, 100)
    found = calibration_line(scores, truth)
    logits = np.log(scores / (1 - scores)) + found.in_the_large
    assert (1 / (1 + np.exp(-logits))).mean() == pytest.approx(truth.mean(), abs=1e-9)


def test_line_of_a_calibrated_model_is_slope_one_through_zero() -> None:
    scores, truth = calibrated(200_000)
    found = calibration_line(scores, truth)
    assert abs(found.slope - 1) < 3 * found.slope_se < 0.1
    assert abs(found.intercept) < 3 * found.intercept_se < 0.1
    assert abs(found.in_the_large) < 3 * found.in_the_large_se < 0.1


def test_errors_of_the_line_are_those_of_a_patient_bootstrap() -> None:
    scores, truth, patient = of_patients(2, 300)
    found, films = calibration_line(scores, truth, patient), calibration_line(scores, truth)
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(400):
        rows = (4 * rng.integers(0, 300, 300)[:, None] + np.arange(4)).ravel()
        line = calibration_line(scores[rows], truth[rows])
        drawn.append([line.slope, line.intercept, line.in_the_large])
    errors = [found.slope_se, found.intercept_se, found.in_the_large_se]
    np.testing.assert_allclose(errors, np.std(drawn, axis=0), rtol=0.12)
    assert found.in_the_large_se > 1.1 * films.in_the_large_se


def test_copies_of_a_patients_films_do_not_tighten_the_line() -> None:
    scores, truth, patient = of_patients(3, 100)
    once = calibration_line(scores, truth, patient)
    twice = calibration_line(np.tile(scores, 2), np.tile(truth, 2), np.tile(patient, 2))
    assert twice.slope_se == pytest.approx(once.slope_se, rel=1e-6)
    assert twice.in_the_large_se == pytest.approx(once.in_the_large_se, rel=1e-6)
    assert twice.slope == pytest.approx(once.slope)


def test_errors_of_the_line_are_those_of_the_definition() -> None:
    scores, truth, patient = of_patients(4, 15)
    found = calibration_line(scores, truth, patient)
    design = np.column_stack([np.ones(len(scores)), np.log(scores / (1 - scores))])
    fitted = 1 / (1 + np.exp(-design @ [found.intercept, found.slope]))
    each = [design[patient == c].T @ (truth - fitted)[patient == c] for c in range(15)]
    bread = np.linalg.inv((design * (fitted * (1 - fitted))[:, None]).T @ design)
    sandwich = bread @ sum(np.outer(u, u) for u in each) @ bread * 15 / 14
    np.testing.assert_allclose([found.intercept_se, found.slope_se], np.sqrt(np.diag(sandwich)), rtol=1e-8)


def test_in_the_large_is_found_far_from_where_scores_lie() -> None:
    found = calibration_line(np.zeros(6), np.array([0, 1, 1, 0, 1, 0]))
    assert found.in_the_large == pytest.approx(-np.log(1e-6 / (1 - 1e-6)))


@pytest.mark.parametrize(
    ("scores", "truth", "reason"),
    [
        ([0.2, 0.4, 0.6], [0, 0, 0], "no_pos"),
        ([0.2, 0.4, 0.6], [1, 1, 1], "no_neg"),
        ([0.3, 0.3, 0.3], [0, 1, 1], "constant_score"),
        ([0.1, 0.4, 0.6, 0.8], [0, 0, 1, 1], "separated"),
        ([0.1, 0.4, 0.4, 0.8], [0, 0, 1, 1], "separated"),
        ([0.1, 0.4, 0.6, 0.8], [1, 1, 0, 0], "separated"),
    ],
)
def test_line_that_does_not_exist_is_nan_with_a_reason(scores: list[float], truth: list[int], reason: str) -> None:
    found = calibration_line(np.array(scores), np.array(truth))
    assert found.null_reason == reason
    assert np.isnan([found.slope, found.intercept, found.slope_se, found.intercept_se]).all()
    assert np.isfinite(found.in_the_large) == (reason in ("constant_score", "separated"))


def test_line_of_extreme_scores_and_of_one_patient_is_found() -> None:
    scores, truth = np.array([0.0, 0, 0, 1, 1, 0.5, 1]), np.array([0, 0, 1, 1, 1, 0, 0])
    found = calibration_line(scores, truth, np.zeros(7, dtype=int))
    assert 0 < found.slope < 1
    assert np.isnan([found.slope_se, found.in_the_large_se]).all()
    logits = np.log(np.clip(scores, 1e-6, 1 - 1e-6) / (1 - np.clip(scores, 1e-6, 1 - 1e-6)))
    fitted = 1 / (1 + np.exp(-(found.intercept + found.slope * logits)))
    np.testing.assert_allclose([(fitted - truth).sum(), ((fitted - truth) * logits).sum()], 0, atol=1e-6)


def test_score_that_is_not_a_number_is_refused() -> None:
    with pytest.raises(InputError, match="not a number"):
        calibration_line(np.array([0.1, np.nan]), np.array([0, 1]))


def groups_of(
    sizes: list[int], shift: list[float], seed: int, films: int = 1
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Scores, truth, patient and group; group ``g`` is right about truth but for ``shift[g]`` on the score."""
    rng = np.random.default_rng(seed)
    member = np.repeat(np.arange(len(sizes)), sizes)
    right = rng.uniform(0.2, 0.7, len(member))
    truth = (rng.random(len(member)) < right).astype(float)
    return right + np.array(shift)[member], truth, np.arange(len(member)) // films, member


def gap_at_equal_n(*data: Any, eligible: np.ndarray, replicates: int = 200, seed: int = 0) -> GapAtEqualN:
    draws = patient_draws(int(data[2].max()) + 1, replicates, seed)[:, 1:]
    return calibration_gap_at_equal_n(*data, eligible=eligible, draws=draws, seed=seed)


def test_equal_n_takes_away_the_gap_of_unequal_sizes() -> None:
    raw, mean = [], []
    for seed in range(20):
        data = groups_of([300, 6000], [0, 0], seed)
        found = gap_at_equal_n(*data, 2, eligible=np.ones(2, bool), replicates=4, seed=seed)
        mean.append(found.observed)
        scores, truth, _, member = data
        each = [(scores[member == g], truth[member == g]) for g in (0, 1)]
        raw.append(np.ptp([expected_calibration_error(s, y, equal_mass_bins(s)) for s, y in each]))
    assert np.mean(raw) > 2 * np.mean(mean)


def test_gap_at_equal_n_names_the_worst_and_best_group_and_its_size() -> None:
    data = groups_of([2000, 6000, 4000, 50], [0.0, 0.15, 0.05, 0.3], 0)
    eligible = np.array([True, True, True, False])
    found = gap_at_equal_n(*data, 4, eligible=eligible, replicates=50)
    assert (np.nanargmax(found.errors), np.nanargmin(found.errors)) == (1, 0) and np.isnan(found.errors[3])
    assert found.observed == pytest.approx(0.15, abs=0.04)
    low, high = np.quantile(found.replicates, [0.025, 0.975])
    assert low < found.observed < high


def test_copies_that_resampling_makes_are_no_error_of_a_calibrated_model() -> None:
    rng = np.random.default_rng(0)
    found = []
    for seed in range(150):
        rows, _ = calibration._sorted_rows(*groups_of([600, 3000], [0, 0], seed), 2, np.ones(2, bool))
        drawn = np.bincount(rng.integers(0, 3600, 3600), minlength=3600)
        found.append(calibration._equal_n_errors(rows, drawn[rows.patient], 15, rng))
    np.testing.assert_allclose(np.mean(found, axis=0), 0, atol=0.004)  # as if new films: 0.02 and 0.005


def test_copies_of_films_of_a_rare_finding_are_no_error_either() -> None:
    rng = np.random.default_rng(1)
    scores = np.sort(rng.beta(0.7, 70, 300))
    times = np.tile([0, 0, 3], 100)  # each kept film stands there three times
    found = []
    for _ in range(1500):
        truth = (rng.random(300) < scores).astype(float)
        rows, _ = calibration._sorted_rows(scores, truth, np.arange(300), np.zeros(300, int), 1, np.ones(1, bool))
        found.append(calibration._equal_n_errors(rows, times, 15, rng)[0])
    assert np.mean(found) == pytest.approx(0, abs=0.0008)  # of an error by chance of 0.016


def test_whole_patients_are_resampled() -> None:
    single = groups_of([1200, 1200], [0, 0.1], 1)
    scores, truth, patient, member = (np.repeat(a, 10) for a in groups_of([120, 120], [0, 0.1], 1))
    scores = scores + np.random.default_rng(0).normal(0, 1e-6, len(scores))
    spread = [
        gap_at_equal_n(*data, 2, eligible=np.ones(2, bool), replicates=60).replicates.std()
        for data in (single, (scores, truth, patient, member))
    ]
    assert spread[1] > 1.5 * spread[0] > 0.01


def test_fewer_than_two_eligible_groups_have_no_gap() -> None:
    data = groups_of([100, 100], [0, 0], 0)
    found = gap_at_equal_n(*data, 2, eligible=np.array([True, False]), replicates=3)
    assert np.isnan(found.observed) and np.isnan(found.replicates).all() and found.replicates.shape == (3,)
    assert np.isnan(found.errors).all()


def test_films_of_unknown_group_do_not_enter_the_gap() -> None:
    data = groups_of([400, 500, 300], [0, 0.1, 0.3], 0)
    unknown = np.where(data[3] == 2, -1, data[3])
    kept = [a[:900] for a in data]
    named: dict[str, Any] = {"eligible": np.ones(2, bool), "draws": patient_draws(1200, 5, 0)[:, 1:]}
    a = calibration_gap_at_equal_n(*data[:3], unknown, 2, **named)
    b = calibration_gap_at_equal_n(kept[0], kept[1], kept[2], kept[3], 2, **named)
    assert (a.observed, a.replicates.tolist()) == (b.observed, b.replicates.tolist())


@pytest.mark.parametrize("decimals", [1, 2, 6])
def test_errors_at_equal_n_are_the_debiased_errors_of_the_whole_groups_when_all_are_of_one_size(decimals: int) -> None:
    rng = np.random.default_rng(decimals)
    scores = np.round(rng.beta(0.7, 4, 900), decimals)
    truth, member = (rng.random(900) < scores * 1.2).astype(float), np.arange(900) % 3
    rows, kept = calibration._sorted_rows(scores, truth, np.arange(900), member, 3, np.ones(3, bool))
    found = calibration._equal_n_errors(rows, np.ones(900, dtype=int), 15, rng)
    each = [(scores[member == g], truth[member == g]) for g in range(3)]
    expected = [debiased_calibration_error(s, y, equal_mass_bins(s)) for s, y in each]
    assert kept.tolist() == [0, 1, 2]
    np.testing.assert_allclose(found, expected, atol=0.0015)


def test_thinning_keeps_so_many_films_and_all_alike() -> None:
    rng = np.random.default_rng(0)
    times = np.array([0, 1, 2, 3, 4])
    for n in (3, 8):
        kept = np.array([calibration._thinned(times, n, rng) for _ in range(3000)])
        assert (kept.sum(axis=1) == n).all() and (kept <= times).all()
        np.testing.assert_allclose(kept.mean(axis=0), times * n / 10, atol=0.06)


@pytest.mark.parametrize(("n", "p"), [(1, 0.3), (7, 0.01), (7, 0.5), (40, 0.95), (2000, 0.2)])
def test_mean_deviation_of_a_binomial_is_de_moivres(n: int, p: float) -> None:
    from scipy.stats import binom

    k = np.arange(n + 1)
    expected = (binom.pmf(k, n, p) * abs(k - n * p)).sum() / np.sqrt(n * p * (1 - p))
    assert calibration._mean_over_root_mean_square(np.array([n]), np.array([p]))[0] == pytest.approx(expected, rel=1e-6)


def test_two_hundred_thousand_films_are_compared_within_seconds() -> None:
    data = groups_of([40_000] * 5, [0, 0.01, 0.02, 0, 0], 0, films=3)
    began = time.process_time()
    gap_at_equal_n(*data, 5, eligible=np.ones(5, bool))
    assert time.process_time() - began < 5


def test_reliability_table_has_a_row_for_each_group_and_bin_with_films() -> None:
    scores, truth = np.array([0.05, 0.07, 0.07, 0.95, 0.5]), np.array([0, 0, 1, 1, 1])
    rows = reliability_table(scores, truth, np.array([0, 0, 0, 1, -1]), ["female", "male"])
    assert [(r["group"], r["bin"], r["n"]) for r in rows] == [("female", 0, 3), ("male", 9, 1)]
    assert rows[0]["mean_score"] == pytest.approx(0.19 / 3)
    assert rows[0]["share_positive"] == pytest.approx(1 / 3)


def test_reliability_interval_is_wilsons() -> None:
    scores, truth = np.full(10, 0.25), np.repeat([1, 0], [2, 8])
    row = reliability_table(scores, truth, np.zeros(10, dtype=int), ["all"])[0]
    assert row["lo"] == pytest.approx(0.0567, abs=1e-4)  # 2 of 10
    assert row["hi"] == pytest.approx(0.5098, abs=1e-4)
