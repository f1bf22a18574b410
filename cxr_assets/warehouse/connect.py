"""DuckDB over a data root: every table is a view over its Parquet parts, so a reader locks nobody and sees new rows.

``connect`` is what the project itself uses; ``publish`` writes the same views into a file for other tools, and
``standalone`` a file that needs nothing beside it.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import duckdb

from cxr_assets.errors import StorageError
from cxr_assets.warehouse.sqlfiles import literal, name, read_sql, sql_files

PROVENANCE = "provenance"
PUBLISHED = "warehouse.duckdb"
LEFT_OUT = ("predictions", "fairness_replicates", "latent_rows")
"""Tables that are not copied into a standalone file: large, and of no use without the films."""
_CONFIG: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
}


@dataclass(frozen=True)
class Declared:
    """A table as ``sql/schema`` declares it: who writes it, and its columns with their types, in order."""

    table: str
    asset: str
    columns: tuple[tuple[str, str], ...]


@cache
def declared_tables() -> tuple[Declared, ...]:
    """All tables, in name order."""
    with duckdb.connect(config=_CONFIG) as scratch:
        for path in sql_files("schema"):
            scratch.execute(path.read_text(encoding="utf-8"))
        rows = scratch.execute(
            "select table_name, schema_name, list((column_name, data_type) order by column_index)"
            " from duckdb_columns() where not internal group by all order by all"
        ).fetchall()
    return tuple(Declared(table, asset, tuple(columns)) for table, asset, columns in rows)


def connect(root: Path | str) -> duckdb.DuckDBPyConnection:
    """An in-memory DuckDB with every table of a data root, private to the caller, who closes it.

    A table that had no part when the connection was made stays empty in it; all others show what is there when a query
    runs. Partitions without a manifest (being written, or left by a crash) are not shown.

    Raises:
        StorageError: no such folder, or a part that is not Parquet or does not fit the declared types.
    """
    root = Path(root).expanduser().resolve()
    if not root.is_dir():
        raise StorageError(f"there is no data root {root}. Set CXR_STORAGE or --storage to one.")
    con = duckdb.connect(config=_CONFIG)
    try:
        con.execute("set variable root = " + literal(str(root)))
        con.execute("set parquet_metadata_cache = true")
        _create_views(con, root)
    except BaseException:
        con.close()
        raise
    return con


def publish(root: Path | str) -> Path:
    """Write ``warehouse.duckdb``: the same views, with absolute paths, for the DuckDB command line and BI tools.

    It is swapped in by rename, so readers who have the old file open go on. Open it read-only: a client that opens it
    for writing locks all others out until the next publish.
    """
    root = Path(root).expanduser().resolve()
    root.mkdir(parents=True, exist_ok=True)
    with _swapped_in(root / PUBLISHED) as hidden, duckdb.connect(str(hidden), config=_CONFIG) as con:
        _create_views(con, root)
    return root / PUBLISHED


def standalone(root: Path | str, file: Path | str) -> Path:
    """Copy the tables and views into one DuckDB file to hand to somebody; no film, and none of ``LEFT_OUT``."""
    target = Path(file).expanduser().resolve()
    with connect(root) as con, _swapped_in(target) as hidden:
        sql = "select view_name from duckdb_views() where not internal and schema_name = 'main'"
        views = con.execute(sql).fetchall()
        con.execute(f"attach {literal(str(hidden))} as handed")
        for (view,) in sorted(views):
            if view not in LEFT_OUT:
                con.execute(f"create table handed.main.{name(view)} as from main.{name(view)}")
        con.execute("detach handed")
    return target


@contextmanager
def _swapped_in(target: Path) -> Iterator[Path]:
    hidden = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield hidden
        hidden.replace(target)
    except (OSError, duckdb.IOException) as error:
        raise StorageError(f"cannot write {target}: {error}. The old file, if any, is whole.") from error
    finally:
        for leftover in (hidden, hidden.with_name(hidden.name + ".wal")):
            leftover.unlink(missing_ok=True)


def _create_views(con: duckdb.DuckDBPyConnection, root: Path) -> None:
    """Every view over empty tables first, which costs nothing, then the tables over their parts.

    A view is bound when it is made, and binding a table opens each of its parts; so each table is bound once only.
    """
    con.execute("create schema parts")
    for declared in declared_tables():
        con.execute(read_sql("templates", "empty").format(**_columns(declared)))
        con.execute(f"create view main.{name(declared.table)} as from parts.{name(declared.table)}")
    for path in sql_files("views"):
        con.execute(path.read_text(encoding="utf-8"))
    for declared in declared_tables():
        if next((root / "tables" / declared.table).glob("**/part-*.parquet"), None) is None:
            continue
        try:
            con.execute(_part_view(declared, root))
        except duckdb.Error as error:
            raise StorageError(
                f"table {declared.table!r} under {root} cannot be read: {str(error).splitlines()[0]}"
                " Run cxr doctor --storage to see which part is damaged."
            ) from error


def _columns(declared: Declared) -> dict[str, str]:
    return {
        "table": name(declared.table),
        "casts": ", ".join(f"{name(column)}::{kind} as {name(column)}" for column, kind in declared.columns),
        "nulls": ", ".join(f"null::{kind} as {name(column)}" for column, kind in declared.columns),
    }


def _part_view(declared: Declared, root: Path) -> str:
    """DDL of one table's view over its parts."""
    folder = root / "tables" / declared.table
    part, manifest = "parse_dirpath(filename)", "parse_dirpath(file)"
    if declared.asset == PROVENANCE:
        # These parts lie under asset=<a>/partition=<v1~v2>, their manifests under <a>/<k1>=<v1>/<k2>=<v2>.
        manifests = root / "manifests"
        values = f"regexp_replace(substr({manifest}, {len(str(manifests)) + 2}), '/[^/=]+=', '~', 'g')"
        values = f"regexp_replace({values}, '^([^~]+)$', '\\1~all')"
        keys = f"regexp_replace({values}, '^([^~]+)~(.*)$', 'asset=\\1/partition=\\2')"
    else:
        manifests = root / "manifests" / declared.asset
        keys = f"substr({manifest}, {len(str(manifests)) + 2})"
    return read_sql("templates", "part").format(
        **_columns(declared),
        part_glob=literal(f"{_escaped(folder)}/**/part-*.parquet"),
        manifest_glob=literal(f"{_escaped(manifests)}/**/manifest.json"),
        partition_of_part=f"substr({part}, {len(str(folder)) + 2})",
        partition_of_manifest=keys,
    )


def _escaped(path: Path) -> str:
    """A path in which no character is a wildcard."""
    return "".join(f"[{c}]" if c in "*?[" else c for c in str(path))
