from __future__ import annotations

import numpy as np
import pytest

from cxr_assets.diffusion.weighing import tempered_order
from cxr_assets.errors import InputError

CELLS = np.random.default_rng(0).permutation(np.repeat([3, 7, 9], [80, 15, 5]))


def visits(order: np.ndarray, cells: np.ndarray = CELLS) -> list[int]:
    return [int((cells[order] == cell).sum()) for cell in np.unique(cells)]


@pytest.mark.parametrize("epoch", range(5))
def test_tau_one_is_a_permutation_of_all_rows(epoch: int) -> None:
    order = tempered_order(CELLS, 1.0, seed=4, epoch=epoch)
    assert order.dtype == np.int64 and sorted(order) == list(range(100)) and order.tolist() != list(range(100))


@pytest.mark.parametrize(("tau", "masses"), [(0.0, [1, 1, 1]), (0.5, [80**0.5, 15**0.5, 5**0.5])])
def test_cells_come_in_proportion_to_their_tempered_size(tau: float, masses: list[float]) -> None:
    expected = 100 * np.array(masses) / sum(masses)
    seen = np.array([visits(tempered_order(CELLS, tau, seed=0, epoch=epoch)) for epoch in range(400)])
    assert (seen.sum(axis=1) == 100).all()
    assert (np.abs(seen - expected) < 1).all()
    assert seen.mean(axis=0) == pytest.approx(expected, abs=0.1)


def test_cells_come_mixed() -> None:
    order = tempered_order(CELLS, 0.0, seed=0, epoch=0)
    assert all(len(set(CELLS[part])) == 3 for part in np.split(order, 4))


def test_no_row_comes_again_before_all_of_its_cell_came() -> None:
    times = np.bincount(tempered_order(CELLS, 0.0, seed=1, epoch=2), minlength=100)
    for cell, few in ((3, 0), (7, 2), (9, 6)):
        assert set(times[cell == CELLS]) <= {few, few + 1}


def test_every_row_of_a_cell_is_as_likely_as_the_next() -> None:
    times = sum(np.bincount(tempered_order(CELLS, 0.0, seed=2, epoch=e), minlength=100) for e in range(600))
    share = times[CELLS == 3] / 600
    assert share == pytest.approx(np.full(80, 100 / 3 / 80), abs=0.1) and share.min() > 0


def test_rows_of_unknown_cell_come_once_each() -> None:
    cells = np.where(np.arange(100) < 10, -1, CELLS)
    order = tempered_order(cells, 0.0, seed=0, epoch=0)
    assert (np.bincount(order, minlength=100)[:10] == 1).all() and set(visits(order, cells)[1:]) == {30}
    assert sorted(tempered_order(np.full(6, -1), 0.0, seed=0, epoch=0)) == list(range(6))


def test_seed_and_epoch_decide() -> None:
    orders = [tempered_order(CELLS, 0.3, seed=s, epoch=e).tolist() for s, e in ((1, 1), (1, 1), (1, 2), (2, 1))]
    assert orders[0] == orders[1] and orders[0] != orders[2] and orders[0] != orders[3] != orders[2]


def test_a_tau_out_of_range_and_no_rows_are_refused() -> None:
    with pytest.raises(InputError, match="tau"):
        tempered_order(CELLS, 1.2, seed=0, epoch=0)
    with pytest.raises(InputError, match="one or more rows"):
        tempered_order(np.zeros(0, dtype=np.int64), 1.0, seed=0, epoch=0)
