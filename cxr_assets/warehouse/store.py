"""One data root: partitions are written whole, manifest last, under a lock that dies with its process.

The order of a write is: lock, sweep hidden leftovers, old manifest away, files (hidden name, flush, rename), manifest.
A crash between any two steps leaves the old partition whole or files without a manifest, which count as missing.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
from filelock import FileLock

from cxr_assets.errors import StorageError
from cxr_assets.warehouse.manifest import (
    FileEntry,
    Manifest,
    digest_of,
    partition_path,
    partition_text,
    sha256_file,
)
from cxr_assets.warehouse.reference import REFERENCE_FILE, Rows, reference_bytes
from cxr_assets.warehouse.runinfo import RunInfo
from cxr_assets.warehouse.tables import provenance_frames


class Store:
    """A cohort's data root. Cheap to make; safe to make anew in every process."""

    def __init__(self, root: Path | str, *, run: RunInfo | None = None) -> None:
        self.root = Path(root).expanduser().resolve()
        self.run = run or RunInfo.current()

    def path(self, relative: str | Path) -> Path:
        """Absolute path inside the root. Raises StorageError for one that leaves it."""
        target = Path(os.path.normpath(self.root / relative))
        if target != self.root and self.root not in target.parents:
            raise StorageError(f"path {str(relative)!r} leaves the data root {self.root}. Nothing was touched.")
        return target

    def relative(self, path: Path) -> str:
        """Path relative to the root, with forward slashes."""
        return path.relative_to(self.root).as_posix()

    def work(self, asset: str, keys: Mapping[str, str] | None = None) -> Path:
        """Folder for checkpoints and unfinished parts of a partition; safe to delete when nothing runs."""
        folder = self.path(Path("work") / asset / partition_path(keys or {}))
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    # -- writing -----------------------------------------------------------------------------------------------------

    def put_bytes(self, relative: str | Path, data: bytes) -> FileEntry:
        """Write one file by hidden name and rename, so that a reader sees the old bytes or the new, never a part."""
        target = self.path(relative)
        with self._hidden(target) as hidden, hidden.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        return self.entry(target)

    def put_frame(self, relative: str | Path, frame: pl.DataFrame) -> FileEntry:
        """Write one Parquet file in the same way."""
        target = self.path(relative)
        with self._hidden(target) as hidden:
            frame.write_parquet(hidden, compression="zstd", statistics=True)
        return self.entry(target)

    def put_reference(self, rows: Rows) -> None:
        """Keep the tables of named choices beside the data; nothing is written where they stand already."""
        data, path = reference_bytes(rows), self.path(REFERENCE_FILE)
        if not path.is_file() or path.read_bytes() != data:
            self.put_bytes(REFERENCE_FILE, data)

    def entry(self, path: Path) -> FileEntry:
        """Digest and size of a file under the root."""
        return FileEntry(path=self.relative(path), sha256=sha256_file(path), bytes=path.stat().st_size)

    @contextlib.contextmanager
    def _hidden(self, target: Path) -> Iterator[Path]:
        hidden = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            yield hidden
            hidden.replace(target)
        except (OSError, pl.exceptions.PolarsError) as error:  # polars wraps a full disk in an error of its own
            told = getattr(error, "strerror", None) or str(error).splitlines()[0]
            raise StorageError(f"cannot write {target}: {told}. The old file, if any, is whole.") from error
        finally:
            hidden.unlink(missing_ok=True)

    @contextlib.contextmanager
    def locked(self, asset: str, keys: Mapping[str, str], *, timeout: float = 3600.0) -> Iterator[None]:
        """Advisory lock of one partition; the kernel releases it when the process dies."""
        path = self.path(Path("work") / "locks" / asset / f"{partition_text(keys)}.lock")
        lock = self._acquire(path, f"{asset} {partition_text(keys)}", timeout)
        try:
            yield
        finally:
            lock.release()

    def claim(self, asset: str, keys: Mapping[str, str], *, timeout: float = 3600.0) -> None:
        """Keep other processes from making a partition until ``release``, or until this process ends.

        What is made keeps its checkpoints under one work folder, so a retry and a zombie must not both be at it.
        """
        path = self.path(Path("work") / "locks" / asset / f"{partition_text(keys)}.making.lock")
        if path not in _CLAIMED:
            _CLAIMED[path] = self._acquire(path, f"{asset} {partition_text(keys)}", timeout)

    def release(self, asset: str, keys: Mapping[str, str]) -> None:
        """Let others make a partition that this process claimed."""
        path = self.path(Path("work") / "locks" / asset / f"{partition_text(keys)}.making.lock")
        if lock := _CLAIMED.pop(path, None):
            lock.release()

    def _acquire(self, path: Path, what: str, timeout: float) -> FileLock:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(path, timeout=timeout)
            lock.acquire()
        except TimeoutError as error:
            raise StorageError(f"{what} is being made by another run: {path} is locked.") from error
        except OSError as error:
            raise StorageError(f"cannot write {path}: {error.strerror or error}. Nothing was changed.") from error
        return lock

    @contextlib.contextmanager
    def writing(
        self,
        asset: str,
        keys: Mapping[str, str] | None = None,
        *,
        inputs: Mapping[str, str],
        config_digest: str,
        code_version: str,
        terms: str = "",
        config: Mapping[str, Any] | None = None,
    ) -> Iterator[PartitionWriter]:
        """Replace one partition. The manifest appears only if the block ends without an error.

        Args:
            config: the settings that ``config_digest`` stands for, kept in the table of runs.
        """
        keys = dict(keys or {})
        with self.locked(asset, keys):
            writer = PartitionWriter(self, asset, keys)
            writer.begin()
            yield writer
            files = sorted(writer.files.values(), key=lambda entry: entry.path)
            draft = Manifest(
                asset=asset,
                partition=keys,
                digest=digest_of(files),
                rows=writer.rows,
                files=files,
                inputs=dict(inputs),
                config_digest=config_digest,
                code_version=code_version,
                run_id=self.run.run_id,
                terms=terms,
                made_at=datetime.now(UTC).isoformat(timespec="seconds"),
                facts=writer.facts,
            )
            before = writer.replaced if writer.replaced != draft.digest else None
            rows = provenance_frames(draft, self.run, writer.edges, config=config, supersedes=before)
            provenance = [
                self.put_frame(f"tables/{table}/asset={asset}/partition={partition_text(keys)}/part-0.parquet", frame)
                for table, frame in rows.items()
            ]
            writer.manifest = draft.model_copy(update={"provenance": provenance})
            self.put_bytes(self.manifest_path(asset, keys), writer.manifest.model_dump_json(indent=1).encode())

    # -- reading -----------------------------------------------------------------------------------------------------

    def manifest_path(self, asset: str, keys: Mapping[str, str] | None = None) -> Path:
        return self.path(Path("manifests") / asset / partition_path(keys or {}) / "manifest.json")

    def manifest(self, asset: str, keys: Mapping[str, str] | None = None) -> Manifest | None:
        """The partition's manifest, None where it is missing."""
        try:
            text = self.manifest_path(asset, keys).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StorageError(f"cannot read {self.manifest_path(asset, keys)}: {error.strerror}.") from error
        try:
            return Manifest.model_validate_json(text)
        except ValueError as error:
            raise StorageError(
                f"{self.manifest_path(asset, keys)} is not a manifest ({error}). Delete it and make the partition again."
            ) from error

    def manifests(self, asset: str | None = None) -> Iterator[Manifest]:
        """Every manifest on disk, of one asset or of all, in path order."""
        folder = self.path(Path("manifests") / (asset or ""))
        for path in sorted(folder.rglob("manifest.json")):
            try:
                yield Manifest.model_validate_json(path.read_bytes())
            except FileNotFoundError:
                continue  # being replaced by a writer at this moment
            except ValueError as error:
                raise StorageError(
                    f"{path} is not a manifest ({error}). Delete it and make the partition again."
                ) from error

    def digest(self, asset: str, keys: Mapping[str, str] | None = None) -> str | None:
        """Content digest of a partition, None where it is missing."""
        manifest = self.manifest(asset, keys)
        return manifest.digest if manifest else None

    def is_current(
        self,
        asset: str,
        keys: Mapping[str, str] | None,
        *,
        inputs: Mapping[str, str],
        config_digest: str,
        code_version: str,
    ) -> bool:
        """True if the partition was made from these inputs, settings and code."""
        manifest = self.manifest(asset, keys)
        return manifest is not None and (
            manifest.inputs == dict(inputs)
            and manifest.config_digest == config_digest
            and manifest.code_version == code_version
        )

    def table(self, name: str, keys: Mapping[str, str] | None = None) -> pl.DataFrame:
        """Rows of one partition's part of a table. Raises StorageError where it is missing."""
        path = self.path(Path("tables") / name / partition_path(keys or {}) / "part-0.parquet")
        try:
            return pl.read_parquet(path, hive_partitioning=False, glob=False)
        except FileNotFoundError as error:
            where = partition_text(keys or {})
            raise StorageError(f"table {name!r} has no part for {where!r} under {self.root}. Make it first.") from error


_CLAIMED: dict[Path, FileLock] = {}
"""Making locks that this process holds. A failed step keeps its own until it is tried again or the process ends."""


class PartitionWriter:
    """Collects the files of one partition while its lock is held."""

    def __init__(self, store: Store, asset: str, keys: dict[str, str]) -> None:
        self.store, self.asset, self.keys = store, asset, keys
        self.files: dict[str, FileEntry] = {}
        self.rows: dict[str, int] = {}
        self.facts: dict[str, Any] = {}
        self.edges: list[dict[str, str]] = []
        self.manifest: Manifest | None = None
        self.replaced: str | None = None

    def begin(self) -> None:
        """Remove the old manifest and the hidden leftovers of a killed writer."""
        old = self.store.manifest(self.asset, self.keys)
        self.replaced = old.digest if old else None
        path = self.store.manifest_path(self.asset, self.keys)
        try:
            for entry in old.files if old else ():
                folder = self.store.path(entry.path).parent
                for leftover in folder.glob(".*.tmp"):
                    leftover.unlink(missing_ok=True)
            path.unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(f"cannot replace {path}: {error.strerror}. The partition is as it was.") from error

    def table(self, name: str, frame: pl.DataFrame) -> None:
        """The partition's whole part of a table."""
        relative = Path("tables") / name / partition_path(self.keys) / "part-0.parquet"
        folder = self.store.path(relative).parent
        for leftover in folder.glob(".*.tmp") if folder.exists() else ():
            leftover.unlink(missing_ok=True)
        self._add(self.store.put_frame(relative, frame))
        self.rows[name] = frame.height

    def bytes(self, relative: str | Path, data: bytes) -> FileEntry:
        """A file of the partition."""
        return self._add(self.store.put_bytes(relative, data))

    def existing(self, relative: str | Path) -> FileEntry:
        """A file that is already in place (content-addressed films)."""
        return self._add(self.store.entry(self.store.path(relative)))

    def sweep(self, folder: str | Path) -> None:
        """Remove files in a folder of this partition that it no longer holds (those of an earlier adapter)."""
        kept = {self.store.path(path) for path in self.files}
        for path in self.store.path(folder).glob("*"):
            if path.is_file() and path not in kept:
                path.unlink(missing_ok=True)

    def folder(self, source: Path, under: str) -> str:
        """Copy a finished folder to ``under/<digest>/``, immutable from then on; returns its digest.

        A folder that is there already is kept if it is whole, and replaced if it is not.
        """
        entries = [
            FileEntry(path=p.relative_to(source).as_posix(), sha256=sha256_file(p), bytes=p.stat().st_size)
            for p in sorted(source.rglob("*"))
            if p.is_file()
        ]
        digest = digest_of(entries)
        target = self.store.path(Path(under) / digest[:16])
        if not self._holds(target, entries):
            shutil.rmtree(target, ignore_errors=True)
            target.parent.mkdir(parents=True, exist_ok=True)
            hidden = target.with_name(f".{target.name}.tmp")
            shutil.rmtree(hidden, ignore_errors=True)
            shutil.copytree(source, hidden)
            hidden.replace(target)
        for entry in entries:
            self._add(entry.model_copy(update={"path": f"{self.store.relative(target)}/{entry.path}"}))
        return digest

    @staticmethod
    def _holds(folder: Path, entries: Iterable[FileEntry]) -> bool:
        return all((folder / e.path).is_file() and sha256_file(folder / e.path) == e.sha256 for e in entries)

    def edge(self, parent_id: str, parent_kind: str, relation: str) -> None:
        """This partition's artefact came from ``parent_id``."""
        self.edges.append({"parent_id": parent_id, "parent_kind": parent_kind, "relation": relation})

    def _add(self, entry: FileEntry) -> FileEntry:
        self.files[entry.path] = entry
        return entry
