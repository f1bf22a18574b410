"""Spreadsheet tables (``.xlsx``, ``.xls``, ``.ods``), read as text like delimited ones."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import polars as pl

from cxr_assets.cohorts.delimited import ROW, Delimited, column_names, normal_name, read_bytes
from cxr_assets.cohorts.unpack import most_of, too_large
from cxr_assets.errors import InputError

WORKBOOKS = (".xlsx", ".xls", ".xlsb", ".ods")


def read_workbook(
    path: Path, *, cohort: str, sheet: str | None = None, named: Callable[[str], str] = normal_name
) -> Delimited:
    """One sheet of a workbook, every cell as text; its header is the first row.

    Args:
        path: the file.
        cohort: named in errors.
        sheet: its name; None takes the first.
        named: from a published column name to the one that the column has here.

    Raises:
        InputError: for a file that is no workbook, would unpack to more than a table is long, lacks the sheet, has no
            header or names a column twice.
    """
    data = read_bytes(path, cohort=cohort)
    if _unpacked_size(data) > most_of(len(data)):
        raise too_large(path, len(data), cohort=cohort)
    try:
        frame = pl.read_excel(
            io.BytesIO(data),
            sheet_id=None if sheet else 1,
            sheet_name=sheet,
            engine="calamine",
            has_header=False,
            infer_schema_length=0,
            drop_empty_rows=False,
            raise_if_empty=False,
        )
    except Exception as error:  # a damaged workbook may raise anything from inside its reader
        raise InputError(f"cohort {cohort!r}: {path.name} cannot be read as a workbook ({error}).") from error
    cells = frame.cast(pl.String).fill_null("")
    header = tuple(cells.row(0)) if cells.height else ()
    names = column_names(header, named)
    there = [name for name in names if name]
    if not there or len(set(there)) < len(there):
        what = "names a column twice" if there else "has no header row"
        raise InputError(f"cohort {cohort!r}: {path.name} {what}. Nothing was written.")
    body = cells.slice(1)
    columns = [pl.col(old).alias(name) for old, name in zip(cells.columns, names, strict=True) if name]
    rows = body.select(columns).insert_column(
        0, pl.int_range(2, body.height + 2, dtype=pl.Int64, eager=True).alias(ROW)
    )
    blank = pl.all_horizontal(pl.col(there).str.strip_chars() == "")
    return Delimited(
        path=path,
        digest=hashlib.sha256(data).hexdigest(),
        size=len(data),
        header=header,
        rows=rows.filter(~blank),
        ragged=pl.DataFrame(schema={ROW: pl.Int64, "line": pl.String}),
    )


def _unpacked_size(data: bytes) -> int:
    """Bytes that a workbook unpacks to by its own directory; 0 where it is packed in no zip, as old ones are."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return sum(part.file_size for part in archive.infolist())
    except (zipfile.BadZipFile, NotImplementedError):
        return 0
