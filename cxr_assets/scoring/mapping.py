"""Which column of somebody's table is what: by its own name, by a mapping, or by a pattern of names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError, model_validator

from cxr_assets.cohorts.table.mapping import Keyed, Words
from cxr_assets.errors import InputError, did_you_mean

ROLES = ("patient_id", "study_id", "finding", "score", "truth", "split", "model", "seed")
ATTRIBUTES = ("sex", "race", "age_bin", "age")
"""Columns that make groups where nobody says which do."""
_FINDING = "{finding}"


class ColumnMapping(Keyed):
    """Which column of a table is what. With ``scores`` or ``score_columns`` the table has one row a study (wide)."""

    columns: dict[str, str] = Field(default_factory=dict)
    scores: dict[str, str] = Field(default_factory=dict)
    truth: dict[str, str] = Field(default_factory=dict)
    score_columns: str | None = None
    truth_columns: str | None = None
    finding: str | None = None
    attributes: Words | None = None

    @model_validator(mode="after")
    def _hangs_together(self) -> ColumnMapping:
        if (self.score_columns is None) != (self.truth_columns is None) or bool(self.scores) != bool(self.truth):
            raise ValueError("columns of scores and of truth go together: name both")
        if self.scores and self.score_columns:
            raise ValueError("name the columns of scores one by one or by a pattern, not both")
        for finding in sorted(self.scores.keys() ^ self.truth.keys()):
            other = self.truth if finding in self.scores else self.scores
            raise ValueError(f"{finding!r} is in one of scores and truth only.{did_you_mean(finding, other)}")
        for pattern in (self.score_columns, self.truth_columns):
            if pattern is not None and pattern.count(_FINDING) != 1:
                raise ValueError(f"{pattern!r} must hold {_FINDING} once, such as 'score_{_FINDING}'")
        return self

    @property
    def wide(self) -> bool:
        return bool(self.scores) or self.score_columns is not None

    @property
    def wanted(self) -> tuple[str, ...]:
        """Columns that are to make groups."""
        return ATTRIBUTES if self.attributes is None else self.attributes


def read_mapping(given: ColumnMapping | Mapping[str, Any] | Path | str | None, **more: Any) -> ColumnMapping:
    """A mapping from a YAML file or a dict; ``more`` goes before what it says, and ``columns`` are added to its own.

    Raises:
        InputError: for a file that cannot be read, an unknown key, or parts that contradict each other.
    """
    where, tree = "the mapping", given
    if isinstance(given, Path | str):
        where = Path(given).name
        try:  # scalars stay text: a column may be called 1, yes or null
            tree = yaml.load(Path(given).read_bytes(), Loader=yaml.BaseLoader)
        except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
            raise InputError(f"{where} cannot be read as YAML: {error}. Nothing was written.") from error
    elif isinstance(given, ColumnMapping):
        tree = given.model_dump(exclude_defaults=True)
    if tree is not None and not isinstance(tree, Mapping):
        raise InputError(f"{where} holds no keys. Known: {', '.join(ColumnMapping.model_fields)}. Nothing was written.")
    merged = dict(tree or {}) | {key: value for key, value in more.items() if value is not None}
    if isinstance(merged.get("columns"), Mapping) and tree and isinstance(tree.get("columns"), Mapping):
        merged["columns"] = {**tree["columns"], **merged["columns"]}
    try:
        return ColumnMapping.model_validate(merged)
    except ValidationError as error:
        faults = (
            (".".join(map(str, f["loc"])), f["msg"].removeprefix("Value error, "))
            for f in error.errors(include_url=False)
        )
        told = "; ".join(f"{place}: {words}" if place else words for place, words in faults)
        raise InputError(f"{where}: {told}. Nothing was written.") from error


def pairs_of(mapping: ColumnMapping, seen: list[str], problems: list[str]) -> dict[str, tuple[str, str]]:
    """Finding to its columns of score and truth in a table of one row a study; what lacks is added to the problems."""
    if mapping.scores:
        pairs = {finding: (column, mapping.truth[finding]) for finding, column in mapping.scores.items()}
    else:
        patterns = mapping.score_columns or "", mapping.truth_columns or ""
        by_score, by_truth = (
            {name[len(start) : len(name) - len(end)] for name in seen if re.fullmatch(_between(start, end), name)}
            for start, end in (pattern.split(_FINDING) for pattern in patterns)
        )
        if len(patterns[0]) < len(patterns[1]):  # y_{finding} takes y_true_edema as well, which is the other's
            by_score = {f for f in by_score if patterns[0].replace(_FINDING, f) not in _filled(patterns[1], by_truth)}
        else:
            by_truth = {f for f in by_truth if patterns[1].replace(_FINDING, f) not in _filled(patterns[0], by_score)}
        # A bare {finding} takes every column, so the other pattern says what the findings are.
        found = (by_score if patterns[0] != _FINDING else set()) | (by_truth if patterns[1] != _FINDING else set())
        if not found:
            problems.append(f"no column is like {patterns[0]!r} or {patterns[1]!r}.")
        pairs = {f: (patterns[0].replace(_FINDING, f), patterns[1].replace(_FINDING, f)) for f in sorted(found)}
    for finding, columns in pairs.items():
        for what, column in zip(("score", "truth"), columns, strict=True):
            if column not in seen:
                problems.append(f"{what} of {finding!r}: no column {column!r}.{did_you_mean(column, seen)}")
    return pairs


def _between(start: str, end: str) -> str:
    return f"{re.escape(start)}.+{re.escape(end)}"


def _filled(pattern: str, findings: set[str]) -> set[str]:
    return {pattern.replace(_FINDING, finding) for finding in findings}
