from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl
import pytest
from scipy.stats import ttest_ind

from cxr_assets.errors import InputError
from cxr_assets.evaluation.leaderboard.board import score_frame
from cxr_assets.evaluation.leaderboard.metrics import METRICS, cost, score
from cxr_assets.evaluation.leaderboard.ranking import clearly_less, leaders, standings, verdicts

FAR = {"a": [1.0, 1.1, 0.9], "b": [5.0, 5.2, 4.9], "c": [7.0, 6.9, 7.2]}


def scores(values: Mapping[str, float | None], metric: str = "kernel_distance") -> pl.DataFrame:
    return score_frame([score(m, metric, v, n=30, features="random", floor=0.5) for m, v in values.items()])


def test_a_preset_that_clearly_wins_is_named() -> None:
    assert verdicts("kernel_distance", FAR) == {"a": "best", "b": "behind", "c": "behind"}


def test_the_direction_of_a_figure_decides_who_wins() -> None:
    assert verdicts("label_auroc", FAR) == {"c": "best", "a": "behind", "b": "behind"}
    assert verdicts("diversity", {"near": [0.9, 0.92, 0.91], "wide": [1.5, 1.52, 1.51]})["near"] == "best"


def test_more_variety_than_real_films_have_costs_as_much_as_less() -> None:
    assert cost("diversity", 1.2) == pytest.approx(cost("diversity", 0.8))
    assert (cost("label_auroc", 0.9), cost("age_error", 4.0)) == (-0.9, 4.0)


def test_a_lead_that_seeds_could_explain_names_nobody() -> None:
    told = verdicts("kernel_distance", {"a": [1.0, 3.0, 2.0], "b": [2.0, 4.0, 3.0]})
    assert told == {"a": "within the spread", "b": "within the spread"}


def test_a_third_that_scatters_widely_keeps_the_leader_from_being_named() -> None:
    wide = FAR | {"c": [1.2, 30.0, 2.0]}
    assert set(verdicts("kernel_distance", wide).values()) == {"within the spread"}
    assert verdicts("kernel_distance", {k: wide[k] for k in "ab"})["a"] == "best"


@pytest.mark.parametrize(
    "values", [{"a": [1.0], "b": [9.0]}, {"a": [1.0, 1.1], "b": [9.0]}, {"a": [1.0], "b": [9.0, 9.1]}]
)
def test_with_one_seed_nobody_is_named_however_far_the_lead(values: dict[str, list[float]]) -> None:
    assert set(verdicts("kernel_distance", values).values()) == {"too few seeds"}


def test_a_preset_without_a_figure_neither_wins_nor_stands_in_the_way() -> None:
    assert verdicts("kernel_distance", FAR | {"d": []}) == {"a": "best", "b": "behind", "c": "behind", "d": "no figure"}
    assert verdicts("kernel_distance", {"a": [1.0, 2.0], "d": []}) == {"a": "alone", "d": "no figure"}
    assert verdicts("kernel_distance", {"a": [], "b": []}) == {"a": "no figure", "b": "no figure"}


def test_seeds_that_all_agree_leave_no_spread_to_exceed() -> None:
    assert clearly_less([1.0, 1.0], [2.0, 2.0]) is True
    assert clearly_less([1.0, 1.0], [1.0, 1.0]) is False
    assert clearly_less([1.0], [2.0, 2.0]) is None


@pytest.mark.parametrize("seed", range(20))
def test_clearly_less_is_when_welchs_interval_excludes_zero(seed: int) -> None:
    rng = np.random.default_rng(seed)
    first, second = rng.normal(0.0, 1.0, 4), rng.normal(2.0, 2.0, 3)
    low = ttest_ind(second, first, equal_var=False).confidence_interval(0.95).low
    assert clearly_less(list(first), list(second)) is bool(low > 0)


def test_seeds_of_a_preset_are_taken_together() -> None:
    table = standings(scores({"hcn": 1.0, "hcn-s1": 2.0, "hcn-s2": 3.0, "text": 9.0, "text-s1": None}))
    rows = {r["preset"]: r for r in table.iter_rows(named=True)}
    assert (rows["hcn"]["mean"], rows["hcn"]["sd"], rows["hcn"]["seeds"], rows["hcn"]["floor"]) == (2.0, 1.0, 3, 0.5)
    assert (rows["text"]["mean"], rows["text"]["sd"], rows["text"]["seeds"]) == (9.0, None, 1)
    assert {r["verdict"] for r in rows.values()} == {"too few seeds"}
    assert {r["direction"] for r in rows.values()} == {"lower"}


def test_a_figure_that_no_seed_has_keeps_its_reason() -> None:
    rows = [score(m, "coverage", None, n=3, null_reason="3 synthetic films") for m in ("hcn", "hcn-s1")]
    (row,) = standings(score_frame(rows)).to_dicts()
    assert (row["mean"], row["seeds"], row["verdict"], row["null_reason"]) == (
        None,
        0,
        "no figure",
        "3 synthetic films",
    )


def test_groups_and_spaces_are_ranked_apart() -> None:
    rows = [
        score(f"{m}{s}", "coverage", v + step, n=20, features=space, attribute="sex", group=group)
        for space, group, a, b in (("x", "male", 0.9, 0.1), ("x", "female", 0.1, 0.9), ("y", "male", 0.5, 0.5))
        for m, v in (("a", a), ("b", b))
        for s, step in (("", 0.0), ("-s1", 0.001), ("-s2", -0.001))
    ]
    table = standings(score_frame(rows))
    best = table.filter(pl.col("verdict") == "best").select("features", "group", "preset").rows()
    assert sorted(best) == [("x", "female", "b"), ("x", "male", "a")]
    assert leaders(table) == {}, "leaders are named over all films alone"


def test_a_figure_that_stands_twice_is_refused() -> None:
    with pytest.raises(InputError, match="method 'hcn' has 2 scores of kernel_distance"):
        standings(pl.concat([scores({"hcn": 1.0}), scores({"hcn": 1.0})]))


def test_a_metric_that_is_not_declared_is_refused() -> None:
    with pytest.raises(InputError, match="beauty"):
        score("hcn", "beauty", 1.0, n=1)


def test_every_metric_says_which_way_is_better() -> None:
    assert {m.better for m in METRICS.values()} == {"higher", "lower", "one"}
    assert METRICS["kernel_distance"].better == METRICS["age_error"].better == "lower"
    assert METRICS["label_auroc"].better == METRICS["coverage"].better == "higher"
