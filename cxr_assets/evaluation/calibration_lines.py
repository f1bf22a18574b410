"""Calibration lines of many groups at once: the figures of :func:`calibration.calibration_line`, one pass for all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from cxr_assets.evaluation.calibration import calibration_line

_STEPS = 40
_FARTHEST = 3.0


@dataclass(frozen=True)
class CalibrationLines:
    """``estimate`` and ``error`` (standard) float64 ``(3, groups)``: slope, intercept, in the large; NaN with a reason.

    ``null_reason`` str ``(groups,)``: no_films, no_pos, no_neg, constant_score, separated, or empty.
    """

    estimate: np.ndarray
    error: np.ndarray
    null_reason: np.ndarray


def calibration_lines(
    scores: np.ndarray, truth: np.ndarray, patient: np.ndarray, member: np.ndarray, groups: int
) -> CalibrationLines:
    """Logistic recalibration in every group (Cox 1958), standard errors of the patient-clustered sandwich.

    Args:
        scores: clipped to [1e-6, 1 - 1e-6]; ``truth`` bool; ``member`` group of each film, -1 for none.
    """
    order = np.argsort(member, kind="stable")
    order = order[np.searchsorted(member[order], 0) :]
    group, y, who = member[order], truth[order].astype(np.float64), patient[order]
    there, starts = np.unique(group, return_index=True)
    estimate, error = np.full((3, groups), np.nan), np.full((3, groups), np.nan)
    reason = np.full(groups, "no_films", dtype="<U24")
    if not len(there):
        return CalibrationLines(estimate, error, reason)
    clipped = np.clip(scores[order], 1e-6, 1 - 1e-6)
    x = np.log(clipped) - np.log1p(-clipped)
    at = np.searchsorted(there, group)
    reason[there] = _reasons(x, y, starts)
    classes, lines = (np.array([r in allowed for r in reason[there]]) for allowed in (_HAS_BOTH, ("",)))
    key = np.unique(who * len(there) + at, return_inverse=True)[1].reshape(-1)
    large = _newton(x, y, starts, at, classes, slope=False)
    line = _newton(x, y, starts, at, lines, slope=True)
    estimate[2, there], error[2, there] = large[0], _sandwich(x, y, at, key, large, slope=False)[0]
    places = np.array([[1], [0]]), there
    estimate[places], error[places] = np.stack(line), _sandwich(x, y, at, key, line, slope=True)
    for g in there[lines & ~np.isfinite(line[0])]:  # a full step ran away: the careful search, one group at a time
        own = group == g
        one = calibration_line(clipped[own], y[own], who[own])
        estimate[:2, g], error[:2, g] = (one.slope, one.intercept), (one.slope_se, one.intercept_se)
    return CalibrationLines(estimate, error, reason)


_HAS_BOTH = ("", "constant_score", "separated")


def _reasons(x: np.ndarray, y: np.ndarray, starts: np.ndarray) -> np.ndarray:
    positives, films = np.add.reduceat(y, starts), np.diff(starts, append=len(y))
    ends = {}
    for name, inside in (("neg", y == 0), ("pos", y == 1)):
        ends[name, "high"] = np.maximum.reduceat(np.where(inside, x, -np.inf), starts)
        ends[name, "low"] = np.minimum.reduceat(np.where(inside, x, np.inf), starts)
    apart = (ends["neg", "high"] <= ends["pos", "low"]) | (ends["pos", "high"] <= ends["neg", "low"])
    same = np.maximum.reduceat(x, starts) == np.minimum.reduceat(x, starts)
    out = np.full(len(starts), "", dtype="<U24")
    for name, where in (
        ("separated", apart),
        ("constant_score", same),
        ("no_neg", positives == films),
        ("no_pos", positives == 0),
    ):
        out[where] = name
    return out


def _newton(
    x: np.ndarray, y: np.ndarray, starts: np.ndarray, at: np.ndarray, wanted: np.ndarray, *, slope: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Intercept and slope of every group; NaN where not wanted or not reached."""
    intercept, gradient_of = np.zeros(len(starts)), np.ones(len(starts))
    decrement = np.full(len(starts), np.inf)
    for _ in range(_STEPS):
        mean = expit(intercept[at] + gradient_of[at] * x)
        spread, residual = mean * (1 - mean), y - mean
        w, r = np.add.reduceat(spread, starts), np.add.reduceat(residual, starts)
        with np.errstate(invalid="ignore", divide="ignore"):
            if slope:
                wx, wxx = np.add.reduceat(spread * x, starts), np.add.reduceat(spread * x * x, starts)
                rx = np.add.reduceat(residual * x, starts)
                determinant = w * wxx - wx**2
                steps = np.stack([wxx * r - wx * rx, w * rx - wx * r]) / determinant
            else:
                rx = np.zeros_like(r)
                steps = np.stack([r / w, np.zeros_like(r)])
        steps = np.where(wanted & np.isfinite(steps).all(axis=0), steps, 0.0)
        decrement = steps[0] * r + steps[1] * rx
        size = np.abs(steps).max(axis=0)
        steps *= np.minimum(1.0, _FARTHEST / np.maximum(size, _FARTHEST))
        intercept, gradient_of = intercept + steps[0], gradient_of + steps[1]
        if (decrement < 1e-12).all():
            break
    reached = wanted & (decrement < 1e-9)
    return np.where(reached, intercept, np.nan), np.where(reached, gradient_of, np.nan)


def _sandwich(
    x: np.ndarray,
    y: np.ndarray,
    at: np.ndarray,
    key: np.ndarray,
    line: tuple[np.ndarray, np.ndarray],
    *,
    slope: bool,
) -> np.ndarray:
    """Standard errors ``(1 or 2, groups)``: ``H⁻¹ (C/(C - 1) Σ_c u_c u_cᵀ) H⁻¹`` (Liang and Zeger 1986)."""
    groups = len(line[0])
    mean = expit(line[0][at] + line[1][at] * x)
    spread, residual = np.nan_to_num(mean * (1 - mean)), np.nan_to_num(y - mean)
    design = np.stack([np.ones_like(x), x]) if slope else np.ones((1, len(x)))
    clusters_of = np.zeros(int(key.max()) + 1, dtype=np.int64)
    clusters_of[key] = at
    summed = np.stack([np.bincount(key, weights=column * residual) for column in design])
    clusters = np.bincount(clusters_of, minlength=groups)
    many = len(design)
    bread, meat = np.zeros((groups, many, many)), np.zeros((groups, many, many))
    for i in range(many):
        for j in range(many):
            bread[:, i, j] = np.bincount(at, weights=spread * design[i] * design[j], minlength=groups)
            meat[:, i, j] = np.bincount(clusters_of, weights=summed[i] * summed[j], minlength=groups)
    out = np.full((many, groups), np.nan)
    fine = np.flatnonzero(np.isfinite(line[0]) & (clusters > 1) & (np.linalg.det(bread) > 0))
    inverse = np.linalg.inv(bread[fine])
    inflated = meat[fine] * (clusters[fine] / (clusters[fine] - 1))[:, None, None]
    with np.errstate(invalid="ignore"):  # rounding can make a variance that is nearly 0 negative
        out[:, fine] = np.sqrt(np.diagonal(inverse @ inflated @ inverse, axis1=1, axis2=2)).T
    return out
