"""Writes partitions by hand through the store, as the assets do."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from cxr_assets.warehouse import Store
from cxr_assets.warehouse.manifest import Manifest, partition_text
from cxr_assets.warehouse.runinfo import RunInfo


class Writer:
    """Writes partitions as the assets do: edges to parents, inputs by name."""

    def __init__(self, root: Path) -> None:
        self.store = Store(root, run=RunInfo("run-1"))
        self._digests: dict[str, str] = {}

    def rows(self, table: str, folder: str = "") -> pl.DataFrame:
        """One part of a table."""
        path = self.store.root / "tables" / table / folder / "part-0.parquet"
        return pl.read_parquet(path, hive_partitioning=False, glob=False)

    def digest(self, name: str) -> str:
        """Digest of a partition by its name, "asset~partition"."""
        if name not in self._digests:
            self._digests |= {f"{m.asset}~{partition_text(m.partition)}": m.digest for m in self.store.manifests()}
        return self._digests[name]

    def put(
        self,
        asset: str,
        keys: Mapping[str, str] | None = None,
        *,
        parents: Mapping[str, str] | None = None,
        files: Mapping[str, bytes] | None = None,
        facts: Mapping[str, Any] | None = None,
        terms: str = "nih-open",
        frames: Mapping[str, pl.DataFrame] | None = None,
        **tables: pl.DataFrame,
    ) -> Manifest:
        """One partition. ``parents`` maps "asset~partition" to the relation; each must have been written."""
        inputs = {name: self.digest(name) for name in parents or {}}
        with self.store.writing(asset, keys, inputs=inputs, config_digest="c", code_version="1", terms=terms) as writer:
            for name, relation in (parents or {}).items():
                writer.edge(inputs[name], name.split("~")[0], relation)
            for path, data in (files or {}).items():
                writer.bytes(path, data)
            for name, frame in {**(frames or {}), **tables}.items():
                writer.table(name, frame)
            writer.facts |= dict(facts or {})
        assert writer.manifest is not None
        self._digests[f"{asset}~{partition_text(keys or {})}"] = writer.manifest.digest
        return writer.manifest
