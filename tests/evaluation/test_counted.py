from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxr_assets.evaluation.cells import Lattice, ScoredFilms, lattice
from cxr_assets.evaluation.counted import Counted, Pairs, by_group
from cxr_assets.evaluation.metrics import fnr, fpr, tpr
from cxr_assets.evaluation.resampling import Draws
from tests.evaluation.simulate import films_of, laid_out, simulated

AGES = ["18-39", "40-59", "60-79", "unknown"]
rows = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from(AGES), st.sampled_from(["f", "m"]), st.booleans(), st.booleans()),
    min_size=1,
    max_size=30,
)
"""Patient, age (which may change from film to film), sex, truth, flagged."""


def laid(films: list[tuple[int, str, str, bool, bool]]) -> tuple[ScoredFilms, Lattice, np.ndarray]:
    patient, age, sex, truth, flagged = zip(*films, strict=True)
    who = np.unique(patient, return_inverse=True)[1]
    made = films_of(np.array(truth), np.array(flagged), {"age": age, "sex": sex}, who)
    return made, lattice(made, ["age", "sex"]), np.array(flagged)


def counted_of(films: ScoredFilms, cells: Lattice, flagged: np.ndarray) -> Counted:
    rows = np.arange(len(films.patient))
    return Counted.make(Pairs.make(films, cells), rows, np.atleast_2d(flagged), films.truth[:, 0] == 1)


def counted_by_hand(flagged: np.ndarray, truth: np.ndarray) -> list[int]:
    kinds = (flagged & truth, ~flagged & truth, flagged & ~truth, ~flagged & ~truth)
    return [int(k.sum()) for k in kinds]


@settings(max_examples=60, deadline=None)
@given(rows, st.integers(0, 2**31))
def test_counts_of_a_replicate_are_those_of_the_films_it_draws_in_every_grouping(
    rows: list[tuple[int, str, str, bool, bool]], seed: int
) -> None:
    films, cells, flagged = laid(rows)
    draws = Draws.make(films.patients, 1, 2, seed)
    found = counted_of(films, cells, flagged).resampled(draws)
    truth = films.truth[:, 0] == 1
    for grouping in cells.groupings:
        counts = by_group(found, grouping)
        assert counts.shape == (1, 3, len(grouping.groups), 4)
        for replicate in range(3):
            drawn = np.repeat(np.arange(len(truth)), draws.by_patient[films.patient, replicate])
            for group in range(len(grouping.groups)):
                own = drawn[grouping.member[drawn] == group]
                assert counts[0, replicate, group].tolist() == counted_by_hand(flagged[own], truth[own])


def test_a_patient_whose_films_lie_in_two_groups_is_counted_in_both() -> None:
    films = films_of(np.array([1, 1, 0]), np.ones(3), {"age": ["40-59", "60-79", "60-79"]}, np.array([0, 0, 1]))
    cells = lattice(films, ["age"])
    counted = counted_of(films, cells, np.ones(3, dtype=bool))
    assert list(zip(counted.pairs.patient, counted.pairs.cell, strict=True)) == [(0, 0), (0, 1), (1, 1)]
    draws = Draws(np.array([[1, 2], [1, 0]], dtype=np.uint8), np.ones((2, 1)))
    by_age = by_group(counted.resampled(draws), cells.groupings[1])[0]
    assert by_age[0].tolist() == [[1, 0, 0, 0], [1, 0, 1, 0]]
    assert by_age[1].tolist() == [[2, 0, 0, 0], [2, 0, 0, 0]], "drawn twice, and both of its films are"


def test_counts_of_patients_are_sums_over_their_films_and_counts_add() -> None:
    films = laid_out(*simulated(patients=40, films=3))
    cells = lattice(films, ["sex", "race"])
    pairs, rows = Pairs.make(films, cells), np.arange(len(films.patient))
    each = [
        Counted.make(pairs, rows, films.scores[:, :, column] >= 0.5, films.truth[:, column] == 1) for column in (0, 1)
    ]
    found = (each[0] + each[1]).by_patient()
    assert found.shape == (40, 2, 4) and (found.sum(axis=-1) == 6).all()
    for learner in range(2):
        own = films.patient == 7
        hits = [films.truth[own, c] * (films.scores[learner, own, c] >= 0.5) for c in (0, 1)]
        assert found[7, learner, 0] == np.sum(hits)


def test_films_that_are_left_out_count_nowhere() -> None:
    films = laid_out(*simulated(patients=30))
    cells = lattice(films, ["sex"])
    counted = Counted.make(Pairs.make(films, cells), np.array([3, 4]), np.ones((2, 2), dtype=bool), np.ones(2, bool))
    assert counted.counts.sum(axis=(0, 2)).tolist() == [2.0, 2.0]
    assert counted.by_patient().sum(axis=(1, 2)).nonzero()[0].tolist() == [3, 4]


@pytest.mark.parametrize("metric", [tpr, fpr, fnr])
def test_influence_is_how_much_a_rate_moves_when_a_patient_weighs_a_little_more(metric: object) -> None:
    films = laid_out(*simulated(patients=60, films=3))
    cells = lattice(films, ["race"])
    counted = counted_of(films, cells, films.scores[:, :, 0] >= 0.5)
    race = cells.groupings[1]
    found = counted.influence(race, 1, metric.__name__)  # type: ignore[attr-defined]
    assert found.shape == (60,) and found.sum() == pytest.approx(0.0, abs=1e-12)
    step = 1e-6
    for patient in (0, 11, 37):
        weight = np.ones(60)
        weight[patient] += step
        sums = np.zeros((2, race.of_cell.max() + 1, 4))
        own = race.of_cell[counted.pairs.cell]
        for learner in range(2):
            worth = counted.counts[:, learner] * weight[counted.pairs.patient, None]
            np.add.at(sums[learner], own, worth)
        moved = metric(sums[:, 1]).mean() - metric(by_group(counted.resampled(_one()), race)[:, 0, 1]).mean()  # type: ignore[operator]
        assert found[patient] == pytest.approx(moved / step, abs=1e-6)


def _one() -> Draws:
    return Draws.make(60, 2, 0, seed=0)


def test_influence_of_a_group_without_the_class_is_nothing() -> None:
    films = films_of(np.array([0, 0, 1]), np.ones(3), {"sex": ["f", "f", "m"]})
    cells = lattice(films, ["sex"])
    counted = counted_of(films, cells, np.ones(3, dtype=bool))
    assert (counted.influence(cells.groupings[1], 0, "tpr") == 0).all()
