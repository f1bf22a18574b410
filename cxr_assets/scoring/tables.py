"""Tables as people keep them: files of any separator or frames of polars or pandas, with the line of every row."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from cxr_assets.cohorts.delimited import ROW, parse_delimited
from cxr_assets.cohorts.table.mapping import MISSING
from cxr_assets.cohorts.unpack import unpacked
from cxr_assets.errors import InputError

LINE = "\0line"
"""Column with the line of a text file (header: line 1) or the row of a table; no column of anybody's is called so."""
_SHOWN = 40


@dataclass(frozen=True)
class Table:
    """A table as received: ``rows`` with LINE in front; ``digest`` SHA-256 of the file, None for a frame."""

    name: str
    digest: str | None
    rows: pl.DataFrame
    unit: str

    @property
    def columns(self) -> list[str]:
        return self.rows.columns[1:]

    def at(self, line: object) -> str:
        return f"{self.unit} {line}"


def refuse(where: str, problems: Sequence[str], seen: Sequence[str] = ()) -> None:
    """Raise InputError that tells all problems of one input, if there are any, and what columns were ``seen``."""
    more = " …" if len(seen) > _SHOWN else ""
    columns = f"Columns seen: {', '.join(seen[:_SHOWN])}{more}. " if seen else ""
    if len(problems) == 1:
        raise InputError(f"{where}: {problems[0]} {columns}Nothing was written.")
    if problems:
        listed = "".join(f"\n  - {problem}" for problem in problems)
        raise InputError(f"{where}: {len(problems)} things to mend.{listed}\n{columns}Nothing was written.")


def read_table(source: object, name: str) -> Table:
    """Rows of a file or a frame of polars or pandas; text files of any separator and encoding.

    Args:
        name: what a frame is called in errors; a file is called by its own name.

    Raises:
        InputError: for what cannot be read, ragged rows, or a column that stands twice.
    """
    if isinstance(source, Path | str):
        return _read_file(Path(source))
    if type(source).__module__.partition(".")[0] == "pandas" and hasattr(source, "columns"):
        frame: Any = source
        if any(level is not None for level in frame.index.names):
            frame = frame.reset_index()
        if not frame.columns.is_unique:
            raise InputError(f"{name}: the frame names a column twice. Nothing was written.")
        try:
            source = pl.from_pandas(frame.rename(columns=str))
        except (TypeError, ValueError, pl.exceptions.PolarsError) as error:
            raise InputError(
                f"{name}: the pandas frame mixes kinds in a column: {error}. Nothing was written."
            ) from error
    if not isinstance(source, pl.DataFrame):
        kind = type(source).__name__
        raise InputError(f"{name}: a {kind} is no table. Give a path, or a DataFrame of polars or pandas.")
    return Table(name, None, _numbered(source), "row")


def _read_file(path: Path) -> Table:
    name, form = path.name, path.name.lower().removesuffix(".gz")
    if not form.endswith((".parquet", ".csv", ".tsv")):
        raise InputError(f"{name}: give .parquet, .csv or .tsv (text may be .gz). Nothing was written.")
    try:
        data = path.read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        if form.endswith(".parquet"):
            return Table(name, digest, _numbered(pl.read_parquet(data)), "row")
    except (OSError, pl.exceptions.PolarsError) as error:
        why = getattr(error, "strerror", None) or error
        raise InputError(f"{name} cannot be read: {why}. Nothing was written.") from error
    separator = "\t" if form.endswith(".tsv") else None
    try:
        plain = unpacked(data, path, cohort="")
        _, rows, ragged = parse_delimited(plain, what=name, cohort="", separator=separator, named=str.strip)
    except InputError as error:
        raise InputError(str(error).removeprefix("cohort '': ")) from error
    if ragged.height:
        raise InputError(
            f"{name}: {ragged.height} lines have not as many fields as the header, first line {ragged[ROW][0]}."
            " Quote fields that hold the separator. Nothing was written."
        )
    # The reader moves a column that is called as its own line number out of the way; it gets its name back.
    return Table(name, digest, rows.rename({ROW: LINE}).rename({f"{ROW} ": ROW}, strict=False), "line")


def _numbered(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_row_index(LINE, offset=1).with_columns(pl.col(LINE).cast(pl.Int64))


def as_text(column: pl.Series) -> pl.Series:
    """A column as trimmed text, null where empty; whole numbers that are held as floats lose their ``.0``."""
    if column.dtype.is_float():
        column = column.fill_nan(None)
        whole = column.drop_nulls()
        if ((whole == whole.round()) & (whole.abs() < 2**53)).all():
            column = column.cast(pl.Int64)
    if column.dtype.is_nested() or column.dtype in (pl.Binary, pl.Object):
        raise InputError(f"column {column.name!r} holds no plain values ({column.dtype}). Nothing was written.")
    return column.cast(pl.String).str.strip_chars().replace({"": None})


def written(text: pl.Series, missing: Sequence[str] = MISSING) -> pl.Series:
    """Text with null for words that mean nothing was written, whatever their case."""
    said = ~pl.col(text.name).str.to_lowercase().is_in(list(missing))
    return text.to_frame().select(pl.when(said).then(pl.col(text.name)).alias(text.name)).to_series()


def numbers(column: pl.Series) -> tuple[pl.Series, pl.Series]:
    """A column as float64 with null where nothing was written, and which cells are text."""
    if column.dtype.is_numeric() or column.dtype == pl.Boolean:
        value = column.cast(pl.Float64).fill_nan(None)
        return value, pl.Series([False]).new_from_index(0, len(column))
    text = written(as_text(column))
    value = text.cast(pl.Float64, strict=False).fill_nan(None)
    return value, text.is_not_null() & value.is_null()
