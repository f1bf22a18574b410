from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxr_assets.synthesis.shares import even_fill, proportional_fill, spread_order, water_fill

counts = st.lists(st.integers(0, 200), min_size=1, max_size=30).map(lambda values: np.array(values, dtype=np.int64))
budgets = st.integers(0, 3000)


@given(counts, budgets)
def test_water_goes_where_the_ground_is_lowest_and_all_of_it(real: np.ndarray, budget: int) -> None:
    added = water_fill(real, budget)
    assert added.sum() == budget and (added >= 0).all()
    filled = real + added
    wet = added > 0
    if wet.any():
        assert filled[wet].max() - filled[wet].min() <= 1, "the strata that get something end level"
        assert filled[wet].max() <= filled[~wet].min(initial=10**9) + 1, "no stratum is passed over for a fuller one"


@given(counts, budgets, st.integers(0, 500))
def test_more_water_takes_none_away(real: np.ndarray, budget: int, more: int) -> None:
    assert (water_fill(real, budget + more) >= water_fill(real, budget)).all()


def test_water_fill_on_known_heights() -> None:
    real = np.array([10, 0, 4, 4])
    assert water_fill(real, 3).tolist() == [0, 3, 0, 0]
    assert water_fill(real, 10).tolist() == [0, 6, 2, 2]
    assert water_fill(real, 11).tolist() == [0, 7, 2, 2]
    assert water_fill(real, 26).tolist() == [1, 11, 7, 7]
    assert water_fill(np.array([], dtype=np.int64), 5).tolist() == []


@given(st.integers(1, 60), budgets)
def test_an_even_fill_differs_by_one_at_most(strata: int, budget: int) -> None:
    added = even_fill(strata, budget)
    assert added.sum() == budget and len(added) == strata
    assert added.max() - added.min() <= 1


@given(st.integers(1, 60), budgets, st.integers(0, 100))
def test_a_larger_even_fill_takes_none_away(strata: int, budget: int, more: int) -> None:
    assert (even_fill(strata, budget + more) >= even_fill(strata, budget)).all()


@pytest.mark.parametrize("rest", [4, 9, 18, 36])
def test_the_remainder_of_an_even_fill_is_spread_over_the_grid(rest: int) -> None:
    quarters = even_fill(72, rest).reshape(4, 18).sum(axis=1)
    assert quarters.max() - quarters.min() <= 2


@given(st.integers(0, 80))
def test_a_spread_order_names_each_place_once(n: int) -> None:
    assert sorted(spread_order(n).tolist()) == list(range(n))


@given(counts, st.integers(0, 400), st.integers(0, 400))
def test_a_share_of_a_plan_keeps_its_proportions(planned: np.ndarray, small: int, large: int) -> None:
    small, large = sorted((small, large))
    few, many = proportional_fill(planned, small), proportional_fill(planned, large)
    assert few.sum() == min(small, planned.sum()) and (few <= many).all() and (many <= planned).all()
    share = few.sum() / max(1, planned.sum())
    assert (np.abs(few - share * planned) <= 1.5 + len(planned) * 0.5).all()


def test_a_tenth_of_a_plan_is_a_tenth_of_each_stratum() -> None:
    assert proportional_fill(np.array([100, 50, 0, 10]), 16).tolist() == [10, 5, 0, 1]
