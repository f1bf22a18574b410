"""Predictions of strangers: what is read alike, and what is refused with its place and its remedy."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest

from cxr_assets.errors import InputError
from cxr_assets.evaluation.intake import ColumnMapping, Intake, read_mapping, read_predictions
from cxr_assets.evaluation.score_any import People, read_people

ROWS = 6
READ = ["model", "seed", "study_id", "patient_id", "finding", "split", "score", "truth"]


def long_table(**changes: list[Any]) -> pl.DataFrame:
    """Six studies of three patients, one finding; one patient validates."""
    columns: dict[str, list[Any]] = {
        "patient_id": ["p1", "p1", "p2", "p2", "p3", "p3"],
        "study_id": [f"s{i}" for i in range(ROWS)],
        "finding": ["edema"] * ROWS,
        "score": [0.9, 0.2, 0.7, 0.1, 0.5, 0.25],
        "truth": [1, 0, 1, 0, 1, 0],
        "split": ["val", "val", "test", "test", "test", "test"],
        "sex": ["F", "F", "M", "M", "F", "F"],
        "age": [44.5, 44.5, 71, 71, 17, 17],
    }
    return pl.DataFrame(columns | changes)


def intake(table: object, *, kind: str = "patient", **mapping: Any) -> Intake:
    return read_predictions(table, ColumnMapping(**mapping), patient_id_kind=kind)


def people(table: object, attributes_table: object | None = None, **mapping: Any) -> People:
    return read_people(intake(table, **mapping), ColumnMapping(**mapping), attributes_table)


def refusal(table: object, **options: Any) -> str:
    with pytest.raises(InputError) as raised:
        intake(table, **options)
    return str(raised.value)


def people_refusal(table: object, attributes_table: object | None = None, **options: Any) -> str:
    with pytest.raises(InputError) as raised:
        people(table, attributes_table, **options)
    return str(raised.value)


def same(first: Intake, second: Intake) -> None:
    assert first.rows.select(READ).equals(second.rows.select(READ))


# What is read alike


def test_files_and_frames_of_every_form_say_the_same(tmp_path: Path) -> None:
    table = long_table()
    expected = intake(table)
    assert expected.rows["truth"].to_list() == [1, 0, 1, 0, 1, 0] and set(expected.rows["split"]) == {
        "validate",
        "test",
    }
    table.write_parquet(tmp_path / "a.parquet")
    table.write_csv(tmp_path / "a.csv")
    table.write_csv(tmp_path / "a.tsv", separator="\t")
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress((tmp_path / "a.csv").read_bytes()))
    for name in ("a.parquet", "a.csv", "a.tsv", "a.csv.gz"):
        same(intake(tmp_path / name), expected)
        same(intake(str(tmp_path / name)), expected)
    same(intake(table.to_pandas()), expected)


def test_a_mark_a_semicolon_and_windows_line_ends_change_nothing(tmp_path: Path) -> None:
    text = long_table().write_csv(separator=";").replace("\n", "\r\n")
    (tmp_path / "excel.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    same(intake(tmp_path / "excel.csv"), intake(long_table()))


def test_the_order_of_rows_and_columns_changes_nothing() -> None:
    table = long_table()
    same(intake(table.sample(fraction=1, shuffle=True, seed=3).select(reversed(table.columns))), intake(table))


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


def test_defaults_stand_in_for_model_seed_finding_and_split() -> None:
    read = intake(long_table().drop("finding", "split"), finding="edema")
    assert set(read.rows.select("model", "seed", "finding", "split").unique().row(0)) == {
        "model",
        "s0",
        "edema",
        "test",
    }
    assert any("no threshold can be fitted" in note for note in read.notes)


def test_numbers_as_ids_are_alike_in_text_in_integers_and_in_floats() -> None:
    whole = list(range(ROWS))
    expected = intake(long_table(study_id=[str(i) for i in whole]))
    same(intake(long_table(study_id=whole)), expected)
    same(intake(long_table(study_id=[float(i) for i in whole])), expected)


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


def test_pandas_frames_keep_a_named_index_as_columns() -> None:
    same(intake(long_table().to_pandas().set_index("study_id")), intake(long_table()))


# What is refused: columns


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


# What is refused: files


def test_files_that_are_no_tables_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.xlsx").write_bytes(b"PK")
    (tmp_path / "a.parquet").write_bytes(b"no parquet")
    (tmp_path / "a.csv.gz").write_bytes(b"no gzip")
    (tmp_path / "ragged.csv").write_text("study_id,score\ns1,0.1\ns2,0.1,0.2\n")
    (tmp_path / "twice.csv").write_text("score,score\n1,1\n")
    assert "give .parquet, .csv or .tsv" in refusal(tmp_path / "a.xlsx")
    assert refusal(tmp_path / "a.parquet").startswith("a.parquet cannot be read")
    assert refusal(tmp_path / "a.csv.gz").startswith("a.csv.gz is no gzip file")
    assert "1 lines have not as many fields as the header, first line 3" in refusal(tmp_path / "ragged.csv")
    assert refusal(tmp_path / "twice.csv").startswith("twice.csv names column 'score' twice")
    assert refusal(tmp_path / "absent.csv").startswith("absent.csv cannot be read: No such file")
    assert "a list is no table" in refusal([1, 2])
    mixed = pd.DataFrame({"study_id": ["a", 1], "score": [0.1, 0.2]})
    assert "predictions" in refusal(mixed)


def test_a_table_without_rows_is_refused(tmp_path: Path) -> None:
    assert "0 rows" in refusal(long_table().head(0))
    long_table().head(0).write_csv(tmp_path / "a.csv")
    assert "a.csv: 0 rows" in refusal(tmp_path / "a.csv")


# What is refused: values


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


# Who they are of


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
