from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError

from cxr_assets.cohorts.phantom.config import AGE_BINS, FINDINGS, RACES, USUAL_STYLE, Disparity, PhantomConfig
from cxr_assets.cohorts.phantom.population import Population, sample_population, sample_requests

STUDIES = 8000
TRAINING = pl.col("split") != "test"
SUBGROUP = (pl.col("race") == "black") & (pl.col("sex") == "female")


@pytest.fixture(scope="module")
def planted() -> Population:
    return sample_population(PhantomConfig(studies=STUDIES))


@pytest.fixture(scope="module")
def unplanted() -> Population:
    return sample_population(PhantomConfig(studies=STUDIES, disparity=Disparity(enabled=False)))


def within_binomial(hits: int, n: int, p: float, sds: float = 4.0) -> bool:
    return abs(hits - n * p) <= sds * np.sqrt(n * p * (1 - p))


def test_equal_configurations_give_equal_tables_and_seeds_differ(planted: Population) -> None:
    again = sample_population(PhantomConfig(studies=STUDIES))
    other = sample_population(PhantomConfig(studies=STUDIES, seed=1))
    assert planted.studies.equals(again.studies) and planted.truth.equals(again.truth)
    assert planted.planted.equals(again.planted)
    assert not planted.studies.equals(other.studies)


def test_study_count_is_exact_and_patients_have_one_to_five_studies(planted: Population) -> None:
    per_patient = planted.studies.group_by("patient_id").len()["len"]
    assert planted.studies.height == STUDIES and planted.studies["study_id"].n_unique() == STUDIES
    assert per_patient.min() == 1 and per_patient.max() == 5 and 1.5 < per_patient.mean() < 1.7


def test_a_patient_is_in_one_split_with_one_sex_and_race(planted: Population) -> None:
    spread = planted.studies.group_by("patient_id").agg(pl.col("split", "sex", "race").n_unique())
    assert spread.select(pl.col("split", "sex", "race").max()).row(0) == (1, 1, 1)


@pytest.mark.parametrize(("split", "share"), [("train", 0.6), ("validate", 0.1), ("test", 0.3)])
def test_split_shares_hold_by_patient(planted: Population, split: str, share: float) -> None:
    patients = planted.studies.unique("patient_id")
    assert abs((patients["split"] == split).mean() - share) < 1e-3


def test_test_patients_are_balanced_over_sex_and_race(planted: Population) -> None:
    cells = planted.studies.filter(~TRAINING).unique("patient_id").group_by("sex", "race").len()["len"]
    assert cells.len() == 8 and cells.max() - cells.min() <= 1


def test_subgroup_share_of_training_patients_is_the_planted_one(planted: Population) -> None:
    patients = planted.studies.filter(TRAINING).unique("patient_id")
    assert within_binomial(patients.filter(SUBGROUP).height, patients.height, Disparity().representation)


def test_under_labelling_has_the_planted_rate_in_the_subgroup_and_is_nowhere_else(planted: Population) -> None:
    rows = planted.truth.join(planted.studies.select("study_id", "split", "race", "sex"), on="study_id")
    removed = rows.filter(pl.col("reason") == "under_labelled")
    assert removed.filter(~(TRAINING & SUBGROUP)).is_empty()
    assert removed["present"].all() and removed["labelled"].sum() == 0
    positives = rows.filter(TRAINING & SUBGROUP & pl.col("present"))
    assert within_binomial(removed.height, positives.height, Disparity().under_labelled)


def test_planted_table_counts_what_the_truth_table_says(planted: Population) -> None:
    rows = planted.truth.join(planted.studies.select("study_id", "split", "race", "sex"), on="study_id")
    inside = rows.filter(TRAINING & SUBGROUP & pl.col("present"))
    counted = inside.group_by("finding").agg(
        n_train_positive=pl.len(), n_removed=(pl.col("reason") == "under_labelled").sum()
    )
    both = planted.planted.join(counted, on="finding", suffix="_counted")
    assert both.height == len(FINDINGS)
    assert (both["n_train_positive"] == both["n_train_positive_counted"]).all()
    assert (both["n_removed"] == both["n_removed_counted"]).all()
    assert json.loads(planted.planted["subgroup"][0]) == {"race": "black", "sex": "female"}


def test_planting_off_leaves_natural_shares_and_no_under_labelling(unplanted: Population) -> None:
    patients = unplanted.studies.filter(TRAINING).unique("patient_id")
    assert within_binomial(patients.filter(SUBGROUP).height, patients.height, 0.2 * 0.5)
    assert (unplanted.truth["reason"] != "under_labelled").all()
    assert unplanted.planted["n_removed"].sum() == 0 and unplanted.planted["n_train_positive"].sum() > 0


def test_test_labels_are_the_truth(planted: Population) -> None:
    test_ids = planted.studies.filter(~TRAINING)["study_id"]
    rows = planted.truth.filter(pl.col("study_id").is_in(test_ids.implode()))
    assert (rows["labelled"] == rows["present"].cast(pl.Int8)).all() and (rows["reason"] == "correct").all()


def test_label_noise_misses_twice_as_often_as_it_invents(unplanted: Population) -> None:
    ids = unplanted.studies.filter(TRAINING)["study_id"]
    rows = unplanted.truth.filter(pl.col("study_id").is_in(ids.implode()))
    positive, negative = rows.filter(pl.col("present")), rows.filter(~pl.col("present"))
    assert within_binomial((positive["labelled"] == 0).sum(), positive.height, 0.04)
    assert within_binomial((negative["labelled"] == 1).sum(), negative.height, 0.02)


def test_label_columns_agree_with_the_truth_table(planted: Population) -> None:
    wide = planted.truth.pivot("finding", index="study_id", values="labelled", maintain_order=True)
    assert wide["study_id"].equals(planted.studies["study_id"])
    assert wide.select(FINDINGS).equals(planted.studies.select(FINDINGS))
    none = planted.studies.select(pl.sum_horizontal(FINDINGS) == 0).to_series().cast(pl.Int8)
    assert (planted.studies["no_finding"] == none).all()


def test_severity_is_zero_exactly_where_the_finding_is_absent(planted: Population) -> None:
    severity, present = planted.truth["severity"], planted.truth["present"]
    assert ((severity > 0) == present).all() and severity.max() <= 1.0


def test_prevalence_is_as_configured_and_heart_findings_come_together(planted: Population) -> None:
    wide = planted.truth.pivot("finding", index="study_id", values="present")
    for finding, expected in PhantomConfig().prevalence.items():
        assert abs(wide[finding].mean() - expected) < 0.05
    edema_in_large_hearts = wide.filter("cardiomegaly")["edema"].mean()
    assert edema_in_large_hearts > 1.2 * wide["edema"].mean()


def test_style_follows_the_race_field_as_often_as_configured(planted: Population) -> None:
    usual = planted.studies.select(pl.col("race").replace_strict(USUAL_STYLE) == pl.col("style")).to_series()
    assert within_binomial(usual.sum(), STUDIES, 0.85)
    independent = sample_population(PhantomConfig(studies=STUDIES, style_correlation=0.25)).studies
    usual = independent.select(pl.col("race").replace_strict(USUAL_STYLE) == pl.col("style")).to_series()
    assert within_binomial(usual.sum(), STUDIES, 0.25)


def test_age_bins_match_ages(planted: Population) -> None:
    ages = planted.studies.group_by("age_bin").agg(low=pl.col("age_years").min(), high=pl.col("age_years").max())
    edges = dict(zip(AGE_BINS, [(18, 40), (40, 60), (60, 80), (80, 95.1)], strict=True))
    for age_bin, low, high in ages.iter_rows():
        assert edges[age_bin][0] <= low and high < edges[age_bin][1]


def test_requests_carry_true_labels_of_one_to_three_findings_or_none() -> None:
    requests = sample_requests(4000, 7, severity=(0.5, 0.9))
    counts = requests.studies.select(pl.sum_horizontal(FINDINGS)).to_series()
    present = requests.truth.filter("present")
    assert counts.max() == 3 and within_binomial((counts == 0).sum(), 4000, 0.15)
    assert (requests.truth["labelled"] == requests.truth["present"].cast(pl.Int8)).all()
    assert present["severity"].min() >= 0.5 and present["severity"].max() <= 0.9
    cells = requests.studies.group_by("age_bin", "race").len()
    assert cells.height == len(AGE_BINS) * len(RACES) and cells["len"].min() > 180


def test_requests_of_other_seeds_are_other_patients() -> None:
    one, two = sample_requests(50, 1).studies, sample_requests(50, 2).studies
    assert set(one["patient_id"]).isdisjoint(two["patient_id"])


@pytest.mark.parametrize(
    "wrong",
    [
        {"disparity": {"subgroup": {"race": "martian"}}},
        {"disparity": {"subgroup": {}}},
        {"split": {"train": 0.9, "test": 0.1}},
        {"prevalence": {"edema": 0.2}},
        {"race_share": (0.5, 0.5, 0.5, 0.5)},
        {"colour": True},
    ],
)
def test_wrong_configurations_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        PhantomConfig(**wrong)
