"""The labels of the CheXpert labeller, as four data sets write them: one column a finding, 1.0, 0.0, -1.0 or blank."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import polars as pl

from cxr_assets.cohorts.delimited import normal_name
from cxr_assets.cohorts.labels import CANONICAL, DISPLAY_NAMES
from cxr_assets.cohorts.ledger import Ledger

LABEL_COLUMNS: Mapping[str, str | tuple[str, ...]] = MappingProxyType(
    {
        finding: ("Lung Opacity", "Airspace Opacity") if finding == "lung_opacity" else DISPLAY_NAMES[finding]
        for finding in CANONICAL
    }
)
"""Finding to the column that holds it; it is read by name, since the order differs between data sets."""
_TEXTS = {"1.0": 1, "1": 1, "0.0": 0, "0": 0, "-1.0": -1, "-1": -1, "": None}


def with_labels(
    rows: pl.DataFrame, *, source: str, ledger: Ledger, findings: tuple[str, ...] = CANONICAL
) -> pl.DataFrame:
    """Text labels under the findings' names to Int8; a row with any other text goes to the quarantine."""
    texts = pl.Series(list(_TEXTS))
    values = pl.Series(list(_TEXTS.values()), dtype=pl.Int8)
    present = [finding for finding in findings if finding in rows.columns]
    known = [pl.col(finding).str.strip_chars().is_in(texts.implode()) for finding in present]
    odd = ~pl.all_horizontal(known)
    if rows.select(odd.any()).item():
        for finding, good in zip(present, known, strict=True):
            rows = ledger.sift(
                rows,
                ~good,
                source=source,
                column=finding,
                kind="unknown label value",
                hint="expected 1.0, 0.0, -1.0 or blank",
            )
    return rows.with_columns(
        pl.col(finding).str.strip_chars().replace_strict(texts, values, return_dtype=pl.Int8) for finding in present
    )


def contradictions(values: pl.DataFrame) -> pl.DataFrame:
    """Rows in which No Finding is positive beside a pathology that is positive or uncertain (Support Devices may be)."""
    others = [name for name in CANONICAL if name not in ("no_finding", "support_devices") and name in values.columns]
    return values.filter(
        (pl.col("no_finding") == 1) & pl.any_horizontal(pl.col(others).is_in([1, -1]).fill_null(False))
    )


def label_names() -> dict[str, str]:
    """Normal column name to finding, for tables that are read by name alone."""
    return {
        normal_name(name): finding
        for finding, names in LABEL_COLUMNS.items()
        for name in ([names] if isinstance(names, str) else names)
    }
