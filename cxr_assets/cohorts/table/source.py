"""Rows of a mapped file as text, whatever the file is: delimited text, Parquet, a workbook, DuckDB."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import polars as pl

from cxr_assets.cohorts.delimited import ROW, Delimited, column_names, normal_name, read_delimited
from cxr_assets.cohorts.film_folder import is_inside
from cxr_assets.cohorts.table.mapping import TableFile
from cxr_assets.cohorts.workbook import WORKBOOKS, read_workbook
from cxr_assets.errors import InputError, did_you_mean

DUCKDB = (".duckdb", ".ddb", ".db")


def read_table(root: Path, part: TableFile, *, multiline: bool, cohort: str) -> Delimited:
    """The rows of one mapped file, columns under the names that the file has (trimmed).

    Args:
        root: the cohort's folder; the file lies inside, links included.
        part: which file, which part of it and how it is written.
        multiline: whether a quoted field may hold line ends where ``part`` does not say.

    Raises:
        InputError: for a file that is missing, outside, or cannot be read as what its name says.
    """
    path = root / part.file
    if not path.is_file():
        raise InputError(f"cohort {cohort!r}: table {part.file} is not under {root}. Nothing was written.")
    if not is_inside(path.resolve(), root.resolve()):
        raise InputError(
            f"cohort {cohort!r}: table {part.file} is a link that leaves the cohort's folder; copy the file there."
            " Nothing was written."
        )
    suffix = path.suffix.lower()
    if (part.table or part.query) and suffix not in DUCKDB:
        raise InputError(
            f"cohort {cohort!r}: {part.file} has a table or query, which only a DuckDB file ({', '.join(DUCKDB)}) has."
            " Nothing was written."
        )
    if suffix in WORKBOOKS:
        return read_workbook(path, cohort=cohort, sheet=part.sheet, named=str.strip)
    if suffix in DUCKDB or suffix in (".parquet", ".pq"):
        frame = _from_duckdb(path, part, cohort=cohort) if suffix in DUCKDB else _from_parquet(path, cohort=cohort)
        return _typed(path, frame, cohort=cohort)
    separator = "\t" if part.separator == "tab" else part.separator
    return read_delimited(
        path,
        cohort=cohort,
        multiline=multiline if part.multiline is None else part.multiline,
        separator=separator,
        encoding=part.encoding,
        named=str.strip,
    )


def column_of(table: Delimited, wanted: str, *, cohort: str) -> str:
    """The column that a mapping names: the same text, else the one that is the same but for case and punctuation.

    Raises:
        InputError: where there is none, or several are.
    """
    names = table.rows.columns[1:]
    if (exact := column_names([wanted], str.strip)[0]) in names:
        return exact
    near = [name for name in names if normal_name(wanted) and normal_name(name) == normal_name(wanted)]
    if len(near) == 1:
        return near[0]
    raise InputError(
        f"cohort {cohort!r}: {table.path.name} has {'several columns like' if near else 'no column'} {wanted!r}."
        f"{did_you_mean(wanted, names)} Seen: {', '.join(names)}. Name one of them in the mapping."
        " Nothing was written."
    )


def _from_parquet(path: Path, *, cohort: str) -> pl.DataFrame:
    try:
        return pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise InputError(
            f"cohort {cohort!r}: {path.name} is no Parquet file ({error}). Nothing was written."
        ) from error


def _from_duckdb(path: Path, part: TableFile, *, cohort: str) -> pl.DataFrame:
    """A table or query of a DuckDB file, opened so that it can neither be changed nor reach another file."""
    import duckdb

    config: dict[str, str | bool | int | float | list[str]] = {
        "enable_external_access": "false",
        "threads": "1",
    }  # one thread: rows come in the order they lie in
    try:
        with duckdb.connect(os.fspath(path), read_only=True, config=config) as con:
            tables = [
                name
                for (name,) in con.execute(
                    "select table_name from duckdb_tables() where not internal"
                    " union all select view_name from duckdb_views() where not internal order by 1"
                ).fetchall()
            ]
            if not part.query and part.table not in tables and not (part.table is None and len(tables) == 1):
                raise InputError(
                    f"cohort {cohort!r}: {path.name} holds the tables {', '.join(tables) or '(none)'}; the mapping"
                    f" {f'names {part.table!r}' if part.table else 'names none of them'}. Nothing was written."
                )
            quoted = (part.table or "".join(tables[:1])).replace('"', '""')
            made: pl.DataFrame = pl.from_arrow(con.sql(part.query or f'from "{quoted}"').to_arrow_table())  # type: ignore[assignment]
            return made
    except duckdb.Error as error:
        raise InputError(
            f"cohort {cohort!r}: {path.name} cannot be read by DuckDB ({error}). It is opened read-only, and a query"
            " sees nothing but that file. Nothing was written."
        ) from error


def _typed(path: Path, frame: pl.DataFrame, *, cohort: str) -> Delimited:
    """A frame with types as a table of text; rows are numbered as if a header were line 1."""
    text = frame.select(column for name in frame.columns if (column := _text(frame[name])) is not None)
    names = column_names(text.columns, str.strip)
    if len(set(names)) < len(names) or not names:
        raise InputError(
            f"cohort {cohort!r}: {path.name} has no columns, or names one twice: {', '.join(names)}."
            " Nothing was written."
        )
    text.columns = names
    rows = text.insert_column(0, pl.int_range(2, text.height + 2, dtype=pl.Int64, eager=True).alias(ROW))
    with path.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    none = pl.DataFrame(schema={ROW: pl.Int64, "line": pl.String})
    return Delimited(path, digest, path.stat().st_size, tuple(names), rows, none)


def _text(column: pl.Series) -> pl.Series | None:
    """A column as text, None for one that is none (bytes, structures). Lists of text are joined by '|'.

    Whole numbers that are held as floats, as tools do for the sake of gaps, lose their ``.0``.
    """
    kind = column.dtype
    if kind == pl.List(pl.String):
        return column.list.join("|").fill_null("")
    if kind.is_nested() or kind in (pl.Binary, pl.Object):
        return None
    if kind.is_float():
        column = column.fill_nan(None)
        whole = column.drop_nulls()
        if ((whole == whole.round()) & (whole.abs() < 2**53)).all():
            return column.cast(pl.Int64).cast(pl.String).fill_null("")
    return column.cast(pl.String).fill_null("")
