"""Attributes, their values, and sums of losses over them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from cxr_assets.errors import InputError


@dataclass(frozen=True)
class Groups:
    """Attributes with their values in order.

    All values of all attributes, one attribute after the other, make the *value* axis; all combinations of one value
    of each attribute, the last attribute fastest, make the *cell* axis.

    Raises:
        InputError: no attribute, an attribute without a value, or a value named twice.
    """

    values: Mapping[str, tuple[str, ...]]

    def __post_init__(self) -> None:
        if not self.values:
            raise InputError("examples cannot be weighed by groups: no attribute is given. Name one, such as 'sex'.")
        for name, values in self.values.items():
            if not values or len(set(values)) < len(values):
                raise InputError(f"attribute {name!r} needs values that are all different, got {list(values)}.")

    @property
    def names(self) -> list[str]:
        return list(self.values)

    @property
    def labels(self) -> list[str]:
        """``attribute=value`` along the value axis."""
        return [f"{name}={value}" for name, values in self.values.items() for value in values]

    @property
    def sizes(self) -> np.ndarray:
        """Number of values of each attribute, int64, shape ``(attributes,)``."""
        return np.array([len(values) for values in self.values.values()], dtype=np.int64)

    @property
    def offsets(self) -> np.ndarray:
        """Where each attribute begins on the value axis, int64, shape ``(attributes,)``."""
        return np.cumsum(self.sizes) - self.sizes

    @property
    def cells(self) -> int:
        """Length of the cell axis."""
        return int(self.sizes.prod())

    def check(self, groups: np.ndarray) -> np.ndarray:
        """The same indices as int64, shape ``(batch, attributes)``; -1 is unknown.

        Raises:
            InputError: another shape, no whole numbers, or an index that names no value.
        """
        if groups.ndim != 2 or groups.shape[1] != len(self.values) or not np.issubdtype(groups.dtype, np.integer):
            raise InputError(
                f"groups must be whole numbers of shape (batch, {len(self.values)}), one column each for "
                f"{', '.join(self.names)}; got {groups.dtype} of shape {groups.shape}."
            )
        wrong = ((groups < -1) | (groups >= self.sizes)).any(axis=0)
        if wrong.any():
            at = int(wrong.argmax())
            raise InputError(
                f"attribute {self.names[at]!r} has the values 0 to {self.sizes[at] - 1} and -1 for unknown; "
                f"got {groups[:, at].min()} to {groups[:, at].max()}."
            )
        return groups.astype(np.int64, copy=False)

    def cell_of(self, groups: np.ndarray) -> np.ndarray:
        """Cell of each example, int64, shape ``(batch,)``; -1 where any attribute is unknown."""
        groups = self.check(groups)
        cells = np.ravel_multi_index(tuple(np.maximum(groups, 0).T), tuple(self.sizes))
        return np.where((groups >= 0).all(axis=1), cells, -1)

    def cell_counts(self, groups: np.ndarray) -> np.ndarray:
        """Examples in each cell, int64, shape ``(cells,)``; those of unknown cell are in none."""
        cells = self.cell_of(groups)
        return np.bincount(cells[cells >= 0], minlength=self.cells)

    def value_sums(self, groups: np.ndarray, losses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Sum of losses and number of examples of each value, float64 and int64, shape ``(values,)``."""
        groups = self.check(groups)
        at = np.where(groups >= 0, groups + self.offsets, -1)
        return _sums(at.ravel(), np.repeat(_losses(losses, len(groups)), groups.shape[1]), int(self.sizes.sum()))

    def cell_sums(self, groups: np.ndarray, losses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Sum of losses and number of examples of each cell, float64 and int64, shape ``(cells,)``."""
        return _sums(self.cell_of(groups), _losses(losses, len(groups)), self.cells)

    def marginals(self, cells: np.ndarray) -> np.ndarray:
        """Sums over cells, shape ``(cells,)``, as sums over values, shape ``(values,)``."""
        cube, axes = cells.reshape(self.sizes), range(len(self.values))
        return np.concatenate([cube.sum(axis=tuple(a for a in axes if a != kept)) for kept in axes])

    def gaps(self, sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """Largest difference between mean losses of two values, per attribute (generation.md §2.1).

        Args:
            sums: sum of losses, shape ``(values,)``.
            counts: examples behind each sum, shape ``(values,)``.

        Returns:
            float64, shape ``(attributes,)``; 0 where fewer than two values have a finite mean.

        Raises:
            InputError: arrays of another shape.
        """
        if sums.shape != (self.sizes.sum(),) or counts.shape != sums.shape:
            raise InputError(
                f"sums and counts need one entry for each of {', '.join(self.labels)}; "
                f"got shapes {sums.shape} and {counts.shape}. Take them from the same controller's tally."
            )
        means = group_means(sums, counts)
        seen = np.isfinite(means)
        high = np.maximum.reduceat(np.where(seen, means, -np.inf), self.offsets)
        low = np.minimum.reduceat(np.where(seen, means, np.inf), self.offsets)
        return np.where(np.add.reduceat(seen.astype(np.int64), self.offsets) >= 2, high - low, 0.0)


def group_means(sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Mean loss, float64, shape of ``sums``; NaN where there is no example or the sum is not finite."""
    usable = (counts > 0) & np.isfinite(sums)
    return np.where(usable, np.where(usable, sums, 0.0) / np.maximum(counts, 1), np.nan)


def _losses(losses: np.ndarray, batch: int) -> np.ndarray:
    if losses.shape != (batch,):
        raise InputError(f"one loss per example: the batch has {batch} examples, the losses have shape {losses.shape}.")
    return losses.astype(np.float64, copy=False)


def _sums(at: np.ndarray, losses: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    known = at >= 0
    at = at[known]
    return np.bincount(at, weights=losses[known], minlength=length), np.bincount(at, minlength=length)
