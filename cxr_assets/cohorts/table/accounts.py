"""The ledger of a cohort whose rows come from several tables, and from DICOM files."""

from __future__ import annotations

import polars as pl

from cxr_assets.cohorts.base import CohortSpec
from cxr_assets.cohorts.delimited import ROW
from cxr_assets.cohorts.ledger import Ledger

ACCOUNT = "_account"
"""Column that names the source that a row is counted under."""
ORIGIN = "_origin"
"""Column that names the file that a complaint about a row is about."""


class Accounts(Ledger):
    """A ledger that tells from each row where it came from; ``source`` of a call plays no part.

    Args:
        titles: short column name to what the mapping calls it.
    """

    def __init__(self, spec: CohortSpec, titles: dict[str, str]) -> None:
        super().__init__(spec)
        self.titles = titles

    def sift(
        self, rows: pl.DataFrame, bad: pl.Expr, *, column: str, kind: str, hint: str, source: str = ""
    ) -> pl.DataFrame:
        """Drop the rows where ``bad`` is true, each from its own account; see ``Ledger.sift``."""
        mask = rows.select(bad.fill_null(False).alias("bad")).to_series()
        dropped = rows.filter(mask)
        self.note(dropped, column=column, kind=kind, hint=hint)
        for account, count in dropped.group_by(ACCOUNT).len().iter_rows():
            self._count(account, kind, count)
        return rows.filter(~mask)

    def note(self, rows: pl.DataFrame, *, column: str, kind: str, hint: str, source: str = "") -> None:
        """Put a complaint about rows that are kept; see ``Ledger.note``."""
        self.complain(rows, column, pl.lit(f"{kind}: {hint}"))

    def complain(self, rows: pl.DataFrame, column: str, reason: pl.Expr) -> None:
        """Put one complaint a row, with a reason of its own."""
        if rows.height:
            self._quarantine.append(
                rows.select(
                    pl.lit(self.spec.name).alias("cohort"),
                    pl.col(ORIGIN).alias("source"),
                    pl.col(ROW).cast(pl.Int64).alias("row"),
                    pl.lit(self.titles.get(column, column), pl.String).alias("column"),
                    pl.col(column).cast(pl.String).str.slice(0, 200).alias("value"),
                    reason.alias("reason"),
                )
            )
