from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cxr_assets.errors import InputError
from cxr_assets.evaluation.delong import (
    Components,
    auroc_interval,
    compare,
    covariance,
    mean_components,
    structural_components,
)

# Ovarian cancer surgery of 43 patients (DeLong et al. 1988), as in the SAS/STAT example "Comparing Receiver Operating
# Characteristic Curves": albumin, total protein, total K-G score, and whether surgery helped.
SURGERY = np.fromstring(
    """3.0 5.8 10 0 3.2 6.3 5 1 3.9 6.8 3 1 2.8 4.8 6 0 3.2 5.8 3 1 0.9 4.0 5 0 2.5 5.7 8 0 1.6 5.6 5 1 3.8 5.7 5 1
    3.7 6.7 6 1 3.2 5.4 4 1 3.8 6.6 6 1 4.1 6.6 5 1 3.6 5.7 5 1 4.3 7.0 4 1 3.6 6.7 4 0 2.3 4.4 6 1 4.2 7.6 4 0
    4.0 6.6 6 0 3.5 5.8 6 1 3.8 6.8 7 1 3.0 4.7 8 0 4.5 7.4 5 1 3.7 7.4 5 1 3.1 6.6 6 1 4.1 8.2 6 1 4.3 7.0 5 1
    4.3 6.5 4 1 3.2 5.1 5 1 2.6 4.7 6 1 3.3 6.8 6 0 1.7 4.0 7 0 3.7 6.1 5 1 3.3 6.3 7 1 4.2 7.7 6 1 3.5 6.2 5 1
    2.9 5.7 9 0 2.1 4.8 7 1 2.8 6.2 8 0 4.0 7.0 7 1 3.3 5.7 6 1 3.7 6.9 5 1 3.6 6.6 5 1""",
    sep=" ",
).reshape(-1, 4)


def two_models(seed: int, patients: int, films: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores ``(2, films)`` of two models, truth and patient; films of a patient are alike in truth and in score."""
    rng = np.random.default_rng(seed)
    patient = np.arange(patients).repeat(films)
    ill, alike = rng.normal(-0.5, 2, patients)[patient], rng.normal(0, 1, patients)[patient]
    truth = (rng.random(len(patient)) < 1 / (1 + np.exp(-ill))).astype(float)
    common = alike + 1.2 * truth + rng.normal(0, 0.7, len(patient))
    return common + rng.normal(0, 0.7, (2, len(patient))), truth, patient


def paired(scores: np.ndarray, truth: np.ndarray) -> tuple[Components, Components]:
    return structural_components(scores[0], truth), structural_components(scores[1], truth)


def split(patient: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return patient[truth == 1], patient[truth == 0]


def test_published_example_is_reproduced() -> None:
    truth = SURGERY[:, 3]
    albumin, protein, score = (
        structural_components(column, truth) for column in (*SURGERY[:, :2].T, 10 - SURGERY[:, 2])
    )
    assert [round(c.auroc, 4) for c in (albumin, protein, score)] == [0.7366, 0.6478, 0.7258]
    errors = np.sqrt(np.diag(covariance([albumin, protein, score])))
    assert errors.round(4).tolist() == [0.0927, 0.1000, 0.1028]
    first, second = compare(albumin, score), compare(protein, score)
    assert (round(first.delta, 4), round(first.se, 4), round(first.p, 4)) == (0.0108, 0.0953, 0.9102)
    assert (round(second.delta, 4), round(second.se, 4), round(second.p, 4)) == (-0.0780, 0.1046, 0.4561)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=2, max_size=25))
def test_components_are_shares_of_pairs_won_with_ties_counting_half(rows: list[tuple[int, bool]]) -> None:
    scores, truth = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    assume(0 < truth.sum() < len(truth))
    a, b = scores[truth == 1], scores[truth == 0]
    wins = (a[:, None] > b) + 0.5 * (a[:, None] == b)
    found = structural_components(scores, truth)
    np.testing.assert_allclose(found.positive, wins.mean(axis=1), atol=1e-12)
    np.testing.assert_allclose(found.negative, wins.mean(axis=0), atol=1e-12)
    assert found.auroc == pytest.approx(wins.mean(), abs=1e-12)


def test_covariance_is_that_of_the_definition() -> None:
    scores, truth, _ = two_models(0, 80, 1)
    both = paired(scores, truth)
    expected = np.cov([c.positive for c in both]) / truth.sum() + np.cov([c.negative for c in both]) / (1 - truth).sum()
    np.testing.assert_allclose(covariance(both), expected, rtol=1e-12)


def test_one_film_a_patient_makes_clustered_and_unclustered_the_same() -> None:
    scores, truth, patient = two_models(1, 200, 1)
    both = paired(scores, truth)
    np.testing.assert_allclose(covariance(both, split(patient, truth)), covariance(both), rtol=1e-12)


def test_clustered_covariance_is_that_of_the_definition() -> None:
    scores, truth, patient = two_models(10, 12, 3)
    both, (of_positive, of_negative) = paired(scores, truth), split(patient, truth)
    m, n = len(of_positive), len(of_negative)
    expected = np.zeros((2, 2))
    for r, a in enumerate(both):
        for s, b in enumerate(both):
            s10 = s01 = s11 = 0.0
            for i in set(patient):
                at, off = of_positive == i, of_negative == i
                v10 = [c.positive[at].sum() - at.sum() * c.auroc for c in (a, b)]
                v01 = [c.negative[off].sum() - off.sum() * c.auroc for c in (a, b)]
                s10, s01 = s10 + v10[0] * v10[1], s01 + v01[0] * v01[1]
                s11 += v10[0] * v01[1] + v10[1] * v01[0]
            i10, i01, i = len(set(of_positive)), len(set(of_negative)), len(set(patient))
            expected[r, s] = i10 / (i10 - 1) * s10 / m**2 + i01 / (i01 - 1) * s01 / n**2 + i / (i - 1) * s11 / (m * n)
    assert len({len(set(of_positive)), len(set(of_negative)), 12}) == 3
    np.testing.assert_allclose(covariance(both, (of_positive, of_negative)), expected, rtol=1e-10)


def test_copying_every_film_within_its_patient_leaves_the_clustered_error_and_halves_the_variance_of_the_other() -> (
    None
):
    scores, truth, patient = two_models(2, 150, 2)
    once = paired(scores, truth)
    twice = [structural_components(np.tile(s, 2), np.tile(truth, 2)) for s in scores]
    ids = split(np.tile(patient, 2), np.tile(truth, 2))
    np.testing.assert_allclose(covariance(twice, ids), covariance(once, split(patient, truth)), rtol=1e-12)
    np.testing.assert_allclose(covariance(twice), covariance(once) / 2, rtol=0.02)


def test_clustered_error_is_that_of_a_patient_bootstrap_and_the_unclustered_is_too_small() -> None:
    scores, truth, patient = two_models(3, 400, 4)
    rng, drawn = np.random.default_rng(0), np.empty((2, 1000))
    for number in range(1000):
        rows = (4 * rng.integers(0, 400, 400)[:, None] + np.arange(4)).ravel()
        drawn[:, number] = [c.auroc for c in paired(scores[:, rows], truth[rows])]
    both, ids = paired(scores, truth), split(patient, truth)
    found = np.sqrt(np.diag(covariance(both, ids)))
    np.testing.assert_allclose(found, np.std(drawn, axis=1), rtol=0.1)
    assert (np.sqrt(np.diag(covariance(both))) < 0.9 * found).all()
    assert compare(*both, patients=ids).se == pytest.approx(np.std(drawn[0] - drawn[1]), rel=0.1)


def test_comparison_is_the_contrast_of_the_covariance() -> None:
    scores, truth, patient = two_models(4, 100, 3)
    both, ids = paired(scores, truth), split(patient, truth)
    for patients in (None, ids):
        matrix, found = covariance(both, patients), compare(*both, patients=patients)
        assert found.se**2 == pytest.approx(matrix[0, 0] + matrix[1, 1] - 2 * matrix[0, 1], rel=1e-9)
        assert found.ci_hi - found.ci_lo == pytest.approx(2 * 1.959964 * found.se, rel=1e-6)
        assert compare(both[1], both[0], patients).delta == -found.delta


def test_p_value_is_uniform_when_models_are_equally_good_on_films_of_shared_patients() -> None:
    def p(seed: int) -> float:
        scores, truth, patient = two_models(seed, 60, 3)
        return compare(*paired(scores, truth), patients=split(patient, truth)).p

    values = np.array([p(seed) for seed in range(600)])
    assert (values < 0.05).mean() == pytest.approx(0.05, abs=0.03)
    assert (values < 0.5).mean() == pytest.approx(0.5, abs=0.07)


def test_models_that_order_films_alike_do_not_differ() -> None:
    scores, truth, patient = two_models(5, 50, 2)
    a, b = structural_components(scores[0], truth), structural_components(np.exp(scores[0]), truth)
    found = compare(a, b, split(patient, truth))
    assert (found.delta, found.se, found.p, found.ci_lo, found.ci_hi) == (0, 0, 1, 0, 0)
    assert found.null_reason is None


def test_difference_without_spread_has_no_test() -> None:
    truth = np.array([0, 0, 0, 1, 1, 1])
    found = compare(structural_components(truth, truth), structural_components(-truth, truth))
    assert (found.delta, found.null_reason) == (1.0, "no_variance")
    assert np.isnan([found.z, found.p, found.ci_lo, found.ci_hi]).all()


@pytest.mark.parametrize(
    ("truth", "patient", "reason"),
    [
        ([0, 0, 0, 0], None, "no_pos"),
        ([1, 1, 1, 1], None, "no_neg"),
        ([1, 0, 0, 0], None, "too_few"),
        ([1, 1, 0, 0], [0, 0, 0, 0], "too_few"),
        ([1, 1, 0, 0], [0, 0, 1, 2], "too_few"),
    ],
)
def test_undefined_is_nan_with_a_reason(truth: list[int], patient: list[int] | None, reason: str) -> None:
    y = np.array(truth)
    ids = None if patient is None else split(np.array(patient), y)
    a, b = (structural_components(np.array(s), y) for s in ([0.4, 0.2, 0.3, 0.1], [0.1, 0.4, 0.2, 0.3]))
    one, two = auroc_interval(a, ids), compare(a, b, ids)
    assert (one.null_reason, two.null_reason) == (reason, reason)
    assert np.isnan([one.se, one.ci_lo, one.ci_hi, two.se, two.z, two.p, two.ci_lo]).all()


def test_mean_over_training_seeds_is_the_mean_auroc_with_less_variance_than_one_of_them() -> None:
    scores, truth, _ = two_models(6, 300, 1)
    both = paired(scores, truth)
    mean = mean_components(both)
    assert mean.auroc == pytest.approx(np.mean([c.auroc for c in both]))
    assert covariance([mean])[0, 0] == pytest.approx(covariance(both).mean())
    assert covariance([mean])[0, 0] < min(np.diag(covariance(both)))


def test_interval_covers_the_truth_as_often_as_it_says_even_near_one() -> None:
    rng = np.random.default_rng(7)
    truth, true = np.repeat([1, 0], [30, 100]), 0.9543  # Φ(2.385 / √2)
    covered = []
    for _ in range(800):
        found = auroc_interval(structural_components(rng.normal(2.385 * truth), truth))
        covered.append(found.ci_lo <= true <= found.ci_hi)
        assert 0 < found.ci_lo < found.auroc < found.ci_hi < 1
    assert np.mean(covered) == pytest.approx(0.95, abs=0.025)


def test_perfect_model_has_no_interval_rather_than_one_of_no_width() -> None:
    found = auroc_interval(structural_components(np.array([1, 2, 3, 4]), np.array([0, 0, 1, 1])))
    assert (found.auroc, found.null_reason) == (1.0, "no_variance")
    assert np.isnan(found.ci_lo)


def test_models_of_different_films_are_not_paired() -> None:
    a = Components(0.5, np.zeros(3), np.zeros(4))
    with pytest.raises(InputError, match=r"different films .* \[\(2, 5\), \(3, 4\)\]"):
        compare(a, Components(0.5, np.zeros(2), np.zeros(5)))


@pytest.mark.parametrize(
    ("scores", "truth", "said"),
    [
        ([0.1, np.nan], [0, 1], "1 scores are not numbers"),
        ([0.1, 0.2], [0, np.nan], "values other than 0 and 1"),
        ([0.1], [0, 1], r"shape \(1,\) and truth \(2,\)"),
    ],
)
def test_films_that_cannot_be_ranked_are_refused(scores: list[float], truth: list[float], said: str) -> None:
    with pytest.raises(InputError, match=said):
        structural_components(np.array(scores), np.array(truth))


def test_patient_ids_must_fit_the_films() -> None:
    component = structural_components(np.array([1.0, 2, 3]), np.array([0, 1, 1]))
    with pytest.raises(InputError, match="1 and 1 patient ids for 2 positive and 1 negative"):
        covariance([component], (np.zeros(1, dtype=int), np.zeros(1, dtype=int)))


def test_million_films_are_compared_within_seconds() -> None:
    rng = np.random.default_rng(8)
    truth = rng.random(1_000_000) < 0.1
    scores = rng.normal(truth, 1, (2, 1_000_000)).astype(np.float32)
    began = time.process_time()
    compare(*paired(scores, truth))
    assert time.process_time() - began < 3  # a third of this on a quiet core; a quadratic count would take hours
