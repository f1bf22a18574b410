"""Which lines of delimited text are one row, and which only look as if they were: quotes that nobody closed."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

LONGEST = 1000
"""Lines that one row may run over; no report is as long."""
_LINE_END = re.compile(r"\r\n|\n|\r")
_IN_QUOTES = re.compile(r'(?:[^"]|"")*')


@dataclass(frozen=True)
class Shape:
    """What the header says of a row.

    Attributes:
        separator: what stands between fields.
        least: fields up to the last column that has a name.
        width: fields of the header.
        is_spaced: whether blanks follow the header's own separators.
    """

    separator: str
    least: int
    width: int
    is_spaced: bool

    @classmethod
    def of(cls, header: str, names: Sequence[str], separator: str) -> Shape:
        """The shape that a header line gives, whose columns are called ``names`` here (some of them nothing)."""
        least = max(index for index, name in enumerate(names) if name) + 1
        return cls(separator, least, len(names), _reads_as_prose(header, separator))

    @property
    def marks(self) -> int:
        """Separators that a row has at least; none tells no row from a line of text, so one."""
        return max(self.least - 1, 1)

    def fits(self, fields: Sequence[str]) -> bool:
        """Whether fields are a row: they may lack or exceed the header's by empty ones only."""
        return len(fields) >= self.least and not any(fields[self.width :])

    def could_be_row(self, line: str, quoted: str | None = None) -> bool:
        """Whether a line that is partly inside a quoted field looks like a row of its own.

        It does where it has as many separators as a row, one of them in the quoted part, and that part does not read as
        prose. Prose is told by the blanks after its commas: most separators of a sentence are followed by a blank or by
        the line's end, few of a row are. Lines of a report seldom have exactly so many commas, and hardly ever without
        blanks; where one has, its row is refused rather than taken. In a table whose header has blanks after its
        separators, every line with as many separators counts as a row.

        Args:
            quoted: the part in quotes; None for a line that begins in quotes, up to the next quote.
        """
        if line.count(self.separator) < self.marks or line.rstrip(self.separator).count(self.separator) >= self.width:
            return False
        if quoted is None:
            quoted = line[: told.end()] if (told := _IN_QUOTES.match(line)) else line
        return self.separator in quoted and (self.is_spaced or not _reads_as_prose(quoted, self.separator))


def _reads_as_prose(text: str, separator: str) -> bool:
    """Whether blanks, or the end of several words, follow most separators."""
    plain = text.strip()
    spaced = text.count(f"{separator} ") + (plain.endswith(separator) and " " in plain)
    return 2 * spaced > text.count(separator)


def lines_of(text: str) -> list[str]:
    """Lines of a text, whatever ends them."""
    return _LINE_END.split(text)


def is_blank(line: str, separator: str) -> bool:
    """Whether a line holds nothing, not even an empty field beside another."""
    return not line.strip() and separator not in line


def fields_of(line: str, separator: str) -> list[str] | None:
    """Fields of a line by itself; None where a quote is left open, or a field is too long for a table."""
    if '"' not in line:
        return line.split(separator)
    fields, is_open = _parsed(line, separator)
    return None if is_open else fields


def _parsed(line: str, separator: str) -> tuple[list[str], bool]:
    """Fields of a line, and whether the last is still in quotes, or cannot be read, where the line ends."""
    reader = csv.reader(iter((line, "")), delimiter=separator)
    try:
        fields = next(reader)
    except csv.Error:
        return [line], True
    return fields, reader.line_num > 1


def records(lines: Sequence[str], shape: Shape, *, multiline: bool) -> Iterator[tuple[int, list[str] | None]]:
    """First line (from 0) and fields of every row of a table; None in place of fields where they are no row.

    A line is a row by itself unless a quote is left open on it. Where fields may hold line ends, it then runs on as
    ``spanning`` says. What does not is a malformed row of one line, and reading goes on with the next line: so a stray
    quote spoils its own line, and each line after it is judged, and counted, for itself.
    """
    start = 0
    while start < len(lines):
        line, used = lines[start], 1
        if is_blank(line, shape.separator):
            start += 1
            continue
        fields = fields_of(line, shape.separator)
        if fields is None and multiline:
            fields, used = spanning(lines, start, shape) or (None, 1)
        yield start, fields if fields is not None and shape.fits(fields) else None
        start += used


def spanning(lines: Sequence[str], start: int, shape: Shape) -> tuple[list[str], int] | None:
    """Fields of a row that runs over several lines inside quotes, and their number; None where it is not proven sound.

    It is sound where the quotes are closed before the text ends and within ``LONGEST`` lines, where every closing quote
    stands before a separator or a line's end, where the fields are as many as the header's, and where none of its lines
    could be a row of its own (``Shape.could_be_row``): else two stray quotes would make one row of the rows between
    them, and lend a patient's text to another.
    """

    if shape.could_be_row(lines[start], _parsed(lines[start], shape.separator)[0][-1]):
        return None

    marks = shape.marks

    def run_on() -> Iterator[str]:
        yield lines[start] + "\n"
        for line in lines[start + 1 : start + LONGEST]:
            if line.count(shape.separator) >= marks and shape.could_be_row(line):
                return
            yield line + "\n"

    reader = csv.reader(run_on(), delimiter=shape.separator, strict=True)
    try:
        fields = next(reader)
    except csv.Error:  # among others: the text is at its end, the quote is not
        return None
    return (fields, reader.line_num) if shape.least <= len(fields) <= shape.width else None
