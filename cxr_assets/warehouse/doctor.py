"""Checks a data root against what its manifests claim. Reads only; says what is wrong and what to do about it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import duckdb
import polars as pl

from cxr_assets.errors import StorageError
from cxr_assets.warehouse.connect import PROVENANCE, connect, declared_tables
from cxr_assets.warehouse.manifest import FileEntry, Manifest, digest_of, partition_path, partition_text, sha256_file
from cxr_assets.warehouse.sqlfiles import read_sql

RUNNING = 3600.0
"""Seconds after which a hidden file cannot belong to a writer that is still at it: as long as a lock is waited for."""
_SWEPT = ("tables", "manifests", "images", "adapters", "classifiers", "base_models", "latents", "detectors", "reports")
Severity = Literal["problem", "note"]


@dataclass(frozen=True)
class Problem:
    """Something that is not as it should be; a ``note`` costs nothing but space, or heals with the next run."""

    severity: Severity
    where: str
    what: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.severity}: {self.where}: {self.what}" + (f" {self.remedy}" if self.remedy else "")


def check_storage(root: Path | str, *, fast: bool = False) -> list[Problem]:
    """Everything that is wrong with a data root, problems first.

    Args:
        fast: compare sizes only; else every file is read and its SHA-256 compared.

    Raises:
        StorageError: there is no such folder.
    """
    root = Path(root).expanduser().resolve()
    if not root.is_dir():
        raise StorageError(f"there is no data root {root}. Set CXR_STORAGE or --storage to one.")
    found: list[Problem] = []
    manifests: list[Manifest] = []
    for path in sorted((root / "manifests").rglob("manifest.json")):
        try:
            manifests.append(Manifest.model_validate_json(path.read_bytes()))
        except (OSError, ValueError) as error:
            found.append(_problem(_relative(root, path), f"is not a manifest ({str(error).splitlines()[0]}).", _AGAIN))
            continue
        if path.parent != root / "manifests" / manifests[-1].asset / partition_path(manifests[-1].partition):
            found.append(_problem(_relative(root, path), f"is the manifest of {_named(manifests[-1])}.", "Delete it."))
    for manifest in manifests:
        found += _check_manifest(root, manifest, fast)
    found += _check_inputs(manifests)
    found += _check_films(root, fast)
    found += _check_leftovers(root, manifests)
    found += _check_rows(root, manifests)
    return sorted(found, key=lambda p: (p.severity == "note", p.where, p.what))


_AGAIN = "Delete it and make the partition again."
_REMAKE = "Make the partition again."


def _problem(where: str, what: str, remedy: str = "") -> Problem:
    return Problem("problem", where, what, remedy)


def _relative(root: Path, path: Path) -> str:
    return path.relative_to(root).as_posix()


def _named(manifest: Manifest) -> str:
    return f"{manifest.asset} {partition_text(manifest.partition)}"


def _check_manifest(root: Path, manifest: Manifest, fast: bool) -> Iterator[Problem]:
    where = _named(manifest)
    for entry in (*manifest.files, *manifest.provenance):
        if fault := _file_fault(root, entry, fast):
            yield _problem(where, fault, "Delete its manifest, then make the partition again.")
    if manifest.digest != digest_of(manifest.files):
        yield _problem(where, "its digest is not that of the files it lists.", _REMAKE)
    claimed = {entry.path for entry in manifest.provenance}
    declared = {table.table: table.asset for table in declared_tables()}
    for table in (name for name, asset in declared.items() if asset == PROVENANCE):
        path = f"tables/{table}/asset={manifest.asset}/partition={partition_text(manifest.partition)}/part-0.parquet"
        if path not in claimed and not (root / path).is_file():
            yield _problem(where, f"has no row in {table}.", _REMAKE)
    for table, rows in manifest.rows.items():
        if declared.get(table) != manifest.asset:
            yield _problem(where, f"wrote table {table!r}, which sql/schema does not declare for this asset.")
        part = root / "tables" / table / partition_path(manifest.partition) / "part-0.parquet"
        counted = _count(part)
        if counted is not None and counted != rows:
            yield _problem(where, f"table {table!r} has {counted} rows, its manifest says {rows}.", _REMAKE)
    if manifest.asset == "synthetic_images":
        yield from _check_images(root, manifest)


def _file_fault(root: Path, entry: FileEntry, fast: bool) -> str | None:
    path = root / entry.path
    try:
        size = path.stat().st_size
    except OSError:
        return f"{entry.path} is missing."
    if size != entry.bytes:
        return f"{entry.path} has {size} bytes, its manifest says {entry.bytes}."
    if not fast and sha256_file(path) != entry.sha256:
        return f"{entry.path} has the right size, but not the bytes that its manifest recorded."
    return None


def _count(path: Path) -> int | None:
    """Rows of a Parquet file, None where it cannot be read (its size or digest is wrong then, and said)."""
    try:
        return int(pl.scan_parquet(path, hive_partitioning=False, glob=False).select(pl.len()).collect().item())
    except (OSError, pl.exceptions.PolarsError):
        return None


def _check_images(root: Path, manifest: Manifest) -> Iterator[Problem]:
    """Rows and files of one stratum, one to one."""
    where = _named(manifest)
    part = root / "tables" / "synthetic_images" / partition_path(manifest.partition) / "part-0.parquet"
    try:
        named = pl.read_parquet(part, columns=["file"], hive_partitioning=False, glob=False)["file"].to_list()
    except (OSError, pl.exceptions.PolarsError):
        return
    for file, times in Counter(named).items():
        if times > 1:
            yield _problem(where, f"{file} stands in {times} rows.", _REMAKE)
    listed = {entry.path for entry in manifest.files if not entry.path.startswith("tables/")}
    for file in sorted(set(named) - listed):
        yield _problem(where, f"a row names {file}, which is not among its files.", _REMAKE)
    for file in sorted(listed - set(named)):
        yield _problem(where, f"{file} is among its files, but no row names it.", _REMAKE)
    folder = root / str(manifest.facts.get("folder", ""))
    if manifest.facts.get("folder") and folder.is_dir():
        there = {_relative(root, path) for path in folder.iterdir() if not path.name.startswith(".")}
        for file in sorted(there - set(named)):
            yield _problem(where, f"{file} lies in its folder, but no row names it.", "Delete the file.")


def _check_inputs(manifests: Sequence[Manifest]) -> Iterator[Problem]:
    """Input partitions that are gone, and partitions that were made from an earlier version of theirs."""
    now = {f"{m.asset}~{partition_text(m.partition)}": m.digest for m in manifests}
    for manifest in manifests:
        for name, digest in manifest.inputs.items():
            if "~" not in name:
                continue
            if name not in now:
                yield _problem(_named(manifest), f"its input {name} is gone.", "Make the input again.")
            elif now[name] != digest:
                yield Problem("note", _named(manifest), f"is stale: {name} has changed since.", _REMAKE)


_RECURATE = "Delete manifests/studies/manifest.json and curate again."


def _check_films(root: Path, fast: bool) -> Iterator[Problem]:
    """Films that ``studies`` names; they are stored by content, so their digest is in the row."""
    part = root / "tables" / "studies" / "part-0.parquet"
    if not part.is_file() or not (root / "manifests" / "studies" / "manifest.json").is_file():
        return
    try:
        films = pl.read_parquet(part, columns=["image_file", "image_digest"], hive_partitioning=False, glob=False)
    except (OSError, pl.exceptions.PolarsError) as error:
        yield _problem("studies all", f"its films cannot be listed: {str(error).splitlines()[0]}", _REMAKE)
        return
    known = films.filter(pl.col("image_file").is_not_null()).unique("image_file", maintain_order=True)
    for file, digest in known.rows():
        if not (root / file).is_file():
            yield _problem("studies all", f"film {file} is missing.", _RECURATE)
        elif not fast and digest and sha256_file(root / file) != digest:
            yield _problem("studies all", f"film {file} is not the one that was stored.", f"Delete it. {_RECURATE}")


def _check_leftovers(root: Path, manifests: Sequence[Manifest]) -> Iterator[Problem]:
    """Parts that no manifest claims (not shown by any view), and hidden files of writers that died."""
    claimed = {entry.path for m in manifests for entry in (*m.files, *m.provenance)}
    for path in sorted((root / "tables").rglob("part-*.parquet")):
        if _relative(root, path) not in claimed:
            yield Problem(
                "note", _relative(root, path), "belongs to no manifest: a run is writing it, or was killed.", _REMAKE
            )
    for folder in _SWEPT:
        for path in sorted((root / folder).rglob(".*.tmp")):
            if (age := _age(path)) is not None and age > RUNNING:
                yield Problem(
                    "note", _relative(root, path), f"was left by a writer {age / 3600:.0f} h ago.", "Delete it."
                )


def _age(path: Path) -> float | None:
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return None


def _check_rows(root: Path, manifests: Sequence[Manifest]) -> Iterator[Problem]:
    """What only all tables together can show. Edges to an input that is gone or has changed are told by the inputs."""
    told = {
        (m.asset, partition_text(m.partition), digest)
        for m in manifests
        for name, digest in m.inputs.items()
        if "~" in name
    }
    try:
        with connect(root) as con:
            edges = con.execute(read_sql("audit", "check_dangling_edges")).fetchall()
            unknown = con.execute(read_sql("audit", "check_unknown_training_images")).fetchall()
            double = con.execute(read_sql("audit", "check_double_images")).fetchall()
            leaked = con.execute(read_sql("audit", "check_leaked_patients")).fetchall()
    except (StorageError, duckdb.Error) as error:
        yield _problem(
            "tables", f"cannot be compared with each other: {error}", "Repair what is named above, then again."
        )
        return
    for kind, partition, parent_kind, parent, relation in edges:
        if (kind, partition, parent) not in told:
            yield _problem(
                f"{kind} {partition}",
                f"an edge ({relation}) points at {parent_kind} {parent[:16]}, which is not there.",
                _REMAKE,
            )
    for arm, rows, example in unknown:
        yield _problem(f"training_set {arm}", f"{rows} rows name images that do not exist, such as {example}.", _REMAKE)
    for image, rows, stratum in double:
        yield _problem(f"synthetic_images {stratum}", f"image {image} stands in {rows} rows.", _REMAKE)
    for what, patients, example in leaked:
        yield _problem(
            what,
            f"{patients} patients of the test split, such as {example}, were trained on.",
            "Its scorecards cannot be trusted: curate, and make everything after it again.",
        )
