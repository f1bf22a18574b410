"""Operating points: fitted on validate rows, given by hand, or not there and said so."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from cxr_assets.classification.thresholds import fit_threshold
from cxr_assets.errors import InputError
from cxr_assets.scoring import Scored, score
from cxr_assets.scoring.report import lead
from tests.scoring.received import FEW, received


def test_thresholds_are_fitted_on_validate_rows_by_every_rule(table: pl.DataFrame, scored: Scored) -> None:
    own = table.filter((pl.col("model") == "a") & (pl.col("finding") == "edema") & (pl.col("split") == "val"))
    for rule in ("f1", "youden", "sensitivity90"):
        expected = fit_threshold(own["score"].to_numpy(), own["truth"].to_numpy(), rule)
        row = scored.thresholds.row(
            by_predicate=(pl.col("model") == "a") & (pl.col("finding") == "edema") & (pl.col("rule") == rule),
            named=True,
        )
        assert row["threshold"] == expected and len(row["fitted_on"]) == 64 and row["null_reason"] is None
    triage = scored.estimates.filter((pl.col("threshold_id") == "sensitivity90") & (pl.col("metric") == "tpr"))
    assert triage.height and not triage["primary"].any()


def test_rates_are_those_of_the_test_rows_at_the_fitted_threshold(table: pl.DataFrame, scored: Scored) -> None:
    own = table.filter((pl.col("model") == "a") & (pl.col("finding") == "edema") & (pl.col("split") == "test"))
    cut = scored.thresholds.filter(model="a", finding="edema", rule="f1")["threshold"].item()
    row = scored.estimates.filter(
        arm="a", finding="edema", attribute="all", metric="tpr", threshold_id="f1", weight_scheme="none"
    ).row(0, named=True)
    assert row["estimate"] == pytest.approx(own.filter(truth=1).select((pl.col("score") >= cut).mean()).item())
    assert row["n_pos"] == own["truth"].sum() and row["n_patients"] == own["patient_id"].n_unique()


def test_without_thresholds_ranking_is_scored_and_the_rest_says_why() -> None:
    card = score(received().filter(split="test").drop("split"), **FEW)
    rates = card.estimates.filter(pl.col("metric").is_in(["tpr", "fpr"]))
    assert rates.height and rates["estimate"].null_count() == rates.height
    assert "no_threshold" in set(rates["null_reason"]) and set(card.thresholds["null_reason"]) == {"no_validate_rows"}
    for finding in ("edema", "all"):
        ranked = card.estimates.filter(attribute="sex", group="female", metric="auroc", finding=finding)
        assert ranked["estimate"].item() is not None, finding
    assert any("No threshold for any finding" in note for note in card.facts["notes"])
    assert lead(card) == [
        "model: no gap declared beforehand could be tested (no threshold; gaps of ranking are below)."
    ]


def test_a_model_without_validate_rows_of_its_own_is_told_apart() -> None:
    other = received(model="b").filter(pl.col("split") == "test")
    card = score(pl.concat([received(model="a"), other]), **FEW)
    assert set(card.thresholds.filter(pl.col("model") == "b")["null_reason"]) == {"no_validate_rows"}
    assert any("edema of b" in note and "edema of a" not in note for note in card.facts["notes"])
    (said,) = (text for text in lead(card) if text.startswith("b: "))
    assert "no threshold" in said


def test_thresholds_may_be_given_by_hand() -> None:
    card = score(received(), thresholds={"edema": 0.4}, **FEW)
    rows = {r["finding"]: r for r in card.thresholds.iter_rows(named=True)}
    assert (rows["edema"]["rule"], rows["edema"]["threshold"], rows["edema"]["fitted_on"]) == ("given", 0.4, None)
    assert rows["fibrosis"]["null_reason"] == "not_given"
    assert any("validate rows were not used" in note for note in card.facts["notes"])
    assert any("fibrosis of model" in note for note in card.facts["notes"])


def test_one_threshold_may_stand_for_all_findings() -> None:
    assert set(score(received(), thresholds=0.5, **FEW).thresholds["threshold"]) == {0.5}


@pytest.mark.parametrize(
    ("given", "told"),
    [({"oedema": 0.4}, "no such finding. Did you mean edema"), ({"edema": 4.0}, "lies in"), (float("nan"), "lies in")],
)
def test_thresholds_that_cannot_be_used_are_refused(given: Any, told: str) -> None:
    with pytest.raises(InputError, match="--threshold") as raised:
        score(received(), thresholds=given, **FEW)
    assert told in str(raised.value)


def test_a_finding_of_one_class_on_validate_rows_has_no_threshold_and_no_sentinel() -> None:
    healthy = pl.when((pl.col("split") == "val") & (pl.col("finding") == "edema")).then(0).otherwise("truth")
    card = score(received().with_columns(truth=healthy), **FEW)
    row = card.thresholds.filter(finding="edema", rule="f1").row(0, named=True)
    assert row["threshold"] is None and row["null_reason"] == "one_class"
    assert card.thresholds.filter(finding="fibrosis")["threshold"].null_count() == 0


def test_a_rule_named_twice_is_fitted_once() -> None:
    card = score(received(("edema",)), rules=("youden", "f1", "youden"), attributes=(), **FEW)
    assert card.thresholds["rule"].to_list() == ["youden", "f1"] and card.facts["rules"] == ["youden", "f1"]


def test_unknown_rules_and_nonsense_counts_are_refused() -> None:
    with pytest.raises(InputError, match=r"rule 'youdn' is unknown\. Did you mean youden"):
        score(received(), rules=("youdn",))
    with pytest.raises(InputError, match="no rule"):
        score(received(), rules=())
    with pytest.raises(InputError, match="at least 1"):
        score(received(), replicates=0)
