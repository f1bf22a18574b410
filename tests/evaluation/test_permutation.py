from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from cxr_assets.evaluation import gaps
from cxr_assets.evaluation.cells import Grouping, ScoredFilms, lattice
from cxr_assets.evaluation.counted import Counted, Pairs, by_group
from cxr_assets.evaluation.metrics import tpr
from cxr_assets.evaluation.permutation import LEAST, Exchange, alike_counts, null_of, strata
from tests.evaluation.simulate import films_of, laid_out, simulated

PERMUTATIONS = 199


def classes_of(films: ScoredFilms) -> np.ndarray:
    """Positives and negatives of each patient, ``(patients, 2)``."""
    return np.stack([np.bincount(films.patient, films.truth[:, 0] == y, films.patients) for y in (1, 0)], axis=1)


def exchange_of(films: ScoredFilms, attributes: list[str], permutations: int = PERMUTATIONS, seed: int = 0) -> Exchange:
    return Exchange.make(lattice(films, attributes), films.patient, classes_of(films), permutations, seed)


def homes(exchange: Exchange, cells: int) -> np.ndarray:
    """Cell of every patient in every permutation, ``(permutations, patients)``: sums of one mark a patient."""
    moved = exchange.sums(np.eye(len(exchange.home)), cells)[1]
    assert (moved.sum(axis=1) == 1).all(), "nobody is lost and nobody is doubled"
    return moved.argmax(axis=1)


def tpr_gap(films: ScoredFilms, attribute: str, permutations: int = PERMUTATIONS) -> tuple[np.ndarray, Grouping]:
    """Max–min gap in TPR at 0.5 of the sample and of every permutation."""
    cells = lattice(films, [attribute])
    exchange = Exchange.make(cells, films.patient, classes_of(films), permutations, seed=0)
    rows = np.arange(len(films.patient))
    counted = Counted.make(Pairs.make(films, cells), rows, films.scores[:, :, 0] >= 0.5, films.truth[:, 0] == 1)
    asis, moved = exchange.sums(counted.by_patient()[:, 0], len(cells.unknown))
    values = tpr(by_group(np.concatenate([asis, moved]), cells.groupings[1]))
    return gaps.max_min(values, np.isfinite(values[0])), cells.groupings[1]


def crowd(seed: int = 0, patients: int = 600) -> ScoredFilms:
    """Films of patients with one to five of them, whose sex or race is not always known."""
    rng = np.random.default_rng(seed)
    patient = np.repeat(np.arange(patients), rng.integers(1, 6, patients))
    sex, race = rng.choice(["female", "male", "unknown"], patients), rng.choice(["asian", "black", ""], patients)
    truth = rng.integers(0, 2, len(patient))
    scores = np.round(np.clip(0.3 * truth + rng.random(len(patient)) * 0.7, 0, 1), 1)
    return films_of(truth, scores, {"sex": sex[patient], "race": race[patient]}, patient)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31))
def test_patients_exchange_groups_with_those_who_have_as_many_positives_and_negatives_alone(seed: int) -> None:
    films = crowd(seed)
    exchange, cells = exchange_of(films, ["sex", "race"], 20), lattice(films, ["sex", "race"])
    alike = np.column_stack([alike_counts(classes_of(films)), lattice(films, ["sex", "race"]).unknown[exchange.home]])
    _, kinds, many = np.unique(alike, axis=0, return_inverse=True, return_counts=True)
    kinds = np.where(many[kinds.reshape(-1)] >= LEAST, kinds.reshape(-1), 0)  # few of a kind: see the next test but one
    asis, moved = exchange.sums(np.eye(kinds.max() + 1)[kinds][:, 1:], len(cells.unknown))
    assert (moved == asis).all(), "every cell keeps as many patients of each kind"
    assert (homes(exchange, len(cells.unknown)) != exchange.home).any()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31))
def test_patients_of_whom_something_is_unknown_exchange_among_themselves(seed: int) -> None:
    films = crowd(seed)
    exchange, cells = exchange_of(films, ["sex", "race"], 20), lattice(films, ["sex", "race"])
    unknown = cells.unknown[homes(exchange, len(cells.unknown))]
    assert set(cells.unknown) == {0, 1, 2, 3}
    assert (unknown == cells.unknown[exchange.home]).all()


def test_every_order_of_a_stratum_is_as_likely() -> None:
    films = films_of(np.ones(3), np.ones(3), {"sex": ["a", "b", "c"]})
    moved = homes(exchange_of(films, ["sex"], 6000), 3)
    orders, times = np.unique(moved, axis=0, return_counts=True)
    assert len(orders) == 6 and times == pytest.approx(np.full(6, 1000), abs=120)


def test_a_patient_moves_as_a_whole_even_where_its_films_lie_in_two_groups() -> None:
    films = films_of(np.ones(4), np.ones(4), {"age": ["old", "young", "young", "young"]}, np.array([0, 0, 1, 1]))
    exchange, cells = exchange_of(films, ["age"], 50), lattice(films, ["age"])
    asis, moved = exchange.sums(np.array([[2.0], [2.0]]), len(cells.unknown))
    assert asis[0, :, 0].tolist() == [2.0, 2.0] and set(moved[:, :, 0].ravel()) == {2.0}


def test_a_patient_belongs_where_most_of_its_films_lie_whatever_comes_first() -> None:
    films = films_of(np.ones(4), np.ones(4), {"age": ["old", "young", "young", "old"]}, np.array([0, 0, 0, 1]))
    cells = lattice(films, ["age"])
    ages = next(g for g in cells.groupings if g.attribute == "age")
    home = exchange_of(films, ["age"], 1).home
    assert [ages.groups[ages.of_cell[c]] for c in home] == ["young", "old"]


def test_large_counts_are_alike_by_powers_of_two() -> None:
    assert alike_counts(np.array([0, 1, 2, 3, 4, 7, 8, 15, 16, 100])).tolist() == [0, 1, 2, 3, 4, 4, 5, 5, 6, 8]


def test_the_same_seed_moves_patients_alike_whatever_the_groups_are_called() -> None:
    films = crowd()
    renamed = films.people.with_columns(pl.col("sex").replace({"female": "zz", "male": "aa"}))
    other = ScoredFilms(films.findings, films.learners, films.scores, films.truth, films.patient, renamed)
    names = []
    for each in (films, other):
        cells = lattice(each, ["sex", "race"])
        sex = next(g for g in cells.groupings if g.attribute == "sex")
        moved = sex.of_cell[homes(exchange_of(each, ["sex", "race"], 20), len(cells.unknown))]
        names.append(np.where(moved < 0, "", np.array(sex.groups)[moved]))
    assert (np.select([names[1] == "zz", names[1] == "aa"], ["female", "male"], "") == names[0]).all()


ties = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 1), st.integers(0, 5), st.sampled_from("abc")), min_size=2, max_size=30
)


@settings(max_examples=30, deadline=None)
@given(ties)
def test_auroc_of_every_permutation_is_that_of_scikit_learn(rows: list[tuple[int, int, int, str]]) -> None:
    score, truth, who, group = (np.array(c) for c in zip(*rows, strict=True))
    patient = np.unique(who, return_inverse=True)[1]
    group = np.array([group[patient == p][0] for p in patient])  # a patient is of one group
    films = films_of(truth, score / 3, {"sex": group}, patient)
    cells, exchange = lattice(films, ["sex"]), exchange_of(films, ["sex"], 18)
    found = exchange.aurocs(films.patient, films.scores[0, :, 0], films.truth[:, 0] == 1, cells.groupings)
    homes_of = np.vstack([exchange.home, homes(exchange, len(cells.unknown))])
    for grouping, aurocs in zip(cells.groupings, found, strict=True):
        assert aurocs.shape == (19, len(grouping.groups))
        for values, home in zip(aurocs, homes_of, strict=True):
            member = grouping.of_cell[home][films.patient]
            for at in range(len(grouping.groups)):
                y, s = truth[member == at], score[member == at]
                expected = roc_auc_score(y, s) if 0 < y.sum() < len(y) else np.nan
                np.testing.assert_allclose(values[at], expected, rtol=0, atol=1e-12)


def test_aurocs_are_the_same_for_more_permutations_than_a_block() -> None:
    films = crowd()
    cells = lattice(films, ["sex"])
    columns = films.patient, films.scores[0, :, 0], films.truth[:, 0] == 1, cells.groupings[1:]
    exchange = exchange_of(films, ["sex"], 50)
    whole = exchange.aurocs(*columns)[0]
    fewer = Exchange(exchange.home, exchange.order, exchange.bounds, exchange.seeds[:7])
    np.testing.assert_array_equal(fewer.aurocs(*columns)[0], whole[:8])


def test_shuffled_groups_show_the_gap_that_chance_alone_gives() -> None:
    """Five groups of equal TPR 0.80 with 50 positives each: mean gap 0.130 (evaluation.md §1.4)."""
    means = []
    for seed in range(10):
        hits = np.random.default_rng(seed).random(250) < 0.8
        films = films_of(np.ones(250), hits.astype(float), {"group": np.array(list("abcde")).repeat(50)})
        means.append(null_of(tpr_gap(films, "group", 400)[0])[0])
    assert np.mean(means) == pytest.approx(0.130, abs=0.006)  # type: ignore[arg-type]


def test_a_planted_gap_is_found_and_one_of_shuffled_labels_is_not() -> None:
    """Type-I error over 60 cohorts of patients with three films and a chance of their own: at most 7 of 60 (p = .01)."""
    found = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        patient = np.arange(150).repeat(3)
        group = rng.choice(["a", "b", "c"], 150)
        own = rng.normal(np.where(group == "a", -0.8, 0.8), 0.8)  # group a is missed more often
        scores = 1 / (1 + np.exp(-rng.normal(own[patient] + 0.5)))
        truth = rng.random(450) < 0.5
        for labels in (group, rng.permutation(group)):
            films = films_of(truth, scores, {"race": labels[patient]}, patient)
            found.append(null_of(tpr_gap(films, "race")[0])[1])
    planted, shuffled = np.array(found, dtype=float).reshape(60, 2).T
    assert (planted <= 0.05).all() and (shuffled <= 0.05).sum() <= 7
    assert 0.35 <= shuffled.mean() <= 0.65, "p is spread evenly where there is no gap"


def test_strata_of_one_group_cannot_move() -> None:
    """Women have a positive film each, men a negative one: there is nobody to exchange with."""
    sex = np.repeat(["f", "m"], LEAST)
    films = films_of(sex == "f", np.tile([0.9, 0.1], LEAST), {"sex": sex})
    exchange = exchange_of(films, ["sex"], 20)
    assert (homes(exchange, 2) == exchange.home).all()


def test_patients_too_few_of_a_kind_join_the_next_kind() -> None:
    positives, negatives = np.array([1] * 30 + [2] * 30 + [2] * 3), np.array([0] * 30 + [1] * 30 + [4] * 3)
    found = strata([[positives, negatives], [positives]], 20)
    assert [len(set(part)) for part in (found[:30], found[30:60], found[60:])] == [1, 1, 1]
    assert len(set(found)) == 3, "the three have nobody left to join, as those alike by the first key are settled"
    merged = strata([[np.arange(40)], [np.arange(40) % 2]], 20)
    assert len(set(merged[::2])) == len(set(merged[1::2])) == 1 and merged[0] != merged[1]


def test_patients_exchange_with_those_of_their_own_findings() -> None:
    films = crowd()
    profile = np.arange(films.patients) % 3
    cells = lattice(films, ["sex"])
    exchange = Exchange.make(cells, films.patient, np.ones((films.patients, 2)), 10, 0, profile)
    asis, moved = exchange.sums(np.eye(3)[profile], len(cells.unknown))
    assert (moved == asis).all()


def test_the_sample_comes_as_it_is_however_groups_are_exchanged() -> None:
    films = laid_out(*simulated(patients=200, missed=0.5))
    gap, grouping = tpr_gap(films, "race")
    hit = films.scores[0, :, 0] >= 0.5
    sick = films.truth[:, 0] == 1
    rates = [hit[sick & (grouping.member == g)].mean() for g in range(3)]
    assert gap[0] == pytest.approx(np.ptp(rates), abs=1e-12)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40), st.floats(0, 1))
def test_p_counts_the_sample_itself_and_is_never_nought(null: list[float], own: float) -> None:
    mean, p = null_of(np.array([own, *null]))
    assert mean == pytest.approx(np.mean(null)) and p is not None
    assert 1 / (len(null) + 1) <= p <= 1.0
    assert p == pytest.approx((1 + sum(n >= own - 1e-12 for n in null)) / (1 + len(null)))


def test_a_null_that_is_mostly_undefined_is_none() -> None:
    assert null_of(np.array([0.1, *[0.1] * 8, np.nan, np.nan])) == (None, None)
    assert null_of(np.array([0.1, *[0.0] * 9, np.nan])) == (0.0, 0.1)
    assert null_of(np.array([np.nan, 0.1])) == null_of(np.array([0.1])) == (None, None)
