"""What this machine has: versions, GPU, weights, disk. Nothing is downloaded and nothing is changed."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cxr_assets
from cxr_assets.errors import SettingsError

LEAST_FREE_GB = 5.0
PHANTOM_BASE = Path(cxr_assets.__file__).parent / "diffusion" / "phantom_base"
_NEEDED = ("torch", "diffusers", "transformers", "peft", "duckdb", "polars", "dagster")
_OPTIONAL = {"ultralytics": "disease regions need it: pip install 'cxr-assets[regions]'"}


@dataclass(frozen=True)
class EnvironmentRow:
    """One thing, what it is here, and what to do where it is not right."""

    name: str
    value: str
    ok: bool = True
    hint: str = ""


def check_environment(
    storage: Path | str | None = None, base_models: Sequence[str] = ("phantom",)
) -> list[EnvironmentRow]:
    """Rows for ``cxr doctor``.

    Args:
        storage: data root whose disk is looked at; default the current folder's.
        base_models: base models as configured: ``phantom``, ``scratch``, folders, or hub ids with ``@revision`` or without.
    """
    rows = [EnvironmentRow("python", f"{platform.python_version()} on {platform.system()} {platform.machine()}")]
    rows += [_package(name, "run make install") for name in _NEEDED]
    rows += [_package(name, hint, needed=False) for name, hint in _OPTIONAL.items()]
    rows += _devices()
    rows += [_base_model(model) for model in base_models]
    rows += [_dagster_home(), *_telemetry(), _disk(Path(storage or "."))]
    return rows


def _package(name: str, hint: str, *, needed: bool = True) -> EnvironmentRow:
    try:
        return EnvironmentRow(name, importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return EnvironmentRow(name, "not installed", not needed, hint)


def _devices() -> Iterator[EnvironmentRow]:
    import torch

    if not torch.cuda.is_available():
        yield EnvironmentRow("gpu", "none that torch can use; everything runs on the CPU")
        return
    for index in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(index)
        yield EnvironmentRow(f"gpu {index}", f"{facts.name}, {facts.total_memory / 2**30:.0f} GiB")


def _base_model(model: str) -> EnvironmentRow:
    name = f"base model {model}"
    if model == "scratch":
        return EnvironmentRow(name, "trained from the cohort")
    folder = PHANTOM_BASE if model == "phantom" else Path(model).expanduser()
    if (folder / "model_index.json").is_file():
        return EnvironmentRow(name, str(folder))
    if model == "phantom" or folder.is_absolute() or model.startswith("."):
        return EnvironmentRow(
            name, f"not in {folder}", False, "cxr pretrain-phantom makes it" if model == "phantom" else ""
        )
    cached = _cached(*model.partition("@")[::2])
    if cached:
        return EnvironmentRow(name, cached)
    return EnvironmentRow(name, "not in the local cache", False, "cxr doctor --base says what becomes of it")


def _cached(repository: str, revision: str) -> str | None:
    """Snapshot of a hub model in the local cache; an empty revision is the newest that was ever asked for."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(repository, "model_index.json", revision=revision or None)
    except HFValidationError as error:
        raise SettingsError(f"base model {repository!r} is neither a folder nor a hub id: {error}") from error
    return str(Path(found).parent) if isinstance(found, str) else None


def _dagster_home() -> EnvironmentRow:
    home = os.environ.get("DAGSTER_HOME", "")
    if not home:
        return EnvironmentRow("DAGSTER_HOME", "not set; cxr and make ui set it to <data root>/dagster")
    fine = Path(home).is_absolute()
    return EnvironmentRow("DAGSTER_HOME", home, fine, "" if fine else "Dagster wants an absolute path")


def _telemetry() -> Iterator[EnvironmentRow]:
    home = os.environ.get("DAGSTER_HOME")
    config = Path(home) / "dagster.yaml" if home else None
    if config is None:
        yield EnvironmentRow("telemetry of dagster", "off in the dagster.yaml that cxr writes into a data root")
    else:
        off = config.is_file() and _telemetry_is_off(config)
        hint = "" if off else f"write telemetry: {{enabled: false}} into {config}"
        yield EnvironmentRow("telemetry of dagster", "off" if off else "on", off, hint)
    hub = any(
        os.environ.get(name, "").lower() in ("1", "true", "yes")
        for name in ("HF_HUB_DISABLE_TELEMETRY", "HF_HUB_OFFLINE")
    )
    yield EnvironmentRow(
        "telemetry of the model hub",
        "off" if hub else "on while something is downloaded",
        True,
        "" if hub else "set HF_HUB_DISABLE_TELEMETRY=1 to turn it off",
    )


def _telemetry_is_off(config: Path) -> bool:
    import yaml

    try:
        settings = yaml.safe_load(config.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise SettingsError(f"{config} cannot be read as YAML: {error}") from error
    telemetry = settings.get("telemetry") if isinstance(settings, dict) else None
    return isinstance(telemetry, dict) and telemetry.get("enabled") is False


def _disk(path: Path) -> EnvironmentRow:
    there = next(p for p in (path.resolve(), *path.resolve().parents) if p.exists())
    free = shutil.disk_usage(there).free / 1e9
    return EnvironmentRow(
        "free disk",
        f"{free:.1f} GB at {there}",
        free >= LEAST_FREE_GB,
        "" if free >= LEAST_FREE_GB else f"a run may need more than {LEAST_FREE_GB:g} GB",
    )
