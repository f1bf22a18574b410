"""Phantom studies made to order."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl
import pytest

from cxr_assets.cohorts.phantom.config import FINDINGS

Tables = tuple[pl.DataFrame, pl.DataFrame]


def make_studies(n: int, findings: dict[str, float] | None = None, **columns: object) -> Tables:
    """``n`` studies of different patients that all have ``findings`` (finding -> severity)."""
    given = findings or {}
    rows = {"age_years": 50.0, "sex": "female", "style": "direct_digital", "view": "PA"} | columns
    ids = [f"t{i}" for i in range(n)]
    studies = pl.DataFrame({"study_id": ids, "patient_id": [f"p{i}" for i in range(n)]}).with_columns(
        **{name: pl.lit(value) for name, value in rows.items()},
        **{finding: pl.lit(int(finding in given), pl.Int8) for finding in FINDINGS},
    )
    truth = pl.DataFrame(
        [(i, f, f in given, given.get(f, 0.0)) for i in ids for f in FINDINGS],
        schema={"study_id": pl.String, "finding": pl.String, "present": pl.Boolean, "severity": pl.Float64},
        orient="row",
    )
    return studies, truth


@pytest.fixture(scope="session")
def phantoms() -> Callable[..., Tables]:
    """The maker above, without an import across test folders."""
    return make_studies
