"""Bookkeeping of a curation: what was read, kept and dropped, and why, so that every source's rows add up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from cxr_assets.cohorts.base import CohortSpec
from cxr_assets.cohorts.delimited import ROW, Delimited, normal_name
from cxr_assets.cohorts.schema import TABLES
from cxr_assets.errors import InputError


@dataclass
class _Account:
    """Rows of one source; ``used`` are those that were counted among what is kept, if they were."""

    read: int
    dropped: dict[str, int] = field(default_factory=dict)
    used: int | None = None

    @property
    def left(self) -> int:
        return self.read - sum(self.dropped.values())

    @property
    def kept(self) -> int:
        return self.left if self.used is None else self.used


class Ledger:
    """Collects quarantine, sources and waterfall of one cohort while its files are read."""

    def __init__(self, spec: CohortSpec) -> None:
        self.spec = spec
        self._accounts: dict[str, _Account] = {}
        self._quarantine: list[pl.DataFrame] = []
        self._titles: dict[str, dict[str, str]] = {}
        self._files: list[tuple[dict[str, str | int], tuple[int, int] | None]] = []

    def open(self, source: str, *, rows: int) -> None:
        """Start the account of a source that held ``rows`` rows."""
        self._accounts[source] = _Account(rows)

    def file(self, source: str, *, digest: str, size: int, release: str, rows: tuple[int, int] | None = None) -> None:
        """Register a received file; ``rows`` (read, kept) defaults to those of its own account."""
        entry: dict[str, str | int] = {"source_id": digest, "path": source, "bytes": size, "release": release}
        self._files.append((entry, rows))

    def table(self, source: str, table: Delimited, *, release: str, short: Mapping[str, str]) -> pl.DataFrame:
        """Open a delimited table's account, register its file and drop its ragged rows.

        Args:
            source: path relative to the cohort's folder.
            table: the table as read.
            release: header variant that was recognised.
            short: short name to normal name of the columns wanted, all of them there.

        Returns:
            Sound rows under the short names, with their line; complaints quote columns as the file names them.
        """
        published = {named(name): name.strip() for named in (normal_name, str.strip) for name in table.header}
        self._titles[source] = {name: published[normal.strip()] for name, normal in short.items()}
        self.open(source, rows=table.read)
        self.file(source, digest=table.digest, size=table.size, release=release)
        fields = len([name for name in table.header if name.strip()])
        self._complain(
            table.ragged,
            source,
            None,
            pl.col("line"),
            f"malformed row: expected the header's {fields} fields, quotes closed",
        )
        self._count(source, "malformed row", table.ragged.height)
        return table.rows.select(ROW, *(pl.col(normal).alias(name) for name, normal in short.items()))

    def sift(self, rows: pl.DataFrame, bad: pl.Expr, *, source: str, column: str, kind: str, hint: str) -> pl.DataFrame:
        """Drop the rows where ``bad`` is true into the quarantine and return the rest.

        Args:
            rows: frame with ``row`` (line in the file) and ``column``.
            bad: boolean expression; null counts as not bad.
            source: an open account.
            column: the column at fault, whose value is quoted.
            kind: a few words that name the fault in the waterfall.
            hint: what was expected.
        """
        mask = rows.select(bad.fill_null(False).alias("bad")).to_series()
        dropped = rows.filter(mask)
        self._complain(dropped, source, column, pl.col(column), f"{kind}: {hint}")
        self._count(source, kind, dropped.height)
        return rows.filter(~mask)

    def note(self, rows: pl.DataFrame, *, source: str, column: str, kind: str, hint: str) -> None:
        """Put a complaint about rows that are kept."""
        self._complain(rows, source, column, pl.col(column), f"{kind}: {hint}")

    def drop_one(self, *, source: str, value: str, kind: str, hint: str, account: str) -> None:
        """Drop one whole file of a folder that is counted under ``account``."""
        row = pl.DataFrame({"value": [value]}, schema={"value": pl.String})
        self._complain(row, source, None, pl.col("value"), f"{kind}: {hint}")
        self._count(account, kind, 1)

    def unused(self, source: str, *, kind: str, rows: int) -> None:
        """Count rows that are sound but not about this cohort's studies; they are no complaint."""
        self._count(source, kind, rows)

    def close(self, source: str, *, kept: int) -> None:
        """State how many rows of a source are really in the curated tables, once all of it is read.

        Args:
            source: an open account, whose rows map one to one to what is counted.
            kept: rows found by counting the outcome, not by taking what was dropped from what was read.

        Raises:
            InputError: where some rows are neither dropped nor kept.
        """
        self._accounts[source].used = kept
        self._balance(source)

    def _balance(self, source: str) -> None:
        account = self._accounts[source]
        if account.kept != account.left or account.kept < 0:
            raise InputError(
                f"cohort {self.spec.name!r}: the rows of {source} do not add up: {account.read} read,"
                f" {account.read - account.left} dropped, {account.kept} kept. Report this. Nothing was written."
            )

    def _count(self, source: str, kind: str, rows: int) -> None:
        if rows:
            dropped = self._accounts[source].dropped
            dropped[kind] = dropped.get(kind, 0) + rows

    def _complain(self, rows: pl.DataFrame, source: str, column: str | None, value: pl.Expr, reason: str) -> None:
        if rows.is_empty():
            return
        title = self._titles.get(source, {}).get(column, column) if column else None
        line = pl.col(ROW) if ROW in rows.columns else pl.lit(None, pl.Int64)
        self._quarantine.append(
            rows.select(
                pl.lit(self.spec.name).alias("cohort"),
                pl.lit(source).alias("source"),
                line.cast(pl.Int64).alias("row"),
                pl.lit(title, pl.String).alias("column"),
                value.cast(pl.String).str.slice(0, 200).alias("value"),
                pl.lit(reason).alias("reason"),
            )
        )

    def quarantine(self) -> pl.DataFrame:
        """All complaints, by source and row."""
        frames = [TABLES["quarantine"].empty(), *self._quarantine]
        return pl.concat(frames).sort("source", "row", "reason", nulls_last=True, maintain_order=True)

    def sources(self) -> pl.DataFrame:
        """One row a received file."""
        shared = {"cohort": self.spec.name, "terms": self.spec.terms, "terms_url": self.spec.terms_url}
        rows = []
        for entry, counts in self._files:
            account = self._accounts.get(str(entry["path"]))
            read, kept = counts or ((account.read, account.kept) if account else (0, 0))
            rows.append({**entry, **shared, "rows_read": read, "rows_kept": kept})
        return pl.DataFrame(rows, schema=TABLES["sources"].schema)

    def waterfall(self) -> pl.DataFrame:
        """Rows read, dropped by kind and kept, of every source. Raises InputError where they do not add up."""
        rows = []
        for source, account in self._accounts.items():
            self._balance(source)
            steps = [("read", account.read), *((f"dropped: {kind}", n) for kind, n in account.dropped.items())]
            rows += [(self.spec.name, source, step, n) for step, n in [*steps, ("kept", account.kept)]]
        return pl.DataFrame(rows, schema=TABLES["waterfall"].schema, orient="row")


def relative(path: Path, root: Path) -> str:
    """Path relative to the cohort's folder, with forward slashes."""
    return path.relative_to(root).as_posix()
