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
from typing import Any

import duckdb

from cxr_assets.errors import StorageError
from cxr_assets.warehouse.reference import REFERENCE_FILE, read_reference
from cxr_assets.warehouse.sqlfiles import literal, name, read_sql, sql_files

PROVENANCE = "provenance"
REFERENCE = "reference"
"""Schema of small tables that lie in ``reference.json`` and are written into the views themselves."""
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
    runs. Partitions without a manifest (being written, or left by a crash) are not shown. Use the connection itself: the
    views read its session variables, which a cursor of it does not have.

    Raises:
        StorageError: no such folder, or a first part that is not Parquet. Another damaged part is a ``duckdb.Error`` of
            the queries that need it.
    """
    root = Path(root).expanduser().resolve()
    if not root.is_dir():
        raise StorageError(f"there is no data root {root}. Set CXR_STORAGE or --storage to one.")
    con = duckdb.connect(config=_CONFIG)
    try:
        con.execute("set variable root = " + literal(str(root)))
        con.execute("set parquet_metadata_cache = true")
        _create_views(con, root, lazy=True)
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
        _create_views(con, root, lazy=False)
    return root / PUBLISHED


def keep_published(root: Path | str) -> bool:
    """Publish again if the published file lacks a table that has parts, or holds other choices; returns whether it did.

    A view over parts shows new ones by itself, but it can only be made once there is a first part. Reference tables are
    written into the file.
    """
    root = Path(root).expanduser().resolve()
    filled = {d.table for d in declared_tables() if _first_part(root, d) is not None}
    reference = read_reference(root)
    chosen = {d.table: reference.get(d.table, []) for d in declared_tables() if d.asset == REFERENCE}
    try:
        with duckdb.connect(str(root / PUBLISHED), read_only=True, config=_CONFIG) as con:
            sql = "select view_name from duckdb_views() where schema_name = 'parts' and contains(sql, 'read_parquet')"
            shown = {view for (view,) in con.execute(sql).fetchall()}
            held = {table: list(map(list, con.execute(f"from parts.{name(table)}").fetchall())) for table in chosen}
    except duckdb.Error:  # not there yet, of another version, or held by a client that opened it for writing
        shown, held = set(), {}
    if filled <= shown and held == chosen:
        return False
    publish(root)
    return True


def _first_part(root: Path, declared: Declared) -> Path | None:
    return next((root / "tables" / declared.table).glob("**/part-*.parquet"), None)


def standalone(root: Path | str, file: Path | str) -> Path:
    """Copy the tables and views into one DuckDB file to hand to somebody; no film, and none of ``LEFT_OUT``."""
    target = Path(file).expanduser().resolve()
    with connect(root) as con, _swapped_in(target) as hidden:
        sql = "select view_name from duckdb_views() where not internal and schema_name = 'main'"
        views = con.execute(sql).fetchall()
        con.execute(f"attach {literal(str(hidden))} as handed")
        for (view,) in sorted(views):
            if view not in LEFT_OUT:
                try:
                    con.execute(f"create table handed.main.{name(view)} as from main.{name(view)}")
                except duckdb.Error as error:
                    raise unreadable(root, f"table {view!r}", error) from error
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


def _create_views(con: duckdb.DuckDBPyConnection, root: Path, *, lazy: bool) -> None:
    """Every view over empty tables first, which costs nothing, then the tables over their parts.

    DuckDB binds a view when it is made, and binding a table opens each of its parts. Where ``lazy``, the files are named
    by session variables that point at a single part until all views are made: only what a query names is opened then.
    """
    con.execute("create schema parts")
    for declared in declared_tables():
        con.execute(read_sql("templates", "empty").format(**_columns(declared)))
        con.execute(f"create view main.{name(declared.table)} as from parts.{name(declared.table)}")
    for path in sql_files("views"):
        con.execute(path.read_text(encoding="utf-8"))
    reference = read_reference(root)
    for declared in declared_tables():
        if rows := reference.get(declared.table) if declared.asset == REFERENCE else None:
            _create_reference(con, root, declared, rows)
        first = _first_part(root, declared)
        if first is None:
            continue
        parts = literal(f"{_escaped(root / 'tables' / declared.table)}/**/part-*.parquet")
        manifests = literal(f"{_escaped(_manifests(declared, root))}/**/manifest.json")
        variables = f"parts_{declared.table}", f"manifests_{declared.table}"
        try:
            if lazy:
                _set(con, dict(zip(variables, (literal(_escaped(first)), literal("")), strict=True)))
                con.execute(_part_view(declared, root, *(f"getvariable({literal(v)})" for v in variables)))
                _set(con, dict(zip(variables, (parts, manifests), strict=True)))
            else:
                con.execute(_part_view(declared, root, parts, manifests))
        except duckdb.Error as error:
            raise unreadable(root, f"table {declared.table!r}", error) from error


def _create_reference(con: duckdb.DuckDBPyConnection, root: Path, declared: Declared, rows: list[list[Any]]) -> None:
    """View of a reference table. It is read once: values that do not fit must be said here, not by some query."""
    width = len(declared.columns)
    try:
        if any(len(row) != width for row in rows):
            raise ValueError(f"rows must be {width} values wide")
        con.execute(_reference_view(declared, rows))
        con.execute(f"from parts.{name(declared.table)}")
    except (ValueError, duckdb.Error) as error:
        raise StorageError(
            f"{root / REFERENCE_FILE}, table {declared.table!r}: {str(error).splitlines()[0]}. Delete the file; the next run"
            " writes it again."
        ) from error


def _reference_view(declared: Declared, rows: list[list[Any]]) -> str:
    """DDL of a reference table's view: its rows as literals."""
    values = ", ".join(f"({', '.join('null' if v is None else literal(str(v)) for v in row)})" for row in rows)
    names = ", ".join(name(column) for column, _ in declared.columns)
    casts = _columns(declared)["casts"]
    return (
        f"create or replace view parts.{name(declared.table)} as select {casts} from (values {values}) as t ({names})"
    )


def _set(con: duckdb.DuckDBPyConnection, variables: dict[str, str]) -> None:
    for variable, value in variables.items():
        con.execute(f"set variable {variable} = {value}")


def unreadable(root: Path | str, what: str, error: duckdb.Error) -> StorageError:
    """What to say where a damaged part stops a query."""
    return StorageError(
        f"{what} under {root} cannot be read: {str(error).splitlines()[0]}"
        " Run cxr doctor --storage to see which part is damaged."
    )


def _columns(declared: Declared) -> dict[str, str]:
    return {
        "table": name(declared.table),
        "casts": ", ".join(f"{name(column)}::{kind} as {name(column)}" for column, kind in declared.columns),
        "nulls": ", ".join(f"null::{kind} as {name(column)}" for column, kind in declared.columns),
    }


def _manifests(declared: Declared, root: Path) -> Path:
    """Folder of the manifests that make a table's partitions current."""
    return root / "manifests" / ("" if declared.asset == PROVENANCE else declared.asset)


def _part_view(declared: Declared, root: Path, parts: str, manifests: str) -> str:
    """DDL of one table's view over its parts; ``parts`` and ``manifests`` are SQL for the globs of the two."""
    start = len(str(root / "tables" / declared.table)) + 2
    keys = f"substr(parse_dirpath(file), {len(str(_manifests(declared, root))) + 2})"
    if declared.asset == PROVENANCE:
        # These parts lie under asset=<a>/partition=<v1~v2>, their manifests under <a>/<k1>=<v1>/<k2>=<v2>.
        keys = f"regexp_replace({keys}, '/[^/=]+=', '~', 'g')"
        keys = f"regexp_replace({keys}, '^([^~]+)$', '\\1~all')"
        keys = f"regexp_replace({keys}, '^([^~]+)~(.*)$', 'asset=\\1/partition=\\2')"
    return read_sql("templates", "part").format(
        **_columns(declared),
        part_glob=parts,
        manifest_glob=manifests,
        partition_of_part=f"substr(parse_dirpath(filename), {start})",
        partition_of_manifest=keys,
    )


def _escaped(path: Path) -> str:
    """A path in which no character is a wildcard."""
    return "".join(f"[{c}]" if c in "*?[" else c for c in str(path))
