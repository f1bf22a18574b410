from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from cxr_assets.cohorts.demographics import RACES
from cxr_assets.cohorts.race import harmonise_race, race_columns
from cxr_assets.errors import InputError


@pytest.mark.parametrize(
    ("raw", "ethnicity", "race5", "race_only"),
    [
        ("WHITE - RUSSIAN", None, "white", "white"),
        ("White or Caucasian", "Unknown", "white", "white"),
        ("Asian - Historical Conv", "", "asian", "asian"),
        ("Other", "Hispanic/Latino", "hispanic", "other"),
        ("White, non-Hispanic", "Hispanic", "hispanic", "white"),
        ("Black, Hispanic", None, "hispanic", "black"),
        ("HISPANIC/LATINO - COLUMBIAN", None, "hispanic", None),
        ("Hispanic - Historical Conv", "Unknown", "hispanic", None),
        ("Native American, non-Hispanic", "Not Hispanic", "other", "other"),
        ("Patient Refused", None, None, None),
        ("Patient Refused", "Hispanic/Latino", "hispanic", None),
        ("", None, None, None),
        ("PATIENT DECLINED TO ANSWER", None, None, None),
        ("BLACK/CAPE VERDEAN", None, "black", "black"),
    ],
)
def test_recorded_races_on_both_axes(raw: str, ethnicity: str | None, race5: str | None, race_only: str | None) -> None:
    told = harmonise_race(raw, ethnicity)
    assert (told.race5, told.race_only) == (race5, race_only)


@pytest.mark.parametrize(
    ("raw", "ethnicity", "known", "conflict"),
    [
        ("White", "Hispanic/Latino", "hispanic", False),
        ("White", "Non-Hispanic/Non-Latino", "not_hispanic", False),
        ("White, non-Hispanic", None, "not_hispanic", False),
        ("White, non-Hispanic", "Hispanic", "hispanic", True),
        ("White, Hispanic", "Not Hispanic", "hispanic", True),
        ("White", "Patient Refused", None, False),
    ],
)
def test_ethnicity_and_its_contradictions(raw: str, ethnicity: str | None, known: str | None, conflict: bool) -> None:
    told = harmonise_race(raw, ethnicity)
    assert (told.ethnicity, told.conflict) == (known, conflict)


def test_no_race_falls_to_a_default() -> None:
    with pytest.raises(InputError, match="Martian"):
        harmonise_race("Martian")
    with pytest.raises(InputError, match="Latinx"):
        harmonise_race("White", "Latinx")
    rows = race_columns(pl.DataFrame({"r": ["White", "Martian", None]}), race="r")
    assert rows["race5"].to_list() == ["white", None, None]
    assert rows["race_known_text"].to_list() == [True, False, True]


def test_coarse_groups_keep_their_detail() -> None:
    assert harmonise_race("PORTUGUESE").detail == "portuguese"
    assert harmonise_race("SOUTH AMERICAN").detail == "south_american"
    assert harmonise_race("American Indian or Alaska Native").detail == "american_indian"


def test_all_mimic_race_values_are_known(shared_data: Path) -> None:
    values = (shared_data / "parsers/headers/mimiciv_race_values.txt").read_text().splitlines()
    assert len(values) == 33
    assert {harmonise_race(value).race5 for value in values} == {*RACES, None}
