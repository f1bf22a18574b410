from __future__ import annotations

import json

import polars as pl
import pytest

from cxr_assets.synthesis.pass_rates import PASS_RATE, PASS_RATE_GAP, QUALITY, asked_people, pass_rates

PEOPLE = [("40-59", "female", "black"), ("40-59", "male", "black"), ("60-79", "male", "white")]


def images(rows: list[tuple[int, bool, int]], *, anonymous: bool = False) -> pl.DataFrame:
    """Rows of (person, passed, k)."""
    said = ("unknown",) * 3
    return pl.DataFrame(
        [
            {
                "stratum": ".".join(("edema", *PEOPLE[who])),
                "passed_quality": passed,
                "k": k,
                "demographics_json": json.dumps(
                    dict(zip(("age", "sex", "race"), said if anonymous else PEOPLE[who], strict=True))
                    | {"age_years": 50}
                ),
            }
            for who, passed, k in rows
        ]
    )


#        woman: 1 of 2, none at first ·  man of 40: all, half at first  ·  man of 60: all at first
SEEN = [(0, True, 1), (0, False, 3), (1, True, 0), (1, True, 2), (2, True, 0), (2, True, 0)]


def table(seen: pl.DataFrame, metric: str) -> dict[tuple[str, str], tuple[float | None, int]]:
    rows = pass_rates("m", seen).filter(pl.col("metric") == metric)
    return {(r["quantity"], r["features"]): (r["value"], r["n"]) for r in rows.iter_rows(named=True)}


def test_rates_of_every_subgroup_at_first_and_in_the_end() -> None:
    found = table(images(SEEN), PASS_RATE)
    assert found["edema.40-59.female.black", "final"] == (0.5, 2)
    assert found["cell 40-59.female.black", "first_attempt"] == (0.0, 2)
    assert found["age 40-59", "final"] == (0.75, 4) and found["age 40-59", "first_attempt"] == (0.25, 4)
    assert found["sex male", "final"] == (1.0, 4) and found["sex male", "first_attempt"] == (0.75, 4)
    assert found["race white", "first_attempt"] == (1.0, 2)
    assert len(found) == 2 * (3 + 2 + 2 + 2 + 3)


def test_the_largest_gap_between_subgroups_of_each_attribute() -> None:
    found = table(images(SEEN), PASS_RATE_GAP)
    assert {key: value for key, (value, _) in found.items()} == {
        ("age", "final"): 0.25,
        ("age", "first_attempt"): 0.75,
        ("sex", "final"): 0.5,
        ("sex", "first_attempt"): 0.75,
        ("race", "final"): 0.25,
        ("race", "first_attempt"): 0.75,
        ("cell", "final"): 0.5,
        ("cell", "first_attempt"): 1.0,
    }


@pytest.mark.parametrize("seen", [images(SEEN, anonymous=True), images(SEEN[:2]), images(SEEN).clear()])
def test_without_two_groups_there_is_no_gap_and_the_reason_is_told(seen: pl.DataFrame) -> None:
    gaps = pass_rates("m", seen).filter(pl.col("metric") == PASS_RATE_GAP)
    assert gaps["value"].null_count() == 8 and set(gaps["null_reason"]) == {"fewer_than_two_groups"}


def test_rates_are_rows_of_the_quality_table() -> None:
    rows = pass_rates("m", images(SEEN))
    assert (
        rows.schema == pl.Schema(QUALITY) and set(rows["method"]) == {"m"} and rows["floor"].null_count() == len(rows)
    )


def test_people_are_those_that_were_asked_for() -> None:
    assert asked_people(images(SEEN[:1])).rows() == [PEOPLE[0]]
    assert asked_people(images(SEEN[:1], anonymous=True)).rows() == [("unknown",) * 3]
