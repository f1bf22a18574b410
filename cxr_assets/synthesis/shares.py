"""How a number of images is shared out: to the smallest first, or evenly. More images never take any away."""

from __future__ import annotations

import numpy as np

GOLDEN = (5**0.5 - 1) / 2
"""Its multiples modulo 1 fill the unit interval evenly, however many there are."""


def water_fill(counts: np.ndarray, budget: int) -> np.ndarray:
    """Share out ``budget`` among strata so that the smallest are raised to one common level first.

    Args:
        counts: real studies of each stratum, int64, shape ``(strata,)``.

    Returns:
        Images for each stratum, int64, sum ``budget``. A larger budget never gives a stratum fewer, so the images of a
        small mix are among those of a larger one.
    """
    if budget <= 0 or not len(counts):
        return np.zeros(len(counts), dtype=np.int64)
    order = np.argsort(counts, kind="stable")
    heights = counts[order].astype(np.int64)
    below = np.arange(1, len(heights) + 1)
    # Water needed to raise the first k strata to the height of stratum k.
    need = heights * below - np.cumsum(heights)
    k = int(np.searchsorted(need, budget, side="right"))
    level, rest = divmod(budget + int(heights[:k].sum()), k)
    added = np.zeros(len(counts), dtype=np.int64)
    added[order[:k]] = level - heights[:k]
    added[order[:rest]] += 1
    return added


def spread_order(n: int) -> np.ndarray:
    """All of ``0 … n - 1`` in an order of which every beginning is spread over the whole; int64, shape ``(n,)``."""
    return np.argsort(np.arange(n) * GOLDEN % 1.0, kind="stable")


def even_fill(strata: int, budget: int) -> np.ndarray:
    """Share out ``budget`` evenly, the remainder to strata spread over the grid; int64, shape ``(strata,)``.

    The order in which strata get one of the remainder is fixed, so a larger budget never gives a stratum fewer.
    """
    if budget <= 0 or not strata:
        return np.zeros(strata, dtype=np.int64)
    share, rest = divmod(budget, strata)
    added = np.full(strata, share, dtype=np.int64)
    added[spread_order(strata)[:rest]] += 1
    return added


def proportional_fill(planned: np.ndarray, budget: int) -> np.ndarray:
    """Take ``budget`` images of a plan in its own proportions (Sainte-Laguë); int64, shape ``(strata,)``.

    Args:
        planned: images that the plan has of each stratum, int64, shape ``(strata,)``; never more are taken, and a larger
            budget never takes fewer.
    """
    stratum = np.repeat(np.arange(len(planned)), planned)
    turn = np.arange(len(stratum)) - np.repeat(np.cumsum(planned) - planned, planned)
    place = (turn + 0.5) / np.repeat(planned, planned)
    first = np.lexsort((stratum, place))[: max(0, budget)]
    return np.bincount(stratum[first], minlength=len(planned)).astype(np.int64)
