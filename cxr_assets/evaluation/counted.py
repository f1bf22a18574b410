"""Confusion counts of every patient in every cell of the lattice: all that rates, their draws and permutations need."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cxr_assets.evaluation.cells import Grouping, Lattice, ScoredFilms
from cxr_assets.evaluation.metrics import COUNT_METRICS, WHOLES, confusion_kind
from cxr_assets.evaluation.resampling import Draws


@dataclass(frozen=True)
class Pairs:
    """Every (patient, cell) that films are in; ``of_film`` int64 ``(films,)`` is the pair of each film."""

    patient: np.ndarray
    cell: np.ndarray
    of_film: np.ndarray
    patients: int
    cells: int

    @classmethod
    def make(cls, films: ScoredFilms, lattice: Lattice) -> Pairs:
        cells = len(lattice.unknown)
        key, of_film = np.unique(films.patient * cells + lattice.cell, return_inverse=True)
        return cls(key // cells, key % cells, of_film.reshape(-1), films.patients, cells)


@dataclass(frozen=True)
class Counted:
    """``counts`` float64 ``(pairs, learners, 4)`` in the order of ``metrics.COUNTS``."""

    pairs: Pairs
    counts: np.ndarray

    @classmethod
    def make(cls, pairs: Pairs, rows: np.ndarray, flagged: np.ndarray, present: np.ndarray) -> Counted:
        """Count films.

        Args:
            rows: indices of the films counted, shape ``(n,)``; ``present`` bool of that shape.
            flagged: bool, shape ``(learners, n)``.
        """
        counts = np.zeros((len(flagged), len(pairs.patient) * 4))
        for learner, flags in enumerate(flagged):
            slot = pairs.of_film[rows] * 4 + confusion_kind(flags, present)
            counts[learner] = np.bincount(slot, minlength=counts.shape[1])
        return cls(pairs, counts.reshape(len(flagged), -1, 4).transpose(1, 0, 2))

    def __add__(self, other: Counted) -> Counted:
        return Counted(self.pairs, self.counts + other.counts)

    @property
    def learners(self) -> int:
        return int(self.counts.shape[1])

    def resampled(self, draws: Draws) -> np.ndarray:
        """Counts of every learner, replicate and cell, float64 ``(learners, replicates + 1, cells, 4)``."""
        out = []
        for learner in range(self.counts.shape[1]):
            pair, kind = np.nonzero(self.counts[:, learner])
            slot = self.pairs.cell[pair] * 4 + kind
            value = self.counts[pair, learner, kind]
            sums = draws.sums(self.pairs.patient[pair], slot, self.pairs.cells * 4, value)
            out.append(sums.reshape(len(sums), self.pairs.cells, 4))
        return np.stack(out)

    def by_patient(self) -> np.ndarray:
        """Counts of each patient, float64 ``(patients, learners, 4)``."""
        starts = np.searchsorted(self.pairs.patient, np.arange(self.pairs.patients))  # pairs are sorted by patient
        return np.add.reduceat(self.counts, starts, axis=0)

    def influence(self, grouping: Grouping, group: int, metric: str) -> np.ndarray:
        """Influence of each patient on a group's rate, float64 ``(patients,)``: ``(x - rate * n) / N`` of its films."""
        part = {"tpr": 0, "fnr": 1, "fpr": 2}[metric]
        inside = grouping.of_cell[self.pairs.cell] == group
        counts = self.counts[inside]
        hits, films = counts[..., part], counts[..., WHOLES[metric]].sum(axis=-1)
        total = films.sum(axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            each = np.nan_to_num((hits - films * hits.sum(axis=0) / total) / total).mean(axis=1)
        return np.bincount(self.pairs.patient[inside], each, minlength=self.pairs.patients)


@dataclass(frozen=True)
class Tally:
    """Counts of one finding at one operating point, with their draws.

    ``drawn`` float32 ``(learners, replicates + 1, cells, 4)``, as :meth:`Counted.resampled` gives them: whole numbers,
    which that holds exactly up to 16 million films.
    """

    counted: Counted
    drawn: np.ndarray

    @classmethod
    def of(cls, counted: Counted, draws: Draws) -> Tally:
        return cls(counted, counted.resampled(draws).astype(np.float32))


def by_group(values: np.ndarray, grouping: Grouping) -> np.ndarray:
    """Sums over the cells of each group: ``(…, cells, kinds)`` becomes ``(…, groups, kinds)``."""
    onehot = (grouping.of_cell[:, None] == np.arange(len(grouping.groups))).astype(np.float64)
    return np.moveaxis(np.tensordot(values, onehot, axes=(-2, 0)), -1, -2)


def rates(counts: np.ndarray, metric: str, compared: np.ndarray) -> np.ndarray:
    """Rates of groups over one finding or several, each finding weighing the same in all groups that are compared.

    Groups differ in which findings they have, and findings in how often they are seen, so that adding up films would make a
    gap where there is none. The rates of single findings are averaged with common weights instead (direct standardisation),
    ``w_f = 1 / sum_g 1 / n_gf`` over the compared groups, with ``n_gf`` the denominator of the rate: for two groups those of
    Mantel and Haenszel (1959), and 0 for a finding that one of them lacks.

    Args:
        counts: ``(findings, …, groups, 4)``.
        compared: bool ``(groups,)``; where there is none, findings weigh as they do in all groups together.

    Returns:
        ``(…, groups)``, NaN where a group has none of the findings that weigh anything. Groups that are not compared are
        averaged over those findings that they have.
    """
    values = COUNT_METRICS[metric](counts)
    if len(counts) == 1:
        return values[0]
    weight = weights_of_findings(counts, metric, compared)
    with np.errstate(invalid="ignore"):
        return np.where(weight > 0, values * weight, 0.0).sum(axis=0) / weight.sum(axis=0)


def weights_of_findings(counts: np.ndarray, metric: str, compared: np.ndarray) -> np.ndarray:
    """Weight of each finding in :func:`rates`, ``(findings, …, groups)``; 0 in a group that has no film to count."""
    films = counts[..., WHOLES[metric]].sum(axis=-1)
    if not compared.any():
        return np.where(films > 0, films.sum(axis=-1, keepdims=True), 0.0)
    with np.errstate(divide="ignore"):
        return np.where(films > 0, 1 / (1 / films[..., compared]).sum(axis=-1, keepdims=True), 0.0)
