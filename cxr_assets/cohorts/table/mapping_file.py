"""From a mapping file to a mapping, and to the cohort's facts that hang on it."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator

from cxr_assets.cohorts.base import CohortSpec, CurateSettings, cohort_options
from cxr_assets.cohorts.delimited import read_bytes
from cxr_assets.cohorts.demographics import SEXES, age_scheme
from cxr_assets.cohorts.ledger import relative
from cxr_assets.cohorts.race import RACE_AXES
from cxr_assets.cohorts.table.mapping import TableMapping
from cxr_assets.errors import InputError, SettingsError

DEFAULT_NAME = "cohort.yaml"


class TableOptions(BaseModel):
    """The cohort's own options (``curate.options``)."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    mapping: Path = Field(Path(DEFAULT_NAME), description="mapping file, relative to the cohort's folder or absolute")
    site_salt: SecretStr | None = Field(
        None,
        description="where the secret is that ids of DICOM files are hashed with: env:NAME (a variable) or file:PATH",
    )
    allow_secondary_capture: bool = Field(False, description="take DICOM files of modality SC and OT as well")

    @field_validator("site_salt")
    @classmethod
    def _is_named(cls, given: SecretStr | None) -> SecretStr | None:
        """Settings are written beside the data and shown: they name the secret, and never hold it."""
        if given is not None and not re.fullmatch(r"env:[A-Za-z_][A-Za-z0-9_]*|file:\S.*", given.get_secret_value()):
            raise ValueError(
                "expected env:NAME (a variable of the environment) or file:PATH, not the secret itself: settings are"
                " stored in clear. Take it out of cxr.yaml if it is there"
            )
        return given

    def salt(self, root: Path) -> str | None:
        """The salt itself.

        Args:
            root: the cohort's folder, which ``file:PATH`` may be relative to.

        Raises:
            SettingsError: where the environment or the file does not hold one.
        """
        if self.site_salt is None:
            return None
        kind, _, name = self.site_salt.get_secret_value().partition(":")
        try:
            text = os.environ.get(name, "") if kind == "env" else (root / Path(name).expanduser()).read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "it is no text"
            raise SettingsError(f"curate.options.site_salt: cannot read {name} ({why}).") from None
        if not text:
            where = "which the environment does not hold" if kind == "env" else "an empty file"
            raise SettingsError(f"curate.options.site_salt names {name}, {where}.")
        return text


@dataclass(frozen=True)
class MappingFile:
    """A mapping as read: its content, and the file that it came from (``source``: relative to the root if inside)."""

    mapping: TableMapping
    source: str
    digest: str
    size: int


def read_mapping(root: Path, settings: CurateSettings, *, cohort: str) -> MappingFile:
    """The mapping of a cohort's folder.

    Every scalar is read as the text that stands there, so that ``no``, ``1`` and ``1.0`` are words like others.

    Raises:
        InputError: where there is no such file.
        SettingsError: for what the file says wrongly: each fault with its place.
    """
    option = cohort_options(settings, TableOptions, cohort=cohort).mapping
    path = root / option
    if not path.is_file():
        raise InputError(
            f"cohort {cohort!r}: {path} is not there. Write a mapping (docs/cohorts/{cohort}.md has one to start from),"
            " or name one with curate.options.mapping. Nothing was written."
        )
    data = read_bytes(path, cohort=cohort)
    source = relative(path, root) if root in path.parents else path.name
    try:
        tree = yaml.load(data, Loader=_Text)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f"cohort {cohort!r}: {path} is no YAML: {error}. Nothing was written.") from error
    if not isinstance(tree, dict):
        raise SettingsError(f"cohort {cohort!r}: {path} holds no keys (title, tables, columns, …).")
    try:
        mapping = TableMapping.model_validate(tree)
    except ValidationError as error:
        told = "; ".join(_told(fault) for fault in error.errors(include_url=False))
        raise SettingsError(f"cohort {cohort!r}: {path}: {told}. Nothing was written.") from error
    return MappingFile(mapping, source, hashlib.sha256(data).hexdigest(), len(data))


def described(spec: CohortSpec, file: MappingFile) -> CohortSpec:
    """The cohort's facts as its mapping says them; an axis is recorded where a column of it is mapped."""
    mapping = file.mapping
    recorded = set(mapping.columns.given()) | ({"age_years", "sex", "race"} if mapping.dicom else set())
    changes: dict[str, Any] = {
        "title": mapping.title,
        "findings": mapping.vocabulary,
        "terms": mapping.terms,
        "terms_url": mapping.terms_url,
        "attribution": mapping.attribution,
        "patient_id_kind": mapping.id_kind,
        "captions": mapping.captions,
        "notes": (*spec.notes, *mapping.notes, f"Mapping {file.source}, SHA-256 {file.digest}."),
    }
    if "age_years" in recorded:
        changes["ages"] = age_scheme("demo4").labels
    if "sex" in recorded:
        changes["sexes"] = SEXES
    if recorded & {"race", "ethnicity"}:
        changes["races"] = RACE_AXES["race5"]
    return spec.model_copy(update=changes)


def _told(fault: Any) -> str:
    place = ".".join(str(part) for part in fault["loc"] if part not in ("columns[]", "labels[]"))
    words = fault["msg"].removeprefix("Value error, ")
    return f"{place}: {words}" if place else words


class _Text(yaml.BaseLoader):
    """Scalars stay text; a key that stands twice is refused, since the first would be lost."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} stands twice", key.start_mark
                )
            seen.add(key.value if isinstance(key, yaml.ScalarNode) else None)
        return super().construct_mapping(node, deep=deep)
