"""Views over parts: day one, torn partitions, late columns, publishing."""

from __future__ import annotations

import tomllib
from pathlib import Path

import duckdb
import polars as pl
import pytest

from cxr_assets.errors import StorageError
from cxr_assets.warehouse.connect import LEFT_OUT, connect, declared_tables, keep_published, publish, standalone
from cxr_assets.warehouse.queries import run_query
from cxr_assets.warehouse.sqlfiles import sql_folder
from tests.warehouse.miniature import write_project
from tests.warehouse.writer import Writer


def _one(con: duckdb.DuckDBPyConnection, sql: str) -> object:
    row = con.execute(sql).fetchone()
    assert row is not None
    return row[0]


def test_every_table_is_there_and_typed_on_day_one(tmp_path: Path) -> None:
    with connect(tmp_path) as con:
        for declared in declared_tables():
            assert _one(con, f"select count(*) from {declared.table}") == 0
        kinds = dict(con.execute("select column_name, column_type from (describe fairness_estimates)").fetchall())
    assert (kinds["estimate"], kinds["eligible"], kinds["group"]) == ("DOUBLE", "BOOLEAN", "VARCHAR")


def test_an_installed_package_brings_every_sql_file() -> None:
    folder = sql_folder()
    listed = tomllib.loads((folder.parent / "pyproject.toml").read_text())["tool"]["setuptools"]["data-files"]
    brought = {file for patterns in listed.values() for pattern in patterns for file in folder.parent.glob(pattern)}
    assert brought == set(folder.rglob("*.sql"))


def test_every_table_that_the_project_wrote_is_shown_whole(root: Path) -> None:
    writer = Writer(root)
    wanted: dict[str, int] = {}
    for manifest in writer.store.manifests():
        for table, rows in manifest.rows.items():
            wanted[table] = wanted.get(table, 0) + rows
    with connect(root) as con:
        assert {table: _one(con, f"select count(*) from {table}") for table in wanted} == wanted


def test_a_partition_without_its_manifest_is_not_shown(root: Path) -> None:
    store = Writer(root).store
    with connect(root) as con:
        before = _one(con, "select count(*) from synthetic_images")
        stratum = next(store.manifests("synthetic_images"))
        store.manifest_path(stratum.asset, stratum.partition).unlink()
        assert (before, _one(con, "select count(*) from synthetic_images")) == (4, 2)
        for table in ("artefacts", "runs", "edges"):
            gone = "~".join(stratum.partition.values())
            assert _one(con, f"select count(*) from {table} where run_id is not null") > 0  # type: ignore[operator]
            if table != "edges":
                assert _one(con, f"select count(*) from {table} where \"partition\" = '{gone}'") == 0


def test_an_unpartitioned_asset_without_its_manifest_is_not_shown(root: Path) -> None:
    store = Writer(root).store
    store.manifest_path("studies").unlink()
    with connect(root) as con:
        assert _one(con, "select count(*) from studies") == 0
        assert _one(con, "select count(*) from artefacts where asset = 'studies'") == 0


def test_rows_written_later_are_seen_by_an_open_connection(root: Path) -> None:
    writer = Writer(root)
    with connect(root) as con:
        assert _one(con, "select count(*) from adapters") == 1
        rows = pl.DataFrame({"adapter_id": ["b"], "study_id": ["s0"], "patient_id": ["p1"]})
        writer.put("adapter", {"method": "hcn"}, adapter_training_rows=rows)
        assert con.execute("select method, adapter_id from adapters order by all").fetchall()[-1] == ("hcn", "b")


def test_columns_that_a_part_lacks_are_null_and_others_keep_their_type(root: Path) -> None:
    with connect(root) as con:
        assert _one(con, "select count(ci_method) from fairness_estimates") == 0
        assert _one(con, "select typeof(n_images) from fairness_estimates limit 1") == "BIGINT"


def test_a_column_that_changed_its_type_is_refused_and_named(root: Path) -> None:
    Writer(root).put("synthesis_plan", synthesis_plan=pl.DataFrame({"stratum": ["a"], "planned": ["many"]}))
    with connect(root) as con, pytest.raises(duckdb.ConversionException, match="many"):
        con.execute("select planned from synthesis_plan").fetchall()


def test_a_damaged_part_is_a_storage_error_that_names_the_table(root: Path) -> None:
    (root / "tables/studies/part-0.parquet").write_bytes(b"not parquet")
    with pytest.raises(StorageError, match="table 'studies'"):
        connect(root)


def test_a_damaged_part_spoils_only_the_queries_that_need_it(root: Path) -> None:
    parts = sorted((root / "tables/fairness_gaps").rglob("part-*.parquet"))
    first = next((root / "tables/fairness_gaps").glob("**/part-*.parquet"))
    next(part for part in parts if part != first).write_bytes(b"not parquet")
    assert run_query(root, "cohort_composition").height > 0
    with pytest.raises(StorageError, match=r"query .gap_by_arm.*cxr doctor"):
        run_query(root, "gap_by_arm")
    with pytest.raises(StorageError, match="table 'fairness_gaps'"):
        standalone(root, root / "hand.duckdb")
    assert not list(root.glob("*hand.duckdb*"))


def test_a_root_that_is_not_there_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="no data root"):
        connect(tmp_path / "typo")


def test_run_and_scorecard_ids_are_joined_in(root: Path) -> None:
    with connect(root) as con:
        assert con.execute("select distinct run_id from synthetic_images").fetchall() == [("run-1",)]
        ids = con.execute("select distinct scorecard_id from fairness_gaps").fetchall()
        known = con.execute("select artefact_id from artefacts where asset = 'fairness_scorecard'").fetchall()
    assert sorted(ids) == sorted(known)


def test_publishing_again_disturbs_no_reader(root: Path) -> None:
    file = publish(root)
    with duckdb.connect(str(file), read_only=True) as held:
        assert _one(held, "select count(*) from studies") == 6
        rows = pl.DataFrame({"adapter_id": ["b"], "study_id": ["s0"], "patient_id": ["p1"]})
        Writer(root).put("adapter", {"method": "hcn"}, adapter_training_rows=rows)
        assert publish(root) == file
        assert _one(held, "select count(*) from adapters") == 2
    with duckdb.connect(str(file), read_only=True) as fresh:
        assert _one(fresh, "select count(*) from adapters") == 2
        assert _one(fresh, "select count(*) from duckdb_tables()") == 0
    assert [p.name for p in root.glob(".*")] == []


def test_a_table_that_is_new_is_published_and_nothing_else_is(root: Path) -> None:
    assert keep_published(root)
    assert not keep_published(root)
    rows = pl.DataFrame({"adapter_id": ["b"], "study_id": ["s0"], "patient_id": ["p1"]})
    Writer(root).put("adapter", {"method": "hcn"}, adapter_training_rows=rows)
    assert not keep_published(root), "the view over parts shows a new one by itself"
    Writer(root).put("disease_regions", {}, regions=pl.DataFrame({"study_id": ["s0"], "finding": ["edema"]}))
    assert keep_published(root)
    with duckdb.connect(str(root / "warehouse.duckdb"), read_only=True) as con:
        assert _one(con, "select count(*) from regions") == 1


def test_a_root_can_be_published_before_anything_is_made(tmp_path: Path) -> None:
    with duckdb.connect(str(publish(tmp_path / "new")), read_only=True) as con:
        assert _one(con, "select count(*) from strata") == 0


def test_a_standalone_file_needs_nothing_beside_it(tmp_path: Path) -> None:
    write_project(tmp_path / "root")
    file = standalone(tmp_path / "root", tmp_path / "hand.duckdb")
    (tmp_path / "root").rename(tmp_path / "away")
    with duckdb.connect(str(file), read_only=True) as con:
        assert _one(con, "select count(*) from fairness_estimates") == 10
        assert _one(con, "select count(*) from strata") == 3
        names = {row[0] for row in con.execute("select table_name from duckdb_tables()").fetchall()}
    assert not names & set(LEFT_OUT)
