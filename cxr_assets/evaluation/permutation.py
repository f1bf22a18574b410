"""Gaps that chance alone gives: groups exchanged between patients who have as many positives and negatives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cxr_assets.evaluation import kernels
from cxr_assets.evaluation.cells import Grouping, Lattice

_BLOCK = 16
LEAST = 20
"""Patients of a stratum: in smaller ones too few can change places, and part of a true gap would stay where it is."""


@dataclass(frozen=True)
class Exchange:
    """Patients who may exchange their places in the lattice.

    ``home`` int64 ``(patients,)``: the cell that most of a patient's films are in, so that a patient is moved as a whole even
    where age or record changed between films; ``order`` patients by stratum, ``bounds`` where strata begin.
    """

    home: np.ndarray
    order: np.ndarray
    bounds: np.ndarray
    seeds: np.ndarray

    @classmethod
    def make(
        cls,
        lattice: Lattice,
        patient: np.ndarray,
        counts: np.ndarray,
        permutations: int,
        seed: int,
        profile: np.ndarray | None = None,
    ) -> Exchange:
        """Strata of alike numbers of positives and negatives (:func:`alike_counts`), and of equal unknown attributes.

        Args:
            patient: of every film of the lattice; ``counts`` positives and negatives of each patient,
                shape ``(patients, 2)``, the mean over training seeds where they differ.
            profile: int64 ``(patients,)``, what else patients of a stratum have in common, such as the findings they have.
        """
        cells = len(lattice.unknown)
        pair, films = np.unique(patient * cells + lattice.cell, return_counts=True)
        pair = pair[np.lexsort((-pair, films))]  # the last one written is that of most films
        home = np.zeros(len(counts), dtype=np.int64)
        home[pair // cells] = pair % cells
        bins = alike_counts(np.rint(counts).astype(np.int64))
        unknown = lattice.unknown[home]
        finest = [bins[:, 0], bins[:, 1], unknown]
        keys = [finest, [bins[:, 0], unknown], [bins[:, 0] > 0, unknown], [unknown]]
        if profile is not None:
            keys = [[*finest, profile], [bins[:, 0], unknown, profile], *keys]
        stratum = strata(keys, LEAST)
        order = np.argsort(stratum, kind="stable")
        bounds = np.concatenate([[0], np.flatnonzero(np.diff(stratum[order])) + 1, [len(order)]])
        seeds = np.random.default_rng([seed, 0, 2]).integers(0, 2**31, permutations)
        return cls(home, order, bounds, seeds)

    def sums(self, totals: np.ndarray, cells: int) -> tuple[np.ndarray, np.ndarray]:
        """Sums of each cell as it is, ``(1, cells, kinds)``, and of every permutation, ``(permutations, cells, kinds)``."""
        out = np.zeros((len(self.seeds), cells, totals.shape[1]))
        totals = np.ascontiguousarray(totals, dtype=np.float64)

        def block(first: int, end: int) -> None:
            seeds = self.seeds[first:end]
            kernels.permuted_sums(self.order, self.bounds, self.home, seeds, totals, out[first:end])

        kernels.over_cores(len(out), _BLOCK, block, each=2 * len(totals))
        asis = np.zeros((1, cells, totals.shape[1]))
        np.add.at(asis[0], self.home, totals)
        return asis, out

    def aurocs(
        self, patient: np.ndarray, scores: np.ndarray, truth: np.ndarray, groupings: Sequence[Grouping]
    ) -> list[np.ndarray]:
        """AUROC of the groups of each grouping in every permutation, the sample itself first.

        Returns:
            One float64 array ``(permutations + 1, groups)`` for each grouping, NaN where a group lacks a class.
        """
        order = np.argsort(scores, kind="stable")
        last = np.append(np.diff(scores[order]) != 0, True)
        columns = patient[order].astype(np.int32), truth[order] == 1, last
        cells, many = len(groupings[0].of_cell), len(self.seeds) + 1
        alone = np.arange(len(self.home) + 1)  # strata of one, in which nobody moves: the sample itself
        out = [np.empty((many, len(g.groups))) for g in groupings]

        def block(first: int, end: int) -> None:
            wins, classes = np.zeros((end - first, cells, cells)), np.zeros((end - first, cells, 2))
            for a, b, moves, bounds in (
                (first, min(end, 1), alone[:-1], alone),
                (max(first, 1), end, self.order, self.bounds),
            ):
                if a < b:
                    seeds = self.seeds[a - 1 : b - 1] if a else self.seeds[:1]
                    here = slice(a - first, b - first)
                    kernels.permuted_wins(moves, bounds, self.home, seeds, *columns, wins[here], classes[here])
            for values, grouping in zip(out, groupings, strict=True):
                values[first:end] = _aurocs(wins, classes, grouping)

        kernels.over_cores(many, _BLOCK, block, each=len(order) * 10)
        return out


def strata(keys: Sequence[Sequence[np.ndarray]], least: int) -> np.ndarray:
    """Number of each patient's stratum: those alike by the first keys, or the next where fewer than ``least`` are.

    Args:
        keys: finest first, each a list of arrays ``(patients,)``; those whom the last leaves in small strata stay there.
    """
    left = np.arange(len(keys[0][0]))
    out = np.empty(len(left), dtype=np.int64)
    made = 0
    for at, columns in enumerate(keys):
        _, kind, many = np.unique(
            np.stack([c[left] for c in columns], axis=1), axis=0, return_inverse=True, return_counts=True
        )
        kind = kind.reshape(-1)
        settled = (many[kind] >= least) | (at == len(keys) - 1)
        out[left[settled]] = made + kind[settled]
        made += len(many)
        left = left[~settled]
    return out


def alike_counts(counts: np.ndarray) -> np.ndarray:
    """0, 1, 2 and 3 stand for themselves, larger numbers for the power of two they reach: 4 to 7, 8 to 15, and so on.

    Wider strata would exchange patients with many films for patients with few, and so move the sizes of groups.
    """
    return np.where(counts < 4, counts, 2 + np.log2(np.maximum(counts, 1)).astype(np.int64))


def _aurocs(wins: np.ndarray, classes: np.ndarray, grouping: Grouping) -> np.ndarray:
    """AUROC of unions of cells from the wins between cells."""
    onehot = (grouping.of_cell[:, None] == np.arange(len(grouping.groups))).astype(np.float64)
    same = (grouping.of_cell[:, None] == grouping.of_cell) & (grouping.of_cell >= 0)  # wins between cells of one group
    group = np.broadcast_to(grouping.of_cell[:, None], same.shape)[same]
    order = np.argsort(group, kind="stable")  # every group has a cell, so that each begins somewhere
    own = np.add.reduceat(
        wins[:, same][:, order], np.searchsorted(group[order], np.arange(len(grouping.groups))), axis=1
    )
    pairs = (classes[..., 0] @ onehot) * (classes[..., 1] @ onehot)
    with np.errstate(invalid="ignore"):
        return np.where(pairs > 0, own / pairs, np.nan)


def null_of(gaps: np.ndarray) -> tuple[float | None, float | None]:
    """Mean of the null and p of the sample's own gap, which stands first; ``p = (1 + #{null >= own}) / (1 + B)``.

    Nulls where the sample's gap or more than one in ten permutations are undefined.
    """
    own, null = gaps[0], gaps[1:]
    finite = null[np.isfinite(null)]
    if not np.isfinite(own) or not len(finite) or len(finite) < 0.9 * len(null):
        return None, None
    return float(finite.mean()), float((1 + (finite >= own - 1e-12).sum()) / (1 + len(finite)))
