from __future__ import annotations

from collections import Counter

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxr_assets.captions.templates import PromptTemplate
from cxr_assets.cohorts.film_reader import filmed
from cxr_assets.errors import InputError
from cxr_assets.keys import Grid, Stratum
from cxr_assets.synthesis.plan import (
    age_range,
    cofinding_probabilities,
    even_fill,
    image_request,
    real_counts,
    requests_of,
    water_fill,
)

counts = st.lists(st.integers(0, 200), min_size=1, max_size=30).map(lambda values: np.array(values, dtype=np.int64))
budgets = st.integers(0, 3000)
GRID = Grid(("edema", "fibrosis", "no_finding"), ("00-39", "40-up"), ("female", "male"), ("black", "white"))
STRATUM = Stratum("edema", "40-59", "female", "black")
OTHERS = {"fibrosis": 0.3, "cardiomegaly": 0.6, "no_finding": 1.0}


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


def studies() -> pl.DataFrame:
    rows = [
        ("a", "train", "00-39", "female", "black", "a.png"),
        ("b", "train", "00-39", "female", "black", "b.png"),
        ("c", "train", "40-up", "male", "white", None),
        ("d", "test", "00-39", "female", "black", "d.png"),
        ("e", "train", None, "male", "white", "e.png"),
    ]
    return pl.DataFrame(rows, schema=["study_id", "split", "age_bin", "sex", "race", "image_file"], orient="row")


def findings() -> pl.DataFrame:
    values = {
        "a": {"edema": 1, "fibrosis": 1},
        "b": {"edema": 1, "fibrosis": -1},
        "c": {"edema": 1, "fibrosis": 0},
        "d": {"edema": 1, "fibrosis": 1},
        "e": {"edema": 1, "fibrosis": None},
    }
    rows = [(s, f, v) for s, named in values.items() for f, v in named.items()]
    return pl.DataFrame(rows, schema={"study_id": pl.String, "finding": pl.String, "value": pl.Int8}, orient="row")


def test_only_positive_training_studies_of_known_people_count() -> None:
    plan = real_counts(GRID, studies(), findings())
    assert plan["stratum"].to_list() == [str(s) for s in GRID]
    seen = {row["stratum"]: row["real"] for row in plan.iter_rows(named=True) if row["real"]}
    assert seen == {"edema.00-39.female.black": 2, "edema.40-up.male.white": 1, "fibrosis.00-39.female.black": 1}
    assert filmed(studies(), "train").height == 3


def test_cofindings_are_shares_of_training_positives() -> None:
    shares = cofinding_probabilities(GRID, studies(), findings())
    assert {(r["finding"], r["other"]): r["probability"] for r in shares.iter_rows(named=True)} == {
        ("edema", "fibrosis"): 0.25,
        ("fibrosis", "edema"): 1.0,
    }


@pytest.mark.parametrize(("name", "years"), [("00-39", (18, 39)), ("40-59", (40, 59)), ("80-up", (80, 95))])
def test_age_bins_give_whole_years_of_adults(name: str, years: tuple[int, int]) -> None:
    assert age_range(name) == years
    ages = {image_request(Stratum("edema", name, "male", "white"), i, {}, seed=0).age_years for i in range(400)}
    assert (min(ages), max(ages)) == years


def test_a_request_is_the_same_every_time_and_its_prompt_says_what_it_asks() -> None:
    request = image_request(STRATUM, 7, OTHERS, seed=3)
    assert request == image_request(STRATUM, 7, dict(reversed(OTHERS.items())), seed=3)
    read = PromptTemplate().parse(request.prompt)
    assert (read.findings, read.age, read.sex, read.race) == (request.labels, request.age_years, "female", "black")
    assert request.labels[0] == "edema" and 0 <= request.seed < 2**63


def test_seed_stratum_and_index_each_make_another_image() -> None:
    other = Stratum("edema", "40-59", "female", "white")
    requests = [image_request(s, i, OTHERS, seed=seed) for s in (STRATUM, other) for i in range(5) for seed in (0, 1)]
    assert len({r.seed for r in requests}) == len(requests)


def test_strata_do_not_copy_each_others_people() -> None:
    other = Stratum("edema", "40-59", "female", "white")
    people = [[image_request(s, i, OTHERS, seed=0) for i in range(30)] for s in (STRATUM, other)]
    assert [r.age_years for r in people[0]] != [r.age_years for r in people[1]]
    assert [r.labels for r in people[0]] != [r.labels for r in people[1]]


def test_planning_more_images_keeps_the_earlier_ones() -> None:
    table = pl.DataFrame({"finding": ["edema"], "other": ["fibrosis"], "probability": [0.5]})
    few, many = (requests_of(STRATUM, n, table, seed=0) for n in (5, 50))
    assert many[:5] == few and [r.index for r in many] == list(range(50))
    assert requests_of(STRATUM, 0, table, seed=0) == []


def test_other_findings_stand_beside_as_often_as_they_do_in_reality() -> None:
    n = 4000
    seen = Counter(label for i in range(n) for label in image_request(STRATUM, i, OTHERS, seed=0).labels)
    assert seen["edema"] == n and seen["no_finding"] == 0, "no finding never stands beside one"
    assert seen["cardiomegaly"] / n == pytest.approx(0.6, abs=0.03)
    assert seen["fibrosis"] / n == pytest.approx(0.3, abs=0.03)


def test_a_normal_film_shows_nothing_else() -> None:
    normal = Stratum("no_finding", "40-59", "female", "black")
    assert all(image_request(normal, i, {"edema": 1.0}, seed=0).labels == ("no_finding",) for i in range(20))


def test_what_a_cohort_does_not_know_stays_out_of_the_prompt() -> None:
    request = image_request(Stratum("edema", "unknown", "unknown", "unknown"), 0, {}, seed=0)
    assert request.prompt == "chest x-ray, edema"


def test_findings_outside_the_vocabulary_are_refused() -> None:
    with pytest.raises(InputError, match="none of"):
        image_request(Stratum("gout", "40-59", "female", "black"), 0, {}, seed=0)
