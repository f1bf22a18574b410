"""Files and frames of every form say the same, and what is no table is refused."""

from __future__ import annotations

import gzip
from pathlib import Path

import pandas as pd

from tests.scoring.strangers import ROWS, intake, long_table, refusal, same


def test_files_and_frames_of_every_form_say_the_same(tmp_path: Path) -> None:
    table = long_table()
    expected = intake(table)
    assert expected.rows["truth"].to_list() == [1, 0, 1, 0, 1, 0] and set(expected.rows["split"]) == {
        "validate",
        "test",
    }
    table.write_parquet(tmp_path / "a.parquet")
    table.write_csv(tmp_path / "a.csv")
    table.write_csv(tmp_path / "a.tsv", separator="\t")
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress((tmp_path / "a.csv").read_bytes()))
    for name in ("a.parquet", "a.csv", "a.tsv", "a.csv.gz"):
        same(intake(tmp_path / name), expected)
        same(intake(str(tmp_path / name)), expected)
    same(intake(table.to_pandas()), expected)


def test_a_mark_a_semicolon_and_windows_line_ends_change_nothing(tmp_path: Path) -> None:
    text = long_table().write_csv(separator=";").replace("\n", "\r\n")
    (tmp_path / "excel.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    same(intake(tmp_path / "excel.csv"), intake(long_table()))


def test_numbers_as_ids_are_alike_in_text_in_integers_and_in_floats() -> None:
    whole = list(range(ROWS))
    expected = intake(long_table(study_id=[str(i) for i in whole]))
    same(intake(long_table(study_id=whole)), expected)
    same(intake(long_table(study_id=[float(i) for i in whole])), expected)


def test_pandas_frames_keep_a_named_index_as_columns() -> None:
    same(intake(long_table().to_pandas().set_index("study_id")), intake(long_table()))


def test_files_that_are_no_tables_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.xlsx").write_bytes(b"PK")
    (tmp_path / "a.parquet").write_bytes(b"no parquet")
    (tmp_path / "a.csv.gz").write_bytes(b"no gzip")
    (tmp_path / "ragged.csv").write_text("study_id,score\ns1,0.1\ns2,0.1,0.2\n")
    (tmp_path / "twice.csv").write_text("score,score\n1,1\n")
    assert "give .parquet, .csv or .tsv" in refusal(tmp_path / "a.xlsx")
    assert refusal(tmp_path / "a.parquet").startswith("a.parquet cannot be read")
    assert refusal(tmp_path / "a.csv.gz").startswith("a.csv.gz is no gzip file")
    assert "1 lines have not as many fields as the header, first line 3" in refusal(tmp_path / "ragged.csv")
    assert refusal(tmp_path / "twice.csv").startswith("twice.csv names column 'score' twice")
    assert refusal(tmp_path / "absent.csv").startswith("absent.csv cannot be read: No such file")
    assert "a list is no table" in refusal([1, 2])
    mixed = pd.DataFrame({"study_id": ["a", 1], "score": [0.1, 0.2]})
    assert "predictions" in refusal(mixed)


def test_a_table_without_rows_is_refused(tmp_path: Path) -> None:
    assert "0 rows" in refusal(long_table().head(0))
    long_table().head(0).write_csv(tmp_path / "a.csv")
    assert "a.csv: 0 rows" in refusal(tmp_path / "a.csv")
