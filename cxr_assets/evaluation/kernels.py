"""Compiled inner loops of resampling: a pass over the films for every replicate, replicates shared out over the cores.

Everything here is one statement of arithmetic repeated films × replicates times, where numpy would have to write an
array of that size first. What the figures mean stands in :mod:`metrics` and :mod:`resampling`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np

_WORTH_THREADS = 20_000_000


def compiled(function: Callable[..., None]) -> Callable[..., None]:
    """Compile for the machine, without the interpreter's lock; kept on disk where a folder for it can be written."""
    try:
        return numba.njit(nogil=True, cache=True)(function)  # type: ignore[return-value]
    except RuntimeError:  # a read-only installation without a home folder
        return numba.njit(nogil=True)(function)  # type: ignore[return-value]


def over_cores(total: int, block: int, work: Callable[[int, int], None], *, each: int) -> None:
    """Call ``work(first, end)`` for blocks that cover ``range(total)``, a thread a core; compiled code lets them run at once.

    Args:
        each: films or patients that one of ``total`` passes over; threads are not worth their start for few.
    """
    blocks = [(first, min(first + block, total)) for first in range(0, total, block)]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if min(cores, len(blocks)) < 2 or total * each < _WORTH_THREADS:
        for first, end in blocks:
            work(first, end)
        return
    with ThreadPoolExecutor(cores) as pool:
        list(pool.map(lambda ends: work(*ends), blocks))


@compiled
def slot_sums(
    weights: np.ndarray, patient: np.ndarray, slot: np.ndarray, value: np.ndarray, first: int, out: np.ndarray
) -> None:
    """``out[slot[i], r] += weights[patient[i], first + r] * value[i]`` over all films *i* and a block of replicates *r*."""
    for i in range(patient.shape[0]):
        drawn, sums, worth = weights[patient[i]], out[slot[i]], value[i]
        for r in range(out.shape[1]):
            sums[r] += drawn[first + r] * worth


@compiled
def ranked(
    weights: np.ndarray,
    patient: np.ndarray,
    positive: np.ndarray,
    value: np.ndarray,
    last: np.ndarray,
    bounds: np.ndarray,
    first: int,
    auroc: np.ndarray,
    precision: np.ndarray,
) -> None:
    """AUROC and average precision of every group and a block of replicates, films sorted by group and falling score.

    ``last`` marks the last film of equal scores in a group, ``bounds`` where groups begin; ``auroc`` and ``precision``
    have shape ``(groups, replicates)`` and replicates begin with column ``first`` of the weights.
    """
    many = auroc.shape[1]
    above, false, wins, area = np.empty(many), np.empty(many), np.empty(many), np.empty(many)
    tied_pos, tied_neg = np.empty(many), np.empty(many)
    for g in range(bounds.shape[0] - 1):
        for sums in (above, false, wins, area, tied_pos, tied_neg):
            sums[:] = 0.0
        alone = True
        for i in range(bounds[g], bounds[g + 1]):
            drawn, worth = weights[patient[i]], value[i]
            if alone and last[i]:  # nobody shares the score
                if positive[i]:
                    for r in range(many):
                        weight = drawn[first + r] * worth
                        above[r] += weight
                        area[r] += weight * above[r] / max(above[r] + false[r], 1e-300)
                else:
                    for r in range(many):
                        weight = drawn[first + r] * worth
                        wins[r] += weight * above[r]
                        false[r] += weight
                continue
            sums = tied_pos if positive[i] else tied_neg
            for r in range(many):
                sums[r] += drawn[first + r] * worth
            alone = last[i]
            if alone:
                for r in range(many):
                    wins[r] += tied_neg[r] * (above[r] + 0.5 * tied_pos[r])
                    above[r] += tied_pos[r]
                    false[r] += tied_neg[r]
                    area[r] += tied_pos[r] * above[r] / max(above[r] + false[r], 1e-300)
                tied_pos[:] = 0.0
                tied_neg[:] = 0.0
        for r in range(many):
            auroc[g, r] = wins[r] / (above[r] * false[r]) if above[r] * false[r] > 0.0 else np.nan
            precision[g, r] = area[r] / above[r] if above[r] > 0.0 else np.nan


@compiled
def shuffled(order: np.ndarray, bounds: np.ndarray, home: np.ndarray, seed: int, out: np.ndarray) -> None:
    """``home`` with its values exchanged between patients of the same stratum; ``order`` lists patients by stratum."""
    np.random.seed(seed)
    for s in range(bounds.shape[0] - 1):
        first, size = bounds[s], bounds[s + 1] - bounds[s]
        for j in range(size):
            out[order[first + j]] = home[order[first + j]]
        for j in range(size - 1, 0, -1):
            k = np.random.randint(0, j + 1)
            a, b = order[first + j], order[first + k]
            out[a], out[b] = out[b], out[a]


@compiled
def permuted_sums(
    order: np.ndarray, bounds: np.ndarray, home: np.ndarray, seeds: np.ndarray, totals: np.ndarray, out: np.ndarray
) -> None:
    """``out[b, shuffled home of p] += totals[p]``; ``totals`` has shape ``(patients, kinds)``."""
    moved = home.copy()
    for b in range(seeds.shape[0]):
        shuffled(order, bounds, home, seeds[b], moved)
        for p in range(totals.shape[0]):
            for k in range(totals.shape[1]):
                out[b, moved[p], k] += totals[p, k]


@compiled
def permuted_wins(
    order: np.ndarray,
    bounds: np.ndarray,
    home: np.ndarray,
    seeds: np.ndarray,
    patient: np.ndarray,
    positive: np.ndarray,
    last: np.ndarray,
    wins: np.ndarray,
    classes: np.ndarray,
) -> None:
    """How often a positive of one cell scores above a negative of another when homes are shuffled, ties counted half.

    Films are sorted by rising score, ``last`` marks the last of equal ones. ``wins`` has shape
    ``(permutations, cells, cells)``, positives first; ``classes`` ``(permutations, cells, 2)`` counts positives and negatives.
    From these the AUROC of any union of cells is a sum, so one pass serves every grouping.
    """
    moved = home.copy()
    cells = wins.shape[1]
    below = np.empty(cells)
    for b in range(seeds.shape[0]):
        shuffled(order, bounds, home, seeds[b], moved)
        below[:] = 0.0
        start = 0
        for i in range(patient.shape[0]):
            if not last[i]:
                continue
            single = i == start
            for j in range(start, i + 1):  # positives win over what lies below ...
                cell = moved[patient[j]]
                if positive[j]:
                    classes[b, cell, 0] += 1.0
                    row = wins[b, cell]
                    share = 1.0 if single else 0.5
                    for c in range(cells):
                        row[c] += share * below[c]
            for j in range(start, i + 1):
                if not positive[j]:
                    cell = moved[patient[j]]
                    classes[b, cell, 1] += 1.0
                    below[cell] += 1.0
            if not single:  # ... and by half over their equals, which lie below now
                for j in range(start, i + 1):
                    if positive[j]:
                        row = wins[b, moved[patient[j]]]
                        for c in range(cells):
                            row[c] += 0.5 * below[c]
            start = i + 1
