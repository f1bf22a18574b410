from __future__ import annotations

import polars as pl

from cxr_assets.evaluation.leaderboard.groups import group_names, members
from cxr_assets.keys import Grid

GRID = Grid(("edema",), ("00-39", "40-up"), ("female", "male"), ("black", "white", "other"))
FILMS = pl.DataFrame(
    {"age_bin": ["00-39", "40-up", None], "sex": ["female", "male", "female"], "race": ["black", "black", "white"]}
)


def test_groups_are_all_films_then_values_then_pairs_in_alphabetical_order() -> None:
    found = list(group_names(GRID, ["age_bin", "sex", "race"]))
    assert found[0] == ("all", "all") and len(found) == len(set(found)) == 1 + 2 + 2 + 3 + 2 * 2 + 2 * 3 + 3 * 2
    assert ("race×sex", "black×female") in found and ("age_bin×race", "00-39×other") in found


def test_attributes_that_images_are_not_asked_for_make_no_group() -> None:
    assert {a for a, _ in group_names(GRID, ["sex", "insurance"])} == {"all", "sex"}


def test_a_film_is_in_a_pair_if_it_has_both_values() -> None:
    assert members(FILMS, "all", "all").tolist() == [True, True, True]
    assert members(FILMS, "race×sex", "black×female").tolist() == [True, False, False]
    assert members(FILMS, "age_bin", "40-up").tolist() == [False, True, False]


def test_what_is_not_known_is_a_group_of_its_own_where_the_cohort_has_it() -> None:
    assert members(FILMS, "age_bin", "unknown").tolist() == [False, False, True]
