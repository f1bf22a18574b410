"""What the commands share: settings as they were given and kept, and the graph run in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import typer
import yaml

from cxr_assets.keys import REAL, REAL_ONLY, Arm, MethodRun
from cxr_assets.resolve import Resolved, find_preset, merge_yaml, resolve
from cxr_assets.settings import Settings


def overrides_of(sets: list[str] | None, root: Path | None) -> dict[str, Any]:
    """Dotted names to values from ``--set name=value`` (the value is YAML) and ``--root``."""
    found: dict[str, Any] = {}
    for text in sets or []:
        name, equals, value = text.partition("=")
        if not equals:
            raise typer.BadParameter(f"--set {text!r}: write name=value, e.g. synthesis.steps=25")
        found[name.strip()] = yaml.safe_load(value)
    if root is not None:
        found["cohort_root"] = str(root.expanduser().resolve())
    return found


def given(
    cohort: str | None,
    storage: Path | None,
    preset: str | None = None,
    sets: list[str] | None = None,
    root: Path | None = None,
) -> Resolved:
    """Settings of the command, remembered in ``cxr.yaml`` of the data root where they were given by hand."""
    overrides = overrides_of(sets, root)
    resolved = resolve(cohort=cohort, storage=storage, profile=preset, overrides=overrides)
    if overrides or preset:
        remember(resolved, overrides, preset)
    os.environ |= {"CXR_COHORT": resolved.cohort, "CXR_STORAGE": str(resolved.root)}
    return resolved


def of_methods(resolved: Resolved, methods: list[str] | None) -> Resolved:
    """The same settings for other methods: each of them takes the mixes that the arms have. Remembered, so that the UI
    shows the same partitions."""
    if not methods:
        return resolved
    for name in methods:
        find_preset("methods", MethodRun.parse(name).preset, resolved.presets)
    arms = [arm for arm in map(Arm.parse, resolved.settings.arms) if not arm.is_real]
    arms = arms or [arm for arm in map(Arm.parse, Settings().arms) if not arm.is_real]
    mixes = list(dict.fromkeys(arm.mix for arm in arms))
    chosen = {
        "synthesis.methods": list(dict.fromkeys(methods)),
        "arms": [f"{REAL}.{REAL_ONLY}", *(f"{name}.{mix}" for name in dict.fromkeys(methods) for mix in mixes)],
    }
    remember(resolved, chosen, None)
    # the command line wins, in the processes that it starts as well
    for name in ("CXR_SYNTHESIS__METHODS", "CXR_ARMS"):
        os.environ.pop(name, None)
    return resolve(cohort=resolved.cohort, storage=resolved.root)


def remember(resolved: Resolved, overrides: dict[str, Any], preset: str | None) -> None:
    """Write what was given on the command line beside the data, so that the UI and the next command use the same."""
    resolved.root.mkdir(parents=True, exist_ok=True)
    merge_yaml(resolved.root / "cxr.yaml", overrides | ({"profile": preset} if preset else {}))


def instance(resolved: Resolved) -> dict[str, str]:
    """Environment of a Dagster process: its home under the data root, made on first use, telemetry off."""
    home = resolved.root / "dagster"
    home.mkdir(parents=True, exist_ok=True)
    if not (home / "dagster.yaml").exists():
        (home / "dagster.yaml").write_text((checkout() / "dagster_project" / "dagster.yaml").read_text())
    return {
        # glibc gives large tensors back to the system after each step, and faults every page in again at the next: keep
        # them. Other C libraries ignore these names.
        "MALLOC_MMAP_THRESHOLD_": "4294967296",
        "MALLOC_TRIM_THRESHOLD_": "4294967296",
        **os.environ,
        "DAGSTER_HOME": str(home),
        "CXR_COHORT": resolved.cohort,
        "CXR_STORAGE": str(resolved.root),
        "DAGSTER_DISABLE_TELEMETRY": "yes",
    }


def checkout() -> Path:
    """The repository: Dagster is started there."""
    return Path(__file__).resolve().parent.parent


def run_graph(resolved: Resolved, *arguments: str) -> None:
    """Run the graph in a process of its own: the library itself knows nothing of Dagster."""
    from cxr_assets.project import Project

    Project.open(cohort=resolved.cohort, storage=resolved.root).grid  # noqa: B018 (what cannot run is said here, in a line)
    environment = instance(resolved) | {"CXR_PROGRESS": "terminal"}
    done = subprocess.run(
        [sys.executable, "-m", "dagster_project.run", *arguments], env=environment, cwd=checkout(), check=False
    )
    if done.returncode:
        raise typer.Exit(1)


def publish_views(resolved: Resolved) -> None:
    """Write ``warehouse.duckdb`` anew, so that what was just made can be queried."""
    from cxr_assets.warehouse.connect import publish

    publish(resolved.root)
