from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from cxr_assets.errors import InputError
from cxr_assets.evaluation.cells import lattice, lay_out
from tests.evaluation.simulate import FINDINGS, films_of, laid_out, simulated


def test_every_intersection_is_scored_under_an_alphabetical_name() -> None:
    films = laid_out(*simulated(patients=80))
    made = {g.attribute: g for g in lattice(films, ["sex", "race"]).groupings}
    assert list(made) == ["all", "race", "sex", "race×sex"]
    assert made["race×sex"].groups == tuple(
        sorted(f"{r}×{s}" for r in ("asian", "black", "white") for s in ("female", "male"))
    )
    for name, one in made.items():
        assert (one.member >= 0).all(), name


def test_three_attributes_make_seven_groupings_besides_everybody() -> None:
    rng = np.random.default_rng(0)
    people = {name: rng.choice(["x", "y"], 60) for name in ("view", "age", "sex")}
    made = lattice(films_of(np.ones(60), np.ones(60), people), ["view", "age", "sex"]).groupings
    names = [g.attribute for g in made]
    assert names == ["all", "age", "sex", "view", "age×sex", "age×view", "sex×view", "age×sex×view"]
    assert made[-1].groups[0] == "x×x×x" and len(made[-1].groups) == 8


def test_people_who_are_unknown_are_in_no_group() -> None:
    predictions, people = simulated(patients=80)
    hidden = people.with_columns(
        sex=pl.when(pl.col("race") == "asian")
        .then(None)
        .when(pl.col("race") == "black")
        .then(pl.lit("unknown"))
        .otherwise("sex")
    )
    films = laid_out(predictions, hidden)
    made = {g.attribute: g for g in lattice(films, ["sex", "race"]).groupings}
    known = films.people["race"] == "white"
    assert np.array_equal(made["sex"].member >= 0, known.to_numpy())
    assert made["race×sex"].groups == ("white×female", "white×male")
    assert (made["race"].member >= 0).all(), "what is known of them counts"


def test_groups_are_unions_of_cells_and_a_cell_knows_what_is_not_known_of_it() -> None:
    people = {"age": ["old", "young", None, "old", ""], "sex": ["f", "f", "m", "unknown", None]}
    films = films_of(np.ones(5), np.ones(5), people)
    made = lattice(films, ["age", "sex"])
    for grouping in made.groupings:
        np.testing.assert_array_equal(grouping.of_cell[made.cell], grouping.member)
    assert made.unknown[made.cell].tolist() == [0, 0, 1, 2, 3], "a bit for each attribute, in alphabetical order"
    assert made.groupings[0].groups == ("all",) and (made.groupings[0].member == 0).all()


def test_an_attribute_of_one_group_is_compared_with_nothing() -> None:
    films = films_of(np.ones(4), np.ones(4), {"sex": ["f", "m", "f", "m"], "site": ["here"] * 4, "race": [None] * 4})
    made = lattice(films, ["sex", "site", "race"]).groupings
    assert [g.attribute for g in made] == ["all", "sex", "sex×site"]
    assert [g.attribute for g in lattice(films, []).groupings] == ["all"]


def test_attributes_may_be_numbers() -> None:
    made = lattice(films_of(np.ones(3), np.ones(3), {"site": [2, 10, None]}), ["site"]).groupings
    assert made[1].groups == ("10", "2") and made[1].member.tolist() == [1, 0, -1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p.clear(), "0 rows"),
        (lambda p: pl.concat([p, p.head(1)]), "twice"),
        (lambda p: p.with_columns(score=pl.col("score") + 0.9), "outside"),
        (lambda p: p.with_columns(score=pl.lit(float("nan"))), "outside"),
        (
            lambda p: p.with_columns(
                patient_id=pl.when(pl.col("finding") == "edema").then(pl.lit("x")).otherwise("patient_id")
            ),
            "two patients",
        ),
        (lambda p: p.with_columns(truth=pl.lit(-1, pl.Int8)), "truth"),
        (
            lambda p: p.with_columns(
                truth=pl.when(pl.col("learner") == "cnn.s0").then(1 - pl.col("truth")).otherwise("truth")
            ),
            "differs from learner to learner",
        ),
        (lambda p: p.drop("truth"), "no column 'truth'"),
        (lambda p: p.with_columns(score=pl.lit("high")), "score is String"),
        (lambda p: p.with_columns(patient_id=pl.lit(None, pl.String)), "60 rows have no patient_id"),
        (lambda p: p.clear(), "0 rows"),
    ],
)
def test_predictions_that_cannot_be_right_are_refused(change: object, message: str) -> None:
    predictions, people = simulated(patients=10)
    with pytest.raises(InputError, match=message):
        lay_out(change(predictions), people, FINDINGS)  # type: ignore[operator]


def test_people_named_twice_are_refused() -> None:
    predictions, people = simulated(patients=10)
    with pytest.raises(InputError, match="people"):
        lay_out(predictions, pl.concat([people, people.head(1)]), FINDINGS)


def test_predictions_are_laid_out_by_name_not_by_position() -> None:
    predictions = pl.DataFrame(
        {
            "learner": ["b", "a", "a"],
            "study_id": ["s2", "s1", "s2"],
            "patient_id": ["p9", "p1", "p9"],
            "finding": ["fibrosis", "edema", "edema"],
            "score": [0.1, 0.2, 0.3],
            "truth": [1, 0, None],
        }
    )
    films = lay_out(
        predictions, pl.DataFrame({"study_id": ["s2", "s1"], "sex": ["male", "female"]}), ("edema", "fibrosis")
    )
    assert films.learners == ("a", "b") and films.patient.tolist() == [0, 1] and films.patients == 2
    np.testing.assert_array_equal(films.scores[0], [[0.2, np.nan], [0.3, np.nan]])
    np.testing.assert_array_equal(films.scores[1], [[np.nan, np.nan], [np.nan, 0.1]])
    np.testing.assert_array_equal(films.truth, [[0, np.nan], [np.nan, 1]])
    assert films.people["sex"].to_list() == ["female", "male"]


def test_the_order_of_rows_changes_nothing_to_the_last_bit() -> None:
    predictions, people = simulated(patients=40, films=2)
    once = laid_out(predictions, people)
    mixed = laid_out(*(f.sample(fraction=1, shuffle=True, seed=5) for f in (predictions, people)))
    np.testing.assert_array_equal(once.scores, mixed.scores)
    np.testing.assert_array_equal(once.truth, mixed.truth)
    np.testing.assert_array_equal(once.patient, mixed.patient)
    assert once.people.equals(mixed.people) and once.people["study_id"].is_sorted()
