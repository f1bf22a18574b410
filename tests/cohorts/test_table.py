"""A table with a mapping ends in the curated tables: what each column becomes, and what becomes of bad rows."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cxr_assets.cohorts import unpack
from cxr_assets.cohorts.base import CurateSettings
from cxr_assets.cohorts.registry import adapter
from cxr_assets.cohorts.splits import shared_patients
from cxr_assets.cohorts.study_checks import CheckedCohort
from cxr_assets.cohorts.study_checks.of_sources import ids_are_whole
from cxr_assets.cohorts.table import adapter as table_adapter
from cxr_assets.errors import InputError
from tests.cohorts.conftest import write_film
from tests.cohorts.table_tools import (
    COLUMNS,
    HEADER,
    MAPPING,
    TABLE,
    adds_up,
    curate,
    flow,
    folder,
    kinds,
    line,
    write_mapping,
    write_xlsx,
)


def seen(cohort: Any) -> list[tuple[Any, ...]]:
    frame = cohort.studies.join(
        cohort.finding_values.select("study_id", "edema", "lung_lesion", "fracture"), on="study_id"
    )
    names = ("study_id", "patient_id", "sex", "age_years", "view", "edema", "lung_lesion", "fracture")
    return [
        tuple(round(v, 3) if isinstance(v, float) else v for v in row)
        for row in frame.sort("study_id").select(names).rows()
    ]


EXPECTED = [
    ("a", "007", "female", 60.0, "PA", 1, 0, None),
    ("b", "008", "male", 1.083, "AP", -1, 1, None),
    ("c", "008", None, None, None, None, None, None),
]


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize(
    ("end", "encoding"), [("\n", "utf-8"), ("\r\n", "utf-8-sig"), ("\n", "utf-16"), ("\r", "cp1252")]
)
def test_separator_encoding_and_line_ends_are_found(tmp_path: Path, separator: str, end: str, encoding: str) -> None:
    text = TABLE.replace(",", separator).replace("\n", end)
    cohort = curate(folder(tmp_path, text.encode(encoding)))
    assert seen(cohort) == EXPECTED and flow(cohort) == {"read": 3, "kept": 3}


def test_a_separator_and_an_encoding_may_be_said(tmp_path: Path) -> None:
    text = TABLE.replace(",", "^").replace("pid", "пациент").encode("koi8-r")
    table = {"file": "data.csv", "separator": "^", "encoding": "koi8-r"}
    root = folder(tmp_path, text, tables=table, columns={**COLUMNS, "patient_id": "пациент"})
    assert seen(curate(root)) == EXPECTED


def test_headers_of_other_scripts_are_columns_of_their_own(tmp_path: Path) -> None:
    root = folder(
        tmp_path,
        "编号,性别,年龄\n1,男,60\n2,女,40\n",
        columns={
            "patient_id": "编号",
            "age_years": "年龄",
            "sex": {"column": "性别", "vocabulary": {"男": "male", "女": "female"}},
        },
        findings={},
    )
    studies = curate(root).studies
    assert studies["sex"].to_list() == ["male", "female"] and studies["age_years"].to_list() == [60.0, 40.0]


def test_parquet_workbook_and_duckdb_give_what_the_text_gives(tmp_path: Path) -> None:
    frame = pl.read_csv(TABLE.encode(), infer_schema_length=0)
    root = folder(tmp_path, "")
    frame.with_columns(pl.col("edema").cast(pl.Float64)).write_parquet(root / "data.parquet")
    cells = [HEADER.split(","), *([int(v) if v in ("1", "-1") else v for v in row] for row in frame.iter_rows())]
    write_xlsx(root / "data.xlsx", {"notes": [["nothing"]], "films": cells})
    with duckdb.connect(root / "data.duckdb") as con:
        con.register("frame", frame.to_arrow())
        con.execute("create table films as select * replace (edema::double as edema) from frame")
        con.execute("create table other as select 1 as x")
    tables: list[Any] = [
        "data.parquet",
        {"file": "data.xlsx", "sheet": "films"},
        {"file": "data.duckdb", "table": "films"},
        {"file": "data.duckdb", "query": "select * from films order by pid, file"},
    ]
    for table in tables:
        write_mapping(root, {**MAPPING, "tables": table})
        assert seen(curate(root)) == EXPECTED, table


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"file": "gone.csv"}, "gone.csv is not under"),
        ({"file": "bad.parquet"}, "no Parquet file"),
        ({"file": "bad.xlsx"}, "cannot be read as a workbook"),
        ({"file": "bad.duckdb"}, "cannot be read by DuckDB"),
        ({"file": "good.duckdb"}, "names none of them"),
        ({"file": "good.duckdb", "table": "film"}, "holds the tables films, other"),
        ({"file": "good.duckdb", "query": "from read_csv('{root}/data.csv')"}, "sees nothing but that file"),
        ({"file": "good.duckdb", "query": "drop table films"}, "read-only"),
        ({"file": "data.csv", "query": "select 1"}, "only a DuckDB file"),
        ({"file": "data.csv", "encoding": "ascii"}, "is not ascii"),
        ({"file": "link.csv"}, "leaves the cohort's folder"),
        ({"file": "empty.csv"}, "no header line"),
        ({"file": "header.csv"}, "holds no row"),
        ({"file": "twice.csv"}, "names column 'pid' twice"),
    ],
)
def test_a_file_that_cannot_be_used_is_stated_whole(tmp_path: Path, table: dict[str, str], words: str) -> None:
    root = folder(tmp_path / "root", TABLE.replace("PA", "é"), tables=table)
    for name in ("bad.parquet", "bad.xlsx", "bad.duckdb"):
        (root / name).write_bytes(b"PK not one of them" * 30)
    with duckdb.connect(root / "good.duckdb") as con:
        con.execute("create table films as select 1 as pid; create table other as select 1 as x")
    (tmp_path / "outside.csv").write_text(TABLE)
    (root / "link.csv").symlink_to(tmp_path / "outside.csv")
    (root / "empty.csv").write_text("")
    (root / "header.csv").write_text(HEADER)
    (root / "twice.csv").write_text("pid,pid\n1,2\n")
    if "{root}" in (query := table.get("query", "")):
        write_mapping(root, {**MAPPING, "tables": {**table, "query": query.format(root=root)}})
    with pytest.raises(InputError, match=words):
        curate(root)


def test_a_column_that_is_not_there_is_named_with_what_was_seen(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"no column 'sexx'\. Did you mean sex.* Seen: pid, file, sex.*Nothing was written"
    ):
        curate(folder(tmp_path, TABLE, columns={**COLUMNS, "sex": "sexx"}))


def test_a_column_is_found_whatever_its_case_and_punctuation_unless_two_fit(tmp_path: Path) -> None:
    root = folder(tmp_path, TABLE, columns={**COLUMNS, "patient_id": "P_I D"})
    assert seen(curate(root)) == EXPECTED
    (root / "data.csv").write_text(TABLE.replace("edema,mass", "p-id,mass"))
    write_mapping(root, {**MAPPING, "columns": {"patient_id": "P ID"}, "findings": {}})
    with pytest.raises(InputError, match="several columns like 'P ID'"):
        curate(root)


def test_a_column_called_row_is_one_like_others(tmp_path: Path) -> None:
    root = folder(tmp_path, "row,sex\nx,F\ny,M\n", columns={"patient_id": "row", "sex": "sex"}, findings={})
    assert curate(root).studies["patient_id"].to_list() == ["x", "y"]


@pytest.mark.parametrize(
    ("row", "kind", "column"),
    [
        (line(""), "no patient", "pid"),
        (line("NA"), "no patient", "pid"),
        (line("7.0"), "float artefact", "pid"),
        *((line(pid), "float artefact", "pid") for pid in ("1.2e+15", "1.2E37", "1e5", "1E-5", "12.5", "-.5", "12e+4")),
        (line(file="../x.png"), "unsafe path", "file"),
        (line(file="/etc/passwd"), "unsafe path", "file"),
        (line(file="C:\\x.png"), "unsafe path", "file"),
        (line(file="x\\..\\..\\y.png"), "unsafe path", "file"),
        (line(file="a.png"), "duplicate film", "file"),
        (line(file="a.jpg"), "duplicate study", "study_id"),
        ("only,two", "malformed row", None),
        (line() + ",stray", "malformed row", None),
    ],
)
def test_a_bad_row_is_quarantined_and_the_others_stay(tmp_path: Path, row: str, kind: str, column: str | None) -> None:
    cohort = curate(folder(tmp_path, "\n".join([HEADER, line(), row, line(file="z.png")])))
    assert cohort.studies["study_id"].to_list() == ["a", "z"] and cohort.finding_values["study_id"].to_list() == [
        "a",
        "z",
    ]
    assert kinds(cohort) == [(3, column, kind)]
    assert flow(cohort) == {"read": 3, f"dropped: {kind}": 1, "kept": 2}


def test_ids_that_only_look_a_little_like_floats_stay(tmp_path: Path) -> None:
    ids = ["1.2.840.113619", "12e45678", "e5", "1e1234", "2010-1", "7", "A1.5"]
    rows = "\n".join(["pid", *ids])
    cohort = curate(folder(tmp_path, rows, columns={"patient_id": "pid"}, findings={}))
    assert sorted(cohort.studies["patient_id"]) == sorted(ids)


@pytest.mark.parametrize("name", ["patient_id", "study_id"])
def test_ids_that_became_floats_are_told_of_any_cohort(tmp_path: Path, name: str) -> None:
    cohort = curate(folder(tmp_path, TABLE))
    for odd, whole in (("12e45678", True), ("1e5", False), ("12.5", False), ("1.2E37", False), ("8.3e+35_a", False)):
        ids = [odd, *cohort.studies[name][1:]]
        checked = CheckedCohort.of(cohort, cohort.studies.with_columns(pl.Series(name, ids)))
        passed, facts = ids_are_whole(checked)
        assert passed is whole and facts["float_ids"] == (not whole)


@pytest.mark.parametrize("name", ["data.csv", "more.csv"])
def test_rows_of_a_table_that_are_lost_stop_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    root = folder(tmp_path, TABLE, tables=["data.csv", "more.csv"])
    (root / "more.csv").write_text("\n".join([HEADER, line("009", "d.png")]))
    assert flow(curate(root), "more.csv") == {"read": 1, "kept": 1}
    with_splits = table_adapter.with_splits

    def losing(rows: pl.DataFrame, *others: Any) -> pl.DataFrame:
        divided = with_splits(rows, *others)
        lost = (pl.col("_account") == name).cum_sum() == 1
        return divided.filter(~(lost & (pl.col("_account") == name)))

    monkeypatch.setattr(table_adapter, "with_splits", losing)
    with pytest.raises(InputError, match=f"rows of {name} do not add up"):
        curate(root)


def test_a_workbook_that_unpacks_to_more_than_a_table_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = folder(tmp_path, TABLE, tables="data.xlsx")
    write_xlsx(root / "data.xlsx", {"s": [row.split(",") for row in TABLE.splitlines()]})
    assert curate(root).studies.height == 3
    monkeypatch.setattr(unpack, "LARGEST", 100)
    with pytest.raises(InputError, match=r"data\.xlsx has .* unpacks to more than 100"):
        curate(root)


def test_ids_that_a_program_made_floats_of_are_repaired_where_that_is_said(tmp_path: Path) -> None:
    columns = {**COLUMNS, "patient_id": {"column": "pid", "parser": "whole"}}
    assert curate(folder(tmp_path, TABLE.replace("008", "8.0"), columns=columns)).patients["patient_id"].to_list() == [
        "007",
        "8",
    ]


def test_published_splits_are_kept_by_patient_and_what_nobody_published_is_carved_out(tmp_path: Path) -> None:
    rows = [f"{i // 2},{'testing' if i < 20 else 'training'}" for i in range(200)]
    rows.append("0,training")
    cohort = curate(folder(tmp_path, "p,s\n" + "\n".join(rows), columns={"patient_id": "p", "split": "s"}, findings={}))
    assert shared_patients(cohort.studies).is_empty()
    counts = dict(cohort.patients["split"].value_counts().iter_rows())
    assert counts["test"] == 10 and 0 < counts["validate"] < 20
    assert [kind for *_, kind in kinds(cohort)] == ["patient in two splits"]
    assert cohort.studies["split_native"].unique().sort().to_list() == ["testing", "training"]


def test_the_patient_is_what_the_mapping_says_it_is(tmp_path: Path) -> None:
    columns = {"study_id": "file", "exam_id": "pid"}
    root = folder(tmp_path, TABLE, columns=columns)
    assert adapter("table").described(root, CurateSettings()).patient_id_kind == "image"
    assert curate(root).studies["patient_id"].to_list() == ["a.png", "b.png", "c.png"]
    write_mapping(root, {**MAPPING, "columns": columns, "patient_id_kind": "study"})
    assert curate(root).studies.select("patient_id", "patient_id_kind").rows()[1] == ("008", "study")


def test_several_tables_are_stacked_and_a_film_is_taken_once_among_them(tmp_path: Path) -> None:
    root = folder(tmp_path, TABLE, tables=["data.csv", "more/data.tsv"])
    (root / "more").mkdir()
    more = [HEADER, line("009", "d.png", "M"), line("009", "a.png"), line("008", "e.png", "F")]
    (root / "more" / "data.tsv").write_text("\n".join(more).replace(",", "\t"))
    cohort = curate(root)
    assert cohort.studies["study_id"].sort().to_list() == ["a", "b", "c", "d", "e"] and adds_up(cohort)
    assert flow(cohort, "more/data.tsv") == {"read": 3, "dropped: duplicate film": 1, "kept": 2}
    assert cohort.studies.filter(patient_id="008")["sex"].to_list() == [None] * 3
    links = cohort.study_sources.join(cohort.sources, on="source_id").filter(study_id="e")
    assert set(links["path"]) == {"more/data.tsv"} and set(links["row_number"]) == {4}


def test_reports_are_kept_verbatim_with_their_line_ends(tmp_path: Path) -> None:
    text = 'p,f,i\n1,"Heart normal.\nNone.","None"\n2,,\n'
    columns = {"patient_id": "p", "report_findings": "f", "report_impression": "i"}
    cohort = curate(folder(tmp_path, text, columns=columns, findings={}, captions="impression"))
    assert cohort.reports.select("section", "text").rows() == [
        ("findings", "Heart normal.\nNone."),
        ("impression", "None"),
    ]
    assert cohort.studies["report_source"].to_list() == ["data.csv", None] and cohort.spec.captions == "impression"


def test_the_facts_hang_on_the_mapping(tmp_path: Path) -> None:
    root = folder(tmp_path, TABLE)
    spec = adapter("table").described(root, CurateSettings())
    assert (spec.title, spec.terms, spec.findings) == ("Made up", "cc-by", ("lung_lesion", "edema"))
    assert spec.sexes == ("female", "male") and len(spec.ages) == 4 and spec.races == ("unknown",)
    assert curate(root).spec == spec
    assert curate(root).sources["path"].to_list() == ["cohort.yaml", "data.csv"]


def test_a_project_takes_the_facts_from_the_folder(tmp_path: Path) -> None:
    from cxr_assets.project import Project

    root = folder(tmp_path / "root", TABLE)
    project = Project.open(cohort="table", storage=tmp_path / "store", overrides={"cohort_root": root})
    assert project.spec.title == "Made up" and project.grid.findings == ("lung_lesion", "edema")
    bare = Project.open(cohort="table", storage=tmp_path / "bare")
    assert bare.spec.findings == ()


def test_a_mapping_that_lies_elsewhere_makes_the_studies_anew_when_it_changes(tmp_path: Path) -> None:
    from cxr_assets.cohorts.curation import curate_studies
    from cxr_assets.project import Project

    root = folder(tmp_path / "root", TABLE)
    write_film(root / "a.png")
    elsewhere = tmp_path / "elsewhere"
    write_mapping(elsewhere, MAPPING)
    (root / "cohort.yaml").unlink()
    curate_options = {"options": {"mapping": str(elsewhere / "cohort.yaml")}}

    def made() -> bool:
        overrides = {"cohort_root": root, "curate": curate_options, "films": {"size": 32, "workers": 1}}
        return curate_studies(Project.open(cohort="table", storage=tmp_path / "store", overrides=overrides)).fresh

    assert [made(), made()] == [True, False]
    write_mapping(elsewhere, {**MAPPING, "title": "Another"})
    assert [made(), made()] == [True, False]


WORD = st.text(alphabet=st.characters(codec="utf-8"), max_size=12) | st.text(alphabet='",\n\r\x00\ufeff a', max_size=6)
LINE = st.one_of(
    st.builds(
        line,
        pid=st.one_of(st.sampled_from(["1", "2", "7.0", ""]), WORD),
        file=st.one_of(st.sampled_from(["a.png", "../a.png", "/a.png", "A.PNG", "x/../../y", ""]), WORD),
        sex=st.sampled_from(["M", "F", "", "Z"]),
        age=st.one_of(st.sampled_from(["60", "060Y", "999", "-1", "1e3"]), WORD),
        view=st.sampled_from(["PA", "AP", "", "odd"]),
        edema=st.sampled_from(["1", "0.0", "-1", "", "2"]),
    ),
    WORD,
    st.text(alphabet='",;\t|\n\r\x00\ufeff ab', max_size=30),
)


@settings(max_examples=70, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(LINE, max_size=12),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "cp1252"]),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    multiline=st.booleans(),
)
def test_whatever_the_rows_hold_each_is_kept_or_dropped(
    tmp_path: Path, rows: list[str], encoding: str, end: str, multiline: bool
) -> None:
    data = end.join([HEADER, line(), *rows]).encode(encoding, errors="replace")
    tables = {"file": "data.csv", "multiline": str(multiline).lower(), "separator": ","}
    cohort = curate(folder(tmp_path, data, tables=tables, on_unknown="null"))
    steps = flow(cohort)
    assert adds_up(cohort) and steps["kept"] == cohort.studies.height == cohort.finding_values.height
    assert shared_patients(cohort.studies).is_empty() and cohort.studies["study_id"].is_unique().all()


def test_half_a_million_rows_take_seconds(tmp_path: Path) -> None:
    count = 500_000
    index = pl.int_range(count, eager=True)
    frame = pl.DataFrame(
        {"pid": index // 3, "file": pl.select(pl.format("p{}/f{}.png", index // 3, index)).to_series()}
    ).with_columns(
        pl.Series("sex", ["M", "F", ""]).gather(index // 3 % 3),
        (index % 90).alias("age"),
        pl.Series("view", ["PA", "AP"]).gather(index % 2),
        pl.Series("edema", ["1", "0", "-1", ""]).gather(index % 4),
        pl.lit("no").alias("mass"),
    )
    root = folder(tmp_path, frame.write_csv().encode())
    start = time.perf_counter()
    cohort = curate(root)
    taken = time.perf_counter() - start
    assert cohort.studies.height == count and flow(cohort) == {"read": count, "kept": count}
    assert taken < 30, taken
    print(f"{count} rows: {taken:.1f} s")
