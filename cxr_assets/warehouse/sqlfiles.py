"""Finds and reads the project's SQL: beside the package in a checkout, under ``share/cxr-assets`` once installed."""

from __future__ import annotations

import sysconfig
from functools import cache
from pathlib import Path

import cxr_assets
from cxr_assets.errors import StorageError

_FOLDERS = (
    Path(cxr_assets.__file__).resolve().parents[1] / "sql",
    Path(sysconfig.get_path("data")) / "share" / "cxr-assets" / "sql",
)


@cache
def sql_folder() -> Path:
    """The folder of SQL files. Raises StorageError that names the places it was looked for."""
    for folder in _FOLDERS:
        if (folder / "schema").is_dir():
            return folder
    raise StorageError(f"the SQL files are in none of {', '.join(map(str, _FOLDERS))}. Install the package again.")


def sql_files(kind: str) -> list[Path]:
    """Files of ``schema``, ``views``, ``queries``, ``templates`` or ``audit``, in name order."""
    return sorted((sql_folder() / kind).glob("*.sql"))


@cache
def read_sql(kind: str, name: str) -> str:
    """Text of one file, by its name without the ending."""
    path = sql_folder() / kind / f"{name}.sql"
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror}. Install the package again.") from error


def literal(text: str) -> str:
    """A SQL string literal, for the few places where a parameter may not stand (a view, an attached file)."""
    return "'" + text.replace("'", "''") + "'"


def name(text: str) -> str:
    """A quoted SQL identifier."""
    return '"' + text.replace('"', '""') + '"'
