from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from cxr_assets.evaluation.calibration import (
    calibration_line,
    debiased_calibration_error,
    equal_mass_bins,
    expected_calibration_error,
)
from cxr_assets.evaluation.cells import ScoredFilms, lattice
from cxr_assets.evaluation.fairness import Eligibility, Scorecard, score_arm
from cxr_assets.evaluation.scorecard_tables import ESTIMATES, GAPS, RELIABILITY, REPLICATES
from tests.evaluation.simulate import SMALL, card_of, cuts, estimate_of, films_of, gap_of, laid_out, simulated

REASONS = {"no_pos", "no_neg", "no_films", "suppressed", "undefined", "unstable", "constant_score", "separated"}


@pytest.fixture(scope="module")
def planted() -> Scorecard:
    return card_of(*simulated(missed=0.5))


def odd_films(seed: int, patients: int, prevalence: float, decimals: int) -> ScoredFilms:
    """A cohort with tied scores, groups of a handful, patients in two groups, and much that is not known."""
    rng = np.random.default_rng(seed)
    patient = np.arange(patients).repeat(rng.integers(1, 5, patients))
    n = len(patient)
    truth = (rng.random((n, 2)) < [prevalence, 0.5]).astype(float)
    truth[rng.random((n, 2)) < 0.1] = np.nan
    scores = np.round(np.clip(0.25 * np.nan_to_num(truth) + 0.75 * rng.random((2, n, 2)), 0, 1), decimals)
    scores[0, rng.random((n, 2)) < 0.05] = np.nan
    sex = rng.choice(["female", "male", "unknown"], patients, p=[0.7, 0.2, 0.1])[patient]
    people = {"sex": sex, "age_bin": rng.choice(["18-39", "40-59", "60-79"], n, p=[0.1, 0.5, 0.4])}
    return films_of(truth, scores, people, patient, findings=("edema", "no_finding"))


@settings(max_examples=12, deadline=None)
@given(
    st.integers(0, 2**31),
    st.integers(1, 60),
    st.sampled_from([0.0, 0.05, 0.4, 1.0]),
    st.integers(0, 2),
    st.sampled_from([Eligibility(1, 1, 1, 1), Eligibility(1, 1, 1, 8), Eligibility(5, 5, 3, 3)]),
)
def test_every_row_of_an_odd_cohort_is_a_figure_with_its_interval_or_a_reason(
    seed: int, patients: int, prevalence: float, decimals: int, rule: Eligibility
) -> None:
    films = odd_films(seed, patients, prevalence, decimals)
    attributes = ["sex", "age_bin"]
    card = score_arm(
        films, cuts(films), arm="a", attributes=attributes, replicates=12, permutations=5, eligibility=rule
    )
    rows, gaps = card.estimates, card.gaps
    for frame in (rows, gaps, card.reliability):
        assert not any(frame[c].is_nan().any() for c, kind in frame.schema.items() if kind == pl.Float64)
    undefined = rows["null_reason"].is_not_null()
    for name in ("estimate", "ci_lo", "ci_hi"):
        assert (rows[name].is_null() == undefined).all(), name
    assert set(rows["null_reason"].drop_nulls()) <= REASONS
    assert gaps.filter(pl.col("observed").is_null())["null_reason"].is_not_null().all()
    whole = gaps.filter(pl.col("null_reason").is_null())
    assert all(whole[name].is_not_null().all() for name in ("observed", "ci_lo", "ci_hi"))
    assert gaps["p_perm"].drop_nulls().is_between(1 / 6, 1).all()
    hidden = hidden_cells(films, attributes, rule.suppress_below)
    small = rows.filter(pl.struct("finding", "attribute", "group").is_in(list(hidden)))
    assert small.select(pl.col("n_pos", "n_neg", "estimate", "ci_lo", "ci_hi").is_null().all()).row(0) == (True,) * 5
    for name in ("worst_group", "best_group"):
        assert not gaps.select(pl.struct("finding", "attribute", group=name).is_in(list(hidden)).any()).item(), name


def hidden_cells(films: ScoredFilms, attributes: list[str], least: int) -> list[dict[str, str]]:
    """Groups with too few patients of a class, counted by hand."""
    out = []
    for grouping in lattice(films, attributes).groupings[1:]:
        for column, finding in enumerate(films.findings):
            known = ~np.isnan(films.scores[:, :, column]).any(axis=0)
            for at, group in enumerate(grouping.groups):
                inside, truth = known & (grouping.member == at), films.truth[:, column]
                if min(len(set(films.patient[inside & (truth == y)])) for y in (0, 1)) < least:
                    out.append({"finding": finding, "attribute": grouping.attribute, "group": group})
    return out


def test_tables_have_their_columns_and_every_figure_has_an_interval(planted: Scorecard) -> None:
    for frame, schema in (
        (planted.estimates, ESTIMATES),
        (planted.gaps, GAPS),
        (planted.replicates, REPLICATES),
        (planted.reliability, RELIABILITY),
    ):
        assert frame.schema == pl.Schema(schema) and frame.height > 0
    shown = planted.estimates.filter(pl.col("estimate").is_not_null())
    assert shown.height > 400 and shown.select(pl.col("ci_lo", "ci_hi").is_null().any()).row(0) == (False, False)


def test_lift_and_calibration_of_a_group_are_those_of_its_films() -> None:
    predictions, people = simulated(patients=300, learners=("cnn.s0",))
    card = card_of(predictions, people, replicates=20, permutations=5)
    rows = predictions.filter(finding="edema").join(people.filter(sex="female"), on="study_id")
    truth, scores = rows["truth"].to_numpy().astype(float), rows["score"].to_numpy()
    bins = equal_mass_bins(scores)
    line = calibration_line(scores, truth)
    expected = {
        "auprc_lift": average_precision_score(truth, scores) - truth.mean(),
        "ece": expected_calibration_error(scores, truth, bins),
        "ece_debiased": debiased_calibration_error(scores, truth, bins),
        "calibration_slope": line.slope,
        "calibration_intercept": line.intercept,
        "calibration_in_the_large": line.in_the_large,
    }
    for metric, value in expected.items():
        found = estimate_of(card, metric, "edema", "sex", "female")["estimate"]
        assert found == pytest.approx(value, abs=0.003 if metric == "ece_debiased" else 1e-9), metric
    slope = estimate_of(card, "calibration_slope", "edema", "sex", "female")
    assert slope["ci_hi"] - slope["ci_lo"] == pytest.approx(2 * 1.96 * line.slope_se)


def test_small_cells_show_neither_counts_nor_figures_and_enter_no_gap() -> None:
    card = card_of(*simulated(patients=120, prevalence=0.12))
    small = card.estimates.filter(pl.col("attribute") == "race×sex", pl.col("finding") == "edema")
    assert set(small["null_reason"]) <= {"suppressed", "no_pos"} and "suppressed" in set(small["null_reason"])
    for name in ("estimate", "ci_lo", "ci_hi", "n_pos", "n_neg"):
        assert small[name].is_null().all(), name
    assert not small["eligible"].any()
    row = gap_of(card, "race×sex", finding="edema")
    assert (row["observed"], row["worst_group"], row["null_reason"]) == (None, None, "fewer_than_two_groups")
    assert not row["reported"] and row["p_perm"] is None
    curves = card.reliability.filter(pl.col("finding") == "edema", pl.col("attribute") != "all")
    shown = card.estimates.filter(pl.col("finding") == "edema", pl.col("n_pos").is_not_null())
    assert set(curves["group"]) <= set(shown["group"]), "curves of small cells are not drawn either"


def test_everybody_is_never_suppressed() -> None:
    card = card_of(*simulated(patients=60, prevalence=0.1), eligibility=Eligibility(suppress_below=50))
    assert estimate_of(card, "tpr", "edema")["estimate"] is not None
    assert estimate_of(card, "tpr", "edema")["n_pos"] < 50


def test_what_is_undefined_is_null_with_a_reason() -> None:
    predictions, people = simulated(patients=200)
    nobody = predictions.with_columns(
        truth=pl.when(pl.col("finding") == "edema").then(0).otherwise("truth").cast(pl.Int8)
    )
    card = card_of(nobody, people)
    for metric in ("tpr", "fnr", "auroc", "auprc", "auprc_lift"):
        row = estimate_of(card, metric, "edema")
        assert (row["estimate"], row["ci_lo"], row["null_reason"]) == (None, None, "no_pos"), metric
    assert estimate_of(card, "calibration_slope", "edema")["null_reason"] == "no_pos"
    assert estimate_of(card, "fpr", "edema")["estimate"] is not None
    scores = nobody.filter(pl.col("finding") == "edema")["score"].to_numpy()
    assert estimate_of(card, "brier", "edema")["estimate"] == pytest.approx((scores**2).mean())
    assert estimate_of(card, "ece", "edema")["estimate"] == pytest.approx(scores.mean()), "every score is too high"
    everybody = predictions.with_columns(pl.lit(1, pl.Int8).alias("truth"))
    for metric in ("fpr", "auroc"):
        assert estimate_of(card_of(everybody, people), metric, "edema")["null_reason"] == "no_neg"
    never = card_of(predictions.with_columns(score=pl.col("score") * 0.4), people)
    assert estimate_of(never, "ppv", "edema")["null_reason"] == "undefined"
    same = card_of(predictions.with_columns(score=pl.lit(0.5)), people)
    assert estimate_of(same, "calibration_slope", "edema")["null_reason"] == "constant_score"
    assert estimate_of(same, "auroc", "edema")["estimate"] == 0.5


def test_a_group_without_positives_is_null_and_leaves_the_gap_of_the_others() -> None:
    predictions, people = simulated(patients=600)
    asian = people.filter(pl.col("race") == "asian")["study_id"]
    gone = predictions.with_columns(
        truth=pl.when(pl.col("study_id").is_in(asian.implode())).then(0).otherwise("truth").cast(pl.Int8)
    )
    card, other = card_of(gone, people), card_of(predictions.filter(~pl.col("study_id").is_in(asian.implode())), people)
    row = estimate_of(card, "tpr", "edema", "race", "asian")
    assert (row["estimate"], row["null_reason"]) == (None, "suppressed"), "that there is none would tell of a person"
    found = gap_of(card, "race", finding="edema")
    assert found["groups"] == 2 and found["observed"] == gap_of(other, "race", finding="edema")["observed"]


def test_a_figure_without_an_interval_is_unstable() -> None:
    """All positives are one patient's: a third of the replicates do not draw it."""
    patient = np.append(np.zeros(30, dtype=int), np.arange(1, 101))
    truth = patient == 0
    films = films_of(truth, np.where(truth, 0.7, 0.2), {"sex": np.where(np.arange(130) % 2, "f", "m")}, patient)
    card = score_arm(films, cuts(films), arm="a", attributes=["sex"], replicates=100, eligibility=Eligibility(1, 1, 1))
    for group, attribute in (("all", "all"), ("f", "sex")):
        row = estimate_of(card, "tpr", "edema", attribute, group)
        assert (row["estimate"], row["null_reason"]) == (None, "suppressed" if group == "f" else "unstable")
    assert estimate_of(card, "fpr", "edema")["estimate"] == 0.0


def test_a_replicate_that_misses_a_group_of_a_few_patients_leaves_every_figure_its_interval() -> None:
    """Four patients with many films each: one replicate in fifty holds none of them, and only that one is undefined."""
    rng = np.random.default_rng(0)
    patient = np.concatenate([np.arange(4).repeat(15), np.arange(4, 300)])
    sex = np.where(patient < 4, "f", "m")
    truth = rng.random(len(patient)) < 0.5
    films = films_of(truth, np.clip(rng.normal(0.3 + 0.4 * truth, 0.2), 0, 1), {"sex": sex}, patient)
    rule = Eligibility(20, 20, 3, 3)
    card = score_arm(films, cuts(films), arm="a", attributes=["sex"], replicates=200, permutations=20, eligibility=rule)
    few = card.estimates.filter(pl.col("group") == "f")
    assert few.height > 10 and few["null_reason"].is_null().all()


def test_a_patient_with_films_in_two_groups_is_counted_in_both() -> None:
    """Everybody has a film before and one after a birthday."""
    rng = np.random.default_rng(0)
    patient, age = np.arange(300).repeat(2), np.tile(["40-59", "60-79"], 300)
    truth = rng.random(600) < 0.5
    films = films_of(truth, np.clip(rng.normal(0.3 + 0.4 * truth, 0.2), 0, 1), {"age_bin": age}, patient)
    card = score_arm(films, cuts(films), arm="a", attributes=["age_bin"], replicates=100, permutations=50)
    for group in ("40-59", "60-79"):
        row = estimate_of(card, "tpr", "edema", "age_bin", group)
        assert (row["n_patients"], row["n_images"]) == (300, 300)
        assert row["ci_lo"] < row["estimate"] < row["ci_hi"]
        own = age == group
        assert row["estimate"] == pytest.approx((films.scores[0, own & truth, 0] >= 0.5).mean())
    assert estimate_of(card, "tpr", "edema")["n_patients"] == 300
    assert gap_of(card, "age_bin", finding="edema")["ci_lo"] is not None


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


def test_an_interval_is_named_after_what_was_resampled() -> None:
    films = laid_out(*simulated(patients=100))
    for kind in ("patient", "image"):
        card = score_arm(
            films, cuts(films), arm="a", attributes=["sex"], replicates=10, permutations=5, patient_kind=kind
        )
        methods = set(card.estimates["ci_method"])
        assert methods == {f"{kind}_bootstrap_percentile", f"{kind}_cluster_sandwich"}
        assert set(card.gaps["ci_method"].drop_nulls()) <= {f"{kind}_bootstrap_percentile"}


def test_gaps_of_rates_and_auroc_have_a_corrected_interval_beside_the_percentiles(planted: Scorecard) -> None:
    largest = planted.gaps.filter(pl.col("gap_kind") == "max_min", pl.col("observed").is_not_null(), pl.col("primary"))
    both = largest.filter(pl.col("bca_lo").is_not_null() & (pl.col("finding") != "all"))
    assert set(both["metric"]) == {"tpr", "fpr", "fnr", "auroc", "underdiagnosis", "overdiagnosis"}
    assert {"ppv", "npv", "flag_rate"} <= set(largest.filter(pl.col("bca_lo").is_null())["metric"])
    assert largest["ci_lo"].is_not_null().all() and not both["bca_lo"].equals(both["ci_lo"])


def test_an_excess_is_the_gap_less_what_chance_gives(planted: Scorecard) -> None:
    tested = planted.gaps.filter(pl.col("p_perm").is_not_null())
    assert tested.height > 20 and (tested["p_perm"] >= 1 / 201).all() and (tested["null_mean"] > 0).all()
    assert (tested["excess"] - (tested["observed"] - tested["null_mean"])).abs().max() < 1e-12  # type: ignore[operator]
