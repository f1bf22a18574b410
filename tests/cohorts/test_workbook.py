"""A sheet is read as text, row for row; whatever is no workbook is refused by name."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxr_assets.cohorts.delimited import ROW
from cxr_assets.cohorts.workbook import read_workbook
from cxr_assets.errors import InputError
from tests.cohorts.table_tools import write_xlsx

HEADER = ["Patient ID", "Age", "Race"]


def book(folder: Path, *rows: Sequence[Any], header: Sequence[Any] = HEADER, **more: Sequence[Sequence[Any]]) -> Path:
    path = folder / "demo.xlsx"
    write_xlsx(path, {"Sheet1": [header, *rows], **more})
    return path


def cells(path: Path, **options: Any) -> list[tuple[Any, ...]]:
    return read_workbook(path, cohort="c", **options).rows.rows()


def test_every_cell_is_text_and_knows_its_row(tmp_path: Path) -> None:
    path = book(tmp_path, ["patient007", 58, "White"], ["0012", 58.5, ""])
    table = read_workbook(path, cohort="c")
    assert table.rows.rows() == [(2, "patient007", "58", "White"), (3, "0012", "58.5", "")]
    assert set(map(str, table.rows.dtypes[1:])) == {"String"} and table.header == tuple(HEADER)
    assert table.ragged.is_empty() and table.size == path.stat().st_size and len(table.digest) == 64


def test_a_whole_number_does_not_become_a_float(tmp_path: Path) -> None:
    assert cells(book(tmp_path, [30012345, 7.0, 1])) == [(2, "30012345", "7", "1")]


def test_blank_rows_are_passed_over_and_the_others_keep_their_number(tmp_path: Path) -> None:
    path = book(tmp_path, ["a", 1, "x"], ["", " ", ""], ["b", 2, "y"])
    assert [row[0] for row in cells(path)] == [2, 4]


def test_columns_without_a_name_are_left_out(tmp_path: Path) -> None:
    path = book(tmp_path, ["a", "note", 1], header=["Patient ID", "", "Age"])
    assert cells(path) == [(2, "a", "1")]


def test_the_first_sheet_is_read_unless_one_is_named(tmp_path: Path) -> None:
    path = book(tmp_path, ["a", 1, "x"], other=[["Patient ID"], ["b"]])
    assert cells(path) == [(2, "a", "1", "x")]
    assert cells(path, sheet="other") == [(2, "b")]


@pytest.mark.parametrize(
    ("header", "said"),
    [(["", ""], "no header row"), (["Age", "age"], "names a column twice"), ([], "no header row")],
)
def test_a_header_that_cannot_be_used_is_said(tmp_path: Path, header: list[str], said: str) -> None:
    with pytest.raises(InputError, match=rf"demo\.xlsx .*{said}.*Nothing was written"):
        read_workbook(book(tmp_path, header=header), cohort="c")


def test_a_sheet_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cohort 'c': demo\.xlsx cannot be read as a workbook"):
        read_workbook(book(tmp_path, ["a", 1, "x"]), cohort="c", sheet="nothing")


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_a_damaged_workbook_is_refused_or_read_and_never_crashes(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = book(Path(folder), ["a", 1, "x"])
        sound = path.read_bytes()
        cut = data.draw(st.integers(0, len(sound)))
        path.write_bytes(sound[:cut] + data.draw(st.binary(max_size=20)) + sound[cut + data.draw(st.integers(0, 9)) :])
        try:
            read_workbook(path, cohort="c")
        except InputError as error:
            assert "demo.xlsx" in str(error)


words = st.text(st.characters(codec="ascii", categories=("L", "N", "P", "Zs")), max_size=8)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(words, words, words), max_size=8))
def test_rows_are_those_that_are_not_blank_as_they_stand(lines: list[tuple[str, str, str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        rows = read_workbook(book(Path(folder), *lines), cohort="c").rows
    # Blanks around a text are only kept where the sheet asks for them, which this one does not.
    kept = [
        (number, *map(str.strip, line)) for number, line in enumerate(lines, 2) if any(cell.strip() for cell in line)
    ]
    assert rows[ROW].to_list() == [row[0] for row in kept]
    assert [tuple(map(str.strip, row[1:])) for row in rows.rows()] == [row[1:] for row in kept]
