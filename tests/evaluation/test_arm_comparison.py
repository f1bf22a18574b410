"""What contrasts say besides the difference: whether an arm levelled down, and DeLong's test."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from cxr_assets.evaluation.cells import lay_out
from cxr_assets.evaluation.contrasts import contrast_arms
from cxr_assets.evaluation.scorecard_tables import REPLICATES
from tests.evaluation.simulate import FINDINGS, card_of, laid_out, simulated


def groups(arm: str, **rates: float) -> pl.DataFrame:
    """Replicates of the TPR of groups, the sample alone, with their max–min gap."""
    spread = max(rates.values()) - min(rates.values())
    rows = [*((g, "group", v) for g, v in rates.items()), ("all", "max_min", spread)]
    return pl.DataFrame(
        [
            {"arm": arm, "finding": "all", "attribute": "sex", "group": g, "metric": "tpr", "quantity": q}
            | {"replicate": r, "value": v}
            for g, q, v in rows
            for r in range(12)
        ],
        schema=REPLICATES,
    )


@pytest.mark.parametrize(
    ("after", "flagged"),
    [
        ({"female": 0.70, "male": 0.90}, False),
        ({"female": 0.62, "male": 0.70}, True),
        ({"female": 0.70, "male": 0.85}, False),
        ({"female": 0.50, "male": 0.60}, True),
        ({"female": 0.60, "male": 0.90}, False),
    ],
    ids=["worst rises", "best falls by more", "best falls by less", "both fall", "nothing moves"],
)
def test_an_arm_levels_down_where_the_best_group_falls_by_more_than_the_worst_rises(
    after: dict[str, float], flagged: bool
) -> None:
    frame = contrast_arms([groups("b", female=0.60, male=0.90), groups("a", **after)], "b")
    row = frame.row(by_predicate=pl.col("quantity") == "max_min", named=True)
    assert row["levelling_down"] is flagged
    assert frame.filter(pl.col("quantity") == "group")["levelling_down"].is_null().all()


def test_the_best_group_is_the_baselines_not_the_arms() -> None:
    """The gap turns round: what was worst is best now, and what was best has fallen."""
    frame = contrast_arms([groups("b", female=0.6, male=0.9), groups("a", female=0.8, male=0.5)], "b")
    assert frame.row(by_predicate=pl.col("quantity") == "max_min", named=True)["levelling_down"] is True


def test_delong_compares_the_overall_auroc_of_each_finding_and_nothing_else() -> None:
    (worse, people), (better, _) = (simulated(missed=m, films=2) for m in (0.6, 0.0))
    truth = worse.select("learner", "study_id", "finding", "truth")
    better = better.drop("truth").join(truth, on=["learner", "study_id", "finding"])
    films = {"b": laid_out(worse, people), "a": laid_out(better, people)}
    cards = [card_of(p, people, arm=a).replicates for a, p in (("b", worse), ("a", better))]
    frame = contrast_arms(cards, "b", films)
    told = frame.filter(pl.col("delong_p").is_not_null())
    assert (
        set(told["finding"]) == set(FINDINGS)
        and set(told["quantity"]) == {"overall"}
        and set(told["metric"]) == {"auroc"}
    )
    row = told.row(by_predicate=pl.col("finding") == "edema", named=True)
    assert row["delong_ci_lo"] < row["delta"] < row["delong_ci_hi"]
    width, ours = row["delong_ci_hi"] - row["delong_ci_lo"], row["ci_hi"] - row["ci_lo"]
    assert 0.6 < width / ours < 1.3, "the bootstrap holds the training seeds besides"


def test_equal_predictions_have_no_difference_by_delong() -> None:
    predictions, people = simulated()
    films = {name: laid_out(predictions, people) for name in ("a", "b")}
    cards = [card_of(predictions, people, arm=a).replicates for a in ("a", "b")]
    told = contrast_arms(cards, "b", films).filter(pl.col("delong_p").is_not_null())
    assert told.height == len(FINDINGS) and (told["delong_p"] == 1.0).all()
    assert told["paired_key_hash"].n_unique() == 1 and told["null_reason"].is_null().all()
    assert set(told["learner"]) == {"all"} and set(told["evaluation_set"]) == {"test"}


def test_arms_scored_on_other_films_are_not_compared_by_delong() -> None:
    predictions, people = simulated(patients=300)
    fewer = predictions.filter(pl.col("study_id") < "s00200")
    films = {"a": laid_out(predictions, people), "b": lay_out(fewer, people, FINDINGS)}
    cards = [card_of(predictions, people, arm=a).replicates for a in ("a", "b")]
    frame = contrast_arms(cards, "b", films)
    nothing = ("delta", "ci_lo", "p", "p_adj", "delong_p", "levelling_down", "paired_key_hash", "ni_pass")
    assert all(frame[name].is_null().all() for name in nothing)
    assert set(frame["null_reason"]) == {"other_films"} and frame["value_a"].is_not_null().any()


def test_a_finding_of_one_class_is_passed_over() -> None:
    predictions, people = simulated(patients=200)
    nobody = predictions.with_columns(
        truth=pl.when(pl.col("finding") == "edema").then(0).otherwise("truth").cast(pl.Int8)
    )
    films = {name: laid_out(nobody, people) for name in ("a", "b")}
    cards = [card_of(nobody, people, arm=a).replicates for a in ("a", "b")]
    told = contrast_arms(cards, "b", films).filter(pl.col("delong_p").is_not_null())
    assert set(told["finding"]) == set(FINDINGS) - {"edema"} and np.isfinite(told["delong_ci_lo"].to_numpy()).all()


def test_training_luck_alone_does_not_level_down() -> None:
    """The best group falls on the sample, but draws go both ways."""
    rng = np.random.default_rng(3)
    before, after = groups("b", female=0.60, male=0.90), groups("a", female=0.60, male=0.88)
    noise = pl.Series(np.where(after["replicate"] == 0, 0.0, rng.normal(0, 0.05, after.height)))
    frame = contrast_arms([before, after.with_columns(value=pl.col("value") + noise)], "b")
    assert frame.row(by_predicate=pl.col("quantity") == "max_min", named=True)["levelling_down"] is False
