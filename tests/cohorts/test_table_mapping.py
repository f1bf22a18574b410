"""What a mapping may say, and how each wrong thing in it is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxr_assets.cohorts.registry import adapter
from cxr_assets.cohorts.table.mapping import fold
from cxr_assets.errors import InputError, SettingsError
from tests.cohorts.table_tools import MAPPING, curate, folder


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"colums": {}}, r"'colums' is no key here\. Did you mean columns"),
        ({"columns": {"pationt_id": "x"}}, r"columns: 'pationt_id' is no key here\. Did you mean patient_id"),
        ({"columns": {"sex": {"column": "sex", "vocab": {}}}}, r"columns\.sex: 'vocab' is no key.*vocabulary"),
        (
            {"columns": {"sex": {"column": "sex", "vocabulary": {"M": "man"}}}},
            r"sex: 'M' cannot mean 'man'.*female, male, null",
        ),
        ({"columns": {"race": {"column": "r", "vocabulary": {"W": "whyte"}}}}, r"race: 'W' cannot mean 'whyte'"),
        (
            {"columns": {"view": {"column": "v", "vocabulary": {"x": "front"}}}},
            r"view: 'x' cannot mean 'front'.*PA, AP, LATERAL",
        ),
        ({"findings": {"oedema": "edema"}}, r"'oedema' is no finding\. Did you mean edema"),
        ({"findings": {"edema": {"column": "e", "positive": ["1"], "negative": ["1.0"]}}}, "'1.0' means both 1 and 0"),
        ({"findings": {"column": "l", "labels": {"a": "edma"}}}, r"'edma' is no finding\. Did you mean edema"),
        ({"findings": {"column": "l"}}, "labels: Field required"),
        ({"findings": {"column": "l", "labels": {"Mass": "edema", "mass ": "fracture"}}}, "'mass ' means both"),
        ({"terms": "cc by"}, r"'cc by' is no terms tag\. Did you mean cc-by"),
        ({"tables": "../data.csv"}, "must be relative to the cohort's folder"),
        ({"tables": "/data.csv"}, "must be relative to the cohort's folder"),
        ({"tables": {"file": "a.duckdb", "table": "t", "query": "q"}}, "exclude each other"),
        ({"tables": {"file": "a.csv", "separator": "::"}}, "not one ASCII character"),
        ({"tables": {"file": "a.csv", "encoding": "utf8000"}}, "'utf8000' is not known"),
        ({"tables": ["a.csv", "a.csv"]}, "a.csv is named twice"),
        ({"roots": ["..", "films"]}, "must be relative to the cohort's folder"),
        ({"patient_id_kind": "person"}, "patient_id_kind: Input should be"),
        ({"columns": {"sex": "s"}, "patient_id_kind": "patient"}, "columns has no patient_id"),
        ({"columns": {"sex": "s"}, "patient_id_kind": "report"}, "columns has no exam_id"),
        ({"tables": []}, "nothing could be read"),
        ({"on_unknown": "guess"}, "on_unknown: Input should be"),
    ],
)
def test_each_fault_is_told_with_its_place(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError, match=words) as told:
        curate(folder(tmp_path, "pid\n1\n", **changes))
    assert "cohort.yaml" in str(told.value) and "Nothing was written" in str(told.value)


def test_columns_without_a_table_are_refused(tmp_path: Path) -> None:
    tree = {key: value for key, value in MAPPING.items() if key != "tables"}
    with pytest.raises(SettingsError, match="names no tables that have them"):
        curate(folder(tmp_path, "", tree, dicom="true"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("title: [", "is no YAML"),
        ("- a\n- b\n", "holds no keys"),
        ("", "holds no keys"),
        ("title: a\ntitle: b\n", "'title' stands twice"),
        ("tables: a.csv\ncolumns:\n  sex: {column: s, vocabulary: {M: male, M: female}}\n", "'M' stands twice"),
        ("title: !!python/object/apply:os.system [echo]\n", "title: Input should be a valid string"),
    ],
)
def test_a_file_that_is_no_mapping_is_stated(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "cohort.yaml").write_text(text)
    with pytest.raises(SettingsError, match=words):
        curate(tmp_path)


def test_a_missing_mapping_says_where_to_find_one_to_start_from(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cohort\.yaml is not there.*docs/cohorts/table\.md"):
        curate(tmp_path)
    with pytest.raises(SettingsError, match=r"no such option\. Did you mean mapping"):
        curate(tmp_path, maping="x")


def test_words_are_text_as_they_stand_there_never_truths_or_numbers(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("p,e,s\n01,yes,1\n02,no,2\n03,off,1\n")
    (tmp_path / "cohort.yaml").write_text(
        "tables: data.csv\ncolumns: {patient_id: p, sex: {column: s, vocabulary: {1: male, 2: female}}}\n"
        "findings: {edema: {column: e, positive: [yes], negative: [no, off]}}\n"
    )
    cohort = curate(tmp_path)
    assert cohort.finding_values.sort("study_id")["edema"].to_list() == [1, 0, 0]
    assert cohort.studies.sort("study_id")["sex"].to_list() == ["male", "female", "male"]


def test_keys_that_are_left_empty_count_as_left_out(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("p\n01\n")
    (tmp_path / "cohort.yaml").write_text(
        "title:\nterms_url: ~\ntables: data.csv\ncolumns: {patient_id: p, sex: }\nfindings:\n"
    )
    assert curate(tmp_path).spec.title == "A table"


def test_the_terms_of_a_table_that_nobody_spoke_of_are_unknown(tmp_path: Path) -> None:
    root = folder(tmp_path, "pid\n1\n", {"tables": "data.csv", "columns": {"patient_id": "pid"}})
    cohort = curate(root)
    assert cohort.studies["terms"].to_list() == ["unknown"] and cohort.spec.findings == ()
    assert cohort.findings.is_empty() and cohort.cohort_findings.is_empty()


def test_the_documented_example_is_a_sound_mapping(tmp_path: Path) -> None:
    docs = (Path(__file__).parents[2] / "docs" / "cohorts" / "table.md").read_text(encoding="utf-8")
    (tmp_path / "cohort.yaml").write_text(docs.split("```yaml\n")[1].split("```")[0], encoding="utf-8")
    from cxr_assets.cohorts.base import CurateSettings

    spec = adapter("table").described(tmp_path, CurateSettings())
    assert spec.findings and spec.patient_id_kind == "patient" and spec.terms == "unknown"


def test_a_mapping_may_be_named_relative_to_the_folder(tmp_path: Path) -> None:
    root = folder(tmp_path, "pid\n1\n", columns={"patient_id": "pid"}, findings={})
    (root / "sub").mkdir()
    (root / "cohort.yaml").rename(root / "sub" / "mine.yaml")
    assert curate(root, mapping="sub/mine.yaml").sources["path"].to_list() == ["sub/mine.yaml", "data.csv"]


@given(st.text(max_size=20))
def test_folding_twice_changes_nothing_more(word: str) -> None:
    assert fold(fold(word)) == fold(word)


@pytest.mark.parametrize(
    ("word", "plain"), [("1.0", "1"), ("-1.00", "-1"), (" Yes\t sir ", "yes sir"), ("1.5", "1.5"), ("a.0", "a.0")]
)
def test_words_are_compared_without_case_blanks_and_point_zero(word: str, plain: str) -> None:
    assert fold(word) == plain
