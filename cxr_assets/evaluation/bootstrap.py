"""Patient-clustered resampling of confusion counts and AUROC, vectorised over replicates."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array

from cxr_assets.evaluation.cells import Grouping, ScoredFilms

COUNTS = ("tp", "fn", "fp", "tn")
_CHUNK = 32
_LARGEST_CELL = 6000


def patient_weights(patients: int, replicates: int, seed: int) -> np.ndarray:
    """How often each patient is drawn: float64, shape ``(replicates + 1, patients)``; row 0 is the sample itself.

    Multinomial draws of whole patients, shared by every model, finding and metric, so that contrasts are paired.
    """
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(patients, np.full(patients, 1.0 / patients), size=replicates)
    return np.vstack([np.ones((1, patients)), drawn]).astype(np.float64)


def learner_draws(learners: int, replicates: int, seed: int) -> np.ndarray:
    """Weights of training seeds, rows sum to 1, shape ``(replicates + 1, learners)``; the outer level of the hierarchy."""
    rng = np.random.default_rng([seed, 1])
    drawn = rng.multinomial(learners, np.full(learners, 1.0 / learners), size=replicates) / learners
    return np.vstack([np.full((1, learners), 1.0 / learners), drawn])


def confusion(films: ScoredFilms, thresholds: np.ndarray) -> np.ndarray:
    """Confusion indicators of every film, float32, shape ``(learners, films, findings, 4)`` in the order of COUNTS.

    Args:
        thresholds: shape ``(learners, findings)``; NaN leaves the finding out (all zeros).
    """
    known = ~np.isnan(films.truth) & ~np.isnan(films.scores) & ~np.isnan(thresholds)[:, None, :]
    with np.errstate(invalid="ignore"):
        flagged, present = films.scores >= thresholds[:, None, :], films.truth == 1
    cells = [
        known & present & flagged,
        known & present & ~flagged,
        known & ~present & flagged,
        known & ~present & ~flagged,
    ]
    return np.stack(cells, axis=-1).astype(np.float32)


def patient_counts(indicators: np.ndarray, films: ScoredFilms, grouping: Grouping) -> np.ndarray:
    """Counts of each patient in each group, float64, shape ``(patients, groups, learners, findings, 4)``."""
    learners, _, findings, kinds = indicators.shape
    out = np.zeros((films.patients, len(grouping.groups), learners, findings, kinds))
    inside = grouping.member >= 0
    np.add.at(out, (films.patient[inside], grouping.member[inside]), np.moveaxis(indicators[:, inside], 0, 1))
    return out


def resample_counts(weights: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Counts of every replicate: weights ``(replicates, patients)`` times counts ``(patients, …)``."""
    flat = counts.reshape(len(counts), -1)
    return (weights @ flat).reshape(len(weights), *counts.shape[1:])


def rates(counts: np.ndarray) -> dict[str, np.ndarray]:
    """Rates from counts ``(…, 4)``: NaN where the denominator is 0, never a number in its place."""
    tp, fn, fp, tn = np.moveaxis(counts, -1, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return {
            "tpr": tp / (tp + fn),
            "fpr": fp / (fp + tn),
            "ppv": tp / (tp + fp),
            "npv": tn / (tn + fn),
            "flag_rate": (tp + fp) / (tp + fn + fp + tn),
        }


def weighted_auroc(scores: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """AUROC of every replicate, sorted once: P(score of a positive > score of a negative) + half of ties.

    Args:
        scores, truth: shape ``(films,)``, no NaN.
        weights: shape ``(replicates, films)``.

    Returns:
        float64, shape ``(replicates,)``; NaN where one class has no weight.
    """
    order = np.argsort(scores, kind="stable")
    ranked, positive = scores[order], (truth[order] == 1).astype(np.float64)
    starts = np.flatnonzero(np.append(True, ranked[1:] != ranked[:-1]))
    tied = len(starts) < len(ranked)
    out = np.empty(len(weights))
    for first in range(0, len(weights), _CHUNK):  # few enough rows at a time to stay in the cache
        w = weights[first : first + _CHUNK][:, order]
        pos = w * positive
        neg = w - pos
        if tied:
            pos, neg = np.add.reduceat(pos, starts, axis=1), np.add.reduceat(neg, starts, axis=1)
        below = np.cumsum(neg, axis=1)
        wins = np.einsum("rn,rn->r", pos, below - 0.5 * neg)
        with np.errstate(invalid="ignore", divide="ignore"):
            out[first : first + _CHUNK] = wins / (pos.sum(axis=1) * below[:, -1])
    return out


def clustered_auroc(scores: np.ndarray, truth: np.ndarray, patient: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """AUROC of every replicate when whole patients are drawn; the same figures as :func:`weighted_auroc`.

    The wins of positives over negatives are a bilinear form in the patients' weights, so for cells of a few thousand
    films one small matrix of wins between patients and one matrix product replace a sort for every replicate.

    Args:
        scores, truth: shape ``(films,)``, no NaN; ``patient`` int64, same shape.
        weights: of patients, shape ``(replicates, patients)``.
    """
    if len(scores) > _LARGEST_CELL:
        return weighted_auroc(scores, truth, weights[:, patient])
    present = truth == 1
    people, index = np.unique(patient, return_inverse=True)
    wins = (scores[present][:, None] > scores[~present]) + 0.5 * (scores[present][:, None] == scores[~present])
    owner = csr_array((np.ones(len(index)), (index, np.arange(len(index)))), shape=(len(people), len(index)))
    between = (owner[:, ~present] @ (owner[:, present] @ wins).T).T
    w = weights[:, people]
    with np.errstate(invalid="ignore", divide="ignore"):
        total = (w @ owner[:, present].sum(axis=1)) * (w @ owner[:, ~present].sum(axis=1))
        return np.einsum("rp,rp->r", w @ between, w) / total


def interval(replicates: np.ndarray, level: float = 0.95) -> tuple[float | None, float | None]:
    """Percentile interval of finite replicates; nulls where fewer than nine in ten are finite."""
    finite = replicates[np.isfinite(replicates)]
    if not len(replicates) or len(finite) < 0.9 * len(replicates):
        return None, None
    low, high = np.quantile(finite, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def permuted_gaps(
    counts: np.ndarray,
    group_of_patient: np.ndarray,
    groups: int,
    strata: np.ndarray,
    *,
    metric: str,
    permutations: int,
    seed: int,
    eligible: np.ndarray,
) -> np.ndarray:
    """Max–min gap of a rate when group labels are shuffled between patients within strata.

    Args:
        counts: counts of each patient, summed over its films, shape ``(patients, learners, 4)``.
        group_of_patient: int64, shape ``(patients,)``, -1 for unknown.
        strata: int64, shape ``(patients,)``: patients are exchanged only within one (how many positives they have).
        eligible: bool, shape ``(groups,)``.

    Returns:
        Gap of each permutation, averaged over learners, float64, shape ``(permutations,)``.
    """
    rng = np.random.default_rng([seed, 2])
    known = np.flatnonzero(group_of_patient >= 0)
    flat = counts[known].reshape(len(known), -1)
    labels = group_of_patient[known]
    order = np.argsort(strata[known], kind="stable")
    bounds = np.flatnonzero(np.append(True, np.diff(strata[known][order]) != 0))
    pieces = np.split(order, bounds[1:])
    gaps = np.empty(permutations)
    onehot = np.eye(groups)
    for number in range(permutations):
        shuffled = labels.copy()
        for piece in pieces:
            shuffled[piece] = labels[rng.permutation(piece)]
        summed = (onehot[shuffled].T @ flat).reshape(groups, *counts.shape[1:])
        values = rates(summed)[metric].mean(axis=1)[eligible]
        gaps[number] = np.nanmax(values) - np.nanmin(values)
    return gaps
