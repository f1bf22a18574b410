from __future__ import annotations

from dataclasses import replace

import fairlearn.metrics as fairlearn
import numpy as np
import polars as pl
import pytest
from fairlearn.metrics import MetricFrame
from sklearn.metrics import average_precision_score, brier_score_loss, precision_score, roc_auc_score

from cxr_assets.evaluation.fairness import Eligibility, Hypothesis, Scorecard, score_arm
from tests.evaluation.simulate import (
    FINDINGS,
    SMALL,
    WORST,
    alike,
    card_of,
    cuts,
    estimate_of,
    films_of,
    gap_of,
    laid_out,
    mixed,
    simulated,
)

ALL = Eligibility(1, 1, 1, 1)


@pytest.fixture(scope="module")
def planted() -> Scorecard:
    """Half of black women's positives are missed."""
    return card_of(*simulated(missed=0.5))


@pytest.fixture(scope="module")
def fair() -> Scorecard:
    """Nobody's positives are missed more than others'."""
    return card_of(*simulated(missed=0.0, seed=1))


def tables(card: Scorecard) -> tuple[pl.DataFrame, ...]:
    return card.estimates, card.gaps, card.replicates, card.reliability


def same(first: Scorecard, second: Scorecard) -> None:
    for a, b in zip(tables(first), tables(second), strict=True):
        alike(a, b)


def test_the_planted_disparity_is_found_and_named(planted: Scorecard) -> None:
    row = gap_of(planted, "race×sex")
    assert row["worst_group"] == WORST and row["reported"] and row["family"] == "confirmatory"
    assert row["excess"] > 0.2 and row["p_adj"] <= 0.05 and row["ci_lo"] > 0.1
    worst = planted.gaps.filter((pl.col("gap_kind") == "group_vs_rest") & (pl.col("ci_hi") < 0))
    assert WORST in set(worst["worst_group"])


def test_no_gap_is_reported_where_none_was_planted(fair: Scorecard) -> None:
    assert not fair.gaps["reported"].any()
    row = gap_of(fair, "race×sex")
    assert row["observed"] > 0, "the largest of several groups always lies above the smallest"
    assert row["null_mean"] == pytest.approx(row["observed"], abs=0.1)


def test_false_alarms_stay_rare_over_many_fair_classifiers() -> None:
    films = (laid_out(*simulated(patients=300, seed=100 + i, learners=("cnn.s0",))) for i in range(8))
    rule = {"arm": "a", "attributes": ["sex", "race"], "replicates": 1, "permutations": 60, "eligibility": SMALL}
    reported = [score_arm(f, cuts(f), **rule).gaps["reported"].any() for f in films]  # type: ignore[arg-type]
    assert sum(reported) <= 2


def test_figures_of_every_group_are_those_of_scikit_learn_and_fairlearn() -> None:
    predictions, people = simulated(patients=300, learners=("cnn.s0",), missed=0.3)
    card = card_of(predictions, people, eligibility=ALL, replicates=20, permutations=20)
    metrics = {
        "tpr": fairlearn.true_positive_rate,
        "fpr": fairlearn.false_positive_rate,
        "fnr": fairlearn.false_negative_rate,
        "flag_rate": fairlearn.selection_rate,
        "ppv": precision_score,
    }
    ranking = {"auroc": roc_auc_score, "auprc": average_precision_score, "brier": brier_score_loss}
    rows = predictions.filter(pl.col("finding") == "edema").join(people, on="study_id", maintain_order="left")
    for attribute in ("sex", "race"):
        given = {"y_true": rows["truth"].to_numpy(), "sensitive_features": rows[attribute].to_numpy()}
        flagged, scores = (rows["score"] >= 0.5).cast(pl.Int64).to_numpy(), rows["score"].to_numpy()
        frames = [
            MetricFrame(metrics=metrics, y_pred=flagged, **given),
            MetricFrame(metrics=ranking, y_pred=scores, **given),
        ]
        for frame in frames:
            difference = frame.difference(method="between_groups")
            for metric, by_group in frame.by_group.items():
                for group, value in by_group.items():
                    found = estimate_of(card, str(metric), "edema", attribute, str(group))["estimate"]
                    assert found == pytest.approx(value, abs=1e-9)
                if metric in ("tpr", "fpr", "fnr", "flag_rate", "ppv", "auroc"):
                    found = gap_of(card, attribute, str(metric), "edema")["observed"]
                    assert found == pytest.approx(difference[metric], abs=1e-9)
        for agg, kind in (("worst_case", "equalized_odds_max"), ("mean", "equalized_odds_mean")):
            expected = fairlearn.equalized_odds_difference(y_pred=flagged, agg=agg, **given)
            found = gap_of(card, attribute, "tpr_fpr", "edema", kind)["observed"]
            assert found == pytest.approx(expected, abs=1e-9)


def test_figures_are_means_over_training_seeds(planted: Scorecard) -> None:
    predictions, people = simulated(missed=0.5)
    women = people.filter((pl.col("sex") == "female") & (pl.col("race") == "black"))["study_id"]
    rows = predictions.filter((pl.col("finding") == "edema") & pl.col("study_id").is_in(women.implode()))
    each = [part for _, part in rows.group_by("learner")]
    found = {m: estimate_of(planted, m, "edema", "race×sex", WORST) for m in ("tpr", "auroc")}
    tpr = [(p.filter(pl.col("truth") == 1)["score"] >= 0.5).mean() for p in each]
    assert found["tpr"]["estimate"] == pytest.approx(np.mean(tpr))  # type: ignore[arg-type]
    assert found["auroc"]["estimate"] == pytest.approx(np.mean([roc_auc_score(p["truth"], p["score"]) for p in each]))
    assert found["tpr"]["n_patients"] == len(women)


def test_the_pool_leaves_out_no_finding(planted: Scorecard) -> None:
    predictions, _ = simulated(missed=0.5)
    positives = predictions.filter((pl.col("truth") == 1) & (pl.col("finding") != "no_finding"))
    row = estimate_of(planted, "tpr")
    assert row["estimate"] == pytest.approx((positives["score"] >= 0.5).mean())
    assert row["n_pos"] == positives.height / 2, "counted once, not for every training seed"
    assert row["n_images"] == 600, "a film is one image however many findings it is judged for"
    each = [estimate_of(planted, "auroc", f)["estimate"] for f in FINDINGS[:2]]
    assert estimate_of(planted, "auroc")["estimate"] == pytest.approx(np.mean(each))


def test_underdiagnosis_is_counted_as_by_hand(planted: Scorecard) -> None:
    films = laid_out(*simulated(missed=0.5))
    black = (films.people["race"] == "black").to_numpy()
    for attribute, group, inside in (("all", "all", np.ones_like(black)), ("race", "black", black)):
        healthy, called = films.truth[inside, 2] == 1, films.scores[:, inside, 2] >= 0.5
        ill = np.any(films.truth[inside, :2] == 1, axis=1)
        flagged: np.ndarray = np.any(films.scores[:, inside, :2] >= 0.5, axis=2, keepdims=False)
        expected = {
            ("underdiagnosis", "no_finding"): called[:, ~healthy].mean(),
            ("overdiagnosis", "no_finding"): (~called[:, healthy]).mean(),
            ("underdiagnosis_any", "all"): (~flagged[:, ill]).mean(),
        }
        for (metric, finding), value in expected.items():
            row = estimate_of(planted, metric, finding, attribute, group)
            assert row["estimate"] == pytest.approx(value, abs=1e-12), metric
    fpr, fnr = (estimate_of(planted, m, "no_finding")["estimate"] for m in ("fpr", "fnr"))
    assert estimate_of(planted, "underdiagnosis", "no_finding")["estimate"] == fpr
    assert estimate_of(planted, "overdiagnosis", "no_finding")["estimate"] == fnr


def test_a_film_is_healthy_only_if_every_finding_is_known_to_be_absent() -> None:
    """Films: ill and seen, ill and missed, healthy, and one of which a finding is not known."""
    truth = np.array([[1, 0], [1, np.nan], [0, 0], [0, np.nan]]).repeat(25, axis=0)
    scores = np.array([[0.9, 0.1], [0.2, 0.3], [0.1, 0.9], [0.9, 0.9]]).repeat(25, axis=0)
    films = films_of(truth, scores, {"sex": ["f", "m"] * 50}, findings=("edema", "fibrosis"))
    card = score_arm(films, cuts(films), arm="a", attributes=["sex"], replicates=20, permutations=5, eligibility=ALL)
    row = estimate_of(card, "underdiagnosis_any")
    assert (row["estimate"], row["n_pos"], row["n_neg"]) == (0.5, 50, 25)


def test_intervals_hold_their_estimates(planted: Scorecard) -> None:
    shown = planted.estimates.filter(pl.col("estimate").is_not_null())
    assert shown.height > 400
    assert (shown["ci_lo"] <= shown["estimate"] + 1e-9).all() and (shown["estimate"] <= shown["ci_hi"] + 1e-9).all()
    rates = shown.filter(pl.col("metric").is_in(["tpr", "fpr", "fnr", "ppv", "npv", "flag_rate", "auroc", "auprc"]))
    assert rates.filter((pl.col("ci_lo") < 0) | (pl.col("ci_hi") > 1)).is_empty()


SIZES = ["n_images", "n_pos", "n_neg", "effective_n"]


@pytest.mark.parametrize("films", [1, 2])
def test_intervals_ignore_duplicated_images_of_a_patient(films: int) -> None:
    predictions, people = simulated(patients=300, films=films)
    copies = [f"-copy{i}" for i in range(4)]
    many = pl.concat([predictions.with_columns(pl.col("study_id") + c) for c in copies])
    crowd = pl.concat([people.with_columns(pl.col("study_id") + c) for c in copies])
    once, often = (card_of(p, q, eligibility=ALL, permutations=50) for p, q in ((predictions, people), (many, crowd)))
    chance = pl.col("metric") == "ece_debiased"
    alike(once.estimates.filter(~chance), often.estimates.filter(~chance), atol=1e-9, but=SIZES)
    debiased = [card.estimates.filter(chance)["estimate"].to_numpy() for card in (once, often)]
    raw = once.estimates.filter(pl.col("metric") == "ece")["estimate"].to_numpy()
    assert (debiased[0] < debiased[1]).all() and (debiased[1] < raw).all(), "of more films less is put down to chance"
    moved = ["null_mean", "excess", "p_perm", "p_adj", "family", "reported"]
    alone = pl.col("gap_kind") != "max_min_equal_n"  # films are drawn anew there
    alike(once.gaps.filter(alone), often.gaps.filter(alone), atol=1e-9, but=["effective_n", *moved])
    if films == 1:  # with more of them patients of three films and of twelve are one stratum
        each = alone & (pl.col("finding") != "all")
        alike(once.gaps.filter(each), often.gaps.filter(each), atol=1e-9, but=["effective_n", "p_adj"])
    alike(once.replicates, often.replicates, atol=1e-9)


def test_the_order_of_rows_and_of_findings_changes_nothing(planted: Scorecard) -> None:
    predictions, people = (frame.sample(fraction=1, shuffle=True, seed=3) for frame in simulated(missed=0.5))
    for shuffled, table in zip(tables(card_of(predictions, people)), tables(planted), strict=True):
        assert shuffled.equals(table), "to the last bit"
    same(card_of(predictions, people, findings=FINDINGS[::-1], attributes=["race", "sex"]), planted)


def test_names_of_groups_change_nothing(planted: Scorecard) -> None:
    names = {"black": "zz", "white": "aa", "asian": "mm", "female": "yy", "male": "bb"}
    predictions, people = simulated(missed=0.5)
    renamed = card_of(predictions, people.with_columns(pl.col("sex", "race").replace(names)))
    read = pl.element().replace({v: k for k, v in names.items()})

    def back(frame: pl.DataFrame) -> pl.DataFrame:
        named = [c for c in ("group", "worst_group", "best_group") if c in frame.columns]
        return frame.with_columns(pl.col(c).str.split("×").list.eval(read).list.join("×") for c in named)

    same(Scorecard(*map(back, tables(renamed))), planted)


@pytest.mark.parametrize("decimals", [9, 1], ids=["distinct scores", "tied scores"])
def test_names_of_studies_change_nothing(decimals: int) -> None:
    predictions, people = simulated(patients=200, films=2, missed=0.5)
    predictions = predictions.with_columns(pl.col("score").round(decimals))
    studies = people["study_id"]
    names = dict(zip(studies, studies.sample(fraction=1, shuffle=True, seed=1), strict=True))
    other = (frame.with_columns(pl.col("study_id").replace(names)) for frame in (predictions, people))
    same(card_of(predictions, people, permutations=50), card_of(*other, permutations=50))


def test_the_same_seed_gives_the_same_card_and_another_other_intervals() -> None:
    sample = simulated(patients=200)
    first, again, other = (card_of(*sample, seed=seed, replicates=50, permutations=20) for seed in (0, 0, 1))
    assert all(a.equals(b) for a, b in zip(tables(again), tables(first), strict=True))
    kept = pl.col("metric") != "ece_debiased"  # its estimate takes off what drawn truth gives
    one, two = (card.estimates.filter(kept) for card in (first, other))
    assert one["estimate"].equals(two["estimate"]) and not one["ci_lo"].equals(two["ci_lo"])


def test_a_finding_without_a_threshold_keeps_its_sizes_and_its_auroc() -> None:
    films = laid_out(*simulated(patients=200))
    without = {"f1": np.array([[np.nan, 0.5, 0.5], [np.nan, 0.5, 0.5]])}
    card = score_arm(films, without, arm="a", attributes=["sex"], replicates=20, eligibility=SMALL)
    tpr, auroc = estimate_of(card, "tpr", "edema"), estimate_of(card, "auroc", "edema")
    assert (tpr["estimate"], tpr["null_reason"]) == (None, "no_threshold")
    assert auroc["estimate"] is not None and auroc["n_pos"] == tpr["n_pos"] == (films.truth[:, 0] == 1).sum()
    assert estimate_of(card, "tpr")["n_pos"] == (films.truth[:, 1] == 1).sum(), "the pool holds what has a threshold"


def test_other_operating_points_give_the_rates_that_move_with_them_and_no_test() -> None:
    films = laid_out(*simulated(patients=200))
    rules = {"f1": np.full((2, 3), 0.5), "sens90": np.full((2, 3), 0.2)}
    card = score_arm(films, rules, arm="a", attributes=["sex"], replicates=20, permutations=20, eligibility=SMALL)
    other = card.estimates.filter(pl.col("threshold_id") == "sens90")
    assert set(other["metric"]) == {"tpr", "fpr", "ppv", "npv", "flag_rate"} and not other["primary"].any()
    low, high = (
        card.estimates.row(
            by_predicate=(pl.col("threshold_id") == rule)
            & (pl.col("metric") == "tpr")
            & (pl.col("finding") == "all")
            & (pl.col("group") == "all"),
            named=True,
        )["estimate"]
        for rule in rules
    )
    assert low < high
    gaps = card.gaps.filter(pl.col("threshold_id") == "sens90")
    assert gaps["p_perm"].is_null().all() and not gaps["primary"].any() and gaps["observed"].is_not_null().any()
    single = score_arm(
        films, {"f1": rules["f1"]}, arm="a", attributes=["sex"], replicates=20, permutations=20, eligibility=SMALL
    )
    alike(card.estimates.filter(pl.col("threshold_id").ne_missing("sens90")), single.estimates)


def test_each_group_is_compared_with_all_others(planted: Scorecard) -> None:
    films = laid_out(*simulated(missed=0.5))
    black = (films.people["race"] == "black").to_numpy()
    deltas, weights = [], []
    for finding in range(2):
        hit, ill = (films.scores[:, :, finding] >= 0.5).mean(axis=0), films.truth[:, finding] == 1
        deltas.append(hit[ill & black].mean() - hit[ill & ~black].mean())
        weights.append(1 / (1 / (ill & black).sum() + 1 / (ill & ~black).sum()))
    row = planted.gaps.row(
        by_predicate=(pl.col("gap_kind") == "group_vs_rest") & (pl.col("worst_group") == "black"), named=True
    )
    assert row["observed"] == pytest.approx(np.average(deltas, weights=weights)), "Mantel and Haenszel"
    assert row["ci_lo"] < row["observed"] < row["ci_hi"]


def test_findings_that_are_hard_to_see_make_no_gap_for_those_who_have_them() -> None:
    films = mixed(1)
    flagged = films.scores[0] >= 0.5
    female = (films.people["sex"] == "f").to_numpy()
    crude = [flagged[who][films.truth[who] == 1].mean() for who in (female, ~female)]
    assert crude[0] - crude[1] > 0.15, "films added up"
    card = score_arm(films, cuts(films), arm="a", attributes=["sex"], replicates=200, permutations=200)
    gap = gap_of(card, "sex")
    assert gap["observed"] < 0.08 and not gap["reported"]
    any_finding = gap_of(card, "sex", metric="underdiagnosis_any")
    assert any_finding["null_mean"] > 0.05, "what the mix of findings makes of it, chance makes as well"
    assert any_finding["p_perm"] > 0.05


def test_a_finding_that_a_group_lacks_is_not_compared() -> None:
    films = mixed(1)
    truth = films.truth.copy()
    female = (films.people["sex"] == "f").to_numpy()
    truth[female, 1] = 0
    card = score_arm(
        replace(films, truth=truth), cuts(films), arm="a", attributes=["sex"], replicates=20, permutations=0
    )
    men = estimate_of(card, "tpr", attribute="sex", group="m")
    assert men["estimate"] == pytest.approx(estimate_of(card, "tpr", "edema", "sex", "m")["estimate"])
    truth[~female, 0] = 0
    nothing = replace(films, truth=truth)
    card = score_arm(nothing, cuts(films), arm="a", attributes=["sex"], replicates=20, permutations=0)
    assert estimate_of(card, "tpr", attribute="sex", group="m")["null_reason"] == "no_shared_finding"
    assert gap_of(card, "sex")["observed"] is None


def test_only_what_was_declared_is_reported(planted: Scorecard) -> None:
    films = laid_out(*simulated(missed=0.5))
    card = score_arm(
        films,
        cuts(films),
        arm="a",
        attributes=["sex", "race"],
        replicates=20,
        permutations=200,
        eligibility=SMALL,
        family=[Hypothesis(attribute="race×sex", finding="edema")],
    )
    assert card.gaps.filter(pl.col("reported")).select("finding", "attribute", "metric").rows() == [
        ("edema", "race×sex", "tpr")
    ]
    family = planted.gaps.filter(pl.col("family") == "confirmatory")
    assert family.select("finding", "metric").unique().rows() == [("all", "tpr")] and family.height == 3
