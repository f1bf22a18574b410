"""The labels of CheXpert Plus: JSON lines, one film each, whose values are text or numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from cxr_assets.cohorts.chexpert_labels import label_names
from cxr_assets.cohorts.delimited import ROW, decode, normal_name
from cxr_assets.cohorts.labels import CANONICAL
from cxr_assets.errors import InputError

PATH = "path_to_image"
FAULT = "fault"
"""Kind of fault of a line, null where it can be read."""
FAULTS = {
    "malformed line": "expected one JSON object a line",
    "key named twice": "expected the path and every finding once",
}
_PAIRS = json.JSONDecoder(object_pairs_hook=tuple)


@dataclass(frozen=True)
class _Shape:
    """Where lines with the same keys in the same order have the path and the findings, and whether a key comes twice."""

    path: int | None
    findings: Mapping[str, int]
    fault: str | None


def _shape(keys: tuple[str, ...]) -> _Shape:
    names = label_names()
    named = [(PATH if key == PATH else names.get(normal_name(key)), place) for place, key in enumerate(keys)]
    known = [name for name, _ in named if name]
    findings = {name: place for name, place in reversed(named) if name and name != PATH}
    path = keys.index(PATH) if PATH in keys else None
    return _Shape(path, findings, None if len(known) == len(set(known)) else "key named twice")


def read_label_lines(data: bytes, path: Path, *, cohort: str) -> pl.DataFrame:
    """Labels of films as text, as they stand; no value is changed to fit.

    Returns:
        ``row`` (line of the file), ``path``, one column a finding that any line has (blank where it is null or absent),
        and ``fault``. A line that cannot be read has its text in ``path``.

    Raises:
        InputError: where no line has a path and a label.
    """
    shapes: dict[tuple[str, ...], _Shape] = {}
    rows: list[tuple[int, str | None, str | None]] = []
    labels: list[tuple[Mapping[str, int], tuple[Any, ...]]] = []
    for number, line in enumerate(decode(data).split("\n"), start=1):
        if not line.strip():
            continue
        pairs = _pairs(line)
        if pairs is None:
            rows.append((number, line[:200], "malformed line"))
            labels.append(({}, ()))
            continue
        keys, values = zip(*pairs, strict=True) if pairs else ((), ())
        shape = shapes[keys] if keys in shapes else shapes.setdefault(keys, _shape(keys))
        rows.append((number, None if shape.path is None else _text(values[shape.path]), shape.fault))
        labels.append((shape.findings, values))
    present = [finding for finding in CANONICAL if any(finding in shape.findings for shape in shapes.values())]
    if not present or all(film is None or fault == "malformed line" for _, film, fault in rows):
        seen = ", ".join(dict.fromkeys(key for keys in shapes for key in keys)) or "no JSON object"
        raise InputError(
            f"cohort {cohort!r}: {path.name} is not JSON lines with {PATH} and labels. Seen: {seen[:300]}."
            " Nothing was written."
        )
    frame = pl.DataFrame(rows, schema={ROW: pl.Int64, "path": pl.String, FAULT: pl.String}, orient="row")
    return frame.with_columns(pl.Series(finding, _column(finding, labels), dtype=pl.String) for finding in present)


def _column(finding: str, labels: Sequence[tuple[Mapping[str, int], tuple[Any, ...]]]) -> list[str]:
    """One finding's labels as text, blank where a line does not name it."""
    return [
        "" if (place := at.get(finding)) is None or (value := values[place]) is None else _text(value)
        for at, values in labels
    ]


def _pairs(line: str) -> tuple[tuple[str, Any], ...] | None:
    """Keys and values of a JSON object in order, repeated ones too; None for anything else."""
    try:
        read = _PAIRS.decode(line.strip())
    except (ValueError, RecursionError):
        return None
    return read if isinstance(read, tuple) else None


def _text(value: Any) -> str:
    """A label as text: ``1`` and ``1.0`` alike, null as blank; what is no label stays recognisable."""
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value)) if abs(value) < 10 else repr(value)
    # Half a surrogate pair, which JSON can spell, is no text that a table can hold.
    return value.encode(errors="backslashreplace").decode() if isinstance(value, str) else json.dumps(value)
