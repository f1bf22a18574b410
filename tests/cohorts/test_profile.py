"""A cohort in numbers: shares sum to one, what is missing counts, and only a change worth a word is told."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxr_assets.cohorts.profile import (
    ATTRIBUTES,
    MOVED_ROWS,
    MOVED_SHARE,
    missingness_by_group,
    moved,
    prevalence_by_group,
    profile_of,
)

OPTIONAL = st.sampled_from(["a", "b", None])
TEXTS = ("age_bin", "sex", "race", "view", "image_file")


def frames(rows: list[tuple[str | None, ...]], labels: list[int | None]) -> tuple[pl.DataFrame, pl.DataFrame]:
    ids = [f"s{n}" for n in range(len(rows))]
    columns = {name: [row[n] for row in rows] for n, name in enumerate(TEXTS)}
    studies = pl.DataFrame(
        {"study_id": ids, "patient_id": [f"p{n // 2}" for n in range(len(rows))], "split": ["train"] * len(rows)}
        | columns
        | {"age_years": [None if row[0] is None else 50.0 for row in rows]},
        schema_overrides={name: pl.String for name in TEXTS} | {"age_years": pl.Float64},
    )
    return studies, pl.DataFrame({"study_id": ids, "edema": labels}, schema={"study_id": pl.String, "edema": pl.Int8})


cohorts = st.lists(st.tuples(st.tuples(*[OPTIONAL] * 5), st.sampled_from([1, 0, -1, None])), min_size=1, max_size=30)


@given(cohorts)
def test_shares_of_each_attribute_sum_to_one(drawn: list[tuple[tuple[str | None, ...], int | None]]) -> None:
    studies, values = frames([row for row, _ in drawn], [label for _, label in drawn])
    told = profile_of(studies, values, ("edema",))
    for attribute in ATTRIBUTES:
        total = sum(value for name, value in told.items() if name.startswith(f"share {attribute}="))
        assert total == pytest.approx(1, abs=1e-4)
        unknown = told.get(f"share {attribute}=unknown", 0.0)
        assert unknown == told.get(f"missing {attribute}", unknown)
    assert ("prevalence edema" in told) == any(label in (0, 1) for _, label in drawn)
    assert moved(told, told) == {}


@given(cohorts)
def test_subgroups_hold_every_study_once(drawn: list[tuple[tuple[str | None, ...], int | None]]) -> None:
    studies, values = frames([row for row, _ in drawn], [label for _, label in drawn])
    sums = prevalence_by_group(studies, values, ("edema",)).group_by("attribute").agg(pl.col("studies").sum())
    assert dict(sums.iter_rows()) == dict.fromkeys(("age_bin", "sex", "race"), len(drawn))
    missing = missingness_by_group(studies)
    assert missing["missing"].is_between(0, 1).all() and missing["missing"].null_count() == 0


def test_a_group_without_a_stated_label_has_no_prevalence() -> None:
    studies, values = frames([("a",) * 5, ("b",) * 5], [None, 1])
    rows = prevalence_by_group(studies, values, ("edema",)).filter(attribute="sex")
    assert dict(rows.select("group", "prevalence").iter_rows()) == {"a": None, "b": 1.0}


def test_missing_films_are_told_for_those_who_miss_them() -> None:
    studies, _ = frames([("a", "a", "a", "a", None), ("a", "b", "a", "a", "x.png")], [1, 1])
    told = missingness_by_group(studies).filter(attribute="sex", what="image_file")
    assert dict(told.select("group", "missing").iter_rows()) == {"a": 1.0, "b": 0.0}


@pytest.mark.parametrize(
    ("name", "old", "new", "told"),
    [
        ("rows studies", 1000, 1000 * (1 + MOVED_ROWS), False),
        ("rows studies", 1000, 1000 * (1 + MOVED_ROWS) + 1, True),
        ("rows studies", 0, 1, True),
        ("prevalence edema", 0.5, 0.5 + MOVED_SHARE / 2, False),
        ("prevalence edema", 0.5, 0.5 - 2 * MOVED_SHARE, True),
    ],
)
def test_a_change_is_told_from_its_limit_on(name: str, old: float, new: float, told: bool) -> None:
    assert bool(moved({name: old}, {name: new})) == told


def test_what_came_or_went_counts_as_a_change_from_nothing() -> None:
    assert moved({"share race=other": 0.1}, {"share view=PA": 0.2}) == {
        "share race=other": "0.1 before, 0 now",
        "share view=PA": "0 before, 0.2 now",
    }


def test_a_cohort_without_studies_has_a_profile() -> None:
    studies, values = frames([("a",) * 5], [1])
    told = profile_of(studies.clear(), values.clear(), ("edema",))
    assert told["rows studies"] == told["missing sex"] == 0 and "prevalence edema" not in told
