from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import roc_auc_score

from cxr_assets.errors import InputError
from cxr_assets.evaluation.cells import groupings, lay_out
from cxr_assets.evaluation.fairness import ESTIMATES, GAPS, Eligibility, Scorecard, _adjust, score_arm
from tests.evaluation.simulate import FINDINGS, SMALL, WORST, card_of, laid_out, simulated

KEY = ["finding", "attribute", "group", "metric"]


@pytest.fixture(scope="module")
def planted() -> Scorecard:
    """Half of black women's positives are missed."""
    return card_of(*simulated(missed=0.5))


@pytest.fixture(scope="module")
def fair() -> Scorecard:
    """Nobody's positives are missed more than others'."""
    return card_of(*simulated(missed=0.0, seed=1))


def estimate(
    card: Scorecard, metric: str, finding: str = "all", attribute: str = "all", group: str = "all"
) -> dict[str, object]:
    return card.estimates.row(
        by_predicate=(pl.col("metric") == metric)
        & (pl.col("finding") == finding)
        & (pl.col("attribute") == attribute)
        & (pl.col("group") == group),
        named=True,
    )


def gap(card: Scorecard, attribute: str, metric: str = "tpr") -> dict[str, object]:
    return card.gaps.row(
        by_predicate=(pl.col("finding") == "all")
        & (pl.col("attribute") == attribute)
        & (pl.col("metric") == metric)
        & (pl.col("gap_kind") == "max_min"),
        named=True,
    )


def close(first: pl.DataFrame, second: pl.DataFrame, keys: list[str], columns: list[str], atol: float = 1e-9) -> None:
    a, b = first.sort(keys), second.sort(keys)
    assert a.select(keys).equals(b.select(keys))
    for column in columns:
        np.testing.assert_allclose(
            a[column].fill_null(-9).to_numpy(), b[column].fill_null(-9).to_numpy(), atol=atol, err_msg=column
        )


def test_the_planted_disparity_is_found_and_named(planted: Scorecard) -> None:
    row = gap(planted, "race×sex")
    assert row["worst_group"] == WORST and row["reported"] and row["family"] == "confirmatory"
    assert float(row["excess"]) > 0.2 and float(row["p_adj"]) <= 0.05  # type: ignore[arg-type]
    worst = planted.gaps.filter((pl.col("gap_kind") == "group_vs_rest") & (pl.col("ci_hi") < 0))
    assert WORST in set(worst["worst_group"])


def test_no_gap_is_reported_where_none_was_planted(fair: Scorecard) -> None:
    assert not fair.gaps["reported"].any()
    row = gap(fair, "race×sex")
    assert float(row["observed"]) > 0, "the largest of several groups always lies above the smallest"  # type: ignore[arg-type]
    assert float(row["null_mean"]) == pytest.approx(float(row["observed"]), abs=0.1)  # type: ignore[arg-type]


def test_false_alarms_stay_rare_over_many_fair_classifiers() -> None:
    reported = [
        bool(card_of(*simulated(patients=300, seed=100 + i), replicates=1).gaps["reported"].any()) for i in range(12)
    ]
    assert sum(reported) <= 2


def test_estimates_are_those_of_scikit_learn(planted: Scorecard) -> None:
    predictions, people = simulated(missed=0.5)
    women = people.filter((pl.col("sex") == "female") & (pl.col("race") == "black"))["study_id"]
    rows = predictions.filter((pl.col("finding") == "edema") & pl.col("study_id").is_in(women.implode()))
    each = [part for _, part in rows.group_by("learner")]
    tpr = np.mean([(p.filter(pl.col("truth") == 1)["score"] >= 0.5).mean() for p in each])  # type: ignore[arg-type]
    auroc = np.mean([roc_auc_score(p["truth"], p["score"]) for p in each])
    assert estimate(planted, "tpr", "edema", "race×sex", WORST)["estimate"] == pytest.approx(tpr)
    assert estimate(planted, "auroc", "edema", "race×sex", WORST)["estimate"] == pytest.approx(auroc)
    assert estimate(planted, "tpr", "edema", "race×sex", WORST)["n_patients"] == len(women)


def test_the_pool_leaves_out_no_finding(planted: Scorecard) -> None:
    predictions, _ = simulated(missed=0.5)
    positives = predictions.filter((pl.col("truth") == 1) & (pl.col("finding") != "no_finding"))
    row = estimate(planted, "tpr")
    assert row["estimate"] == pytest.approx((positives["score"] >= 0.5).mean())
    assert row["n_pos"] == positives.height / 2, "counted once, not for every training seed"
    each = [float(estimate(planted, "auroc", f)["estimate"]) for f in FINDINGS[:2]]  # type: ignore[arg-type]
    assert estimate(planted, "auroc")["estimate"] == pytest.approx(np.mean(each))


def test_intervals_hold_their_estimates(planted: Scorecard) -> None:
    shown = planted.estimates.filter(pl.col("ci_lo").is_not_null())
    assert shown.height > 100
    assert (shown["ci_lo"] <= shown["estimate"] + 1e-9).all() and (shown["estimate"] <= shown["ci_hi"] + 1e-9).all()
    assert shown.filter(pl.col("ci_lo") < 0).is_empty() and shown.filter(pl.col("ci_hi") > 1).is_empty()


def test_intervals_ignore_duplicated_images_of_a_patient() -> None:
    predictions, people = simulated(patients=300)
    copies = [f"-copy{i}" for i in range(4)]
    many = pl.concat([predictions.with_columns(pl.col("study_id") + c) for c in copies])
    crowd = pl.concat([people.with_columns(pl.col("study_id") + c) for c in copies])
    rule = Eligibility(1, 1, 1, 1)
    once, often = card_of(predictions, people, eligibility=rule), card_of(many, crowd, eligibility=rule)
    close(once.estimates, often.estimates, KEY, ["estimate", "ci_lo", "ci_hi"])


def test_row_order_changes_nothing(planted: Scorecard) -> None:
    predictions, people = simulated(missed=0.5)
    mixed = card_of(
        predictions.sample(fraction=1, shuffle=True, seed=3), people.sample(fraction=1, shuffle=True, seed=4)
    )
    assert mixed.estimates.equals(planted.estimates) and mixed.gaps.equals(planted.gaps)
    assert mixed.replicates.equals(planted.replicates)
    films = laid_out(predictions.sample(fraction=1, shuffle=True, seed=5), people)
    assert films.people["study_id"].is_sorted(), "sums run in the same order, to the last bit"


def test_names_of_groups_change_nothing(planted: Scorecard) -> None:
    names = {"black": "zz", "white": "aa", "asian": "mm", "female": "yy", "male": "bb"}
    predictions, people = simulated(missed=0.5)
    renamed = card_of(predictions, people.with_columns(pl.col("sex", "race").replace(names)))

    def back(frame: pl.DataFrame, *columns: str) -> pl.DataFrame:
        old = {v: k for k, v in names.items()}
        read = pl.element().replace(old)
        return frame.with_columns(pl.col(c).str.split("×").list.eval(read).list.join("×") for c in columns)

    close(back(renamed.estimates, "group"), planted.estimates, KEY, ["estimate", "ci_lo", "ci_hi", "n_pos"])
    keys = ["finding", "attribute", "metric", "gap_kind", "worst_group"]
    close(
        back(renamed.gaps, "worst_group"),
        planted.gaps,
        keys,
        ["observed", "null_mean", "excess", "p_perm", "p_adj", "ci_lo"],
    )


def test_the_same_seed_gives_the_same_card_and_another_other_intervals(planted: Scorecard) -> None:
    again, other = card_of(*simulated(missed=0.5)), card_of(*simulated(missed=0.5), seed=1)
    assert again.estimates.equals(planted.estimates) and again.gaps.equals(planted.gaps)
    assert other.estimates["estimate"].equals(planted.estimates["estimate"])
    assert not other.estimates["ci_lo"].equals(planted.estimates["ci_lo"])


def test_small_cells_are_suppressed_with_a_reason_and_enter_no_gap() -> None:
    predictions, people = simulated(patients=120, prevalence=0.12)
    card = card_of(predictions, people)
    small = card.estimates.filter(
        (pl.col("attribute") == "race×sex") & (pl.col("finding") == "edema") & (pl.col("metric") == "tpr")
    )
    assert set(small["null_reason"]) <= {"suppressed", "no_pos"} and "suppressed" in set(small["null_reason"])
    assert small["estimate"].is_null().all() and small["ci_lo"].is_null().all() and not small["eligible"].any()
    row = card.gaps.row(
        by_predicate=(pl.col("attribute") == "race×sex") & (pl.col("finding") == "edema") & (pl.col("metric") == "tpr"),
        named=True,
    )
    assert row["observed"] is None and row["worst_group"] is None and not row["reported"]


def test_what_is_undefined_is_null_with_a_reason() -> None:
    predictions, people = simulated(patients=200)
    nobody = predictions.with_columns(
        truth=pl.when(pl.col("finding") == "edema").then(0).otherwise("truth").cast(pl.Int8)
    )
    card = card_of(nobody, people)
    for metric, reason in (("tpr", "no_pos"), ("auroc", "no_pos")):
        row = estimate(card, metric, "edema")
        assert (row["estimate"], row["ci_lo"], row["null_reason"]) == (None, None, reason)
    assert estimate(card, "fpr", "edema")["estimate"] is not None
    everybody = predictions.with_columns(pl.lit(1, pl.Int8).alias("truth"))
    assert estimate(card_of(everybody, people), "fpr", "edema")["null_reason"] == "no_neg"
    never = card_of(predictions.with_columns(score=pl.col("score") * 0.4), people)
    assert estimate(never, "ppv", "edema")["null_reason"] == "undefined"


def test_a_finding_without_a_threshold_keeps_its_sizes_and_its_auroc() -> None:
    films = laid_out(*simulated(patients=200))
    cuts = np.array([[np.nan, 0.5, 0.5], [np.nan, 0.5, 0.5]])
    card = score_arm(films, cuts, arm="a", attributes=["sex"], replicates=20, eligibility=SMALL)
    tpr, auroc = estimate(card, "tpr", "edema"), estimate(card, "auroc", "edema")
    assert (tpr["estimate"], tpr["null_reason"]) == (None, "undefined")
    assert auroc["estimate"] is not None and auroc["n_pos"] == tpr["n_pos"] == (films.truth[:, 0] == 1).sum()
    assert estimate(card, "tpr")["n_pos"] == (films.truth[:, 1] == 1).sum(), "the pool holds what has a threshold"


def test_no_sentinel_stands_in_the_tables(planted: Scorecard) -> None:
    for frame, schema in ((planted.estimates, ESTIMATES), (planted.gaps, GAPS)):
        assert frame.schema == pl.Schema(schema)
        for name, dtype in schema.items():
            assert dtype != pl.Float64 or not frame[name].is_nan().any(), name
    undefined = planted.estimates["estimate"].is_null()
    assert undefined.equals(planted.estimates["null_reason"].is_not_null().alias("estimate"))


def test_an_interval_is_named_after_what_was_resampled() -> None:
    films = laid_out(*simulated(patients=100))
    cuts = np.full((2, 3), 0.5)
    cards = {
        kind: score_arm(films, cuts, arm="a", attributes=["sex"], replicates=10, patient_kind=kind)
        for kind in ("patient", "image")
    }
    assert set(cards["patient"].estimates["ci_method"]) == {"patient_bootstrap_percentile"}
    assert set(cards["image"].estimates["ci_method"]) == {"image_bootstrap_percentile"}


def test_gaps_are_adjusted_by_holm_within_the_declared_family() -> None:
    p = [0.01, 0.04, 0.03, 0.005]
    rows = [{"family": "confirmatory", "p_perm": v, "attribute": str(v)} for v in p] + [
        {"family": "exploratory", "p_perm": 0.001}
    ]
    adjusted = _adjust(pl.DataFrame(rows, schema=GAPS))
    assert adjusted["p_adj"].to_list()[:4] == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert adjusted["reported"].to_list() == [True, False, False, True, False]
    assert adjusted["p_adj"][4] is None
    assert _adjust(pl.DataFrame(schema=GAPS)).is_empty()


def test_every_intersection_is_scored_under_an_alphabetical_name() -> None:
    films = laid_out(*simulated(patients=80))
    made = {g.attribute: g for g in groupings(films, ["sex", "race"])}
    assert list(made) == ["all", "race", "sex", "race×sex"]
    assert made["race×sex"].groups == tuple(
        sorted(f"{r}×{s}" for r in ("asian", "black", "white") for s in ("female", "male"))
    )
    for name, one in made.items():
        assert (one.member >= 0).all(), name


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
    made = {g.attribute: g for g in groupings(films, ["sex", "race"])}
    known = films.people["race"] == "white"
    assert np.array_equal(made["sex"].member >= 0, known.to_numpy())
    assert made["race×sex"].groups == ("white×female", "white×male")


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


def test_eligibility_asks_for_positives_negatives_and_patients() -> None:
    predictions, people = simulated(patients=100, films=4)
    strict = {
        "positives": Eligibility(10**6, 1, 1, 1),
        "negatives": Eligibility(1, 10**6, 1, 1),
        "patients": Eligibility(1, 1, 101, 1),
    }
    for rule in strict.values():
        assert not card_of(predictions, people, eligibility=rule, replicates=1).estimates["eligible"].any()
    assert card_of(predictions, people, eligibility=SMALL, replicates=1).estimates["eligible"].any()
