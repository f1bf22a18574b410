"""Whose films they are: ages become bins, unknown is no group, a second table is joined or refused."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from tests.scoring.strangers import ROWS, long_table, people, people_refusal


def test_ages_become_the_bins_of_adults_and_children_are_counted() -> None:
    found = people(long_table(age=[44.5, 44.5, 71, 39.9, 17, 90.0]))
    assert found.frame.sort("study_id")["age_bin"].to_list() == ["60-79", "18-39", None, "80-up"]
    assert any(note.startswith("1 studies are of patients under 18") for note in found.notes)
    dicom = people(long_table(age=["044Y", "044Y", "071Y", "039Y", "011M", "090Y"]))
    assert dicom.frame["age_bin"].equals(found.frame["age_bin"])


def test_ages_that_are_bins_are_refused_with_the_remedy() -> None:
    text = people_refusal(long_table(age=["40-60"] * ROWS))
    assert "'40-60'" in text and "--map age_bin=age" in text
    assert "age_bin" not in people(long_table(age=["40-60"] * ROWS), columns={"age_bin": "age"}).attributes


def test_unknown_attributes_are_in_no_group_and_counted() -> None:
    found = people(long_table(sex=["F", "F", "M", "Unknown", "F", ""]))
    assert found.frame.sort("study_id")["sex"].to_list() == ["M", None, "F", None]
    assert "sex: 2 of 4 studies are unknown, and in no group of it." in found.notes


def test_attributes_that_compare_nothing_are_noted_and_left_out() -> None:
    found = people(long_table(sex=["unknown"] * ROWS, age=[50] * ROWS))
    assert found.attributes == [] and len(found.notes) == 2
    assert "'sex' is unknown for every study" in found.notes[0] and "'age_bin' has one group (40-59)" in found.notes[1]


def test_attributes_come_from_a_second_table_by_study_or_by_patient(tmp_path: Path) -> None:
    bare = long_table().drop("sex", "age")
    by_patient = pl.DataFrame({"patient_id": ["p1", "p2", "p3"], "sex": ["F", "M", "F"]})
    by_study = long_table().select("study_id", Gender="sex")
    expected = people(long_table(), attributes=("sex",)).frame
    assert people(bare, by_patient).frame.equals(expected)
    by_study.write_csv(tmp_path / "who.csv")
    assert people(bare, tmp_path / "who.csv", columns={"sex": "Gender"}).frame.equals(expected)
    both = people(long_table(sex=["M"] * ROWS), by_patient, attributes=("sex",))
    assert both.frame.equals(expected) and "sex taken from attributes" in both.notes[0]


def test_a_second_table_that_does_not_fit_is_refused() -> None:
    bare = long_table().drop("sex", "age")
    who = pl.DataFrame({"patient_id": ["p1", "p2", "p3"], "sex": ["F", "M", "F"]})
    text = people_refusal(bare, who.with_columns(patient_id=pl.col("patient_id") + "x"))
    assert "no row matches" in text and "'p1x'" in text and "'p2'" in text
    assert "patient_id 'p2' stands twice" in people_refusal(bare, pl.concat([who, who.slice(1, 1)]))
    assert "no column 'study_id' or 'patient_id'" in people_refusal(bare, who.rename({"patient_id": "id"}))
    assert "none of the attributes" in people_refusal(bare, who.rename({"sex": "gender"}))
    part = people(bare, who.head(2))
    assert "2 of 4 test studies are not in attributes: unknown." in part.notes


def test_an_attribute_that_is_nowhere_is_refused() -> None:
    assert "no column 'gender'" in people_refusal(long_table(), attributes=("gender",))
    text = people_refusal(long_table().drop("sex", "age"))
    assert "--attributes none" in text and "Columns seen: " in text
    assert people(long_table(), attributes=()).attributes == []


def test_a_study_with_two_values_of_an_attribute_is_refused() -> None:
    other = long_table().with_columns(finding=pl.lit("nodule"), sex=pl.lit("F"))
    assert "study 's2' has sex 'F' and 'M'; 2 such in all" in people_refusal(pl.concat([long_table(), other]))


def test_attributes_that_would_break_the_names_of_groups_are_refused() -> None:
    assert "'×' in the name of a group" in people_refusal(long_table(sex=["F", "F", "M×F", "M", "F", "F"]))
    assert "has a name that is taken" in people_refusal(long_table(), attributes=("split",))
    many = pl.concat(
        [
            long_table(study_id=[f"{k}-{i}" for i in range(ROWS)], sex=[f"{k}-{i}" for i in range(ROWS)])
            for k in range(12)
        ]
    )
    assert "'sex' has 48 groups" in people_refusal(many) and "bins" in people_refusal(many)
