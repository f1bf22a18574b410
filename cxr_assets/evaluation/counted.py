"""Confusion counts of every patient in every cell of the lattice: all that rates, their draws and permutations need."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cxr_assets.evaluation.cells import Grouping, Lattice, ScoredFilms
from cxr_assets.evaluation.metrics import confusion_kind
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
        part, whole = {"tpr": (0, (0, 1)), "fnr": (1, (0, 1)), "fpr": (2, (2, 3))}[metric]
        inside = grouping.of_cell[self.pairs.cell] == group
        counts = self.counts[inside]
        hits, films = counts[..., part], counts[..., list(whole)].sum(axis=-1)
        total = films.sum(axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            each = np.nan_to_num((hits - films * hits.sum(axis=0) / total) / total).mean(axis=1)
        return np.bincount(self.pairs.patient[inside], each, minlength=self.pairs.patients)


def by_group(values: np.ndarray, grouping: Grouping) -> np.ndarray:
    """Sums over the cells of each group: ``(…, cells, kinds)`` becomes ``(…, groups, kinds)``."""
    onehot = (grouping.of_cell[:, None] == np.arange(len(grouping.groups))).astype(np.float64)
    return np.moveaxis(np.tensordot(values, onehot, axes=(-2, 0)), -1, -2)
