from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import precision_score, recall_score, roc_auc_score

from cxr_assets.evaluation.cells import ScoredFilms
from cxr_assets.evaluation.fairness import Eligibility, Scorecard, score_arm
from cxr_assets.evaluation.matching import Matched, match_groups
from cxr_assets.evaluation.words import tell
from tests.evaluation.simulate import cuts, estimate_of, films_of, gap_of

EVERYONE = np.ones(3, dtype=bool)


def unlike_groups(seed: int, n: int = 900) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Group, truth and age of films; groups differ in ages, and in prevalence at every age."""
    rng = np.random.default_rng(seed)
    member = rng.integers(0, 3, n)
    age = np.minimum(rng.poisson(0.6 + 0.5 * member), 3)
    return member, (rng.random(n) < 0.15 + 0.1 * member + 0.1 * age).astype(int), age


def shares(weight: np.ndarray, values: np.ndarray) -> np.ndarray:
    return np.bincount(values, weight, minlength=8) / weight.sum()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31))
def test_matched_groups_have_one_prevalence_and_one_distribution_of_ages(seed: int) -> None:
    member, truth, age = unlike_groups(seed)
    found = match_groups(member, 3, truth, age, EVERYONE)
    assert found is not None
    both = [shares(found.weight[member == g], (age * 2 + truth)[member == g]) for g in range(3)]
    raw = [shares(np.ones((member == g).sum()), (age * 2 + truth)[member == g]) for g in range(3)]
    np.testing.assert_allclose(both, [both[0]] * 3, atol=1e-12)
    assert np.ptp(raw, axis=0).max() > 0.05, "they were unlike before"


def test_weights_are_one_on_average_and_the_effective_number_is_kishs() -> None:
    member, truth, age = unlike_groups(0)
    found = match_groups(member, 3, truth, age, EVERYONE)
    assert found is not None
    for group in range(3):
        w = found.weight[member == group]
        assert w[w > 0].mean() == pytest.approx(1.0)
        assert found.effective[group] == pytest.approx(w.sum() ** 2 / (w**2).sum())
        assert found.effective[group] < (w > 0).sum()


def test_groups_that_are_alike_keep_weights_of_one() -> None:
    truth, age = np.tile([0, 0, 1, 1], 20), np.tile([0, 1, 0, 1], 20)
    found = match_groups(np.repeat([0, 1], 40), 2, truth, age, np.ones(2, dtype=bool))
    assert found is not None and (found.weight > 0).all()
    np.testing.assert_allclose(found.weight, 1.0)
    np.testing.assert_allclose(found.effective, 40.0)


def test_ages_that_one_group_lacks_leave_every_group() -> None:
    member, truth, age = unlike_groups(1)
    age = np.where((member == 0) & (age == 0), 1, age)
    found = match_groups(member, 3, truth, age, EVERYONE)
    assert found is not None and (found.weight[age == 0] == 0).all() and (found.weight[age == 1] > 0).all()


def test_films_of_unknown_age_of_no_group_or_of_one_that_is_not_eligible_weigh_nothing() -> None:
    member, truth, age = unlike_groups(2)
    member[:50], age[50:100] = -1, -1
    found = match_groups(member, 3, truth, age, np.array([True, False, True]))
    out = (member == -1) | (member == 1) | (age == -1)
    assert found is not None and (found.weight[out] == 0).all() and (found.weight[~out] > 0).any()
    assert found.effective[1] == 0.0


def test_without_ages_prevalence_alone_is_matched() -> None:
    member, truth, age = unlike_groups(3)
    found = match_groups(member, 3, truth, None, EVERYONE)
    assert found is not None
    prevalence = [np.average(truth[member == g], weights=found.weight[member == g]) for g in range(3)]
    assert np.ptp(prevalence) < 1e-12
    assert np.ptp([np.average(age[member == g], weights=found.weight[member == g]) for g in range(3)]) > 0.3


@pytest.mark.parametrize("lost", ["ages", "positives", "few"])
def test_without_common_support_there_is_no_match(lost: str) -> None:
    member, truth, age = unlike_groups(4)
    if lost == "ages":
        age = member
    elif lost == "positives":
        truth = np.where(member == 0, 0, truth)
    assert match_groups(member, 3, truth, age, EVERYONE, least=10**6 if lost == "few" else 5) is None


def confounded(seed: int = 0, patients: int = 16000, apart: bool = False) -> ScoredFilms:
    """Positives of the old are missed more often, whoever they are; women are older than men.

    Args:
        apart: every woman is old and every man young.
    """
    rng = np.random.default_rng(seed)
    woman = rng.random(patients) < 0.5
    old = woman if apart else rng.random(patients) < np.where(woman, 0.8, 0.2)
    truth = rng.random(patients) < np.where(old, 0.5, 0.3)
    scores = np.clip(np.where(truth, np.where(old, 0.6, 0.8), 0.3) + rng.normal(0, 0.15, patients), 0, 1)
    people = {"sex": np.where(woman, "female", "male"), "age_bin": np.where(old, "60-79", "40-59")}
    return films_of(truth, scores, people)


def card_of_confounded(films: ScoredFilms) -> Scorecard:
    return score_arm(
        films,
        cuts(films),
        arm="a",
        attributes=["sex", "age_bin"],
        replicates=200,
        permutations=20,
        eligibility=Eligibility(),
    )


@pytest.fixture(scope="module")
def confused() -> Scorecard:
    return card_of_confounded(confounded())


def test_a_gap_that_ages_explain_vanishes_when_groups_are_matched(confused: Scorecard) -> None:
    for metric, raw_gap in (("tpr", 0.1), ("auroc", 0.015)):
        raw, matched = (gap_of(confused, "sex", metric, "edema", weight_scheme=w) for w in ("none", "matched"))
        assert raw["observed"] > raw_gap and raw["ci_lo"] > 0 and raw["worst_group"] == "female"
        assert matched["observed"] < raw["observed"] / 3 and matched["observed"] < 0.03
        women = estimate_of(confused, metric, "edema", "sex", "female")
        assert matched["effective_n"] < women["n_images"]
    by_age = gap_of(confused, "age_bin", "tpr", "edema")
    assert by_age["observed"] > 0.1, "the ages themselves still differ"


def test_what_ages_explain_is_told_in_words(confused: Scorecard) -> None:
    found = confused.gaps.with_columns(reported=pl.col("attribute") == "sex")
    told = [sentence for sentence in tell(confused.estimates, found) if sentence.startswith("At equal prevalence")]
    assert len(told) == 1 and "by sex" in told[0] and told[0].endswith("part of it is who was filmed.")


def test_matched_figures_are_those_of_scikit_learn_with_the_weights() -> None:
    films = confounded()
    card = card_of_confounded(films)
    member = (films.people["sex"] == "male").cast(pl.Int64).to_numpy()
    age = (films.people["age_bin"] == "60-79").cast(pl.Int64).to_numpy()
    truth, scores = films.truth[:, 0] == 1, films.scores[0, :, 0]
    found = match_groups(member, 2, truth, age, np.ones(2, dtype=bool))
    assert isinstance(found, Matched)
    own = member == 0
    given = {"sample_weight": found.weight[own]}
    expected = {
        "tpr": recall_score(truth[own], scores[own] >= 0.5, **given),
        "ppv": precision_score(truth[own], scores[own] >= 0.5, **given),
        "auroc": roc_auc_score(truth[own], scores[own], **given),
    }
    for metric, value in expected.items():
        row = estimate_of(card, metric, "edema", "sex", "female", weight_scheme="matched")
        assert row["estimate"] == pytest.approx(value, abs=1e-9)
        assert row["effective_n"] == pytest.approx(found.effective[0])
        assert row["ci_lo"] <= row["estimate"] <= row["ci_hi"]


def test_groups_of_age_are_matched_by_prevalence_alone_which_moves_predictive_values_only(confused: Scorecard) -> None:
    matched = confused.gaps.filter(pl.col("weight_scheme") == "matched")
    one = pl.col("finding") == "edema"
    by_age = matched.filter(one & pl.col("attribute").is_in(["age_bin", "age_bin×sex"]))
    why = {"unmoved_by_prevalence", "no_common_support"}
    assert set(by_age.filter(pl.col("observed").is_null())["null_reason"]) <= why
    given = by_age.filter((pl.col("attribute") == "age_bin") & pl.col("observed").is_not_null())
    assert set(given["metric"]) == {"ppv", "npv", "flag_rate"}
    every = {"auroc", "tpr", "fpr", "fnr", "ppv", "npv", "flag_rate"}
    assert set(by_age["metric"]) == every
    by_sex = matched.filter(one & (pl.col("attribute") == "sex"))
    assert set(by_sex["metric"]) == every and by_sex["observed"].is_not_null().all()


def test_matched_rates_of_all_findings_are_averaged_like_the_raw_ones() -> None:
    films = confounded()
    both = replace(
        films,
        findings=("edema", "nodule"),
        scores=np.concatenate([films.scores, films.scores**2], axis=2),
        truth=np.concatenate([films.truth, films.truth], axis=1),
    )
    card = card_of_confounded(both)
    for group in ("female", "male"):
        named = {"attribute": "sex", "group": group, "weight_scheme": "matched"}
        each = [estimate_of(card, "tpr", finding, **named)["estimate"] for finding in both.findings]
        assert estimate_of(card, "tpr", **named)["estimate"] == pytest.approx(np.mean(each)), "as many ill of either"
    assert gap_of(card, "sex", weight_scheme="matched")["observed"] is not None
    assert gap_of(card, "age_bin", weight_scheme="matched")["null_reason"] == "unmoved_by_prevalence"


def test_groups_that_share_no_age_get_a_row_that_says_so() -> None:
    card = card_of_confounded(confounded(apart=True))
    row = gap_of(card, "sex", "tpr", "edema", weight_scheme="matched")
    assert row["null_reason"] == "no_common_support" and row["observed"] is None and row["worst_group"] is None
    assert gap_of(card, "sex", "tpr", "edema")["observed"] is not None
