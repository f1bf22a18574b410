"""Operating points, fitted on validation films only and tied to the rows they were fitted on."""

from __future__ import annotations

import numpy as np

from cxr_assets.errors import CheckError, InputError
from cxr_assets.warehouse.manifest import digest_json

RULES = ("f1", "youden", "sensitivity90")
SENSITIVITY = 0.90


def fit_threshold(scores: np.ndarray, truth: np.ndarray, rule: str = "f1") -> float | None:
    """Best threshold by exact search over the observed scores; a film is flagged when its score is at least that.

    Args:
        scores: float, shape ``(n,)``; ``truth`` 0/1, same shape.
        rule: ``f1`` (largest F1), ``youden`` (largest TPR - FPR; Youden 1950) or ``sensitivity90`` (fewest films flagged
            with at least 0.90 of the positives among them, for triage).

    Returns:
        The threshold, the higher one of equally good ones; None where only one class is there.
    """
    positives = int(truth.sum())
    if rule not in RULES:
        raise InputError(f"threshold rule {rule!r} is none of {', '.join(RULES)}.")
    if positives == 0 or positives == len(truth):
        return None
    order = np.argsort(-scores, kind="stable")
    ranked, hits = scores[order], np.cumsum(truth[order])
    flagged = np.arange(1, len(scores) + 1)
    last = np.append(ranked[1:] != ranked[:-1], True)  # a threshold cannot cut between equal scores
    if rule == "youden":
        value = hits / positives - (flagged - hits) / (len(truth) - positives)
    elif rule == "sensitivity90":
        value = (hits >= SENSITIVITY * positives - 1e-9).astype(np.float64)
    else:
        value = 2 * hits / (flagged + positives)
    return float(ranked[last][np.argmax(value[last])])


def rows_digest(study_ids: list[str]) -> str:
    """Identity of the rows that thresholds were fitted on."""
    return digest_json(sorted(study_ids))


def refuse_fitted_rows(fitted_on: set[str], used_on: set[str]) -> None:
    """Raise CheckError where thresholds are about to be used on rows that they were fitted on."""
    shared = fitted_on & used_on
    if shared:
        raise CheckError(
            f"thresholds were fitted on {len(shared)} of the studies they are to be used on (such as {min(shared)})."
            " Fit them on the validate split and score the test split."
        )
