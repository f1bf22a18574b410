from __future__ import annotations

from itertools import combinations, product

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxr_assets.captions.wording import ATTRIBUTES
from cxr_assets.diffusion.holdout import Rule, choose_held_out, lacking, leave_out
from cxr_assets.errors import InputError

FEW = Rule(least_pair=1, least_single=1)


def cube(each: int = 1) -> pl.DataFrame:
    """Two ages × two sexes × two races, every image of another patient."""
    rows = [cell for cell in product("01", repeat=3) for _ in range(each)]
    frame = pl.DataFrame(rows, schema=dict.fromkeys(ATTRIBUTES, pl.String), orient="row")
    return frame.with_columns(patient_id=pl.format("p{}", pl.int_range(pl.len())))


def test_a_corner_of_a_cube_may_be_held_out_but_not_an_edge() -> None:
    assert lacking(cube(), [("1", "1", "1")], rule=FEW) is None
    why = lacking(cube(), [("1", "1", "0"), ("1", "1", "1")], rule=FEW)
    assert why == "1 × 1 would be left with 0 images of at least 1"


def test_of_a_cube_two_opposite_corners_can_be_held_out_and_no_pair_is_lost() -> None:
    held = choose_held_out(cube(), 2, rule=FEW)
    assert sum(a != b for a, b in zip(*held, strict=True)) >= 2, "neighbours share a pair"


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 3), st.integers(3, 6))
def test_whatever_is_held_out_every_pair_of_it_is_still_learned_from(seed: int, many: int, each: int) -> None:
    people = cube(each)
    rule = Rule(least_pair=each, least_single=2 * each)
    try:
        held = choose_held_out(people, many, rule=rule, seed=seed)
    except InputError:
        return
    left = leave_out(people, held)
    assert len(set(held)) == many and left.height == people.height - many * each
    for cell in held:
        for i, j in combinations(range(3), 2):
            pair = (pl.col(ATTRIBUTES[i]) == cell[i]) & (pl.col(ATTRIBUTES[j]) == cell[j])
            assert left.filter(pair).height >= rule.least_pair


def test_the_same_seed_chooses_the_same_cells_and_a_second_split_others() -> None:
    people = cube(3)
    first = choose_held_out(people, 2, rule=FEW, seed=4)
    assert first == choose_held_out(people.reverse(), 2, rule=FEW, seed=4)
    second = choose_held_out(people, 2, rule=FEW, seed=4, without=first)
    assert not set(first) & set(second)


def test_the_cell_with_most_real_images_comes_first_and_the_unknown_is_no_cell() -> None:
    more = pl.DataFrame(
        {"age": ["1"] * 5, "sex": ["0"] * 5, "race": ["1"] * 5, "patient_id": [f"q{i}" for i in range(5)]}
    )
    people = pl.concat([cube(2), more, more.with_columns(race=pl.lit(None, pl.String))])
    assert choose_held_out(people, 1, rule=FEW) == [("1", "0", "1")]


def test_whole_patients_are_left_out() -> None:
    people = cube().with_columns(patient_id=pl.Series(["a", "b", "c", "d", "e", "f", "g", "a"]))
    left = leave_out(people, [("1", "1", "1")])
    assert set(left["patient_id"]) == set("bcdefg"), "the first film of patient a shows the same body"
    assert leave_out(people, []).equals(people)


def test_what_cannot_be_held_out_is_refused_with_the_reason() -> None:
    with pytest.raises(InputError, match=r"only 0 of 1 cells .* would be left with \d+ images of at least 200"):
        choose_held_out(cube(50), 1, rule=Rule(least_single=10))
    with pytest.raises(InputError, match="no more cells"):
        choose_held_out(cube(1).clear(), 1, rule=FEW)
