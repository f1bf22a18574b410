"""Figures of a group from confusion counts: one function each. NaN where a denominator is 0, never a number instead.

Counts are float64 with last axis ``(tp, fn, fp, tn)``; the axes before it are free (replicates, groups …).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

COUNTS = ("tp", "fn", "fp", "tn")
NO_FINDING = "no_finding"


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(whole > 0, part / whole, np.nan)


def tpr(counts: np.ndarray) -> np.ndarray:
    """True-positive rate, sensitivity: ``tp / (tp + fn)``. What equal opportunity compares (Hardt et al. 2016)."""
    return _ratio(counts[..., 0], counts[..., 0] + counts[..., 1])


def fnr(counts: np.ndarray) -> np.ndarray:
    """False-negative rate ``fn / (tp + fn)``: the underdiagnosis of one disease (evaluation.md §1.3)."""
    return _ratio(counts[..., 1], counts[..., 0] + counts[..., 1])


def fpr(counts: np.ndarray) -> np.ndarray:
    """False-positive rate: ``fp / (fp + tn)``."""
    return _ratio(counts[..., 2], counts[..., 2] + counts[..., 3])


def ppv(counts: np.ndarray) -> np.ndarray:
    """Positive predictive value, precision: ``tp / (tp + fp)``. Moves with the prevalence of the group."""
    return _ratio(counts[..., 0], counts[..., 0] + counts[..., 2])


def npv(counts: np.ndarray) -> np.ndarray:
    """Negative predictive value: ``tn / (tn + fn)``. Moves with the prevalence of the group."""
    return _ratio(counts[..., 3], counts[..., 3] + counts[..., 1])


def flag_rate(counts: np.ndarray) -> np.ndarray:
    """Share of films flagged, ``(tp + fp) / n``: what demographic parity compares. Prevalence differs for real reasons."""
    return _ratio(counts[..., 0] + counts[..., 2], counts.sum(axis=-1))


COUNT_METRICS: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "tpr": tpr,
    "fpr": fpr,
    "fnr": fnr,
    "ppv": ppv,
    "npv": npv,
    "flag_rate": flag_rate,
}
WHOLES: Mapping[str, tuple[int, ...]] = {
    "tpr": (0, 1),
    "fpr": (2, 3),
    "fnr": (0, 1),
    "ppv": (0, 2),
    "npv": (1, 3),
    "flag_rate": (0, 1, 2, 3),
}
"""Counts that make up the denominator of each of COUNT_METRICS."""
NEEDS_POSITIVES = frozenset({"tpr", "fnr", "auroc", "auprc", "auprc_lift", "overdiagnosis", "underdiagnosis_any"})
NEEDS_NEGATIVES = frozenset({"fpr", "auroc", "underdiagnosis"})
WORSE_WHEN_HIGHER = frozenset(
    {"fpr", "fnr", "brier", "ece", "ece_debiased", "underdiagnosis", "overdiagnosis", "underdiagnosis_any"}
)
OF_NO_FINDING = {"underdiagnosis": "fpr", "overdiagnosis": "fnr"}
"""Canonical under- and overdiagnosis (Seyyed-Kalantari et al. 2021): the ill called healthy, the healthy called ill."""


def confusion_kind(flagged: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Position of each film in COUNTS, int64: flagged and present are bool of one shape."""
    return np.where(present, np.where(flagged, 0, 1), np.where(flagged, 2, 3))
