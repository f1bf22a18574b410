"""Tables of text: what is read, that every line is in one row, and that no row takes another's lines."""

from __future__ import annotations

import gzip
import re
import time
import zipfile
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cxr_assets.cohorts import delimited, unpack
from cxr_assets.cohorts.delimited import ROW, SEPARATORS, parse_delimited, read_delimited
from cxr_assets.cohorts.delimited_records import LONGEST
from cxr_assets.errors import InputError


def table(tmp_path: Path, data: bytes, name: str = "t.csv", **options: bool):
    (tmp_path / name).write_bytes(data)
    return read_delimited(tmp_path / name, cohort="c", **options)


@pytest.mark.parametrize(
    "data",
    [b"a,b\nx,\xe9\n", "a,b\nx,é\n".encode(), "a,b\nx,é\n".encode("utf-8-sig"), "a,b\r\n\r\nx,é".encode("utf-16")],
)
def test_encodings_and_blank_lines(tmp_path: Path, data: bytes) -> None:
    assert table(tmp_path, data).rows.select("a", "b").rows() == [("x", "é")]


def test_bytes_that_windows_1252_leaves_undefined_are_read(tmp_path: Path) -> None:
    assert table(tmp_path, b"a\n\x81\n").rows["a"].to_list() == ["\x81"]


def test_rows_keep_their_line_and_ragged_ones_are_told_apart(tmp_path: Path) -> None:
    read = table(tmp_path, b"A a,,B_b,\n1,x,2\n\n3\n4,,5,,,\n6,,7,8,9\n")
    assert read.rows.rows() == [(2, "1", "2"), (5, "4", "5")]
    assert read.rows.columns == ["row", "aa", "bb"]
    assert read.ragged.rows() == [(4, "3"), (6, "6,,7,8,9")]
    assert read.read == 4


def test_a_stray_quote_spoils_its_own_line_only(tmp_path: Path) -> None:
    read = table(tmp_path, b'a,b\n"1,2\n"3,3",4\n5,6\n')
    assert read.rows.rows() == [(3, "3,3", "4"), (4, "5", "6")] and read.ragged["row"].to_list() == [2]


def parsed(text: str, **options: bool) -> tuple[pl.DataFrame, pl.DataFrame]:
    _, rows, ragged = parse_delimited(text.encode(), what="t", cohort="c", multiline=True, **options)
    return rows, ragged


def lines_by_row(rows: pl.DataFrame, ragged: pl.DataFrame) -> list[int]:
    """Lines that the rows are made of, in order; one that is in two rows stands twice."""
    lines = list(ragged[ROW])
    for number, *fields in rows.iter_rows():
        lines += range(number, number + 1 + sum(field.count("\n") for field in fields))
    return sorted(lines)


def lines_with_text(text: str) -> list[int]:
    """Lines after the header that are not blank."""
    blank = re.compile(r"\s*")
    return [n for n, line in enumerate(re.split("\r\n|\n|\r", text), 1) if n > 1 and not blank.fullmatch(line)]


REPORT = """Heart size, mediastinum, and lungs are normal.
No effusion,
1. Nodule, 4 mm, seen in T5,6.
"""


@pytest.mark.parametrize("quick", [True, False])
@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("pid,lab,rep", f'P2,0,"{REPORT}"'),
        ("pid,rep,lab", f'P2,"{REPORT}",0'),
        ("rep,pid,lab", f'"{REPORT}",P2,0'),
        ("pid,rep", f'P2,"{REPORT}"'),
        ("pid,rep,imp", f'P2,"{REPORT}","{REPORT}more, and more."'),
        ("pid,rep,x,", f'P2,"says ""mass"", small\n\n{REPORT}",0,'),
        (",".join("abcdefgh"), f'P2,1,2,3,4,5,6,"{REPORT}"'),
    ],
)
def test_reports_of_several_lines_are_read_as_they_stand(
    monkeypatch: pytest.MonkeyPatch, header: str, row: str, quick: bool
) -> None:
    if not quick:
        monkeypatch.setattr(delimited, "_at_once", lambda *_, **__: None)
    plain = ",".join(["P"] * header.count(","))
    rows, ragged = parsed(f"{header}\n{plain},x\n{row}\n{plain},y\n")
    assert ragged.is_empty() and rows.height == 3
    assert all(text in "".join(rows.row(1)[1:]).replace('"', "") for text in REPORT.replace('"', "").splitlines())


@pytest.mark.parametrize(
    ("lines", "good", "bad"),
    [
        # A quote that is never closed, in the last column and before it.
        (["1,a,x", '2,b,"open', "3,c,y", "4,d,z"], [2, 4, 5], [3]),
        (["1,a,x", '2,"b,open', "3,c,y", "4,d,z"], [2, 4, 5], [3]),
        # Two of them, with whole rows between, next to each other, in the first column, and before a field with quotes.
        (["1,a,x", '2,b,"open', "3,c,y", '4,d,end"', "5,e,w"], [2, 4, 5, 6], [3]),
        (['2,b,"open', '4,d,end"', "5,e,w"], [3, 4], [2]),
        (['"1,a,x', '2",b,y', "3,c,z"], [3, 4], [2]),
        (['1,"a,x', '2,b",y', "3,c,z"], [3, 4], [2]),
        (["1,a,x", '2,b,"open', '3,c,"Heart, lungs"', '4,d,"one\ntwo"'], [2, 4, 5], [3]),
        (["1,a,x", '2,b,"open', '3,c,"\nHeart, lungs"', "4,d,z"], [2, 4, 6], [3]),
        # Rows of one blank field and another are rows; a line of blanks is none.
        (["1,a,x", ",,", "  ", '2,b,"one\ntwo"'], [2, 3, 5], []),
    ],
)
def test_a_quote_that_nobody_closes_takes_no_other_row(lines: list[str], good: list[int], bad: list[int]) -> None:
    text = "\n".join(["pid,lab,rep", *lines]) + "\n"
    rows, ragged = parsed(text)
    assert lines_by_row(rows, ragged) == lines_with_text(text)
    assert (rows[ROW].to_list(), ragged[ROW].to_list()) == (good, bad)


def test_a_row_runs_over_no_more_lines_than_a_report_has() -> None:
    for lines, good in ((LONGEST, 2), (LONGEST + 1, 1)):
        text = 'a,b\n1,x\n2,"' + "\n".join(["word"] * lines) + '"\n'
        rows, ragged = parsed(text)
        assert rows.height == good and lines_by_row(rows, ragged) == lines_with_text(text)


def test_many_open_quotes_are_read_in_seconds() -> None:
    started = time.monotonic()
    for line in ('b",c,"d', '1,"x', '1,b,c,"', 'x"y,"'):
        text = "\n".join(["a,b,c,d,e", *[line] * 20_000])
        rows, ragged = parsed(text)
        assert lines_by_row(rows, ragged) == lines_with_text(text)
    assert time.monotonic() - started < 20


def test_a_blank_beside_each_comma_is_no_prose_where_the_header_has_it() -> None:
    rows, ragged = parsed('pid, lab, rep\n1, a,"open\n2, b, c\n3, c, end"\n4, d, e\n')
    assert rows["pid"].to_list() == ["2", "3", "4"] and ragged[ROW].to_list() == [2]


def test_a_header_with_an_open_quote_is_stated(tmp_path: Path) -> None:
    for multiline in (False, True):
        with pytest.raises(InputError, match=r"header line of t\.csv has a quote that is not closed"):
            table(tmp_path, b'a,"b\n1,2\nc",3\n', multiline=multiline)


def test_quoted_line_ends_where_they_are_allowed(tmp_path: Path) -> None:
    read = table(tmp_path, b'a,b\r\n"1\r\n2",3\r\n4,5\r\n', multiline=True)
    assert read.rows.rows() == [(2, "1\n2", "3"), (4, "4", "5")]


@pytest.mark.parametrize(
    ("data", "name", "words"),
    [
        (b"", "t.csv", "no header"),
        (b",,\n", "t.csv", "no header"),
        (b"a,A\n", "t.csv", "'a' twice"),
        (b"a\n", "t.csv.gz", "no gzip"),
    ],
)
def test_files_that_are_no_tables_are_stated(tmp_path: Path, data: bytes, name: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        table(tmp_path, data, name)


def test_a_file_that_cannot_be_read_is_stated(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read"):
        read_delimited(tmp_path / "none.csv", cohort="c")


@pytest.mark.parametrize("separator", SEPARATORS)
def test_the_separator_is_seen_in_the_header(tmp_path: Path, separator: str) -> None:
    data = separator.join(["a", "b", "c"]) + "\n" + separator.join(["1,5", "", "x"]) + "\n"
    if separator == ",":
        data = 'a,b,c\n"1,5",,x\n'
    assert table(tmp_path, data.encode(), separator=None).rows.rows() == [(2, "1,5", "", "x")]


CELL = st.text(alphabet=st.sampled_from('ab ,;"\n\r\té\x00\ufeff'), max_size=4)
QUOTED = CELL.map(lambda text: '"' + text.replace('"', '""') + '"')
TABLE = st.lists(st.lists(st.one_of(CELL, QUOTED), min_size=1, max_size=4).map(",".join), max_size=5)


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(TABLE, st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_reading_at_once_gives_what_reading_line_by_line_gives(
    monkeypatch: pytest.MonkeyPatch, lines: list[str], end: str, multiline: bool
) -> None:
    text = end.join(["x,y,z", *lines])
    quick = parse_delimited(text.encode(), what="t", cohort="c", multiline=multiline)
    with monkeypatch.context() as patch:
        patch.setattr(delimited, "_at_once", lambda *_, **__: None)
        slow = parse_delimited(text.encode(), what="t", cohort="c", multiline=multiline)
    assert quick[0] == slow[0]
    assert (quick[1].rows(), quick[2].rows()) == (slow[1].rows(), slow[2].rows())
    covered = lines_by_row(*quick[1:])
    assert len(set(covered)) == len(covered)
    assert set(lines_with_text(text)) <= set(covered)


WORD = st.text(alphabet="abc1", max_size=3)


@settings(max_examples=500, deadline=None)
@given(
    st.lists(st.tuples(WORD, WORD, WORD), min_size=2, max_size=6),
    st.integers(1, 4),
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 12)), max_size=4),
)
def test_stray_quotes_lend_no_row_the_text_of_another(
    fields: list[tuple[str, str, str]], width: int, quotes: list[tuple[int, int]]
) -> None:
    lines = [",".join([f"row{n}", *words][: width + 1]) for n, words in enumerate(fields)]
    for number, place in quotes:
        line = lines[number % len(lines)]
        lines[number % len(lines)] = f'{line[:place]}"{line[place:]}'
    text = "\n".join([",".join("abcd"[: width + 1]), *lines])
    rows, ragged = parsed(text)
    assert lines_by_row(rows, ragged) == lines_with_text(text)
    assert not any("\n" in field for _, *row in rows.iter_rows() for field in row)


def test_a_whole_table_is_read_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delimited, "records", lambda *_, **__: pytest.fail("was read line by line"))
    header, rows, ragged = parse_delimited(b'A,B b\r\n1,"x,y"\r\n2,\r\n', what="t", cohort="c")
    assert header == ("A", "B b") and ragged.is_empty()
    assert rows.rows() == [(2, "1", "x,y"), (3, "2", "")]


def test_a_whole_table_of_reports_is_read_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delimited, "records", lambda *_, **__: pytest.fail("was read line by line"))
    rows, _ = parsed(f'a,b,c\n1,"{REPORT}",2\n3,x,"{REPORT}"\n')
    assert rows[ROW].to_list() == [2, 6] and rows["b"][0] == REPORT == rows["c"][1]


def pack(path: Path, data: bytes) -> None:
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(data))
    else:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("t.csv", data)


@pytest.mark.parametrize("name", ["t.csv.gz", "t.csv.zip"])
def test_packed_tables_are_unpacked_so_far_as_tables_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    pack(tmp_path / name, b"a,b\n" + b"1,2\n" * 1000)
    monkeypatch.setattr(unpack, "_STEP", 100)
    assert read_delimited(tmp_path / name, cohort="c").rows.height == 1000
    monkeypatch.setattr(unpack, "LARGEST", 4003)
    with pytest.raises(
        InputError, match=r"t\.csv\.\w+ has \d+ bytes and unpacks to more than 4,003.*Nothing was written"
    ):
        read_delimited(tmp_path / name, cohort="c")


@pytest.mark.parametrize("name", ["t.csv.gz", "t.csv.zip"])
def test_what_is_packed_by_a_thousand_is_no_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    pack(tmp_path / name, b"a,b\n" + b"0" * 300_000)
    assert read_delimited(tmp_path / name, cohort="c").read == 1
    monkeypatch.setattr(unpack, "_EASY", 1000)
    with pytest.raises(InputError, match="which no table of films does"):
        read_delimited(tmp_path / name, cohort="c")
