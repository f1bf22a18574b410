"""Which column is what: by its own name, by a mapping, or by a pattern; a contradiction is refused with its remedy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from cxr_assets.errors import InputError
from cxr_assets.scoring.intake import read_predictions
from cxr_assets.scoring.mapping import read_mapping
from tests.scoring.strangers import intake, long_table, refusal, same


def test_a_wide_table_is_the_long_one(tmp_path: Path) -> None:
    wide = long_table().rename({"score": "p_edema", "truth": "y_edema"}).drop("finding")
    wide = wide.with_columns(p_nodule=1 - pl.col("p_edema"), y_nodule=1 - pl.col("y_edema"))
    long = [
        long_table(),
        long_table().with_columns(finding=pl.lit("nodule"), score=1 - pl.col("score"), truth=1 - pl.col("truth")),
    ]
    expected = intake(pl.concat(long))
    same(intake(wide, score_columns="p_{finding}", truth_columns="y_{finding}"), expected)
    same(intake(wide.to_pandas(), score_columns="p_{finding}", truth_columns="y_{finding}"), expected)
    named = {f: {g: f"{f}_{g}" for g in ("edema", "nodule")} for f in ("p", "y")}
    same(intake(wide, scores=named["p"], truth=named["y"]), expected)


def test_a_pattern_that_takes_in_the_other_one_s_columns_is_told_apart() -> None:
    wide = long_table().rename({"score": "edema", "truth": "true_edema"}).drop("finding")
    same(intake(wide, score_columns="{finding}", truth_columns="true_{finding}"), intake(long_table()))
    wide = wide.rename({"edema": "y_edema", "true_edema": "y_true_edema"})
    same(intake(wide, score_columns="y_{finding}", truth_columns="y_true_{finding}"), intake(long_table()))


def test_columns_are_found_under_the_names_that_a_mapping_gives(tmp_path: Path) -> None:
    table = long_table().rename({"patient_id": "MRN", "truth": "label"})
    (tmp_path / "map.yaml").write_text("columns:\n  patient_id: MRN\n")
    mapping = read_mapping(tmp_path / "map.yaml", columns={"truth": "label"})
    same(read_predictions(table, mapping), intake(long_table()))


def test_one_column_may_be_two_things() -> None:
    table = long_table().drop("patient_id")
    read = intake(table, columns={"patient_id": "study_id"})
    assert read.rows["patient_id"].equals(read.rows["study_id"])


@pytest.mark.parametrize(
    ("lost", "fix"),
    [
        ("patient_id", "--patient-id-kind study"),
        ("study_id", "--map study_id=COLUMN"),
        ("finding", "--finding NAME"),
        ("score", "--score-columns"),
        ("truth", "--map truth=COLUMN"),
    ],
)
def test_a_missing_column_is_named_with_what_was_seen_and_what_to_do(lost: str, fix: str) -> None:
    text = refusal(long_table().rename({lost: f"{lost.title()}s"}))
    assert f"no column {lost!r}" in text and f"Did you mean {lost.title()}s" in text and fix in text
    assert "Columns seen: " in text and text.endswith("Nothing was written.")


def test_all_missing_columns_are_told_at_once() -> None:
    text = refusal(long_table().drop("score", "truth", "patient_id"))
    assert "3 things to mend" in text and text.count("--map") == 3


def test_a_mapping_to_a_column_that_is_not_there_is_refused() -> None:
    assert "no column 'Patient'. Did you mean patient_id" in refusal(long_table(), columns={"patient_id": "Patient"})
    assert "'patiend_id' is no name here. Did you mean patient_id" in refusal(
        long_table(), columns={"patiend_id": "sex"}
    )


def test_a_finding_by_name_and_by_column_is_refused() -> None:
    assert "this one has it" in refusal(long_table(), finding="edema")


def test_a_wide_table_that_lacks_a_truth_is_refused() -> None:
    wide = long_table().rename({"score": "p_edema", "truth": "y_edma"}).drop("finding")
    text = refusal(wide, score_columns="p_{finding}", truth_columns="y_{finding}")
    assert "truth of 'edema': no column 'y_edema'. Did you mean y_edma" in text
    assert "no column is like 'a_{finding}'" in refusal(wide, score_columns="a_{finding}", truth_columns="b_{finding}")


@pytest.mark.parametrize(
    ("tree", "told"),
    [
        ({"colums": {}}, "'colums' is no key here. Did you mean columns"),
        ({"scores": {"edema": "p"}}, "columns of scores and of truth go together"),
        ({"scores": {"edema": "p"}, "truth": {"oedema": "y"}}, "in one of scores and truth only. Did you mean"),
        ({"score_columns": "p_", "truth_columns": "y_{finding}"}, "must hold {finding} once"),
    ],
)
def test_a_mapping_that_contradicts_itself_is_refused(tree: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match="the mapping") as raised:
        read_mapping(tree)
    assert told in str(raised.value)


def test_a_mapping_file_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read as YAML"):
        read_mapping(tmp_path / "absent.yaml")
    (tmp_path / "list.yaml").write_text("- a\n")
    with pytest.raises(InputError, match="holds no keys"):
        read_mapping(tmp_path / "list.yaml")
