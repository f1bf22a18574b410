from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxr_assets.cohorts.splits import patient_split, shared_patients
from cxr_assets.errors import SettingsError

SHARES = {"validate": 0.1, "test": 0.2, "train": 0.7}
MANY = pl.Series([f"{number:08d}" for number in range(5000)])


def test_shares_are_met_and_the_seed_matters() -> None:
    first, again, other = (patient_split(MANY, seed=seed, shares=SHARES) for seed in (0, 0, 1))
    assert first.equals(again) and not first.equals(other)
    for name, share in SHARES.items():
        assert abs((first == name).mean() - share) < 0.02


@given(st.lists(st.text(max_size=8), max_size=30))
def test_a_patient_s_split_depends_on_nobody_else(patients: list[str]) -> None:
    together = patient_split(pl.Series(patients, dtype=pl.String), seed=3, shares=SHARES).to_list()
    alone = [patient_split(pl.Series([patient]), seed=3, shares=SHARES)[0] for patient in patients]
    assert together == alone


def test_shares_must_sum_to_one() -> None:
    with pytest.raises(SettingsError, match="sum to 1"):
        patient_split(MANY, seed=0, shares={"train": 0.5, "test": 0.4})


def test_shared_patients_are_found() -> None:
    studies = pl.DataFrame({"patient_id": ["a", "a", "b"], "split": ["train", "test", "test"]})
    assert shared_patients(studies).rows() == [("a", ["test", "train"], 2)]
    assert shared_patients(studies.filter(pl.col("patient_id") == "b")).is_empty()
