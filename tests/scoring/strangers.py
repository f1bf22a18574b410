"""Small tables of strangers, read and refused."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from cxr_assets.errors import InputError
from cxr_assets.scoring.intake import Intake, read_predictions
from cxr_assets.scoring.mapping import ColumnMapping
from cxr_assets.scoring.people import People, read_people

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
