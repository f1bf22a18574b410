"""Named queries: the files of ``sql/queries``, each opening with the question it answers and what a row is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import duckdb
import polars as pl

from cxr_assets.errors import InputError, StorageError, did_you_mean
from cxr_assets.keys import slug
from cxr_assets.warehouse.connect import connect, unreadable
from cxr_assets.warehouse.sqlfiles import sql_files

ANY = "any"
KINDS = ("text", "slug", "integer", "number")
_PARAMETER = re.compile(r"param (\w+): (\w+), default (\S+)")
Value = str | int | float | None


@dataclass(frozen=True)
class Parameter:
    """A parameter of a query; a default of ``any`` does not filter."""

    name: str
    kind: str
    default: str

    def parse(self, query: str, value: Value) -> Value:
        """The value to bind, None for ``any``. Raises InputError where it is not of the parameter's kind."""
        if value is None or value == ANY:
            return None
        text = str(value)
        try:
            if self.kind == "slug":
                return slug(text)
            return int(text) if self.kind == "integer" else float(text) if self.kind == "number" else text
        except (ValueError, InputError):
            raise InputError(f"query {query!r}: {self.name}={text!r} is no {self.kind}. Nothing was run.") from None


@dataclass(frozen=True)
class Query:
    """One file of ``sql/queries``."""

    name: str
    question: str
    grain: str
    parameters: tuple[Parameter, ...]
    sql: str

    @classmethod
    def read(cls, path: Path) -> Query:
        """Read a query file. Raises StorageError where its opening comment is not as docs/sql.md describes."""
        sql = path.read_text(encoding="utf-8")
        opening = []
        for line in sql.splitlines():
            if not line.startswith("--"):
                break
            opening.append(line.removeprefix("--").strip())
        told = [line for line in opening if not line.startswith("param ")]
        found = [_PARAMETER.fullmatch(line) for line in opening if line.startswith("param ")]
        parameters = tuple(Parameter(m[1], m[2], m[3]) for m in found if m and m[2] in KINDS)
        if len(told) < 2 or len(parameters) < len(found):
            raise StorageError(
                f"{path}: a query opens with its question, then what a row is, then lines like"
                f" '-- param finding: slug, default any' ({', '.join(KINDS)})."
            )
        return cls(path.stem, told[0], " ".join(told[1:]), parameters, sql)


def list_queries() -> list[Query]:
    """All named queries, in name order."""
    return [Query.read(path) for path in sql_files("queries")]


def find_query(name: str) -> Query:
    """A query by name. Raises InputError with the nearest names."""
    known = {query.name: query for query in list_queries()}
    if name not in known:
        raise InputError(f"no query {name!r}.{did_you_mean(name, known)} Known: {', '.join(known)}.")
    return known[name]


def run_query(root: Path | str, name: str, params: Mapping[str, Value] | None = None) -> pl.DataFrame:
    """Run a named query on a data root.

    Args:
        params: values by parameter name; those left out take their default, ``any`` does not filter.

    Raises:
        InputError: unknown query or parameter (with the nearest names), or a value that is not of its kind.
        StorageError: the data root cannot be read.
    """
    query = find_query(name)
    known = {parameter.name: parameter for parameter in query.parameters}
    given = dict(params or {})
    for wrong in given.keys() - known.keys():
        takes = f"It takes {', '.join(known)}." if known else "It takes none."
        raise InputError(f"query {name!r} has no parameter {wrong!r}.{did_you_mean(wrong, known)} {takes}")
    bound = {p.name: p.parse(name, given.get(p.name, p.default)) for p in query.parameters}
    with connect(root) as con:
        try:
            found: pl.DataFrame = con.sql(query.sql, params=bound).pl()
        except duckdb.Error as error:
            raise unreadable(root, f"query {name!r}", error) from error
    return found
