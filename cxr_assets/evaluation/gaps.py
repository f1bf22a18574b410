"""Gaps between groups, one function each, over all replicates at once.

``values`` is float64 ``(replicates + 1, groups)`` with the sample in row 0; ``eligible`` bool ``(groups,)``. A gap of fewer
than two eligible groups does not exist: callers leave it null.
"""

from __future__ import annotations

import numpy as np

from cxr_assets.evaluation.metrics import WORSE_WHEN_HIGHER


def usable(values: np.ndarray, eligible: np.ndarray) -> np.ndarray:
    """Eligible groups whose figure is defined on the sample."""
    return eligible & np.isfinite(values[0])


def max_min(values: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """``max_g - min_g``: equal opportunity for TPR, demographic parity for the flag rate, and so on. Biased upward."""
    picked = values[:, shown]
    return picked.max(axis=1) - picked.min(axis=1)


def ends(values: np.ndarray, shown: np.ndarray, metric: str) -> tuple[int, int]:
    """Index of the worst and of the best group on the sample; the worse end depends on the metric."""
    order = np.where(shown, values[0], np.nan)
    low, high = int(np.nanargmin(order)), int(np.nanargmax(order))
    return (high, low) if metric in WORSE_WHEN_HIGHER else (low, high)


def equalized_odds(tpr: np.ndarray, fpr: np.ndarray, shown: np.ndarray) -> dict[str, np.ndarray]:
    """Equalized-odds difference: the larger of the TPR and FPR gaps, and their mean (Hardt et al. 2016; fairlearn)."""
    both = np.stack([max_min(tpr, shown), max_min(fpr, shown)])
    return {"equalized_odds_max": both.max(axis=0), "equalized_odds_mean": both.mean(axis=0)}


def deviation(values: np.ndarray, overall: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """Mean absolute distance of the groups from the overall figure; unlike ES-AUC it does not grow with their number."""
    return np.abs(values[:, shown] - overall[:, None]).mean(axis=1)


def equity_scaled(values: np.ndarray, overall: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """ES-AUC: ``AUROC / (1 + sum_g |AUROC_g - AUROC|)`` (FairVision). Falls as the number of groups rises."""
    return overall / (1 + np.abs(values[:, shown] - overall[:, None]).sum(axis=1))


def to_median(values: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """Each eligible group's figure less the median of the eligible groups, signed (CheXclusion 2021)."""
    return values[:, shown] - np.median(values[:, shown], axis=1, keepdims=True)


def shrunken(values: np.ndarray) -> np.ndarray:
    """Rates drawn towards their mean as far as chance accounts for their spread (empirical Bayes, Morris 1983).

    ``mean + tau² / (tau² + v_g) (rate_g - mean)``, with ``v_g`` the variance of a group's rate over the replicates, which
    knows of patients with many films, and ``tau²`` the variance of the rates less the mean of ``v_g``. A replicate's
    rates hold the chance of the draw besides that of the sample, so twice ``v_g`` is taken off there.

    Args:
        values: of eligible groups alone, the sample first, ``(replicates + 1, groups)``.
    """
    own = np.nanvar(values[1:], axis=0, ddof=1) if len(values) > 2 else np.zeros(values.shape[1])
    times = np.where(np.arange(len(values)) == 0, 1.0, 2.0)[:, None]
    between = np.maximum(values.var(axis=1, ddof=1, keepdims=True) - times * own.mean(), 0.0)
    with np.errstate(invalid="ignore"):
        weight = np.where(between > 0, between / (between + own), 0.0)
    mean = values.mean(axis=1, keepdims=True)
    return mean + weight * (values - mean)
