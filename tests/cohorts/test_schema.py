from __future__ import annotations

import polars as pl
import pytest

from cxr_assets.cohorts.schema import TABLES, conform
from cxr_assets.errors import InputError

VALUES = {"study_id": ["1", "2"], "edema": [1, None]}
VOCABULARY = {"cohort": ["a", "a"], "finding": ["edema", "hernia"], "position": [0, 1]}


@pytest.mark.parametrize("name", TABLES)
def test_every_empty_table_conforms_to_itself(name: str) -> None:
    assert conform(TABLES[name].empty(), name).schema == TABLES[name].schema


@pytest.mark.parametrize("name", TABLES)
def test_every_column_has_a_meaning_and_no_name_twice(name: str) -> None:
    columns = TABLES[name].columns
    assert all(column.meaning for column in columns)
    assert len({column.name for column in columns}) == len(columns)


def test_columns_are_ordered_and_cast() -> None:
    frame = pl.DataFrame(VALUES).select(reversed(VALUES))
    conformed = conform(frame, "finding_values")
    assert conformed.columns == list(TABLES["finding_values"].schema)
    assert conformed["edema"].dtype == pl.Int8
    assert conformed["edema"].to_list() == [1, None]


def test_absent_nullable_columns_become_null() -> None:
    patients = pl.DataFrame(
        {"cohort": ["a"], "patient_id": ["p"], "patient_id_kind": ["patient"], "studies": [1], "split": ["train"]}
    )
    assert conform(patients, "patients")["race5"].to_list() == [None]


@pytest.mark.parametrize(
    ("table", "change", "words"),
    [
        ("finding_values", {"edema": [2, None]}, ["'edema'", "row 0", "2", "1, 0, -1"]),
        ("finding_values", {"edema": [0.5, None]}, ["'edema'", "row 0", "0.5"]),
        ("finding_values", {"edema": ["yes", None]}, ["'edema'", "'yes'", "Int8"]),
        ("cohort_findings", {"finding": ["edema", "oedema"]}, ["'finding'", "row 1", "'oedema'", "edema"]),
        ("finding_values", {"study_id": ["1", None]}, ["'study_id'", "row 1", "null"]),
        ("finding_values", {"study_id": ["1", "1"]}, ["row 0", "study_id='1'", "unique"]),
        ("finding_values", {"study_id": [61, 62]}, ["'study_id'", "leading zeros"]),
        ("cohort_findings", {"extra": [1, 2]}, ["unknown column 'extra'"]),
    ],
)
def test_what_does_not_fit_is_named(table: str, change: dict[str, list[object]], words: list[str]) -> None:
    good = VALUES if table == "finding_values" else VOCABULARY
    with pytest.raises(InputError) as caught:
        conform(pl.DataFrame({**good, **change}, strict=False), table)
    assert all(word in str(caught.value) for word in [table, *words])


def test_a_missing_required_column_is_named() -> None:
    with pytest.raises(InputError, match="no column 'position'"):
        conform(pl.DataFrame(VOCABULARY).drop("position"), "cohort_findings")
