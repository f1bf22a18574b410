from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cxr_assets.cohorts import delimited
from cxr_assets.cohorts.delimited import SEPARATORS, parse_delimited, read_delimited
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


CELL = st.text(alphabet=st.sampled_from('ab ,;"\n\r\té\x00'), max_size=4)
QUOTED = CELL.map(lambda text: '"' + text.replace('"', '""') + '"')
TABLE = st.lists(st.lists(st.one_of(CELL, QUOTED), min_size=1, max_size=4).map(",".join), max_size=5)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(TABLE, st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_reading_at_once_gives_what_reading_line_by_line_gives(
    monkeypatch: pytest.MonkeyPatch, lines: list[str], end: str, multiline: bool
) -> None:
    data = end.join(["x,y,z", *lines]).encode()
    quick = parse_delimited(data, what="t", cohort="c", multiline=multiline)
    with monkeypatch.context() as patch:
        patch.setattr(delimited, "_at_once", lambda *_, **__: None)
        slow = parse_delimited(data, what="t", cohort="c", multiline=multiline)
    assert quick[0] == slow[0]
    assert (quick[1].rows(), quick[2].rows()) == (slow[1].rows(), slow[2].rows())


def test_a_whole_table_is_read_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delimited, "_records", lambda *_, **__: pytest.fail("was read line by line"))
    header, rows, ragged = parse_delimited(b'A,B b\r\n1,"x,y"\r\n2,\r\n', what="t", cohort="c")
    assert header == ("A", "B b") and ragged.is_empty()
    assert rows.rows() == [(2, "1", "x,y"), (3, "2", "")]
