"""Small tables of named choices, kept in ``reference.json`` of a data root and written into its views."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cxr_assets.errors import StorageError

REFERENCE_FILE = "reference.json"
Rows = dict[str, list[list[Any]]]


def read_reference(root: Path) -> Rows:
    """Rows by table; none where the file is not there yet. Raises StorageError for a file that is not of that form."""
    path = root / REFERENCE_FILE
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise StorageError(f"{path} cannot be read ({error}). Delete it; the next run writes it again.") from error
    tables = list(rows.values()) if isinstance(rows, dict) else [None]
    if not all(isinstance(table, list) and all(isinstance(row, list) for row in table) for table in tables):
        raise StorageError(f"{path} does not hold tables. Delete it; the next run writes it again.")
    return rows


def reference_bytes(rows: Rows) -> bytes:
    """The file's content: the same bytes for the same rows."""
    return (json.dumps(rows, sort_keys=True) + "\n").encode()
