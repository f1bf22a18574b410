"""Settings of a data root from all their sources, and where each value came from; presets in their YAML files.

Later wins: built-in profile, ``cxr.yaml`` in the data root, ``CXR_…`` environment, command line. In the environment a
nested value is written with two underscores (``CXR_SYNTHESIS__STEPS=25``).
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from cxr_assets.errors import SettingsError
from cxr_assets.keys import slug
from cxr_assets.settings import Settings

PRESETS = Path(__file__).parent / "presets"
DEFAULT_PROFILE = "demo"
_CONTROL = {
    "CXR_STORAGE",
    "CXR_COHORT",
    "CXR_PROFILE",
    "CXR_EXECUTOR",
    "CXR_RUN_ID",
    "CXR_SHARED_DATA",
    "CXR_DAGSTER_POSTGRES",
    "CXR_PROGRESS",
}
Preset = TypeVar("Preset", bound=BaseModel)


@dataclass(frozen=True)
class Resolved:
    """Settings of one data root with the origin of every value."""

    cohort: str
    root: Path
    settings: Settings
    origins: dict[str, str] = field(default_factory=dict)

    @cached_property
    def presets(self) -> tuple[Path, Path]:
        """Folders that presets are looked up in: beside ``cxr.yaml`` first, then the built-in ones."""
        return (self.root / "presets", PRESETS)


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one mapping of dotted names."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{name}.")
        else:
            flat[name] = value
    return flat


def _set(tree: dict[str, Any], dotted: str, value: Any) -> None:
    *parents, last = dotted.split(".")
    for parent in parents:
        tree = tree.setdefault(parent, {})
        if not isinstance(tree, dict):
            raise SettingsError(f"{parent!r} is a section of settings, but a plain value ({tree!r}) was given for it.")
    tree[last] = value


def merge_yaml(path: Path, values: Mapping[str, Any]) -> None:
    """Set dotted names in a YAML file, keeping what else it holds."""
    tree = read_yaml(path) if path.exists() else {}
    for name, value in values.items():
        _set(tree, name, value)
    hidden = path.with_name(f".{path.name}.tmp")
    hidden.write_text(yaml.safe_dump(tree, sort_keys=False))
    hidden.replace(path)


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML mapping. Raises SettingsError that names file and line."""
    try:
        loaded = yaml.safe_load(path.read_text()) or {}
    except (OSError, yaml.YAMLError) as error:
        raise SettingsError(f"{path}: cannot be read as YAML: {error}") from error
    if not isinstance(loaded, dict):
        raise SettingsError(f"{path}: expected a mapping of settings, found {type(loaded).__name__}.")
    return loaded


def resolve(
    *,
    cohort: str | None = None,
    storage: Path | str | None = None,
    profile: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Resolved:
    """Settings of a data root from all their sources.

    Args:
        cohort: name; default ``CXR_COHORT``, else ``phantom``.
        storage: data root; default ``CXR_STORAGE``, else ``storage/<cohort>``.
        overrides: dotted names to values, from the command line; they win.

    Raises:
        SettingsError: an unknown key (with the nearest known one) or a value that does not fit.
    """
    environ = os.environ if environ is None else environ
    cohort = slug(cohort or environ.get("CXR_COHORT") or "phantom")
    root = Path(storage or environ.get("CXR_STORAGE") or Path("storage") / cohort).expanduser().resolve()
    profile = profile or environ.get("CXR_PROFILE")
    file = root / "cxr.yaml"
    local = flatten(read_yaml(file)) if file.exists() else {}
    profile = profile or str(local.pop("profile", "") or _profile_of(cohort))
    local.pop("profile", None)
    layers: list[tuple[str, dict[str, Any]]] = [
        (f"profile {profile}", flatten(read_yaml(find_preset("profiles", profile, (root / "presets", PRESETS))))),
        (str(file), local),
        ("environment", flatten(_from_environment(environ))),
        ("command line", flatten(overrides or {})),
    ]
    tree: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for origin, flat in layers:
        for name, value in flat.items():
            _refuse_unknown(name, origin)
            _set(tree, name, value)
            origins[name] = origin
    try:
        settings = Settings.model_validate(tree)
    except ValidationError as error:
        told = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}{_given(e)}" for e in error.errors())
        raise SettingsError(f"settings of {root}: {told}") from None
    return Resolved(cohort, root, settings, origins)


def _given(fault: Any) -> str:
    """What was given, but never a cohort's options: a secret may be among them."""
    return "" if "options" in fault["loc"] else f" (given {fault['input']!r})"


def _profile_of(cohort: str) -> str:
    return DEFAULT_PROFILE if cohort == "phantom" else "cpu"


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    taken = {k: v for k, v in environ.items() if k.startswith("CXR_") and k not in _CONTROL}
    return {k.removeprefix("CXR_").lower().replace("__", "."): yaml.safe_load(v) for k, v in taken.items()}


def _names(model: type[BaseModel], prefix: str = "") -> dict[str, bool]:
    """Dotted names of all settings; True for those that hold a mapping of the user's own keys."""
    names: dict[str, bool] = {}
    for key, info in model.model_fields.items():
        kind = info.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            names |= _names(kind, f"{prefix}{key}.")
            names[f"{prefix}{key}"] = False
        else:
            names[f"{prefix}{key}"] = str(kind).startswith("dict")
    return names


def _refuse_unknown(name: str, origin: str) -> None:
    known = _names(Settings)
    if name in known or any(free and name.startswith(f"{k}.") for k, free in known.items()):
        return
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise SettingsError(f"{origin}: unknown setting {name!r}.{hint} 'cxr config show' lists them all.")


def find_preset(kind: str, name: str, folders: tuple[Path, ...] = (PRESETS,)) -> Path:
    """YAML file of a preset (``methods``, ``profiles``, ``backbones``); the first folder that has it wins."""
    for folder in folders:
        path = folder / kind / f"{slug(name)}.yaml"
        if path.is_file():
            return path
    known = sorted({p.stem for folder in folders for p in (folder / kind).glob("*.yaml")})
    raise SettingsError(f"no {kind[:-1]} preset {name!r}. Known: {', '.join(known)}.")


def load_preset(kind: str, name: str, model: type[Preset], folders: tuple[Path, ...] = (PRESETS,)) -> Preset:
    """A preset as its pydantic model. Raises SettingsError that names the file."""
    path = find_preset(kind, name, folders)
    try:
        return model.model_validate(read_yaml(path))
    except ValidationError as error:
        raise SettingsError(f"{path}: {error}") from error
