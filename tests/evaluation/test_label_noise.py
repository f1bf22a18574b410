from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from cxr_assets.errors import InputError
from cxr_assets.evaluation.label_noise import NoiseToExplain, noise_to_explain

FILMS = 400_000
CUT = 0.7


def films(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.random(FILMS) < 0.3
    return rng.normal(1.5 * truth), truth


def rate(scores: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    return float((scores[truth] >= CUT).mean()), float((scores[~truth] >= CUT).mean())


def test_share_of_wrong_positives_is_recovered_from_the_tpr() -> None:
    scores, truth = films()
    clean, _ = rate(scores, truth)
    extra = ~truth & (np.random.default_rng(1).random(FILMS) < 0.1)  # negatives labelled positive
    labelled = truth | extra
    tpr, fpr = rate(scores, labelled)
    found = noise_to_explain("tpr", tpr, clean, fpr=fpr)
    assert found.kind == "labelled_positives_really_negative"
    assert found.share == pytest.approx(extra.sum() / labelled.sum(), abs=0.01)
    assert (found.under_labelled_rate, found.null_reason) == (None, None)


def test_under_labelling_is_recovered_from_the_fpr_as_a_share_of_negatives_and_of_true_positives() -> None:
    scores, truth = films()
    _, clean = rate(scores, truth)
    labelled = truth & (np.random.default_rng(2).random(FILMS) >= 0.25)  # a quarter of positives is not labelled
    tpr, fpr = rate(scores, labelled)
    n_pos, n_neg = int(labelled.sum()), int((~labelled).sum())
    found = noise_to_explain("fpr", fpr, clean, tpr=tpr, n_pos=n_pos, n_neg=n_neg)
    assert found.kind == "labelled_negatives_really_positive"
    assert found.share == pytest.approx((truth & ~labelled).sum() / n_neg, abs=0.005)
    assert found.under_labelled_rate == pytest.approx(0.25, abs=0.01)


def test_sum_of_both_shares_is_recovered_from_the_auroc() -> None:
    scores, truth = films()
    rng = np.random.default_rng(3)
    labelled = np.where(truth, rng.random(FILMS) >= 0.2, rng.random(FILMS) < 0.05)
    a, b = (labelled & ~truth).sum() / labelled.sum(), (~labelled & truth).sum() / (~labelled).sum()
    found = noise_to_explain("auroc", roc_auc_score(labelled, scores), roc_auc_score(truth, scores))
    assert found.kind == "sum_of_both_shares"
    assert found.share == pytest.approx(a + b, abs=0.01)


def test_no_gap_needs_no_noise_and_the_greatest_gap_needs_all_labels_wrong() -> None:
    assert noise_to_explain("tpr", 0.8, 0.8, fpr=0.1).share == 0
    assert noise_to_explain("tpr", 0.1, 0.8, fpr=0.1).share == 1
    assert noise_to_explain("fpr", 0.2, 0.2, tpr=0.7, n_pos=5, n_neg=50) == NoiseToExplain(
        "labelled_negatives_really_positive", 0.0, 0.0
    )
    assert noise_to_explain("auroc", 0.5, 0.8).share == 1


@pytest.mark.parametrize(
    ("metric", "worst", "reference", "rest"),
    [
        ("tpr", 0.9, 0.8, {"fpr": 0.1}),  # the gap is the other way round
        ("tpr", 0.05, 0.8, {"fpr": 0.1}),  # worse than labels that are all wrong
        ("tpr", 0.5, 0.6, {"fpr": 0.7}),  # flags negatives more than the reference flags positives
        ("tpr", 0.6, 0.6, {"fpr": 0.6}),  # nothing to divide by
        ("fpr", 0.1, 0.2, {"tpr": 0.8}),
        ("fpr", 0.9, 0.2, {"tpr": 0.8}),
        ("auroc", 0.45, 0.8, {}),
        ("auroc", 0.9, 0.8, {}),
        ("auroc", 0.5, 0.5, {}),
    ],
)
def test_share_outside_zero_to_one_is_null_with_a_reason(
    metric: str, worst: float, reference: float, rest: dict[str, float]
) -> None:
    found = noise_to_explain(metric, worst, reference, **rest)  # type: ignore[arg-type]
    assert (found.share, found.under_labelled_rate, found.null_reason) == (None, None, "cannot_explain")


def test_rate_that_is_not_known_leaves_the_noise_undefined() -> None:
    assert noise_to_explain("tpr", 0.5, 0.8).null_reason == "undefined_input"
    assert noise_to_explain("fpr", None, 0.8, tpr=0.9).null_reason == "undefined_input"
    assert noise_to_explain("auroc", float("nan"), 0.8).null_reason == "undefined_input"


def test_metric_without_a_formula_is_refused_by_name() -> None:
    with pytest.raises(InputError, match=r"'ppv'.*tpr, fpr, auroc"):
        noise_to_explain("ppv", 0.5, 0.8)
