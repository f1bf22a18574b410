"""Do scores mean what they say? Calibration error, freed of what chance alone adds, of everybody and between groups.

A calibrated model shows an expected calibration error (ECE) of about .08 on 100 films and .01 on 5000, so raw errors of
groups of unlike size are not comparable. Here an error is given less its mean under perfect calibration (truth that is
Bernoulli in the scores), and groups are compared at equal numbers of films. Scores are probabilities in [0, 1], float64
``(films,)``; truth is 0 or 1; neither holds NaN.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.special import expit, gammaln, ndtri

from cxr_assets.errors import InputError

_SUBSAMPLES = 20


def equal_mass_bins(scores: np.ndarray, bins: int = 15) -> np.ndarray:
    """Bin of each film, int64, from 0: as nearly the same number of films in each as ties allow.

    Equal scores always share a bin, the one that the first of them falls in, so there may be fewer bins than asked for.
    """
    order = np.argsort(scores, kind="stable")
    ranked = scores[order]
    starts = np.flatnonzero(np.append(True, ranked[1:] != ranked[:-1])) if len(ranked) else np.empty(0, dtype=np.int64)
    of_run = np.unique(starts * bins // max(len(scores), 1), return_inverse=True)[1]
    out = np.empty(len(scores), dtype=np.int64)
    out[order] = np.repeat(of_run, np.diff(starts, append=len(scores)))
    return out


def equal_width_bins(scores: np.ndarray, bins: int = 10) -> np.ndarray:
    """Bin of each film, int64: ``[0, 1/bins)`` is 0, and the last bin takes 1 too; a bin may be empty."""
    return np.minimum((np.asarray(scores) * bins).astype(np.int64), bins - 1)


def expected_calibration_error(
    scores: np.ndarray, truth: np.ndarray, bins: np.ndarray, weights: np.ndarray | None = None
) -> float:
    """``Σ_b |Σ_{i in b} w_i (s_i - y_i)| / Σ w`` in [0, 1] (Naeini et al. 2015, AAAI); NaN where there is no weight."""
    weights = np.ones(len(scores)) if weights is None else weights
    total = weights.sum()
    if not total:
        return float("nan")
    return float(np.abs(np.bincount(bins, weights=weights * (scores - truth))).sum() / total)


def null_calibration_error(scores: np.ndarray, bins: np.ndarray) -> float:
    """Mean ECE of a perfectly calibrated model with these scores, whose truth is Bernoulli(score).

    Every bin adds the mean absolute deviation of its number of positives: its standard deviation times the ratio of the two
    for a binomial number with the same mean. Exact where a bin's scores are equal, and close where they are alike.
    """
    if not len(scores):
        return float("nan")
    films, mean, variance = (
        np.bincount(bins, weights=w) for w in (np.ones(len(scores)), scores, scores * (1 - scores))
    )
    held = films > 0
    ratio = _mean_over_root_mean_square(films[held], mean[held] / films[held])
    return float((np.sqrt(variance[held]) * ratio).sum() / len(scores))


def debiased_calibration_error(scores: np.ndarray, truth: np.ndarray, bins: np.ndarray) -> float:
    """ECE less what chance gives a calibrated model; around 0 for one, below 0 by luck, and never floored."""
    return expected_calibration_error(scores, truth, bins) - null_calibration_error(scores, bins)


def _mean_over_root_mean_square(n: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Mean absolute over standard deviation of Binomial(n, p); ``√(2/π)`` for large n, 0 where nothing varies.

    ``E|X - np| = 2 ν C(n, ν) p^ν (1 - p)^(n - ν + 1)``, ``ν = ⌊np⌋ + 1`` (De Moivre 1730; Diaconis and Zabell 1991).
    A bin's scores are alike, so its count of positives is near enough binomial; only the ratio is taken from here.
    """
    n = np.maximum(np.rint(n), 1)
    varies = (p > 0) & (p < 1)
    p = np.where(varies, p, 0.5)
    v = np.minimum(np.floor(n * p) + 1, n)
    log = np.log(2 * v) + gammaln(n + 1) - gammaln(v + 1) - gammaln(n - v + 1) + v * np.log(p)
    log += (n - v + 1) * np.log1p(-p) - 0.5 * np.log(n * p * (1 - p))
    return np.where(varies, np.exp(log), 0.0)


@dataclass(frozen=True)
class BrierParts:
    """Brier score split by bins, ``brier = calibration + refinement`` exactly, all in [0, 1].

    With the residual ``r = s - y``: ``calibration`` is the mean square of its bin means, ``refinement`` its mean variance
    within bins. Where scores do not vary within a bin this is Murphy's split (1973, J. Appl. Meteorol. 12:595) and
    ``refinement`` is the mean of ``ȳ_b (1 - ȳ_b)``; where they do, Murphy's two terms alone would not add up.
    """

    brier: float
    calibration: float
    refinement: float


def brier(scores: np.ndarray, truth: np.ndarray, weights: np.ndarray | None = None) -> float:
    """``Σ w (s - y)² / Σ w`` (Brier 1950); NaN where there is no weight."""
    weights = np.ones(len(scores)) if weights is None else weights
    total = weights.sum()
    return float((weights * (scores - truth) ** 2).sum() / total) if total else float("nan")


def brier_parts(
    scores: np.ndarray, truth: np.ndarray, bins: np.ndarray, weights: np.ndarray | None = None
) -> BrierParts:
    """The Brier score and its two parts; NaN where there is no weight."""
    weights = np.ones(len(scores)) if weights is None else weights
    total = weights.sum()
    if not total:
        return BrierParts(np.nan, np.nan, np.nan)
    residual = scores - truth
    mass = np.bincount(bins, weights=weights)
    mean = np.bincount(bins, weights=weights * residual) / np.where(mass > 0, mass, 1)
    return BrierParts(
        brier(scores, truth, weights),
        float((mass * mean**2).sum() / total),
        float((weights * (residual - mean[bins]) ** 2).sum() / total),
    )


class GapAtEqualN(NamedTuple):
    """Gap in debiased ECE between groups of equal size; NaN with fewer than two eligible groups.

    ``errors`` float64 ``(groups,)``: mean debiased ECE of each group, NaN where it is not compared.
    """

    observed: float
    replicates: np.ndarray
    errors: np.ndarray


@dataclass(frozen=True)
class _Rows:
    """Films of the eligible groups, by group and then score. ``bounds`` int64 ``(groups + 1,)``: where each begins."""

    score: np.ndarray
    residual: np.ndarray
    variance: np.ndarray
    patient: np.ndarray
    bounds: np.ndarray
    next_run: np.ndarray  # first row from here on that is not tied with the row before it


def calibration_gap_at_equal_n(
    scores: np.ndarray,
    truth: np.ndarray,
    patient: np.ndarray,
    member: np.ndarray,
    groups: int,
    *,
    eligible: np.ndarray,
    draws: np.ndarray,
    bins: int = 15,
    seed: int = 0,
) -> GapAtEqualN:
    """Largest less smallest debiased ECE (equal-mass bins), every eligible group cut to the films of the smallest.

    Observed: mean gap over 20 random subsamples of films. A replicate is a draw of patients with replacement, then one
    subsample. A film drawn ``k`` times adds ``k²`` times its variance to the error that chance gives, so replicates are
    debiased with that and not as if copies were new films.

    Two limits. Like any max–min gap this one is biased upward: compare it with another arm's, or with itself under
    permuted groups. And what chance gives is taken off whole, although it adds nothing to a bin that is far off anyway:
    a badly calibrated group seems better by up to that much, and by 1.4 times that much in a replicate.

    Args:
        patient: int, shape ``(films,)``. member: int64 ``(films,)``, index of the group, -1 for unknown.
        groups: how many. eligible: bool ``(groups,)``.
        draws: how often each replicate draws each patient, int ``(patients, replicates)``.
    """
    rows, kept = _sorted_rows(scores, truth, patient, member, groups, eligible)
    if len(kept) < 2:
        return GapAtEqualN(np.nan, np.full(draws.shape[1], np.nan), np.full(groups, np.nan))
    rng = np.random.default_rng(seed)
    once = np.ones(len(rows.score), dtype=np.int64)
    errors = np.stack([_equal_n_errors(rows, once, bins, rng) for _ in range(_SUBSAMPLES)])
    times = draws[rows.patient].astype(np.int64)
    gaps = np.array([np.ptp(_equal_n_errors(rows, drawn, bins, rng)) for drawn in times.T])
    mean = np.full(groups, np.nan)
    mean[kept] = errors.mean(axis=0)
    return GapAtEqualN(float(np.ptp(errors, axis=1).mean()), gaps, mean)


def _sorted_rows(
    scores: np.ndarray, truth: np.ndarray, patient: np.ndarray, member: np.ndarray, groups: int, eligible: np.ndarray
) -> tuple[_Rows, np.ndarray]:
    inside = np.flatnonzero((member >= 0) & np.asarray(eligible)[member])
    order = inside[np.lexsort((scores[inside], member[inside]))]
    sizes = np.bincount(member[order], minlength=groups)
    kept = np.flatnonzero(sizes)
    score, group = np.asarray(scores, dtype=np.float64)[order], member[order]
    new = np.ones(len(order) + 1, dtype=bool)
    new[1:-1] = (score[1:] != score[:-1]) | (group[1:] != group[:-1])
    at = np.where(new, np.arange(len(new)), len(order))
    next_run = np.minimum.accumulate(at[::-1])[::-1]
    bounds = np.append(0, np.cumsum(sizes[kept]))
    return _Rows(score, score - truth[order], score * (1 - score), patient[order], bounds, next_run), kept


def _equal_n_errors(rows: _Rows, times: np.ndarray, bins: int, rng: np.random.Generator) -> np.ndarray:
    """Debiased ECE of every group when film ``i`` stands there ``times[i]`` times, thinned to the smallest group."""
    n = int(np.add.reduceat(times, rows.bounds[:-1]).min())
    if not n:
        return np.full(len(rows.bounds) - 1, np.nan)
    parts = [_thinned(times[a:b], n, rng) for a, b in zip(rows.bounds[:-1], rows.bounds[1:], strict=True)]
    k = np.concatenate(parts).astype(np.float64)
    before = np.cumsum(k) - k
    # A bin begins where its share of the group's films is reached, moved on to the next row that is not tied backwards.
    shares = np.ceil(np.arange(1, bins) * n / bins)
    targets = (np.arange(len(parts))[:, None] * n + shares).ravel()
    inner = rows.next_run[np.searchsorted(before, targets)]
    starts = np.unique(np.concatenate([rows.bounds[:-1], inner[inner < len(k)]]))
    count, squares = np.add.reduceat(k, starts), np.add.reduceat(k * k, starts)
    full = count > 0
    error = np.abs(np.add.reduceat(k * rows.residual, starts))
    share = np.add.reduceat(k * rows.score, starts)[full] / count[full]
    spread = np.sqrt(np.add.reduceat(k * k * rows.variance, starts)[full])
    error[full] -= spread * _mean_over_root_mean_square(count[full] ** 2 / squares[full], share)
    return np.bincount(np.searchsorted(rows.bounds, starts, side="right") - 1, weights=error) / n


def _thinned(times: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """How often each film stands there once ``n`` of all ``times.sum()`` are kept, drawn without replacement."""
    rows = np.repeat(np.arange(len(times)), times)
    fewer = min(n, len(rows) - n)  # draw whichever is less: those that stay or those that go
    drawn = np.bincount(rows[rng.choice(len(rows), fewer, replace=False, shuffle=False)], minlength=len(times))
    return drawn if fewer == n else times - drawn


def reliability_table(
    scores: np.ndarray, truth: np.ndarray, member: np.ndarray, groups: Sequence[str], bins: int = 10
) -> list[dict[str, object]]:
    """What a reliability diagram shows: one row for each group and equal-width bin that has films.

    Args:
        member: int64 ``(films,)``, index into ``groups``, -1 for unknown.

    Returns:
        group, bin, n, mean_score, share_positive, and lo and hi of its Wilson 95 % interval (1927), which takes films as
        independent: it is a guide for the eye, not a test.
    """
    inside = member >= 0
    cell = member[inside] * bins + equal_width_bins(scores[inside], bins)
    size = len(groups) * bins
    n = np.bincount(cell, minlength=size)
    at = np.flatnonzero(n)
    n = n[at]
    score = np.bincount(cell, weights=scores[inside], minlength=size)[at] / n
    share = np.bincount(cell, weights=truth[inside], minlength=size)[at] / n
    z2 = ndtri(0.975) ** 2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = np.sqrt(z2 * (share * (1 - share) / n + z2 / (4 * n**2))) / (1 + z2 / n)
    names = ("group", "bin", "n", "mean_score", "share_positive", "lo", "hi")
    columns = (at % bins, n, score, share, centre - half, centre + half)
    cells = zip([groups[g] for g in (at // bins).tolist()], *(c.tolist() for c in columns), strict=True)
    return [dict(zip(names, row, strict=True)) for row in cells]


@dataclass(frozen=True)
class CalibrationLine:
    """Logistic recalibration ``logit P(y = 1) = intercept + slope · logit(s)`` (Cox 1958; Van Calster et al. 2019).

    Calibrated is slope 1, intercept 0 and ``in_the_large`` 0 (the intercept with slope 1 held; below 0: scores too
    high on the whole). Slope below 1: scores too extreme. ``null_reason`` no_pos, no_neg, constant_score or separated
    (scores part the classes, so no finite line is likeliest): slope and intercept are then NaN; ``in_the_large`` needs
    only both classes. Standard errors are NaN too with fewer than two patients.
    """

    slope: float
    intercept: float
    in_the_large: float
    slope_se: float
    intercept_se: float
    in_the_large_se: float
    null_reason: str | None = None


def calibration_line(scores: np.ndarray, truth: np.ndarray, patient: np.ndarray | None = None) -> CalibrationLine:
    """Calibration slope and intercepts by maximum likelihood; standard errors of the patient-clustered sandwich.

    ``H⁻¹ (C/(C - 1) Σ_c u_c u_cᵀ) H⁻¹`` with ``u_c`` the score vectors of patient ``c`` summed (Liang and Zeger 1986).

    Args:
        scores: clipped to [1e-6, 1 - 1e-6] before the logit.
        patient: int ``(films,)``; without it every film is its own patient.
    """
    if np.isnan(scores).any() or np.isnan(truth).any():
        raise InputError("calibration: a score or truth is not a number. Leave films without one out first.")
    clipped = np.clip(np.asarray(scores, dtype=np.float64), 1e-6, 1 - 1e-6)
    x, y = np.log(clipped) - np.log1p(-clipped), np.asarray(truth, dtype=np.float64)
    if not (y == 1).any() or (y == 1).all():
        return CalibrationLine(
            np.nan, np.nan, np.nan, np.nan, np.nan, np.nan, "no_neg" if len(y) and y[0] == 1 else "no_pos"
        )
    of = np.arange(len(y)) if patient is None else np.unique(patient, return_inverse=True)[1]
    ones = np.ones((len(y), 1))
    (large,), (large_se,) = _logistic(ones, x, y, of)
    below, above = x[y == 0], x[y == 1]
    reason = "separated" if below.max() <= above.min() or above.max() <= below.min() else None
    reason = "constant_score" if x.min() == x.max() else reason
    if reason:
        return CalibrationLine(np.nan, np.nan, float(large), np.nan, np.nan, float(large_se), reason)
    (intercept, slope), (intercept_se, slope_se) = _logistic(np.column_stack([ones, x]), np.zeros(len(y)), y, of)
    return CalibrationLine(
        float(slope), float(intercept), float(large), float(slope_se), float(intercept_se), float(large_se)
    )


def _logistic(design: np.ndarray, offset: np.ndarray, y: np.ndarray, of: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients and clustered standard errors of a logistic regression that has a finite solution; Newton's steps."""

    def likelihood(at: np.ndarray) -> float:
        eta = offset + design @ at
        return float((y * eta - np.logaddexp(0, eta)).sum())

    coefficients = np.zeros(design.shape[1])
    reached, decrement = likelihood(coefficients), np.inf
    for _ in range(100):
        mean = expit(offset + design @ coefficients)
        information = (design * (mean * (1 - mean))[:, None]).T @ design
        gradient = design.T @ (y - mean)
        if decrement < 1e-12:
            break
        step = np.linalg.solve(information, gradient)
        decrement = float(gradient @ step)
        while decrement >= 1e-12 and likelihood(coefficients + step) < reached - 1e-12 * abs(reached):
            step /= 2  # a full step can overshoot where scores are extreme
        coefficients = coefficients + step
        reached = likelihood(coefficients)
    clusters = int(of.max()) + 1
    if clusters < 2:
        return coefficients, np.full(len(coefficients), np.nan)
    summed = np.stack([np.bincount(of, weights=column * (y - mean)) for column in design.T])
    meat = summed @ summed.T * (clusters / (clusters - 1))
    bread = np.linalg.inv(information)
    with np.errstate(invalid="ignore"):  # rounding can make a variance that is nearly 0 negative
        return coefficients, np.sqrt(np.diag(bread @ meat @ bread))
