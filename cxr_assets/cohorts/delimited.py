"""Comma-separated tables as people send them: any line end or encoding, ragged rows told apart from good ones."""

from __future__ import annotations

import csv
import gzip
import hashlib
import re
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from cxr_assets.errors import InputError

ROW = "row"
"""Column that holds the line in the file, the header being line 1."""
_LINE_END = re.compile(r"\r\n|\n|\r")


@dataclass(frozen=True)
class Delimited:
    """A table as read: all text, with the line of every row, and the rows that do not have the header's shape."""

    path: Path
    digest: str
    size: int
    header: tuple[str, ...]
    rows: pl.DataFrame
    ragged: pl.DataFrame

    @property
    def read(self) -> int:
        """Rows in the file, blank lines and header not counted."""
        return self.rows.height + self.ragged.height


def normal_name(name: str) -> str:
    """A column name reduced to its letters and digits, lower case."""
    return re.sub(r"[^a-z0-9]+", "", name.lower())


def decode(data: bytes) -> str:
    """Text of a file: UTF-8 or UTF-16 with a mark, UTF-8, else Windows-1252 (undefined bytes as Latin-1)."""
    for encoding in (
        ("utf-16", "utf-8-sig", "cp1252") if data[:2] in (b"\xff\xfe", b"\xfe\xff") else ("utf-8-sig", "cp1252")
    ):
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    return data.decode("latin-1")


def read_bytes(path: Path, *, cohort: str) -> bytes:
    """Bytes of an input file. Raises InputError where it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(
            f"cohort {cohort!r}: cannot read {path}: {error.strerror or error}. Nothing was written."
        ) from error


def read_delimited(path: Path, *, cohort: str, multiline: bool = False) -> Delimited:
    """Read a comma-separated file, gzipped if its name ends in ``.gz``.

    Args:
        path: the file.
        cohort: named in errors.
        multiline: whether a quoted field may hold line ends. Where it may not, every line is parsed by itself, so that
            a stray quote spoils its own line only.

    Returns:
        Columns under their normal names (``normal_name``); columns without a name are dropped. A row may lack or
        exceed the header's fields by empty ones only, else it is ragged.

    Raises:
        InputError: for a file that cannot be read, has no header or names a column twice.
    """
    data = read_bytes(path, cohort=cohort)
    try:
        text = decode(gzip.decompress(data) if path.suffix == ".gz" else data)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"cohort {cohort!r}: {path.name} is no gzip file ({error}). Nothing was written.") from error
    records = _records(text, multiline=multiline)
    _, header = next(records, (0, []))
    names = [normal_name(name) for name in header]
    if not any(names):
        raise InputError(f"cohort {cohort!r}: {path.name} has no header line. Fetch it again. Nothing was written.")
    named = [name for name in names if name]
    if repeated := sorted({name for name in named if named.count(name) > 1}):
        raise InputError(f"cohort {cohort!r}: {path.name} names column {repeated[0]!r} twice. Nothing was written.")
    width = len(names)
    least = max(index for index, name in enumerate(names) if name) + 1
    good: list[list[str]] = []
    lines: list[int] = []
    ragged: list[tuple[int, str]] = []
    for line, fields in records:
        if len(fields) < least or any(fields[width:]):
            ragged.append((line, ",".join(fields)[:200]))
        else:
            lines.append(line)
            good.append(fields)
    columns = {name: [fields[index] for fields in good] for index, name in enumerate(names) if name}
    schema = dict.fromkeys(columns, pl.String)
    rows = pl.DataFrame(columns, schema=schema).insert_column(0, pl.Series(ROW, lines, dtype=pl.Int64))
    return Delimited(
        path=path,
        digest=hashlib.sha256(data).hexdigest(),
        size=len(data),
        header=tuple(header),
        rows=rows,
        ragged=pl.DataFrame(ragged, schema={ROW: pl.Int64, "line": pl.String}, orient="row"),
    )


def _records(text: str, *, multiline: bool) -> Iterator[tuple[int, list[str]]]:
    """Line number and fields of every line that is not blank."""
    if multiline:
        return _whole(text)
    lines = _LINE_END.split(text)
    if '"' in text:
        return ((number, _one(line)) for number, line in enumerate(lines, start=1) if line.strip())
    return ((number, line.split(",")) for number, line in enumerate(lines, start=1) if line.strip())


def _one(line: str) -> list[str]:
    try:
        return next(csv.reader([line]))
    except csv.Error:
        return [line]


def _whole(text: str) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(_keep_ends(text))
    start = 1
    while True:
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            fields = [f"unreadable: {error}"]
        if any(field.strip() for field in fields):
            yield start, fields
        start = reader.line_num + 1


def _keep_ends(text: str) -> Iterable[str]:
    return (line + "\n" for line in _LINE_END.split(text))
