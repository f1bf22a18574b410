"""Choices decide what a stored value counts as, and never what is stored."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from cxr_assets.cohorts.choices import (
    LABEL_POLICIES,
    STATED,
    Choices,
    apply_choices,
    choice_tables,
    label_policy,
)
from cxr_assets.cohorts.demographics import AGE_SCHEMES
from cxr_assets.cohorts.labels import FINDINGS
from cxr_assets.errors import SettingsError
from cxr_assets.warehouse.connect import declared_tables

VALUES = (1, 0, -1, None)
LABELS = st.lists(st.sampled_from(VALUES), max_size=60)


@pytest.mark.parametrize(
    ("policy", "finding", "counted"),
    [
        ("u_ignore", "edema", (1, 0, None, 0)),
        ("u_ones", "edema", (1, 0, 1, 0)),
        ("u_zeros", "edema", (1, 0, 0, 0)),
        ("u_mixed", "edema", (1, 0, 1, 0)),
        ("u_mixed", "atelectasis", (1, 0, 1, 0)),
        ("u_mixed", "pneumonia", (1, 0, 0, 0)),
        ("stated", "edema", (1, 0, None, None)),
    ],
)
def test_each_policy_reads_the_four_values_as_named(policy: str, finding: str, counted: tuple[int | None, ...]) -> None:
    assert tuple(label_policy(policy).read(finding, value) for value in VALUES) == counted


@pytest.mark.parametrize("policy", LABEL_POLICIES.values(), ids=LABEL_POLICIES)
def test_no_policy_changes_what_is_stated(policy: Any) -> None:
    assert all(policy.read(finding, value) == value for finding in FINDINGS for value in (1, 0))


@given(columns=st.tuples(LABELS, LABELS), policy=st.sampled_from(list(LABEL_POLICIES.values())))
def test_the_matrix_is_the_reading_of_each_cell(
    columns: tuple[list[int | None], list[int | None]], policy: Any
) -> None:
    rows = min(map(len, columns))
    cells = {"edema": columns[0][:rows], "pneumonia": columns[1][:rows]}
    frame = pl.DataFrame(cells, schema={"edema": pl.Int8, "pneumonia": pl.Int8})
    findings = ("pneumonia", "edema")
    matrix = policy.matrix(frame, findings)
    assert matrix.dtype == np.float32 and matrix.shape == (rows, 2)
    read = [[policy.read(finding, frame[finding][row]) for finding in findings] for row in range(rows)]
    wanted = np.array([[np.nan if v is None else v for v in row] for row in read], np.float32).reshape(rows, 2)
    np.testing.assert_array_equal(matrix, wanted)


def test_a_matrix_of_no_finding_still_has_its_rows() -> None:
    assert STATED.matrix(pl.DataFrame({"edema": [1, 0]}), ()).shape == (2, 0)


def test_a_label_outside_the_four_values_is_refused_by_the_matrix() -> None:
    with pytest.raises(pl.exceptions.InvalidOperationError):
        STATED.matrix(pl.DataFrame({"edema": [2]}, schema={"edema": pl.Int8}), ("edema",))


def test_only_the_stated_policy_keeps_unmentioned_out_of_training() -> None:
    assert [name for name, policy in LABEL_POLICIES.items() if policy.read("edema", None) is None] == ["stated"]


def people(**changes: list[Any]) -> pl.DataFrame:
    columns = {"age_years": [30.0, None], "race5": ["hispanic", None], "race_only": ["white", "black"]}
    return pl.DataFrame(columns | changes, schema={"age_years": pl.Float64, "race5": pl.String, "race_only": pl.String})


def test_the_axis_of_race_is_the_one_chosen() -> None:
    assert apply_choices(people(), Choices(race_axis="race5"))["race"].to_list() == ["hispanic", None]
    assert apply_choices(people(), Choices(race_axis="race_only"))["race"].to_list() == ["white", "black"]


@pytest.mark.parametrize("scheme", AGE_SCHEMES)
def test_applying_a_choice_changes_no_stored_column(scheme: str) -> None:
    seen = apply_choices(people(), Choices(age_scheme=scheme))
    assert seen.drop("age_bin", "race").equals(people())
    assert seen["age_bin"].null_count() == 1


@pytest.mark.parametrize(
    ("scheme", "ages", "bins"),
    [
        ("demo4", (0.0, 39.999, 40.0, 120.0), ("00-39", "00-39", "40-59", "80-up")),
        ("nm2021", (19.999, 20.0, 79.999, 80.0), ("00-19", "20-39", "60-79", "80-up")),
        ("adult4", (0.0, 17.999, 18.0, 40.0), (None, None, "18-39", "40-59")),
        ("adult3", (44.999, 45.0, 69.999, 70.0), ("18-44", "45-69", "45-69", "70-up")),
        ("compdiff5", (0.0, 17.999, 18.0, 80.0), ("00-17", "00-17", "18-39", "80-up")),
    ],
)
def test_bins_are_closed_on_the_left(scheme: str, ages: tuple[float, ...], bins: tuple[str | None, ...]) -> None:
    rows = people(age_years=list(ages), race5=[None] * 4, race_only=[None] * 4)
    assert tuple(apply_choices(rows, Choices(age_scheme=scheme))["age_bin"]) == bins


@pytest.mark.parametrize(
    ("field", "value"),
    [("age_scheme", "demo5"), ("label_policy", "u_maybe"), ("race_axis", "race"), ("views", "lateral"), ("bins", 4)],
)
def test_a_choice_that_does_not_exist_is_refused(field: str, value: object) -> None:
    with pytest.raises(ValidationError) as error:
        Choices.model_validate({field: value})
    assert field in str(error.value)


def test_an_unknown_policy_names_those_there_are() -> None:
    with pytest.raises(SettingsError, match="u_ignore, u_ones, u_zeros, u_mixed, stated"):
        label_policy("ones")


def test_each_choice_enters_only_the_settings_that_it_decides() -> None:
    base = Choices()
    for changed in (Choices(age_scheme="nm2021"), Choices(race_axis="race_only")):
        assert changed.demographics != base.demographics and changed.labels == base.labels
    changed = Choices(label_policy="u_ones")
    assert changed.labels != base.labels and changed.demographics == base.demographics
    assert base.demographics["age_version"] == base.labels["label_version"] == 1


@pytest.mark.parametrize("scheme", AGE_SCHEMES)
def test_the_table_of_bins_leaves_no_gap(scheme: str) -> None:
    bins = [row for row in choice_tables(Choices())["age_bins"] if row[0] == scheme]
    assert [row[4] for row in bins] == [*(row[3] for row in bins[1:]), None]
    assert [row[2] for row in bins] == list(AGE_SCHEMES[scheme].labels)


def test_the_table_of_policies_has_each_value_of_each_finding_once() -> None:
    rows = choice_tables(Choices())["label_policies"]
    assert len({(name, finding, value) for name, _, finding, value, _ in rows}) == len(rows)
    assert len(rows) == len(LABEL_POLICIES) * len(FINDINGS) * len(VALUES)


def test_the_tables_are_as_wide_as_sql_declares_and_survive_json() -> None:
    tables = choice_tables(Choices(age_scheme="adult4"))
    widths = {declared.table: len(declared.columns) for declared in declared_tables()}
    assert all(len(row) == widths[name] for name, rows in tables.items() for row in rows)
    assert json.loads(json.dumps(tables)) == json.loads(json.dumps(choice_tables(Choices(age_scheme="adult4"))))
    assert tables["choices"] == [["adult4", "race5", "u_ignore"]]
