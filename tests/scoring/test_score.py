"""Anybody's predictions scored: what is found, what models are held against each other, the same whatever the form."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import polars as pl
import pytest

from cxr_assets.errors import InputError
from cxr_assets.evaluation.contrasts import CONTRASTS
from cxr_assets.evaluation.delong import compare, structural_components
from cxr_assets.evaluation.scorecard_tables import RELIABILITY
from cxr_assets.scoring import Scored, score
from cxr_assets.scoring.report import lead
from tests.evaluation.simulate import WORST
from tests.scoring.received import FEW, ODD, noisy, received, same


def test_the_planted_disparity_is_found_in_anybody_s_predictions(scored: Scored) -> None:
    row = scored.gaps.row(
        by_predicate=(pl.col("arm") == "a")
        & (pl.col("family") == "confirmatory")
        & (pl.col("attribute") == "race×sex")
        & pl.col("p_perm").is_not_null(),
        named=True,
    )
    assert row["worst_group"] == WORST and row["reported"]
    assert any(WORST in sentence and sentence.startswith("a: TPR differs by race×sex") for sentence in lead(scored))


def test_the_documented_call_is_the_function() -> None:
    from cxr_assets.scoring import score as documented

    assert callable(documented) and documented.__module__ == "cxr_assets.scoring.score"


def test_reliability_curves_of_every_model_come_along(scored: Scored) -> None:
    assert dict(scored.reliability.schema) == RELIABILITY
    assert set(scored.reliability["arm"]) == {"a", ODD} and {"sex", "race", "all"} <= set(
        scored.reliability["attribute"]
    )
    films = scored.reliability.filter(arm="a", finding="edema", attribute="all")["n"].sum()
    assert films == scored.facts["studies"]["test"]


def test_with_no_finding_alone_underdiagnosis_is_what_is_declared() -> None:
    table = received(("no_finding",))
    worst = (pl.col("sex") == "female") & (pl.col("race") == "black") & (pl.col("truth") == 0)
    healthy = pl.col("study_id").hash(3) % 2 == 0
    table = table.with_columns(score=pl.when(worst & healthy).then(0.95).otherwise("score"))
    card = score(table, **FEW)
    declared = card.gaps.filter((pl.col("family") == "confirmatory") & pl.col("p_perm").is_not_null())
    assert set(declared["metric"]) == {"underdiagnosis"} and set(declared["attribute"]) == {"race", "race×sex", "sex"}
    (said,) = (text for text in lead(card) if "race×sex" in text)
    assert f"underdiagnosis for no_finding differs by race×sex: worst for {WORST}" in said


# Models against each other


def test_a_worse_model_is_held_against_the_baseline(scored: Scored) -> None:
    row = scored.contrasts.filter(finding="all", quantity="overall", metric="auroc").row(0, named=True)
    assert (row["arm_a"], row["arm_b"]) == (ODD, "a") and row["ci_hi"] < 0 and row["ni_pass"] is False


def test_the_auroc_of_each_finding_is_also_compared_by_delong(table: pl.DataFrame, scored: Scored) -> None:
    for finding in ("edema", "fibrosis"):
        test = table.filter((pl.col("finding") == finding) & (pl.col("split") == "test")).sort("study_id")
        own, base = (test.filter(pl.col("model") == model) for model in (ODD, "a"))
        truth, patient = base["truth"].to_numpy(), base["patient_id"].rank("dense").to_numpy()
        components = [structural_components(rows["score"].to_numpy(), truth) for rows in (own, base)]
        expected = compare(components[0], components[1], (patient[truth == 1], patient[truth == 0]))
        row = scored.contrasts.filter(finding=finding, quantity="overall", metric="auroc").row(0, named=True)
        assert row["delong_p"] == pytest.approx(expected.p) and row["delta"] == pytest.approx(expected.delta)


def test_the_baseline_may_be_chosen(table: pl.DataFrame) -> None:
    again = score(table, baseline=ODD, **FEW)
    assert set(again.contrasts["arm_a"]) == {"a"}
    with pytest.raises(InputError, match=r"baseline 'aa' is no model of the test rows\. Did you mean a"):
        score(table, baseline="aa", **FEW)


def test_models_of_different_films_are_scored_but_not_compared() -> None:
    short = noisy(received(), "b").filter(pl.col("study_id") != "s00399")
    card = score(pl.concat([received(model="a"), short]), **FEW)
    assert set(card.estimates["arm"]) == {"a", "b"}
    assert card.contrasts.is_empty() and dict(card.contrasts.schema) == CONTRASTS
    assert any("'b' is not held against 'a': 2 pairs" in note for note in card.facts["notes"])


def test_a_model_that_lacks_films_in_one_seed_is_not_compared_on_the_others() -> None:
    second = received(model="b").with_columns(seed=pl.lit("2")).filter(pl.col("study_id") != "s00399")
    table = pl.concat([received(model=model).with_columns(seed=pl.lit("1")) for model in ("a", "b")])
    card = score(pl.concat([table, second]), **FEW)
    assert card.contrasts.is_empty()
    assert any("'b': 2 pairs of study and finding are not scored by every seed" in note for note in card.facts["notes"])


def test_seeds_are_learners_of_one_model_and_films_that_one_of_them_lacks_are_told() -> None:
    first = received().with_columns(seed=pl.lit("1"))
    second = first.with_columns(seed=pl.lit("2"), score=pl.col("score") * 0.9)
    card = score(pl.concat([first, second.filter(pl.col("study_id") != "s00399")]), **FEW)
    assert set(card.thresholds["seed"]) == {"1", "2"} and card.facts["seeds"] == {"model": ["1", "2"]}
    assert any("2 pairs of study and finding are not scored by every seed" in note for note in card.facts["notes"])


# The same whatever the form


def test_a_wide_table_gives_the_tables_of_the_long_one(table: pl.DataFrame, scored: Scored) -> None:
    wide = table.pivot(on="finding", values=["score", "truth"])
    mapping = {"score_columns": "score_{finding}", "truth_columns": "truth_{finding}"}
    same(score(wide.to_pandas(), mapping=mapping, **FEW), scored)


def test_attributes_of_a_second_table_give_the_same_tables(table: pl.DataFrame, scored: Scored) -> None:
    who = table.select("study_id", Sex="sex", Race="race").unique()
    mapping = {"columns": {"sex": "Sex", "race": "Race"}}
    same(score(table.drop("sex", "race"), attributes_table=who, mapping=mapping, **FEW), scored)


def test_a_model_is_scored_alike_alone_and_beside_others(table: pl.DataFrame, scored: Scored) -> None:
    alone = score(table.filter(pl.col("model") == "a"), **FEW)
    for name in ("fairness_estimates", "fairness_gaps", "fairness_reliability"):
        assert alone.tables()[name].equals(scored.tables()[name].filter(pl.col("arm") == "a")), name


def test_where_patients_are_not_known_intervals_are_named_so() -> None:
    card = score(received().drop("patient_id"), patient_id_kind="image", **FEW)
    named = card.estimates.filter(metric="tpr")["ci_method"].unique().to_list()
    assert named and all(name.startswith("image") for name in named)


def test_every_intersection_of_the_attributes_is_scored() -> None:
    table = received(("edema",))
    view = pl.Series("view", np.where(np.arange(table.height) % 2, "AP", "PA"))
    names = ("race", "sex", "view")
    card = score(table.with_columns(view), attributes=names, **FEW)
    wanted = {"×".join(chosen) for size in (1, 2, 3) for chosen in combinations(names, size)}
    assert set(card.estimates["attribute"]) == {"all", *wanted}
