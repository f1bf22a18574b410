"""Typed provenance rows that every partition brings along: its run, its artefact and the edges to its parents."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import polars as pl

from cxr_assets.warehouse.manifest import Manifest, partition_text
from cxr_assets.warehouse.runinfo import RunInfo, git_commit

RUNS = {
    "run_id": pl.String,
    "kind": pl.String,
    "asset": pl.String,
    "partition": pl.String,
    "started_at": pl.String,
    "ended_at": pl.String,
    "status": pl.String,
    "code_version": pl.String,
    "package_version": pl.String,
    "git_commit": pl.String,
    "config_json": pl.String,
    "config_digest": pl.String,
    "seed": pl.Int64,
    "host_kind": pl.String,
    "device": pl.String,
    "torch_version": pl.String,
    "parent_run_id": pl.String,
    "retry_number": pl.Int64,
}
ARTEFACTS = {
    "artefact_id": pl.String,
    "kind": pl.String,
    "asset": pl.String,
    "partition": pl.String,
    "path": pl.String,
    "bytes": pl.Int64,
    "sha256": pl.String,
    "files": pl.Int64,
    "rows": pl.Int64,
    "run_id": pl.String,
    "made_at": pl.String,
    "terms": pl.String,
    "supersedes": pl.String,
}
EDGES = {
    "child_id": pl.String,
    "child_kind": pl.String,
    "parent_id": pl.String,
    "parent_kind": pl.String,
    "relation": pl.String,
    "run_id": pl.String,
}


def device_name() -> str:
    """What this process computes on: the GPU's name where torch was used and sees one, else the CPU and its vectors.

    Two processors may differ in the last digit of a sum, and one without bf16 arithmetic computes in fp32.
    """
    torch: Any = sys.modules.get("torch")
    if torch is None:
        return "cpu"
    if torch.cuda.is_available():
        return str(torch.cuda.get_device_name())
    return f"cpu {torch.backends.cpu.get_cpu_capability()}"


@cache
def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def provenance_frames(
    manifest: Manifest,
    run: RunInfo,
    edges: Sequence[dict[str, str]],
    *,
    config: Mapping[str, Any] | None = None,
    supersedes: str | None = None,
) -> dict[str, pl.DataFrame]:
    """Rows of ``runs``, ``artefacts`` and ``edges`` for one partition that has just been written.

    Args:
        config: the settings that it was made by.
        supersedes: digest of what stood there before, if that was something else.
    """
    partition = partition_text(manifest.partition)
    runs = {
        "run_id": run.run_id,
        "kind": run.kind,
        "asset": manifest.asset,
        "partition": partition,
        "started_at": run.started_at,
        "ended_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "status": "done",
        "code_version": manifest.code_version,
        "package_version": run.package_version,
        "git_commit": git_commit(),
        "config_json": json.dumps(config or {}, sort_keys=True, default=str),
        "config_digest": manifest.config_digest,
        "seed": (config or {}).get("seed"),
        "host_kind": f"{platform.system()}-{platform.machine()}",
        "device": device_name(),
        "torch_version": _version("torch"),
        "parent_run_id": run.parent_run_id,
        "retry_number": run.retry_number,
    }
    artefact = {
        "artefact_id": manifest.digest,
        "kind": manifest.asset,
        "asset": manifest.asset,
        "partition": partition,
        "path": manifest.files[0].path if manifest.files else "",
        "bytes": sum(f.bytes for f in manifest.files),
        "sha256": manifest.digest,
        "files": len(manifest.files),
        "rows": sum(manifest.rows.values()),
        "run_id": run.run_id,
        "made_at": manifest.made_at,
        "terms": manifest.terms,
        "supersedes": supersedes,
    }
    links = [
        {"child_id": manifest.digest, "child_kind": manifest.asset, "run_id": run.run_id, **edge} for edge in edges
    ]
    return {
        "runs": pl.DataFrame([runs], schema=RUNS),
        "artefacts": pl.DataFrame([artefact], schema=ARTEFACTS),
        "edges": pl.DataFrame(links, schema=EDGES),
    }
