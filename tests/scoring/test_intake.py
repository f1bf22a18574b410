"""Predictions of strangers: what is read alike, and what is refused with its place and its remedy."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from tests.scoring.strangers import ROWS, intake, long_table, refusal, same


def test_the_order_of_rows_and_columns_changes_nothing() -> None:
    table = long_table()
    same(intake(table.sample(fraction=1, shuffle=True, seed=3).select(reversed(table.columns))), intake(table))


def test_defaults_stand_in_for_model_seed_finding_and_split() -> None:
    read = intake(long_table().drop("finding", "split"), finding="edema")
    assert set(read.rows.select("model", "seed", "finding", "split").unique().row(0)) == {
        "model",
        "s0",
        "edema",
        "test",
    }
    assert any("no threshold can be fitted" in note for note in read.notes)


def test_missing_truth_stays_missing_however_it_is_written(tmp_path: Path) -> None:
    expected = intake(long_table(truth=[1, 0, None, 0, 1, None]))
    assert expected.rows["truth"].null_count() == 2
    for word in ("", "NA", "nan", "null"):
        (tmp_path / "a.csv").write_text(long_table(truth=["1", "0", word, "0.0", "1", word]).write_csv())
        same(intake(tmp_path / "a.csv"), expected)
    frame = long_table().to_pandas()
    frame.loc[[2, 5], "truth"] = float("nan")
    same(intake(frame), expected)
    same(intake(long_table(truth=[True, False, None, False, True, None])), expected)


def test_rows_with_neither_score_nor_truth_are_left_out_and_counted() -> None:
    read = intake(long_table(score=[0.9, 0.2, None, 0.1, 0.5, 0.25], truth=[1, 0, None, 0, 1, 0]))
    assert read.rows.height == ROWS - 1 and any(note.startswith("1 rows have neither") for note in read.notes)


def test_train_rows_are_left_out_but_patients_who_come_again_are_told() -> None:
    read = intake(long_table(split=["train", "train", "val", "val", "test", "test"]))
    assert read.rows.height == 4 and read.notes == ("2 rows of split train were left out.",)
    read = intake(long_table(split=["train", "test", "val", "val", "test", "test"]))
    assert any("1 patient ids of the test rows are in the train rows" in note for note in read.notes)


def test_faults_of_train_rows_are_nobody_s_business() -> None:
    read = intake(
        long_table(split=["train", "train", "val", "val", "test", "test"], score=[7.0, None, 0.7, 0.1, 0.5, 0.2])
    )
    assert read.rows.height == 4


def test_no_finding_is_known_in_any_spelling() -> None:
    read = intake(long_table(finding=["No Finding"] * ROWS))
    assert set(read.rows["finding"]) == {"no_finding"} and "'No Finding' is called 'no_finding'" in read.notes[0]


def test_text_among_scores_is_told_with_its_line_and_value(tmp_path: Path) -> None:
    scores = ["0.9", "0.2", "high", "0.1", "0.5", "0.25"]
    assert "column 'score': 1 scores are no number, first 'high' in row 3" in refusal(long_table(score=scores))
    long_table(score=scores).write_csv(tmp_path / "a.csv")
    assert "first 'high' in line 4" in refusal(tmp_path / "a.csv")
    commas = [text.replace(".", ",") for text in ("0.9", "0.2", "0.3", "0.1", "0.5", "0.25")]
    assert "6 scores are no number, first '0,9' in row 1. Write the decimal point as a point" in refusal(
        long_table(score=commas)
    )


def test_logits_are_refused_with_the_remedy() -> None:
    text = refusal(long_table(score=[2.5, -1.0, 0.7, 0.1, 0.5, 0.25]))
    assert "2 scores lie outside [0, 1], first 2.5 in row 1" in text and "sigmoid" in text
    assert "outside [0, 1]" in refusal(long_table(score=[float("inf"), 0.2, 0.7, 0.1, 0.5, 0.25]))


def test_a_missing_score_is_refused_where_truth_is_known() -> None:
    for nothing in (None, float("nan")):
        text = refusal(long_table(score=[0.9, 0.2, nothing, 0.1, 0.5, 0.25]))
        assert "1 scores are missing where truth is known, first row 3" in text


def test_a_wide_table_names_the_column_at_fault() -> None:
    wide = (
        long_table(score=[9.0, 0.2, 0.7, 0.1, 0.5, 0.25])
        .rename({"score": "p_edema", "truth": "y_edema"})
        .drop("finding")
    )
    assert "column 'p_edema': 1 scores lie outside" in refusal(
        wide, score_columns="p_{finding}", truth_columns="y_{finding}"
    )


@pytest.mark.parametrize("odd", ["-1", "2", "0.5", "yes"])
def test_truth_that_is_neither_0_nor_1_is_refused(odd: str) -> None:
    table = long_table(truth=["1", "0", odd, "0", "1", "0"])
    for given in (table, table.with_columns(pl.col("truth").cast(pl.Float64)) if odd != "yes" else table):
        text = refusal(given)
        assert "column 'truth': 1 values are neither 0, 1 nor empty" in text and "row 3" in text and "uncertain" in text


def test_faults_of_several_columns_are_told_together() -> None:
    text = refusal(long_table(score=[9.0, 0.2, 0.7, 0.1, 0.5, 0.25], truth=[3, 0, 1, 0, 1, 0], split=["nap"] * ROWS))
    assert "3 things to mend" in text and "'nap' (6 rows) is no split" in text


@pytest.mark.parametrize("column", ["study_id", "finding"])
def test_empty_keys_are_refused(column: str) -> None:
    table = long_table().with_columns(pl.when(pl.int_range(ROWS) != 2).then(pl.col(column)).alias(column))
    assert f"column {column!r} is empty in 1 rows, first row 3" in refusal(table)


def test_an_unknown_patient_is_refused_unless_patients_are_said_not_to_be_known() -> None:
    table = long_table(patient_id=["p1", "p1", None, "p2", "p3", "p3"])
    text = refusal(table)
    assert "column 'patient_id' is empty in 1 rows, first row 3" in text and "--patient-id-kind study" in text
    assert intake(table, kind="study").rows.filter(study_id="s2")["patient_id"].to_list() == ["s2"]
    alone = intake(long_table().drop("patient_id"), kind="image")
    assert alone.rows["patient_id"].equals(alone.rows["study_id"])
    assert "Did you mean study" in refusal(long_table(), kind="studdy")


def test_unknown_and_empty_splits_are_refused() -> None:
    text = refusal(long_table(split=["holdout", "holdout", "test", "test", "test", None]))
    assert "column 'split': 'holdout' (2 rows), '' (1 rows) is no split" in text


def test_predictions_without_test_rows_are_refused() -> None:
    assert "no row is of split test" in refusal(long_table(split=["val"] * ROWS))
    assert "no row is of split test" in refusal(long_table(split=["train"] * ROWS))


def test_the_same_prediction_twice_is_refused() -> None:
    text = refusal(pl.concat([long_table(), long_table().slice(2, 1)]))
    assert "study 's2', finding 'edema' stands 2 times (rows 3 and 7); 1 such in all" in text


def test_a_study_of_two_patients_is_refused() -> None:
    table = pl.concat(
        [long_table(), long_table().slice(2, 1).with_columns(finding=pl.lit("nodule"), patient_id=pl.lit("p9"))]
    )
    assert "study 's2' is given to the patients 'p2' and 'p9'" in refusal(table)


def test_truth_that_differs_between_models_is_refused() -> None:
    other = long_table(truth=[1, 0, 0, 0, 1, 0]).with_columns(model=pl.lit("b"))
    text = refusal(pl.concat([long_table().with_columns(model=pl.lit("a")), other]))
    assert "truth of study 's2', finding 'edema' differs" in text


def test_thresholds_are_never_used_on_what_they_were_fitted_on() -> None:
    text = refusal(long_table(split=["val", "test", "test", "test", "test", "test"]))
    assert "patient 'p1' is in validate and in test" in text
    again = long_table().slice(0, 1).with_columns(split=pl.lit("test"), finding=pl.lit("nodule"))
    assert "study 's0' is in validate and in test" in refusal(pl.concat([long_table(), again]))


def test_a_finding_called_all_is_refused() -> None:
    assert "a finding is called 'all'" in refusal(long_table(finding=["all"] * ROWS))
