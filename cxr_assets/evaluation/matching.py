"""Weights that give every group the same prevalence and ages, so that a gap is not a difference in who was filmed.

Inverse-probability weights in place of the resampling with replacement of Glocker et al. (2023), whose copies make
intervals too narrow. Films outside the common support of all groups weigh 0, and the effective number says what is left.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Matched:
    """``weight`` float64 ``(films,)``, mean 1 in each group; ``effective`` Kish's number of films of each group."""

    weight: np.ndarray
    effective: np.ndarray


def match_groups(
    member: np.ndarray, groups: int, truth: np.ndarray, age: np.ndarray | None, eligible: np.ndarray, least: int = 5
) -> Matched | None:
    """Weights under which all eligible groups have one joint distribution of truth and age.

    ``w(y, age, g) = P(y, age) / P(y, age | g)`` on the cells in which every eligible group has ``least`` films.

    Args:
        member: int64 ``(films,)``, -1 for none; ``truth`` 0/1; ``age`` int64 bin of each film, -1 unknown, None to match
            prevalence alone.
        eligible: bool ``(groups,)``.

    Returns:
        None where no cell is shared by all groups, or one class would be lost.
    """
    ages = np.zeros(len(member), dtype=np.int64) if age is None else age
    bins = int(ages.max(initial=0)) + 1
    inside = (member >= 0) & (ages >= 0)
    inside[inside] = eligible[member[inside]]
    cell = np.where(inside, truth.astype(np.int64) * bins + ages, 0)
    table = np.zeros((groups, 2 * bins))
    np.add.at(table, (member[inside], cell[inside]), 1)
    shared = (table[eligible] >= least).all(axis=0)
    if not (shared[:bins].any() and shared[bins:].any()):
        return None
    table = table * shared
    target = table[eligible].sum(axis=0) / table[eligible].sum()
    own = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    ratio = np.divide(target, own, out=np.zeros_like(own), where=own > 0)
    weight = np.zeros(len(member))
    weight[inside] = ratio[member[inside], cell[inside]]
    total, squares = np.zeros(groups), np.zeros(groups)
    np.add.at(total, member[inside], weight[inside])
    np.add.at(squares, member[inside], weight[inside] ** 2)
    effective = np.divide(total**2, squares, out=np.zeros(groups), where=squares > 0)
    return Matched(weight, effective)
