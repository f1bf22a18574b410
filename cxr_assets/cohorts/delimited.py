"""Tables of text as people send them: any line end, encoding or separator, ragged rows told apart from good ones."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from cxr_assets.cohorts.delimited_records import Shape, fields_of, is_blank, lines_of, records, spanning
from cxr_assets.cohorts.unpack import unpacked
from cxr_assets.errors import InputError

ROW = "row"
"""Column that holds the line in the file, the header being line 1."""
_MARK = b"\xef\xbb\xbf"
"""Byte order mark of UTF-8; further down in a file it is a character like others."""
SEPARATORS = (",", ";", "\t", "|")


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


def column_names(header: Iterable[str], named: Callable[[str], str]) -> list[str]:
    """Names that the columns of a header have here; one that is called ``row`` makes room for the line's number."""
    return [f"{name} " if name == ROW else name for name in map(named, header)]


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


def read_delimited(
    path: Path,
    *,
    cohort: str,
    multiline: bool = False,
    separator: str | None = ",",
    encoding: str | None = None,
    named: Callable[[str], str] = normal_name,
) -> Delimited:
    """Read a table of delimited text; gzipped if its name ends in ``.gz``, alone in a zip if it ends in ``.zip``.

    Args:
        path: the file.
        cohort: named in errors.
        multiline: whether a quoted field may hold line ends. A stray quote spoils its own line only, whether it may or
            not; how rows of several lines are told from it is said at ``delimited_records.spanning``.
        separator: what stands between fields; None takes the one of ``SEPARATORS`` that the header has most of.
        encoding: of the text; None finds it (``decode``).
        named: from a published column name to the one that the column has here; ``str.strip`` keeps what stands there.

    Returns:
        Columns under their normal names (``named``); columns without a name are dropped. A row may lack or
        exceed the header's fields by empty ones only, else it is ragged; so it is where a quote is left open. Every line
        that is not blank belongs to one row, and a ragged row is one line.

    Raises:
        InputError: for a file that cannot be read, has no header or names a column twice.
    """
    data = read_bytes(path, cohort=cohort)
    plain = unpacked(data, path, cohort=cohort)
    try:
        plain = plain if encoding is None else plain.decode(encoding).encode()
    except UnicodeError as error:
        raise InputError(f"cohort {cohort!r}: {path.name} is not {encoding} ({error}). Nothing was written.") from error
    header, rows, ragged = parse_delimited(
        plain, what=path.name, cohort=cohort, multiline=multiline, separator=separator, named=named
    )
    return Delimited(path, hashlib.sha256(data).hexdigest(), len(data), header, rows, ragged)


def parse_delimited(
    data: bytes,
    *,
    what: str,
    cohort: str,
    multiline: bool = False,
    separator: str | None = ",",
    named: Callable[[str], str] = normal_name,
) -> tuple[tuple[str, ...], pl.DataFrame, pl.DataFrame]:
    """Header, sound rows and ragged rows of delimited text; see ``read_delimited``.

    Rows are parsed all at once where a count of separators and line ends proves that each has the header's shape, and
    line by line where it does not.
    """
    data = _utf8(data)
    if separator is None:
        line = data[: data.find(b"\n")] if b"\n" in data else data
        separator = max(SEPARATORS, key=lambda mark: line.count(mark.encode()))
    whole = _at_once(data, separator, what=what, cohort=cohort, multiline=multiline, named=named)
    if whole is not None:
        return whole
    lines = lines_of(data.decode())
    top = next((index for index, line in enumerate(lines) if not is_blank(line, separator)), len(lines))
    header = _header(lines[top] if top < len(lines) else "", separator, what, cohort)
    names = _names(header, what, cohort, named)
    good: list[list[str]] = []
    numbers: list[int] = []
    bad: list[tuple[int, str]] = []
    shape = Shape.of(lines[top], names, separator)
    after = lines[top + 1 :]
    for start, fields in records(after, shape, multiline=multiline):
        if fields is None:
            bad.append((top + start + 2, after[start][:200]))
        else:
            numbers.append(top + start + 2)
            good.append(fields)
    found = {name: [fields[index] for fields in good] for index, name in enumerate(names) if name}
    rows = pl.DataFrame(found, schema=dict.fromkeys(found, pl.String))
    rows = rows.insert_column(0, pl.Series(ROW, numbers, dtype=pl.Int64))
    return tuple(header), rows, pl.DataFrame(bad, schema={ROW: pl.Int64, "line": pl.String}, orient="row")


def _utf8(data: bytes) -> bytes:
    """The same text in UTF-8 without a mark."""
    if data.isascii():
        return data
    if data[:2] not in (b"\xff\xfe", b"\xfe\xff"):
        plain = data.removeprefix(_MARK)
        try:
            plain.decode()
        except UnicodeDecodeError:
            pass
        else:
            return plain
    return decode(data).encode(errors="replace")


def _header(line: str, separator: str, what: str, cohort: str) -> list[str]:
    """Fields of a header line. Raises InputError where it leaves a quote open."""
    header = fields_of(line, separator)
    if header is None:
        raise InputError(
            f"cohort {cohort!r}: the header line of {what} has a quote that is not closed on it. Write the header on one"
            " line. Nothing was written."
        )
    return header


def _names(header: list[str], what: str, cohort: str, named_as: Callable[[str], str]) -> list[str]:
    """Names of a header as wanted. Raises InputError where there is none or one comes twice."""
    names = column_names(header, named_as)
    if not any(names):
        raise InputError(f"cohort {cohort!r}: {what} has no header line. Fetch it again. Nothing was written.")
    named = [name for name in names if name]
    if repeated := sorted({name for name in named if named.count(name) > 1}):
        raise InputError(f"cohort {cohort!r}: {what} names column {repeated[0]!r} twice. Nothing was written.")
    return names


def _at_once(
    data: bytes, separator: str, *, what: str, cohort: str, multiline: bool, named: Callable[[str], str]
) -> tuple[tuple[str, ...], pl.DataFrame, pl.DataFrame] | None:
    """As ``parse_delimited``, or None where not every row is proven to have the header's shape."""
    first, _, body = data.partition(b"\n")
    body = body.rstrip(b"\r\n")
    top = first.rstrip(b"\r").decode()
    if not body or not top.strip() or "\r" in top:
        return None
    header = fields_of(top, separator)
    if header is None or len(header) < 2:
        return None
    if (
        body.startswith(_MARK)
        or body[:1] in b"\r\n"
        or b"\n\n" in body
        or b"\n\r\n" in body
        or body.count(b"\r") != body.count(b"\r\n")
    ):
        return None
    quoted, width, mark = b'"' in body, len(header), separator.encode()
    if body.count(b'"') % 2:
        return None
    if quoted and multiline:
        body = body.replace(b"\r\n", b"\n")
    try:
        frame = pl.read_csv(
            body,
            has_header=False,
            separator=separator,
            quote_char='"' if quoted else None,
            schema={str(index): pl.String for index in range(width)},
            infer_schema=False,
            empty_string_is_null=False,
        )
    except pl.exceptions.PolarsError:
        return None
    names = _names(header, what, cohort, named)
    breaks = within = 0
    numbers = pl.int_range(2, frame.height + 2, dtype=pl.Int64, eager=True)
    if quoted:
        ends = frame.select(pl.sum_horizontal(pl.all().str.count_matches("\n", literal=True))).to_series()
        breaks = int(ends.sum())
        within = int(frame.select(pl.sum_horizontal(pl.all().str.count_matches(separator, literal=True)).sum()).item())
        numbers = numbers + ends.cast(pl.Int64).cum_sum().shift(1, fill_value=0)
    if breaks and not multiline:
        return None
    if frame.height + breaks != body.count(b"\n") + 1 or body.count(mark) - within != frame.height * (width - 1):
        return None
    if quoted and not _agrees(frame, ends, numbers, body, Shape.of(top, names, separator)):
        return None
    rows = pl.DataFrame([frame.to_series(index).alias(name) for index, name in enumerate(names) if name])
    none = pl.DataFrame(schema={ROW: pl.Int64, "line": pl.String})
    return tuple(header), rows.insert_column(0, numbers.alias(ROW)), none


def _agrees(frame: pl.DataFrame, ends: pl.Series, numbers: pl.Series, body: bytes, shape: Shape) -> bool:
    """Whether rows that are read at once and run over several lines are what ``spanning`` makes of them.

    A quote that nobody closes swallows lines, so that such a row shows it. The last line has nothing to swallow, and is
    looked at by itself.
    """
    long = ends > 0
    if long.any():
        lines = body.split(b"\n")
        places = zip(numbers.filter(long), ends.filter(long), frame.filter(long).iter_rows(), strict=True)
        for number, more, row in places:
            part = [line.decode() for line in lines[number - 2 : number - 1 + more]]
            if spanning(part, 0, shape) != (list(row), more + 1):
                return False
    if long[-1]:
        return True
    return fields_of(body[body.rfind(b"\n") + 1 :].decode().rstrip("\r"), shape.separator) == list(frame.row(-1))
