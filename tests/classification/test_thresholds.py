from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxr_assets.classification.thresholds import fit_threshold, refuse_fitted_rows, rows_digest
from cxr_assets.errors import CheckError, InputError

# Few distinct scores, so that ties between films and between thresholds are the rule.
samples = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 1)), min_size=2, max_size=25).filter(
    lambda rows: 0 < sum(truth for _, truth in rows) < len(rows)
)


def value_of(rule: str, scores: np.ndarray, truth: np.ndarray, threshold: float) -> float:
    flagged = scores >= threshold
    tp, fp = int((flagged & (truth == 1)).sum()), int((flagged & (truth == 0)).sum())
    fn, tn = int((truth == 1).sum()) - tp, int((truth == 0).sum()) - fp
    return 2 * tp / (2 * tp + fp + fn) if rule == "f1" else tp / (tp + fn) - fp / (fp + tn)


@pytest.mark.parametrize("rule", ["f1", "youden"])
@settings(max_examples=150, deadline=None)
@given(samples)
def test_the_threshold_is_the_best_of_all_scores_and_the_highest_of_equals(
    rule: str, rows: list[tuple[int, int]]
) -> None:
    scores, truth = np.array([s / 7 for s, _ in rows]), np.array([t for _, t in rows])
    found = fit_threshold(scores, truth, rule)
    values = {float(t): value_of(rule, scores, truth, t) for t in np.unique(scores)}
    best = max(values.values())
    assert found in values and values[found] == pytest.approx(best, abs=1e-12)
    if rule == "f1":
        assert found == max(t for t, v in values.items() if v == best)


def test_a_threshold_never_parts_films_of_equal_score() -> None:
    scores, truth = np.array([0.9, 0.5, 0.5, 0.5, 0.1]), np.array([1, 1, 0, 0, 0])
    assert fit_threshold(scores, truth) == 0.9
    assert fit_threshold(scores[::-1], truth[::-1]) == 0.9, "the order of the rows plays no part"


def test_a_finding_of_one_class_has_no_threshold() -> None:
    assert fit_threshold(np.array([0.2, 0.8]), np.array([1, 1])) is None
    assert fit_threshold(np.array([0.2, 0.8]), np.array([0, 0])) is None


def test_thresholds_are_refused_on_rows_they_were_fitted_on() -> None:
    refuse_fitted_rows({"a", "b"}, {"c"})
    with pytest.raises(CheckError, match=r"fitted on 1 of the studies.*such as b"):
        refuse_fitted_rows({"a", "b"}, {"b", "c"})


def test_rows_are_known_by_what_they_are_not_by_their_order() -> None:
    assert rows_digest(["a", "b"]) == rows_digest(["b", "a"]) != rows_digest(["a"])


@settings(max_examples=100, deadline=None)
@given(samples)
def test_the_triage_threshold_flags_nine_in_ten_of_the_ill_and_no_more_than_it_must(
    rows: list[tuple[int, int]],
) -> None:
    scores, truth = np.array([s / 7 for s, _ in rows]), np.array([t for _, t in rows])
    found = fit_threshold(scores, truth, "sensitivity90")
    kept = {float(t) for t in np.unique(scores) if (scores[truth == 1] >= t).mean() >= 0.9 - 1e-12}
    assert found == max(kept)


def test_an_unknown_rule_is_refused() -> None:
    with pytest.raises(InputError, match=r"'gmean'.*f1, youden, sensitivity90"):
        fit_threshold(np.array([0.1, 0.9]), np.array([0, 1]), "gmean")
