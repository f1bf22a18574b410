from __future__ import annotations

from itertools import permutations, product

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxr_assets.evaluation.leaderboard.fidelity import coverage_and_density, equal_counts, fidelity, kernel_distance
from cxr_assets.evaluation.leaderboard.films import Seen
from cxr_assets.evaluation.quality import kernel

RNG = np.random.default_rng(0)
SEX = ("sex", "female")


def seen(features: np.ndarray, sex: str = "female") -> Seen:
    people = {"age_bin": "40-59", "sex": [sex] * len(features), "race": "white"}
    return Seen(pl.DataFrame(people).with_columns(file=pl.lit("f")), {"space": features})


def test_the_kernel_distance_is_the_mean_over_pairs_of_different_films() -> None:
    x, y = RNG.normal(size=(4, 3)), RNG.normal(size=(5, 3))

    def k(a: np.ndarray, b: np.ndarray) -> float:
        return float((a @ b / 3 + 1) ** 3)

    within = np.mean([k(a, b) for a, b in permutations(x, 2)]) + np.mean([k(a, b) for a, b in permutations(y, 2)])
    assert kernel_distance(x, y) == pytest.approx(within - 2 * np.mean([k(a, b) for a, b in product(x, y)]))


def test_it_is_what_random_subsets_estimate() -> None:
    x, y = RNG.normal(size=(200, 8)), RNG.normal(0.5, 1.0, size=(200, 8))
    assert kernel_distance(x, y) == pytest.approx(kernel(x, y, subsets=400), rel=0.05)


def test_sets_of_one_kind_differ_by_nothing_on_average() -> None:
    found = [kernel_distance(RNG.normal(size=(30, 4)), RNG.normal(size=(30, 4))) for _ in range(300)]
    assert abs(np.mean(found)) < 3 * np.std(found) / np.sqrt(300), "unbiased, so some are below 0"
    assert min(found) < 0 < max(found)


def test_every_real_film_of_the_same_set_is_covered_and_none_of_a_far_one() -> None:
    real = RNG.normal(size=(50, 4))
    assert coverage_and_density(real + 1e-9, real)[0] == 1.0
    assert coverage_and_density(real + 100.0, real) == (0.0, 0.0)


def test_coverage_and_density_by_hand() -> None:
    # Radii of the two nearest neighbours on a line: 2, 1, 2 and 9. Of the synthetic films one is at 0.1, one at 1.1.
    real = np.array([[0.0], [1.0], [2.0], [10.0]])
    coverage, density = coverage_and_density(np.array([[0.1], [1.1]]), real, neighbours=2)
    # 0.1 lies within those of 0 (2), 1 (1) and 2 (2); 1.1 within those of 0, 1, 2 and 10 (9, at distance 8.9).
    assert (coverage, density) == (1.0, (3 + 4) / 2 / 2)


def test_one_film_drawn_again_and_again_covers_little() -> None:
    real = RNG.normal(size=(60, 4))
    assert coverage_and_density(np.repeat(real[:1], 60, axis=0), real)[0] < 0.5


def test_all_sides_have_as_many_films_as_the_smallest_has() -> None:
    assert equal_counts({"a": 50, "b": 31}, (40, 60), least=20).n == 31
    assert equal_counts({"a": 50, "b": 51}, (40, 35), least=20).n == 35


def test_a_method_with_too_few_films_does_not_lower_the_number_of_the_others() -> None:
    counts = equal_counts({"a": 50, "b": 19}, (40, 60), least=20)
    assert counts.n == 40 and dict(counts.reasons) == {"b": "19 synthetic films; a distance needs 20"}


def test_too_few_real_films_leave_nobody_a_distance() -> None:
    counts = equal_counts({"a": 50, "b": 50}, (12, 60), least=20)
    assert counts.n == 0 and set(counts.reasons) == {"a", "b"} and "12 and 60 real films" in counts.reasons["a"]


@given(st.dictionaries(st.sampled_from("abcd"), st.integers(0, 90), min_size=1), st.integers(0, 90), st.integers(0, 90))
def test_no_side_is_ever_asked_for_more_films_than_it_has(methods: dict[str, int], a: int, b: int) -> None:
    counts = equal_counts(methods, (a, b), least=20)
    kept = [n for method, n in methods.items() if method not in counts.reasons]
    assert all(counts.n <= n for n in (*kept, a, b)) and (not kept or counts.n >= 20)


def test_methods_and_floor_are_held_against_the_same_films_in_equal_numbers() -> None:
    real, half = RNG.normal(size=(100, 4)), np.arange(100) < 55
    good, bad = RNG.normal(size=(30, 4)), RNG.normal(2.0, 1.0, size=(80, 4))
    rows = fidelity({"good": seen(good), "bad": seen(bad)}, seen(real), half, ["space"], [SEX], least=20)
    found = {(r["method"], r["metric"]): r for r in rows}
    assert {r["n"] for r in rows} == {30}
    second = real[55:][:30]
    assert found["good", "kernel_distance"]["value"] == kernel_distance(good, second)
    assert found["bad", "kernel_distance"]["value"] == kernel_distance(bad[:30], second)
    floor = kernel_distance(real[:30], second)
    assert {found[m, "kernel_distance"]["floor"] for m in ("good", "bad")} == {floor}
    assert found["bad", "frechet_distance"]["value"] > found["good", "frechet_distance"]["value"]
    assert found["good", "coverage"]["ceiling"] == coverage_and_density(real[:30], second)[0]
    assert found["good", "coverage"]["floor"] is None


def test_a_group_with_too_few_films_gets_a_reason_and_never_a_number() -> None:
    methods = {"a": seen(RNG.normal(size=(40, 4))), "b": seen(RNG.normal(size=(9, 4)))}
    half = np.arange(100) < 50
    groups = [SEX, ("sex", "male")]
    rows = fidelity(methods, seen(RNG.normal(size=(100, 4))), half, ["space"], groups, least=20)
    for row in rows:
        shown = row["method"] == "a" and row["group"] == "female"
        assert (row["value"] is not None) is shown and (row["null_reason"] is None) is shown, row
    assert next(r for r in rows if r["method"] == "b")["null_reason"] == "9 synthetic films; a distance needs 20"


def test_a_frechet_distance_of_too_few_films_is_null_while_the_kernel_distance_stands() -> None:
    wide = RNG.normal(size=(80, 25))
    rows = fidelity({"a": seen(wide[:40])}, seen(wide), np.arange(80) < 40, ["space"], [("all", "all")], least=20)
    found = {r["metric"]: r for r in rows}
    assert found["frechet_distance"]["value"] is None and "needs 50" in found["frechet_distance"]["null_reason"]
    assert found["kernel_distance"]["value"] is not None
