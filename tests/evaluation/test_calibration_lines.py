from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from cxr_assets.evaluation.calibration import CalibrationLine, calibration_line
from cxr_assets.evaluation.calibration_lines import CalibrationLines, calibration_lines

films = st.lists(
    st.tuples(st.integers(0, 6), st.booleans(), st.integers(0, 5), st.integers(-1, 2)), min_size=1, max_size=50
)
"""Score in sixths (0 and 1 among them), truth, patient, group."""


def agrees(found: CalibrationLines, group: int, line: CalibrationLine, atol: float = 1e-6) -> None:
    """The group's figures are those of the line, standard errors and reason too."""
    assert (found.null_reason[group] or None) == line.null_reason
    expected = [line.slope, line.intercept, line.in_the_large, line.slope_se, line.intercept_se, line.in_the_large_se]
    both = np.concatenate([found.estimate[:, group], found.error[:, group]])
    np.testing.assert_allclose(both, expected, rtol=atol, atol=atol)


def sample(n: int = 3000, seed: int = 0, groups: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    patient = rng.integers(0, n // 4, n)
    member = (patient % (groups + 1)) - 1
    logit = rng.normal(-0.5, 1.2, n)
    truth = rng.random(n) < 1 / (1 + np.exp(-(0.3 * member + (0.6 + 0.2 * member) * logit)))
    return 1 / (1 + np.exp(-logit)), truth, patient, member


def test_lines_of_all_groups_are_those_of_each_alone() -> None:
    scores, truth, patient, member = sample()
    found = calibration_lines(scores, truth, patient, member, 3)
    for group in range(3):
        own = member == group
        agrees(found, group, calibration_line(scores[own], truth[own].astype(float), patient[own]), 1e-9)


@settings(max_examples=150, deadline=None)
@given(films)
def test_lines_of_odd_groups_are_those_of_each_alone(rows: list[tuple[int, bool, int, int]]) -> None:
    score, truth, patient, member = (np.array(c) for c in zip(*rows, strict=True))
    found = calibration_lines(score / 6, truth, patient, member, 3)
    for group in range(3):
        own = member == group
        if not own.any():
            assert found.null_reason[group] == "no_films" and np.isnan(found.estimate[:, group]).all()
        else:
            agrees(found, group, calibration_line(score[own] / 6, truth[own].astype(float), patient[own]))


def test_slope_and_intercept_are_those_of_scikit_learn() -> None:
    scores, truth, patient, member = sample(seed=1)
    found = calibration_lines(scores, truth, patient, member, 3)
    for group in range(3):
        own = member == group
        logit = np.log(scores[own] / (1 - scores[own]))
        theirs = LogisticRegression(C=np.inf, tol=1e-12, max_iter=1000).fit(logit[:, None], truth[own])
        expected = [theirs.coef_[0, 0], theirs.intercept_[0]]
        np.testing.assert_allclose(found.estimate[:2, group], expected, atol=1e-6)


def test_a_calibrated_group_has_slope_one_through_nought() -> None:
    rng = np.random.default_rng(2)
    scores = rng.beta(2, 4, 60_000)
    found = calibration_lines(scores, rng.random(60_000) < scores, np.arange(60_000), np.zeros(60_000, dtype=int), 1)
    assert (np.abs(found.estimate[:, 0] - [1, 0, 0]) < 3 * found.error[:, 0]).all()


def test_copies_of_a_patients_films_change_neither_lines_nor_errors() -> None:
    once = calibration_lines(*sample(), 3)
    scores, truth, patient, member = (np.repeat(column, 4) for column in sample())
    often = calibration_lines(scores, truth, patient, member, 3)
    np.testing.assert_allclose(often.estimate, once.estimate, atol=1e-9)
    np.testing.assert_allclose(often.error, once.error, atol=1e-9)


def test_the_order_of_films_and_the_numbers_of_groups_change_nothing() -> None:
    columns = sample()
    once = calibration_lines(*columns, 3)
    mixed = np.random.default_rng(0).permutation(len(columns[0]))
    scores, truth, patient, member = (c[mixed] for c in columns)
    other = calibration_lines(scores, truth, patient.max() - patient, np.where(member < 0, -1, 2 - member), 3)
    np.testing.assert_allclose(other.estimate[:, ::-1], once.estimate, atol=1e-9)
    np.testing.assert_allclose(other.error[:, ::-1], once.error, atol=1e-9)


@pytest.mark.parametrize(
    ("scores", "truth", "reason"),
    [
        ([0.2, 0.7], [1, 1], "no_neg"),
        ([0.2, 0.7], [0, 0], "no_pos"),
        ([0.4, 0.4, 0.4], [0, 1, 1], "constant_score"),
        ([0.2, 0.3, 0.7], [0, 0, 1], "separated"),
        ([0.7, 0.3, 0.2], [0, 1, 1], "separated"),
        ([0.2, 0.5, 0.5, 0.7], [0, 0, 1, 1], "separated"),
    ],
)
def test_a_line_that_does_not_exist_is_nan_with_a_reason_and_spoils_no_other(
    scores: list[float], truth: list[int], reason: str
) -> None:
    good = sample(400, groups=1)
    n = len(scores)
    odd = np.array(scores), np.array(truth) == 1, 1000 + np.arange(n), np.ones(n, dtype=int)
    s, y, patient, member = (np.concatenate(both) for both in zip(good, odd, strict=True))
    found, alone = calibration_lines(s, y, patient, member, 3), calibration_lines(*good, 1)
    assert found.null_reason.tolist() == ["", reason, "no_films"]
    assert np.isnan(found.estimate[:2, 1]).all() and np.isnan(found.estimate[:, 2]).all()
    assert np.isfinite(found.estimate[2, 1]) == (reason not in ("no_pos", "no_neg"))
    np.testing.assert_allclose(found.estimate[:, 0], alone.estimate[:, 0], atol=1e-9)
    np.testing.assert_allclose(found.error[:, 0], alone.error[:, 0], atol=1e-9)


def test_one_patient_has_a_line_without_an_error() -> None:
    found = calibration_lines(
        np.array([0.2, 0.8, 0.4, 0.6]), np.array([False, True, True, False]), np.zeros(4, int), np.zeros(4, int), 1
    )
    assert np.isfinite(found.estimate[:, 0]).all() and np.isnan(found.error[:, 0]).all()


def test_scores_close_to_nought_and_one_have_a_line() -> None:
    """A full Newton step runs away here; the careful search finds the line."""
    rng = np.random.default_rng(0)
    truth = rng.random(400) < 0.3
    scores = np.where(truth, 1 - 10.0 ** rng.uniform(-9, -1, 400), 10.0 ** rng.uniform(-9, -1, 400))
    scores[:12] = 1 - scores[:12]
    patient, member = np.arange(400) // 2, np.arange(400) % 2
    found = calibration_lines(scores, truth, patient, member, 2)
    for group in (0, 1):
        own = member == group
        agrees(found, group, calibration_line(scores[own], truth[own].astype(float), patient[own]))
        assert 0 < found.estimate[0, group] < 1


def test_no_films_have_no_line() -> None:
    found = calibration_lines(np.array([0.5]), np.array([True]), np.array([0]), np.array([-1]), 2)
    assert np.isnan(found.estimate).all() and found.null_reason.tolist() == ["no_films", "no_films"]
