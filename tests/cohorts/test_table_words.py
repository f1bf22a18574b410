"""What the words of a table mean: labels, races, sexes and ages, and that nothing is filled in or guessed."""

from __future__ import annotations

from pathlib import Path

import pytest

from cxr_assets.errors import InputError
from tests.cohorts.table_tools import COLUMNS, HEADER, MAPPING, TABLE, curate, folder, kinds, line, write_mapping


def test_unknown_words_stop_the_run_and_all_are_listed_with_their_counts(tmp_path: Path) -> None:
    rows = [
        line(sex="X"),
        line(file="b.png", sex="X", edema="maybe"),
        line(file="c.png", view="sideways", mass="perhaps"),
    ]
    root = folder(tmp_path, "\n".join([HEADER, *rows]))
    with pytest.raises(InputError) as refused:
        curate(root)
    told = str(refused.value)
    for part in (
        "'sex': 'X' (2 rows)",
        "'view': 'sideways' (1 rows)",
        "'edema': 'maybe'",
        "'mass': 'perhaps'",
        "Nothing was written",
    ):
        assert part in told
    write_mapping(root, {**MAPPING, "on_unknown": "null"})
    cohort = curate(root)
    assert cohort.studies["sex"].null_count() == 2 and cohort.studies["view"].null_count() == 1
    assert sorted(cohort.finding_values["edema"].to_list(), key=str) == [1, 1, None]
    assert [kind for *_, kind in kinds(cohort)] == ["unknown word"] * 5


def test_race_goes_through_the_built_in_table_by_whole_words(tmp_path: Path) -> None:
    texts = ["WHITE", "Asian - Chinese", "Hispanic or Latino", "White, non-Hispanic", "UNKNOWN", "", "South American"]
    root = folder(
        tmp_path,
        "p,r\n" + "".join(f'{i},"{text}"\n' for i, text in enumerate(texts)),
        findings={},
        columns={"patient_id": "p", "race": "r"},
    )
    studies = curate(root).studies.sort("patient_id")
    assert studies["race5"].to_list() == ["white", "asian", "hispanic", "white", None, None, "hispanic"]
    assert studies["ethnicity"][3] == "not_hispanic" and studies["race_raw"].to_list()[1] == "Asian - Chinese"
    (root / "data.csv").write_text("p,r\n1,Caucasian\n")
    with pytest.raises(InputError, match="'r': 'Caucasian'"):
        curate(root)


def test_a_vocabulary_of_race_leads_to_groups_and_unknown_never_to_other_unasked(tmp_path: Path) -> None:
    vocabulary = {"W": "white", "H": "hispanic", "?": "null"}
    text = "p,r,e\n1,W,yes\n2,H,\n3,?,no\n4,Martian,no\n"
    columns = {
        "patient_id": "p",
        "race": {"column": "r", "vocabulary": vocabulary, "on_unknown": "null"},
        "ethnicity": {"column": "e", "vocabulary": {"yes": "hispanic", "no": "not_hispanic"}},
    }
    root = folder(tmp_path, text, columns=columns, findings={})
    studies = curate(root).studies.sort("patient_id")
    assert studies["race5"].to_list() == ["hispanic", "hispanic", None, None]
    assert studies["race_only"].to_list() == ["white", None, None, None]
    columns["race"] = {"column": "r", "vocabulary": vocabulary, "on_unknown": "other"}
    write_mapping(root, {**MAPPING, "columns": columns, "findings": {}})
    assert curate(root).studies.sort("patient_id")["race5"].to_list()[3] == "other"


@pytest.mark.parametrize(("absent", "rest"), [("negative", 0), (None, None)])
def test_a_list_of_labels_is_taken_by_whole_labels(tmp_path: Path, absent: str | None, rest: int | None) -> None:
    text = 'p,l\n1,"Nodule; Effusion "\n2,pseudonodule\n3,\n4,None\n5,calcification\n'
    labels = {
        "nodule": "lung_lesion",
        "effusion": "pleural_effusion",
        "normal": "no_finding",
        "pseudonodule": "null",
        "calcification": "null",
    }
    findings = {"column": "l", "separator": ";", "labels": labels, **({"absent": absent} if absent else {})}
    cohort = curate(folder(tmp_path, text, columns={"patient_id": "p"}, findings=findings))
    assert cohort.spec.findings == ("no_finding", "lung_lesion", "pleural_effusion")
    order = dict(cohort.studies.select("study_id", "patient_id").iter_rows())
    values = {
        order[key]: rest for key, *rest in cohort.finding_values.select("study_id", *cohort.spec.findings).iter_rows()
    }
    assert values == {"1": [rest, 1, 1], "2": [rest] * 3, "3": [None] * 3, "4": [None] * 3, "5": [rest] * 3}


def test_unknown_labels_make_nothing_negative(tmp_path: Path) -> None:
    findings = {"column": "l", "labels": {"edema": "edema", "mass": "lung_lesion"}, "absent": "negative"}
    root = folder(tmp_path, "p,l\n1,edema|gout\n2,gout\n", columns={"patient_id": "p"}, findings=findings)
    with pytest.raises(InputError, match=r"'l': 'gout' \(2 rows\)"):
        curate(root)
    write_mapping(root, {**MAPPING, "columns": {"patient_id": "p"}, "findings": findings, "on_unknown": "null"})
    assert curate(root).finding_values.select("edema", "lung_lesion").rows() == [(1, None), (None, None)]


def test_blank_is_never_negative_and_no_finding_overwrites_nothing(tmp_path: Path) -> None:
    text = "p,n,e,d\n1,1,-1,\n2,1,,1\n3,,,0\n"
    findings = {"no_finding": "n", "edema": "e", "support_devices": "d"}
    cohort = curate(folder(tmp_path, text, columns={"patient_id": "p"}, findings=findings))
    values = cohort.finding_values.sort("study_id").select("no_finding", "edema", "support_devices").rows()
    assert values == [(1, -1, None), (1, None, 1), (None, None, 0)]
    assert [kind for *_, kind in kinds(cohort)] == ["label contradiction"]


def test_values_written_as_floats_are_the_same_words(tmp_path: Path) -> None:
    cohort = curate(
        folder(tmp_path, "p,e\n1,1.0\n2,0.0\n3,-1.0\n4,\n", columns={"patient_id": "p"}, findings={"edema": "e"})
    )
    assert cohort.finding_values.sort("study_id")["edema"].to_list() == [1, 0, -1, None]


def test_decimal_commas_are_read_only_where_that_is_said(tmp_path: Path) -> None:
    text = "p;a\n1;63,5\n"
    root = folder(tmp_path, text, columns={"patient_id": "p", "age_years": "a"}, findings={})
    assert curate(root).studies["age_years"].to_list() == [None]
    write_mapping(
        root, {**MAPPING, "columns": {"patient_id": "p", "age_years": "a"}, "findings": {}, "decimal_comma": "true"}
    )
    assert curate(root).studies.select("age_years", "age_raw").rows() == [(63.5, "63,5")]


def test_ages_that_cannot_be_are_null_with_a_note_and_their_text_kept(tmp_path: Path) -> None:
    ages = ["155", "-3", "inf", "411Y", "sixty"]
    cohort = curate(folder(tmp_path, "\n".join([HEADER, *(line(file=f"{i}.png", age=a) for i, a in enumerate(ages))])))
    assert cohort.studies["age_years"].null_count() == 5 and sorted(cohort.studies["age_raw"]) == sorted(ages)
    assert len(kinds(cohort)) == 5


def test_a_word_for_the_oldest_may_be_given_a_number(tmp_path: Path) -> None:
    columns = {**COLUMNS, "age_years": {"column": "age", "vocabulary": {"85 or more": "85"}}}
    studies = curate(folder(tmp_path, TABLE.replace(",60,", ",85 or more,"), columns=columns)).studies
    assert studies.select("age_years", "age_raw").row(0) == (85.0, "85 or more")
