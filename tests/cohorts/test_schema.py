from __future__ import annotations

import polars as pl
import pytest

from cxr_assets.cohorts.schema import TABLES, conform
from cxr_assets.errors import InputError

FINDING = {
    "cohort": ["a", "a"],
    "study_id": ["1", "2"],
    "patient_id": ["p", "p"],
    "finding": ["edema", "edema"],
    "value": [1, None],
    "label_source": ["mesh", "mesh"],
}


@pytest.mark.parametrize("name", TABLES)
def test_every_empty_table_conforms_to_itself(name: str) -> None:
    assert conform(TABLES[name].empty(), name).schema == TABLES[name].schema


@pytest.mark.parametrize("name", TABLES)
def test_every_column_has_a_meaning_and_no_name_twice(name: str) -> None:
    columns = TABLES[name].columns
    assert all(column.meaning for column in columns)
    assert len({column.name for column in columns}) == len(columns)


def test_columns_are_ordered_and_cast() -> None:
    frame = pl.DataFrame(FINDING).select(reversed(FINDING))
    conformed = conform(frame, "findings")
    assert conformed.columns == list(FINDING)
    assert conformed["value"].dtype == pl.Int8
    assert conformed["value"].to_list() == [1, None]


def test_absent_nullable_columns_become_null() -> None:
    patients = pl.DataFrame(
        {"cohort": ["a"], "patient_id": ["p"], "patient_id_kind": ["patient"], "studies": [1], "split": ["train"]}
    )
    assert conform(patients, "patients")["race"].to_list() == [None]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"value": [2, None]}, ["'value'", "row 0", "2", "1, 0, -1"]),
        ({"value": [0.5, None]}, ["'value'", "row 0", "0.5"]),
        ({"value": ["yes", None]}, ["'value'", "'yes'", "Int8"]),
        ({"finding": ["edema", "oedema"]}, ["'finding'", "row 1", "'oedema'", "edema"]),
        ({"study_id": ["1", None]}, ["'study_id'", "row 1", "null"]),
        ({"study_id": ["1", "1"]}, ["row 0", "study_id='1'", "unique"]),
        ({"patient_id": [61, 62]}, ["'patient_id'", "leading zeros"]),
        ({"extra": [1, 2]}, ["unknown column 'extra'"]),
    ],
)
def test_what_does_not_fit_is_named(change: dict[str, list[object]], words: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        conform(pl.DataFrame({**FINDING, **change}, strict=False), "findings")
    assert all(word in str(caught.value) for word in ["findings", *words])


def test_a_missing_required_column_is_named() -> None:
    with pytest.raises(InputError, match="no column 'label_source'"):
        conform(pl.DataFrame(FINDING).drop("label_source"), "findings")
