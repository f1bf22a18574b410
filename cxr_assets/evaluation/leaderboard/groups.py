"""Subgroups of films: age bins, sexes, recorded races and their pairs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations, product

import numpy as np
import polars as pl

from cxr_assets.cohorts.demographics import UNKNOWN
from cxr_assets.evaluation.leaderboard.metrics import ALL
from cxr_assets.keys import Grid

TIMES = "×"


CELL = TIMES.join(("age_bin", "race", "sex"))
"""Attribute of a whole cell."""


def cell_group(age: str, sex: str, race: str) -> str:
    """Group of a whole cell."""
    return TIMES.join((age, race, sex))


def group_names(
    grid: Grid, attributes: Sequence[str], cells: Sequence[tuple[str, ...]] = ()
) -> Iterator[tuple[str, str]]:
    """(attribute, group) of all films, then of every value and every pair of values that the cohort can have, then of cells.

    Args:
        cells: held-out cells, (age bin, sex, race) each.

    A pair's attribute is written ``race×sex``, in alphabetical order. Attributes that synthetic images are not asked for
    are passed over.
    """
    values = {"age_bin": grid.ages, "sex": grid.sexes, "race": grid.races}
    known = sorted(a for a in attributes if a in values)
    yield ALL, ALL
    for attribute in known:
        yield from ((attribute, value) for value in values[attribute])
    for pair in combinations(known, 2):
        yield from ((TIMES.join(pair), TIMES.join(group)) for group in product(*(values[a] for a in pair)))
    yield from ((CELL, cell_group(*cell)) for cell in cells)


def members(films: pl.DataFrame, attribute: str, group: str) -> np.ndarray:
    """Which films are in a group, bool, shape ``(n,)``. Films with columns ``age_bin``, ``sex``, ``race``."""
    if attribute == ALL:
        return np.ones(films.height, dtype=bool)
    inside = pl.all_horizontal(
        pl.col(name).fill_null(UNKNOWN) == value
        for name, value in zip(attribute.split(TIMES), group.split(TIMES), strict=True)
    )
    return films.select(inside.alias("inside"))["inside"].to_numpy()
