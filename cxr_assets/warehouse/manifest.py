"""What is current: one small JSON file a partition, written last."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict


class FileEntry(BaseModel):
    """One file of a partition: path relative to the root, hex SHA-256, size in bytes."""

    model_config = ConfigDict(frozen=True)
    path: str
    sha256: str
    bytes: int


class Manifest(BaseModel):
    """Files, inputs and settings of one partition as it stands on disk."""

    model_config = ConfigDict(frozen=True)
    asset: str
    partition: dict[str, str]
    digest: str
    rows: dict[str, int] = {}
    files: list[FileEntry]
    provenance: list[FileEntry] = []
    inputs: dict[str, str]
    config_digest: str
    code_version: str
    run_id: str
    made_at: str
    terms: str = ""
    facts: dict[str, Any] = {}


def sha256_file(path: Path) -> str:
    """Hex SHA-256 of a file, read in blocks."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def digest_of(files: Iterable[FileEntry]) -> str:
    """Content digest of a file set, free of time and run id, so that equal bytes stale nothing."""
    joined = "\n".join(sorted(f"{entry.path} {entry.sha256}" for entry in files))
    return hashlib.sha256(joined.encode()).hexdigest()


def digest_json(value: Any) -> str:
    """Hex SHA-256 of the canonical JSON of ``value`` (sorted keys, no blanks)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def partition_path(keys: Mapping[str, str]) -> str:
    """Hive path of a partition: ``k=v/k=v`` in the given order, empty for an unpartitioned asset."""
    return "/".join(f"{name}={value}" for name, value in keys.items())


def partition_text(keys: Mapping[str, str]) -> str:
    """One slug-like name of a partition, ``all`` where there is only one."""
    return "~".join(keys.values()) or "all"


def folder_digest(folder: Path) -> str:
    """Content digest of a model folder: its configuration, vocabulary and safetensors, not its notes and pictures."""
    kept = [
        p
        for p in sorted(folder.rglob("*"))
        if p.is_file() and p.suffix in {".json", ".safetensors", ".txt"} and p.parent.name != "record"
    ]
    return digest_of(
        FileEntry(path=p.relative_to(folder).as_posix(), sha256=sha256_file(p), bytes=p.stat().st_size) for p in kept
    )
