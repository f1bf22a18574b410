"""Tables of text as people send them: any line end, encoding or separator, ragged rows told apart from good ones."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import re
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from cxr_assets.errors import InputError

ROW = "row"
"""Column that holds the line in the file, the header being line 1."""
SEPARATORS = (",", ";", "\t", "|")
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
        multiline: whether a quoted field may hold line ends. Where it may not, every line is parsed by itself, so that
            a stray quote spoils its own line only.
        separator: what stands between fields; None takes the one of ``SEPARATORS`` that the header has most of.
        encoding: of the text; None finds it (``decode``).
        named: from a published column name to the one that the column has here; ``str.strip`` keeps what stands there.

    Returns:
        Columns under their normal names (``named``); columns without a name are dropped. A row may lack or
        exceed the header's fields by empty ones only, else it is ragged.

    Raises:
        InputError: for a file that cannot be read, has no header or names a column twice.
    """
    data = read_bytes(path, cohort=cohort)
    plain = _unpacked(data, path, cohort=cohort)
    try:
        plain = plain if encoding is None else plain.decode(encoding).encode()
    except UnicodeError as error:
        raise InputError(f"cohort {cohort!r}: {path.name} is not {encoding} ({error}). Nothing was written.") from error
    header, rows, ragged = parse_delimited(
        plain, what=path.name, cohort=cohort, multiline=multiline, separator=separator, named=named
    )
    return Delimited(path, hashlib.sha256(data).hexdigest(), len(data), header, rows, ragged)


def _unpacked(data: bytes, path: Path, *, cohort: str) -> bytes:
    """The text in a file, or InputError where it is not packed as its name says."""
    try:
        if path.suffix == ".gz":
            return gzip.decompress(data)
        if path.suffix == ".zip":
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                tables = [name for name in archive.namelist() if not name.startswith("__MACOSX/")]
                if len(tables) != 1:
                    raise InputError(
                        f"cohort {cohort!r}: {path.name} holds {len(tables)} files, expected one table."
                        " Unpack it, and leave the table. Nothing was written."
                    )
                return archive.read(tables[0])
    except (OSError, EOFError, RuntimeError, NotImplementedError, zlib.error, zipfile.BadZipFile) as error:
        packing = {".gz": "gzip", ".zip": "zip"}[path.suffix]
        raise InputError(
            f"cohort {cohort!r}: {path.name} is no {packing} file ({error}). Nothing was written."
        ) from error
    return data


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
    whole = _at_once(data, separator, multiline=multiline)
    if whole is not None:
        header, columns, lines = whole
        names = _names(header, what, cohort, named)
        rows = pl.DataFrame([column.alias(name) for name, column in zip(names, columns, strict=True) if name])
        none = pl.DataFrame(schema={ROW: pl.Int64, "line": pl.String})
        return tuple(header), rows.insert_column(0, lines.alias(ROW)), none
    records = _records(data.decode(), separator, multiline=multiline)
    _, header = next(records, (0, []))
    names = _names(header, what, cohort, named)
    width = len(names)
    least = max(index for index, name in enumerate(names) if name) + 1
    good: list[list[str]] = []
    numbers: list[int] = []
    bad: list[tuple[int, str]] = []
    for number, fields in records:
        if len(fields) < least or any(fields[width:]):
            bad.append((number, separator.join(fields)[:200]))
        else:
            numbers.append(number)
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
        plain = data.removeprefix(b"\xef\xbb\xbf")
        try:
            plain.decode()
        except UnicodeDecodeError:
            pass
        else:
            return plain
    return decode(data).encode(errors="replace")


def _names(header: list[str], what: str, cohort: str, named_as: Callable[[str], str]) -> list[str]:
    """Names of a header as wanted. Raises InputError where there is none or one comes twice."""
    names = column_names(header, named_as)
    if not any(names):
        raise InputError(f"cohort {cohort!r}: {what} has no header line. Fetch it again. Nothing was written.")
    named = [name for name in names if name]
    if repeated := sorted({name for name in named if named.count(name) > 1}):
        raise InputError(f"cohort {cohort!r}: {what} names column {repeated[0]!r} twice. Nothing was written.")
    return names


def _at_once(data: bytes, separator: str, *, multiline: bool) -> tuple[list[str], list[pl.Series], pl.Series] | None:
    """Header, columns and line numbers, or None where not every row is proven to have as many fields as the header."""
    first, _, body = data.partition(b"\n")
    body = body.rstrip(b"\r\n")
    header = _one(first.rstrip(b"\r").decode(), separator)
    width, mark = len(header), separator.encode()
    if width < 2 or not body or first.count(b'"') % 2 or not first.strip():
        return None
    if body[:1] in b"\r\n" or b"\n\n" in body or b"\n\r\n" in body or body.count(b"\r") != body.count(b"\r\n"):
        return None
    if b"\r" in first.rstrip(b"\r"):
        return None
    quoted = b'"' in body
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
    breaks = within = 0
    lines = pl.int_range(2, frame.height + 2, dtype=pl.Int64, eager=True)
    if quoted:
        ends = frame.select(pl.sum_horizontal(pl.all().str.count_matches("\n", literal=True))).to_series()
        breaks = int(ends.sum())
        within = int(frame.select(pl.sum_horizontal(pl.all().str.count_matches(separator, literal=True)).sum()).item())
        lines = lines + ends.cast(pl.Int64).cum_sum().shift(1, fill_value=0)
        # A quote that is never closed swallows the lines after it, which the counts below tell; on the last line it has
        # nothing to swallow, and the two readers differ in what they make of it.
        last = body[body.rfind(b"\n") + 1 :].decode()
        if _one(last, separator)[-1] != frame.item(-1, -1):
            return None
    if breaks and not multiline:
        return None
    if multiline and frame.select(pl.all_horizontal(pl.all().str.strip_chars() == "").any()).item():
        return None
    if frame.height + breaks != body.count(b"\n") + 1 or body.count(mark) - within != frame.height * (width - 1):
        return None
    return header, frame.get_columns(), lines


def _records(text: str, separator: str, *, multiline: bool) -> Iterator[tuple[int, list[str]]]:
    """Line number and fields of every line that is not blank."""
    if multiline:
        return _whole(text, separator)
    lines = _LINE_END.split(text)
    if '"' in text:
        return ((number, _one(line, separator)) for number, line in enumerate(lines, start=1) if line.strip())
    return ((number, line.split(separator)) for number, line in enumerate(lines, start=1) if line.strip())


def _one(line: str, separator: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=separator))
    except csv.Error:
        return [line]


def _whole(text: str, separator: str) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(_keep_ends(text), delimiter=separator)
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
