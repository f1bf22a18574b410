from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxr_assets.cohorts.demographics import (
    AGE_SCHEMES,
    age_scheme,
    harmonise_age,
    harmonise_sex,
)
from cxr_assets.errors import InputError, SettingsError


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("63", (63.0, None)),
        ("060Y", (60.0, None)),
        ("013M", (13 / 12, None)),
        ("001D", (1 / 365.25, None)),
        ("004W", (28 / 365.25, None)),
        ("0", (0.0, None)),
        ("120", (120.0, None)),
        ("411Y", (None, "over_120")),
        ("148", (None, "over_120")),
        ("", (None, "missing")),
        (None, (None, "missing")),
        ("-3", (None, "unparsed")),
        ("sixty", (None, "unparsed")),
        ("6 0", (None, "unparsed")),
        ("nan", (None, "unparsed")),
        ("\u0663", (None, "unparsed")),
    ],
)
def test_ages_are_read_with_their_unit(raw: str | None, expected: tuple[float | None, str | None]) -> None:
    assert harmonise_age(raw) == expected


@given(st.text(max_size=12))
def test_any_text_is_an_age_in_range_or_flagged(raw: str) -> None:
    years, flag = harmonise_age(raw)
    assert (years is None) == (flag is not None)
    assert years is None or 0 <= years <= 120


@given(st.integers(0, 120), st.integers(1, 4))
def test_leading_zeros_do_not_change_an_age(age: int, width: int) -> None:
    assert harmonise_age(f"{age:0{width}d}Y") == (float(age), None)


def test_bins_are_closed_on_the_left() -> None:
    ages = pl.DataFrame({"age": [0.0, 39.99, 40.0, 79.9, 80.0, 120.0, None]})
    binned = ages.select(age_scheme("demo4").bin_of(pl.col("age")))["age_bin"].to_list()
    assert binned == ["00-39", "00-39", "40-59", "60-79", "80-up", "80-up", None]


def test_children_are_in_no_adult_bin() -> None:
    ages = pl.DataFrame({"age": [17.9, 18.0]}).select(age_scheme("adult4").bin_of(pl.col("age")))
    assert ages["age_bin"].to_list() == [None, "18-39"]


def test_scheme_labels_are_slugs() -> None:
    assert AGE_SCHEMES["nm2021"].labels == ("00-19", "20-39", "40-59", "60-79", "80-up")
    with pytest.raises(SettingsError, match="demo4"):
        age_scheme("decades")


@pytest.mark.parametrize(
    ("raw", "sex"), [("M", "male"), ("female", "female"), (" f ", "female"), ("O", None), (None, None)]
)
def test_sexes(raw: str | None, sex: str | None) -> None:
    assert harmonise_sex(raw) == sex


def test_an_unknown_sex_word_is_refused() -> None:
    with pytest.raises(InputError, match="'Z'"):
        harmonise_sex("Z")
