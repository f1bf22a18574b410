from __future__ import annotations

import fairlearn.metrics as fairlearn
import numpy as np
import pytest
from fairlearn.metrics import MetricFrame
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix, precision_score, recall_score

from cxr_assets.evaluation.metrics import (
    COUNT_METRICS,
    COUNTS,
    NEEDS_NEGATIVES,
    NEEDS_POSITIVES,
    OF_NO_FINDING,
    WORSE_WHEN_HIGHER,
    confusion_kind,
    flag_rate,
    fnr,
    fpr,
    npv,
    ppv,
    tpr,
)
from cxr_assets.evaluation.resampling import Draws

OF_FAIRLEARN = {
    "tpr": fairlearn.true_positive_rate,
    "fpr": fairlearn.false_positive_rate,
    "fnr": fairlearn.false_negative_rate,
    "flag_rate": fairlearn.selection_rate,
}
rows = st.lists(
    st.tuples(st.booleans(), st.booleans(), st.integers(0, 3), st.sampled_from([0.0, 0.5, 1.0, 2.5])),
    min_size=1,
    max_size=40,
)
"""Flagged, present, group, weight."""


def counts_of(flagged: np.ndarray, present: np.ndarray, member: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Counts of four groups, ``(4, 4)``, summed as the engine does."""
    slot, films = member * 4 + confusion_kind(flagged, present), np.arange(len(member))
    return Draws.make(len(films), 1, 0, seed=0).sums(films, slot, 16, weight).reshape(4, 4)


@settings(max_examples=30, deadline=None)
@given(rows, st.booleans())
def test_rates_of_every_group_are_those_of_fairlearn(
    films: list[tuple[bool, bool, int, float]], weighted: bool
) -> None:
    flagged, present, member, weight = (np.array(c) for c in zip(*films, strict=True))
    weight = weight if weighted else np.ones(len(weight))
    assume((np.bincount(member, weight)[member] > 0).all())  # the oracle refuses groups that weigh nothing
    counts = counts_of(flagged, present, member, weight)
    frame = MetricFrame(
        metrics=OF_FAIRLEARN,
        y_true=present.astype(int),
        y_pred=flagged.astype(int),
        sensitive_features=member.tolist(),
        sample_params={name: {"sample_weight": weight} for name in OF_FAIRLEARN},
    )
    for name in OF_FAIRLEARN:
        found = COUNT_METRICS[name](counts)
        for group, value in frame.by_group[name].items():
            if np.isfinite(found[group]):
                assert found[group] == pytest.approx(value, abs=1e-9), name
            else:
                assert value == 0.0, f"{name}: fairlearn writes 0 where there is no denominator"


@settings(max_examples=60, deadline=None)
@given(rows)
def test_precision_and_recall_are_those_of_scikit_learn(films: list[tuple[bool, bool, int, float]]) -> None:
    flagged, present, _, weight = (np.array(c) for c in zip(*films, strict=True))
    assume(weight.sum() > 0)
    counts = counts_of(flagged, present, np.zeros(len(weight), dtype=int), weight)[0]
    given = {"sample_weight": weight, "zero_division": np.nan}
    expected = {
        tpr: recall_score(present, flagged, **given),
        ppv: precision_score(present, flagged, **given),
        npv: precision_score(~present, ~flagged, **given),
    }
    for metric, value in expected.items():
        np.testing.assert_allclose(metric(counts), value, rtol=0, atol=1e-9, err_msg=metric.__name__)


def test_kinds_are_counted_in_the_order_of_the_names() -> None:
    rng = np.random.default_rng(0)
    present, flagged = rng.random(200) < 0.3, rng.random(200) < 0.4
    tn, fp, fn, tp = confusion_matrix(present, flagged).ravel()
    named = dict(zip(COUNTS, np.bincount(confusion_kind(flagged, present), minlength=4).tolist(), strict=True))
    assert named == {"tp": tp, "fn": fn, "fp": fp, "tn": tn}


def test_a_rate_without_a_denominator_is_no_number() -> None:
    sick, none = np.array([0.0, 0.0, 3.0, 5.0]), np.zeros(4)
    assert np.isnan(tpr(sick)) and np.isnan(fnr(sick)) and fpr(sick) == 0.375 and ppv(sick) == 0.0
    assert all(np.isnan(metric(none)) for metric in COUNT_METRICS.values())
    never = np.array([0.0, 2.0, 0.0, 5.0])
    assert np.isnan(ppv(never)) and npv(never) == 5 / 7 and flag_rate(never) == 0.0


def test_a_film_of_weight_nought_counts_nowhere() -> None:
    flagged, present = np.array([True, True, False]), np.array([True, False, True])
    counts = counts_of(flagged, present, np.zeros(3, dtype=int), np.array([1.0, 1.0, 0.0]))[0]
    assert tpr(counts) == 1.0 and np.isnan(npv(counts))


def test_rates_keep_the_axes_before_the_counts() -> None:
    counts = np.random.default_rng(0).integers(1, 9, (2, 5, 3, 4)).astype(float)
    for name, metric in COUNT_METRICS.items():
        found = metric(counts)
        assert found.shape == (2, 5, 3) and found.dtype == np.float64, name
        assert found[1, 4, 2] == metric(counts[1, 4, 2])
    np.testing.assert_allclose(tpr(counts) + fnr(counts), 1.0)


def test_underdiagnosis_is_read_off_no_finding() -> None:
    """The ill who are called healthy are false alarms of the finding "no finding"."""
    healthy, called_healthy = np.array([True, True, False, False, False]), np.array([True, False, True, False, False])
    counts = np.bincount(confusion_kind(called_healthy, healthy), minlength=4).astype(float)
    assert COUNT_METRICS[OF_NO_FINDING["underdiagnosis"]](counts) == pytest.approx(1 / 3)
    assert COUNT_METRICS[OF_NO_FINDING["overdiagnosis"]](counts) == 1 / 2


def test_what_a_figure_needs_follows_from_the_rate_it_is() -> None:
    for name, rate in OF_NO_FINDING.items():
        assert (name in NEEDS_POSITIVES) == (rate in NEEDS_POSITIVES)
        assert (name in NEEDS_NEGATIVES) == (rate in NEEDS_NEGATIVES)
        assert (name in WORSE_WHEN_HIGHER) == (rate in WORSE_WHEN_HIGHER)
    pos, neg = np.array([3.0, 2.0, 0.0, 0.0]), np.array([0.0, 0.0, 3.0, 2.0])
    for name, metric in COUNT_METRICS.items():
        assert (name in NEEDS_POSITIVES) <= bool(np.isnan(metric(neg)))
        assert (name in NEEDS_NEGATIVES) <= bool(np.isnan(metric(pos)))
