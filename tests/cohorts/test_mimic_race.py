"""Recorded race where admissions disagree, have no dates, or come after the study."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from cxr_assets.errors import SettingsError
from tests.cohorts.mimic_tools import Make, admission, curate, emergency, image, kinds, write_mimic


@pytest.fixture
def mimic(tmp_path: Path) -> Make:
    return partial(write_mimic, tmp_path)


@pytest.mark.parametrize(
    ("visits", "race5", "source"),
    [
        (["WHITE", "UNKNOWN", "PATIENT DECLINED TO ANSWER"], "white", "all admissions agree"),
        (["OTHER", "WHITE", "WHITE - RUSSIAN"], "white", "most frequent admission"),
        (["UNKNOWN"], None, None),
        ([], None, None),
    ],
)
def test_unknown_never_outvotes_a_recorded_race(
    mimic: Make, visits: list[str], race5: str | None, source: str | None
) -> None:
    studies = curate(mimic(admissions=[admission(race) for race in visits])).studies
    assert studies.select("race5", "race_source").rows() == [(race5, source)]


def test_a_tie_goes_to_the_admission_before_the_study(mimic: Make) -> None:
    visits = [admission("ASIAN", "2181-01-01 00:00:00"), admission("WHITE", "2179-01-01 00:00:00")]
    rows = [image(1), image(2, study="50000002", date="21820101")]
    studies = curate(mimic(rows, admissions=visits)).studies.sort("exam_id", descending=True)
    assert studies.select("race5", "race_source", "race_flags", "race_raw").rows() == [
        ("white", "nearest admission", "race_conflict", "ASIAN|WHITE"),
        ("asian", "nearest admission", "race_conflict", "ASIAN|WHITE"),
    ]
    first = curate(mimic(rows, admissions=visits), options={"race_rule": "first"}).studies
    assert set(first["race5"]) == {"white"}


def test_hispanic_is_on_one_axis_and_unknown_on_the_other(mimic: Make) -> None:
    studies = curate(mimic(admissions=[admission("HISPANIC/LATINO - CUBAN")])).studies
    assert studies.select("race5", "race_only", "ethnicity").rows() == [("hispanic", None, "hispanic")]


def test_the_column_of_older_releases_is_read(mimic: Make) -> None:
    root = mimic(zipped=False, admissions=[admission("BLACK/AFRICAN AMERICAN")])
    path = root / "hosp" / "admissions.csv"
    path.write_text(path.read_text().replace("marital_status,race,", "marital_status,ethnicity,"))
    assert curate(root).studies["race5"].to_list() == ["black"]


@pytest.mark.parametrize("rule", ["first", "last"])
@pytest.mark.parametrize("time", ["", "bad", "2181-1-1"])
def test_admissions_without_dates_still_tell_a_known_race(mimic: Make, rule: str, time: str) -> None:
    visits = [admission(race, time) for race in ("WHITE", "ASIAN", "WHITE")]
    cohort = curate(mimic(admissions=visits), options={"race_rule": rule})
    assert cohort.studies.select("race5", "race_flags", "race_source").rows() == [
        ("white", "race_conflict", "most frequent admission, as dates do not decide")
    ]
    assert kinds(cohort) == ["unreadable time"] * 3 + ["admissions without order"]
    agreed = curate(mimic(admissions=visits[:1]), options={"race_rule": rule}).studies
    assert agreed.select("race5", "race_flags", "race_source").rows() == [("white", None, "all admissions agree")]


@pytest.mark.parametrize("rule", ["most_frequent", "first", "last"])
@pytest.mark.parametrize("time", ["", "2180-01-01 00:00:00"])
def test_a_tie_that_nothing_decides_is_settled_by_the_alphabet_and_said(mimic: Make, rule: str, time: str) -> None:
    cohort = curate(mimic(admissions=[admission("WHITE", time), admission("ASIAN", time)]), options={"race_rule": rule})
    assert cohort.studies.select("race5", "race_flags", "race_source", "race_raw").rows() == [
        ("asian", "race_conflict", "first in the alphabet", "ASIAN|WHITE")
    ]
    assert "admissions undecided" in kinds(cohort)


def test_a_dated_admission_goes_before_those_without(mimic: Make) -> None:
    visits = [admission("WHITE", ""), admission("WHITE", ""), admission("ASIAN", "2190-01-01 00:00:00")]
    studies = curate(mimic(admissions=visits), options={"race_rule": "first"}).studies
    assert studies.select("race5", "race_source").rows() == [("asian", "first admission")]


def test_dropping_leaves_a_disputed_race_unknown_and_flagged(mimic: Make) -> None:
    rows = [image(1), image(2, subject="10000040", study="50000002")]
    visits = [
        admission("WHITE"),
        admission("WHITE"),
        admission("ASIAN"),
        admission("BLACK/AFRICAN", subject="10000040"),
    ]
    studies = curate(mimic(rows, admissions=visits), options={"race_rule": "drop"}).studies.sort("patient_id")
    assert studies.select("race5", "race_only", "race_flags", "race_source", "race_raw").rows() == [
        (None, None, "race_conflict", "admissions disagree", "ASIAN|WHITE"),
        ("black", "black", None, "all admissions agree", "BLACK/AFRICAN"),
    ]


def test_prospective_use_sees_no_admission_after_the_study(mimic: Make) -> None:
    rows = [image(n, study=f"5000000{n}", date=date) for n, date in enumerate(("21780101", "21800506", "21900101"))]
    visits = [
        admission("WHITE", "2180-05-06 22:23:00"),
        admission("ASIAN", "2185-01-01 00:00:00"),
        admission("ASIAN - CHINESE", "2186-01-01 00:00:00"),
    ]
    root = mimic(rows, admissions=visits)
    studies = curate(root, options={"prospective": True}).studies.sort("exam_id")
    assert studies.select("race5", "race_flags", "race_raw").rows() == [
        (None, "not_yet_recorded", None),
        ("white", None, "WHITE"),
        ("asian", "race_conflict", "ASIAN|ASIAN - CHINESE|WHITE"),
    ]
    assert set(curate(root).studies["race5"]) == {"asian"}


@pytest.mark.parametrize(
    ("race", "option", "before", "after"),
    [
        ("PORTUGUESE", "portuguese", ("white", "white", None), ("other", "other", None)),
        ("SOUTH AMERICAN", "south_american", ("hispanic", None, "hispanic"), ("other", "other", None)),
    ],
)
def test_the_groups_that_the_field_is_split_on_are_a_choice(
    mimic: Make, race: str, option: str, before: tuple[str | None, ...], after: tuple[str | None, ...]
) -> None:
    root = mimic(admissions=[admission(race)])
    told = ("race5", "race_only", "ethnicity")
    usual, other = curate(root).studies, curate(root, options={option: "other"}).studies
    assert usual.select(told).rows() == [before] and other.select(told).rows() == [after]
    assert other["race_detail"].to_list() == [option]
    assert other["harmonisation"].item() == f"{usual['harmonisation'].item()}; {option}=other"
    with pytest.raises(SettingsError, match=option):
        curate(root, options={option: "black"})


@pytest.mark.parametrize(
    ("stays", "race5", "dropped"),
    [
        ([emergency("ASIAN", stay="22595853"), emergency("ASIAN", stay="22595853")], "white", 2),
        ([emergency("ASIAN"), emergency("ASIAN", stay="29999999")], "asian", 0),
    ],
)
def test_an_emergency_stay_of_an_admission_is_no_second_vote(
    mimic: Make, stays: list[str], race5: str, dropped: int
) -> None:
    cohort = curate(mimic(admissions=[admission("WHITE")], stays=stays))
    assert cohort.studies["race5"].to_list() == [race5]
    steps = dict(cohort.waterfall.filter(source="ed/edstays.csv.gz").select("step", "rows").iter_rows())
    assert steps.get("dropped: emergency stay of an admission", 0) == dropped and steps["read"] == 2


def test_an_emergency_stay_speaks_where_its_admission_does_not(mimic: Make) -> None:
    cohort = curate(mimic(admissions=[admission("UNKNOWN")], stays=[emergency("ASIAN", stay="22595853")]))
    assert cohort.studies["race5"].to_list() == ["asian"]
