"""Resampling of whole patients: draws shared by everything that is compared, sums and ranks of every draw, intervals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

from cxr_assets.evaluation import kernels

LEVEL = 0.95
_BLOCK = 64  # replicates at a time: one line of the cache for each patient


def patient_draws(patients: int, replicates: int, seed: int) -> np.ndarray:
    """How often each patient is drawn: uint8, shape ``(patients, replicates + 1)``; column 0 is the sample itself.

    Multinomial draws of whole patients, shared by every model, finding and metric, so that contrasts are paired.
    """
    out = np.ones((patients, replicates + 1), dtype=np.uint8)
    for first in range(1, replicates + 1, _BLOCK):  # turned round block by block: single columns would be slow to write
        numbers = range(first, min(first + _BLOCK, replicates + 1))
        drawn = [_draw(patients, np.random.default_rng([seed, number])) for number in numbers]
        out[:, first : first + len(drawn)] = np.array(drawn, dtype=np.uint8).T
    return out


def _draw(patients: int, rng: np.random.Generator) -> np.ndarray:
    return np.bincount(rng.integers(0, patients, patients, dtype=np.int32), minlength=patients)


def learner_draws(learners: int, replicates: int, seed: int) -> np.ndarray:
    """Weights of training seeds, rows sum to 1, shape ``(replicates + 1, learners)``; the outer level of the hierarchy."""
    rng = np.random.default_rng([seed, 0])
    drawn = rng.multinomial(learners, np.full(learners, 1.0 / learners), size=replicates) / learners
    return np.vstack([np.full((1, learners), 1.0 / learners), drawn])


@dataclass(frozen=True)
class Draws:
    """The two levels of a hierarchical bootstrap: training seeds, then patients.

    ``by_patient`` uint8 ``(patients, replicates + 1)``, the draws of one patient side by side; ``learners`` float64
    ``(replicates + 1, learners)``.
    """

    by_patient: np.ndarray
    learners: np.ndarray

    @classmethod
    def make(cls, patients: int, learners: int, replicates: int, seed: int) -> Draws:
        return cls(patient_draws(patients, replicates, seed), learner_draws(learners, replicates, seed))

    @property
    def replicates(self) -> int:
        """Rows of every result: the sample itself and its replicates."""
        return self.by_patient.shape[1]

    def sums(self, patient: np.ndarray, slot: np.ndarray, slots: int, value: np.ndarray | None = None) -> np.ndarray:
        """Sums over films of every replicate by slot, float64, shape ``(replicates + 1, slots)``.

        Args:
            patient, slot: int, shape ``(films,)``.
            value: float, shape ``(films,)``; counts where it is left out.
        """
        key = (
            patient.astype(np.int64) * slots + slot
        )  # draws are read in one direction, a patient's films of a slot at once
        order = np.argsort(key)
        starts = np.flatnonzero(np.diff(key[order], prepend=-1))
        worth = np.ones(len(order)) if value is None else np.asarray(value, np.float64)[order]
        key, worth = key[order[starts]], np.add.reduceat(worth, starts) if len(starts) else worth
        columns = (key // slots).astype(np.int32), (key % slots).astype(np.int32), worth
        out = np.empty((self.replicates, slots))

        def block(first: int, end: int) -> None:
            sums = np.zeros((slots, end - first))
            kernels.slot_sums(self.by_patient, *columns, first, sums)
            out[first:end] = sums.T

        kernels.over_cores(self.replicates, _BLOCK, block, each=len(key))
        return out

    def ranks(
        self,
        patient: np.ndarray,
        scores: np.ndarray,
        truth: np.ndarray,
        member: np.ndarray,
        groups: int,
        value: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """AUROC and average precision of every replicate and group, float64, shape ``(replicates + 1, groups)`` each.

        AUROC = P(score of a positive > score of a negative) + half of ties (Mann and Whitney); average precision is the
        sum of precision times the step in recall, equal scores together. NaN where a group lacks a class.

        Args:
            member: group of each film, -1 for none; sorted once, every replicate is one pass.
            value: weight of each film besides its patient's.
        """
        inside = np.flatnonzero(member >= 0)
        falling = inside[np.argsort(-scores[inside])]
        order = falling[
            np.argsort(member[falling].astype(np.int16), kind="stable")
        ]  # radix, for integers as short as this
        ranked, group = scores[order], member[order]
        bounds = np.searchsorted(group, np.arange(groups + 1))
        differs = (ranked[1:] != ranked[:-1]) | (group[1:] != group[:-1])
        last = np.append(differs, True) if len(order) else np.zeros(0, bool)
        worth = np.ones(len(order)) if value is None else value[order].astype(np.float64)
        columns = patient[order].astype(np.int32), truth[order] == 1, worth, last, bounds
        auroc, precision = (np.empty((self.replicates, groups)) for _ in range(2))

        def block(first: int, end: int) -> None:
            found = np.empty((2, groups, end - first))
            kernels.ranked(self.by_patient, *columns, first, found[0], found[1])
            auroc[first:end], precision[first:end] = found[0].T, found[1].T

        kernels.over_cores(self.replicates, _BLOCK, block, each=len(order))
        return auroc, precision

    def mean(self, values: np.ndarray) -> np.ndarray:
        """Mean over training seeds as drawn: ``(learners, replicates + 1, …)`` becomes ``(replicates + 1, …)``.

        A seed that a replicate did not draw does not make it undefined. Values may stop after the first replicates.
        """
        weight = self.learners[: values.shape[1]].T
        weight = weight.reshape(*weight.shape, *(1,) * (values.ndim - 2))
        return np.where(weight > 0, values * weight, 0.0).sum(axis=0)


def percentile_interval(replicates: np.ndarray, level: float = LEVEL) -> tuple[np.ndarray, np.ndarray]:
    """Percentile interval of each column; NaN where fewer than nine in ten replicates are finite.

    Args:
        replicates: without the sample itself, shape ``(replicates, …)``.
    """
    finite = np.isfinite(replicates)
    enough = finite.mean(axis=0) >= 0.9 if len(replicates) else np.zeros(replicates.shape[1:], bool)
    ends = np.full((2, *replicates.shape[1:]), np.nan)
    if enough.any():
        tails = [(1 - level) / 2, (1 + level) / 2]
        shown = np.where(finite, replicates, np.nan)[:, enough]
        ends[:, enough] = (np.quantile if finite[:, enough].all() else np.nanquantile)(shown, tails, axis=0)
    return ends[0], ends[1]


def bca_interval(values: np.ndarray, influence: np.ndarray, level: float = LEVEL) -> tuple[float | None, float | None]:
    """Bias-corrected and accelerated interval (Efron 1987), acceleration from the infinitesimal jackknife.

    Args:
        values: the sample's own figure first, then its replicates, shape ``(replicates + 1,)``.
        influence: of each patient on the figure, shape ``(patients,)``; patients without any may be left out.

    Returns:
        The ends; (None, None) where fewer than nine in ten replicates are finite.
    """
    replicates = values[1:][np.isfinite(values[1:])]
    if not np.isfinite(values[0]) or not len(values) > 1 or len(replicates) < 0.9 * (len(values) - 1):
        return None, None
    below = (np.sum(replicates < values[0]) + 0.5 * np.sum(replicates == values[0])) / len(replicates)
    bias = norm.ppf(np.clip(below, 0.5 / len(replicates), 1 - 0.5 / len(replicates)))
    spread = np.sum(influence**2) ** 1.5
    acceleration = np.sum(influence**3) / (6 * spread) if spread > 0 else 0.0
    tails = norm.ppf([(1 - level) / 2, (1 + level) / 2])
    moved = norm.cdf(bias + (bias + tails) / (1 - acceleration * (bias + tails)))
    low, high = np.quantile(replicates, moved)
    return float(low), float(high)


def interval(replicates: np.ndarray, level: float = LEVEL) -> tuple[float | None, float | None]:
    """Percentile interval of one figure's replicates; nulls where fewer than nine in ten are finite."""
    if not len(replicates):
        return None, None
    low, high = percentile_interval(replicates[:, None], level)
    return (None, None) if np.isnan(low[0]) else (float(low[0]), float(high[0]))
