"""Cells held out of a generator's training, to see whether it can draw an intersection that it has never been shown.

A cell is one value of every attribute, such as 60-79 × female × black. It may be held out only while each pair of its
values, and each value alone, is still learned from often enough: then what is asked for is a new combination of known
things (generation.md §1.7).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import polars as pl

from cxr_assets.captions.wording import ATTRIBUTES
from cxr_assets.errors import InputError

Cell = tuple[str, ...]


@dataclass(frozen=True)
class Rule:
    """Images that must be left of every pair and of every single value of a held-out cell."""

    least_pair: int = 200
    least_single: int = 1000


def choose_held_out(
    people: pl.DataFrame,
    many: int,
    *,
    attributes: Sequence[str] = ATTRIBUTES,
    rule: Rule | None = None,
    without: Sequence[Cell] = (),
    seed: int = 0,
) -> list[Cell]:
    """Cells to hold out, greedily: the largest first, for there must be real images to compare with; ties by luck.

    Args:
        people: one row a training image: patient_id and the attributes, null where unknown.
        without: cells that may not be chosen, such as those of another split.

    Raises:
        InputError: fewer than ``many`` cells can be held out together; it says what stood in the way.
    """
    rule = rule or Rule()
    known = people.drop_nulls(list(attributes))
    counts = known.group_by(list(attributes)).len().sort(*attributes)
    luck = np.random.default_rng(seed).permutation(counts.height)
    ranked = counts.with_columns(luck=pl.Series(luck)).sort("len", "luck", descending=[True, False])
    held: list[Cell] = []
    last = "there are no more cells"
    for *values, _, _ in ranked.iter_rows():
        if len(held) == many:
            break
        cell = tuple(values)
        if cell in without:
            continue
        why = lacking(people, [*held, cell], attributes=attributes, rule=rule)
        if why is None:
            held.append(cell)
        else:
            last = why
    if len(held) < many:
        raise InputError(
            f"only {len(held)} of {many} cells can be held out of {people.height} training images: {last}. Hold out fewer, or"
            " lower least_pair and least_single."
        )
    return held


def lacking(
    people: pl.DataFrame, held: Sequence[Cell], *, attributes: Sequence[str] = ATTRIBUTES, rule: Rule | None = None
) -> str | None:
    """What would be learned from too seldom without these cells, in words; None where nothing is."""
    rule = rule or Rule()
    left = leave_out(people, held, attributes=attributes)
    for cell in held:
        for size, least in ((1, rule.least_single), (2, rule.least_pair)):
            for names in combinations(range(len(attributes)), size):
                parts = {attributes[i]: cell[i] for i in names}
                many = left.filter(*(pl.col(name) == value for name, value in parts.items())).height
                if many < least:
                    return f"{' × '.join(parts.values())} would be left with {many} images of at least {least}"
    return None


def leave_out(people: pl.DataFrame, held: Sequence[Cell], *, attributes: Sequence[str] = ATTRIBUTES) -> pl.DataFrame:
    """Rows of everybody who has no image in a held-out cell: whole patients go, whose other films would show them."""
    cells = pl.DataFrame(list(held), schema=dict.fromkeys(attributes, pl.String), orient="row")
    typed = people.with_columns(pl.col(attributes).cast(pl.String))
    gone = typed.join(cells, on=list(attributes), how="semi").select("patient_id").unique()
    return people.join(gone, on="patient_id", how="anti", maintain_order="left")
