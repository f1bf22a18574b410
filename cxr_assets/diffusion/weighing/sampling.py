"""Order of training rows that visits demographic cells more evenly than they occur."""

from __future__ import annotations

import numpy as np

from cxr_assets.errors import InputError


def tempered_order(cells: np.ndarray, tau: float, *, seed: int, epoch: int) -> np.ndarray:
    """Rows to visit in one epoch, with cells visited in proportion to ``n_cell ** tau`` (generation.md §7.4).

    A cell's visits are rounded up or down at random so that they keep their expectation. Within a cell no row comes a
    second time before all its rows came once, so that rows repeat only where a cell has fewer rows than visits.
    Rows of unknown cell are visited once each. With ``tau`` 1 the order is a permutation of all rows, with ``tau`` 0
    all cells are visited alike.

    Args:
        cells: cell of each row, int64, shape ``(rows,)``; -1 is unknown.
        tau: in [0, 1].
        seed: with ``epoch`` the only source of chance; both 0 or more.

    Returns:
        Row indices, int64, shape ``(rows,)``.

    Raises:
        InputError: ``tau`` outside [0, 1], or no rows.
    """
    if not 0.0 <= tau <= 1.0:
        raise InputError(f"tau is 1 for cells as they come down to 0 for all alike, got {tau}.")
    if cells.ndim != 1 or not len(cells):
        raise InputError(f"the order of rows needs one cell for each of one or more rows, got shape {cells.shape}.")
    rng = np.random.default_rng([seed, epoch])
    names, counts = np.unique(cells, return_counts=True)
    masses = np.where(names >= 0, counts.astype(np.float64) ** tau, 0.0)
    expected = np.where(names >= 0, counts[names >= 0].sum() * masses / max(masses.sum(), 1.0), counts)
    # One 24-bit offset for all edges: exact beside whole numbers, which so stay what they are.
    edges = np.floor(np.cumsum(expected)[:-1] + rng.random(dtype=np.float32)).astype(np.int64)
    visits = np.diff(edges, prepend=0, append=len(cells))

    by_cell = np.lexsort((rng.random(len(cells)), cells))
    turn = np.arange(len(cells)) - np.repeat(np.cumsum(visits) - visits, visits)
    starts = np.cumsum(counts) - counts
    return rng.permutation(by_cell[np.repeat(starts, visits) + turn % np.repeat(counts, visits)])
