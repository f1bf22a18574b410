"""Rows of one array over several safetensors files, memory-mapped: what does not fit into memory is read where it lies."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from cxr_assets.errors import StorageError

ROWS = 4096
_TYPES = {"F16": np.float16, "F32": np.float32, "I64": np.int64}


class Shards:
    """A read-only array whose first axis runs over files; indexed by an integer array, it gives those rows.

    Args:
        parts: arrays of equal type and shape but for their first axis.
    """

    def __init__(self, parts: Sequence[np.ndarray]) -> None:
        self.parts = list(parts)
        self.starts = np.cumsum([0, *(len(part) for part in self.parts)])

    def __len__(self) -> int:
        return int(self.starts[-1])

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self), *self.parts[0].shape[1:])

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        rows = np.asarray(rows)
        found = np.empty((len(rows), *self.shape[1:]), self.parts[0].dtype)
        of = np.searchsorted(self.starts, rows, side="right") - 1
        for part in np.unique(of):
            here = of == part
            found[here] = self.parts[part][rows[here] - self.starts[part]]
        return found


def map_tensors(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a safetensors file, memory-mapped. Raises StorageError for a file that is none."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length))
        header.pop("__metadata__", None)
        return {
            name: np.memmap(
                path, _TYPES[about["dtype"]], "r", 8 + length + about["data_offsets"][0], tuple(about["shape"])
            )
            for name, about in header.items()
        }
    except (OSError, ValueError, KeyError, OverflowError, MemoryError) as error:
        raise StorageError(f"{path}: not a readable safetensors file ({error}). Materialise latents again.") from error


def open_shards(folder: Path, name: str) -> dict[str, Shards]:
    """All shards called ``name`` in a folder, in order, one array a tensor."""
    files = sorted(folder.glob(f"{name}-*.safetensors"))
    if not files:
        raise StorageError(f"{folder} holds no {name}. Materialise latents again.")
    parts = [map_tensors(path) for path in files]
    return {key: Shards([part[key] for part in parts]) for key in parts[0]}


def write_shards(folder: Path, name: str, total: int, make: Callable[[slice], dict[str, np.ndarray]]) -> None:
    """Make and write the shards that are not there yet, each renamed into place when it is whole.

    Args:
        total: rows in all.
        make: tensors of some rows.
    """
    from safetensors.numpy import save_file

    folder.mkdir(parents=True, exist_ok=True)
    for number, start in enumerate(range(0, total, ROWS)):
        path = folder / f"{name}-{number:05d}.safetensors"
        if path.exists():
            continue
        hidden = (
            folder.parent / f".{folder.name}.{path.name}.{uuid.uuid4().hex}.tmp"
        )  # beside the folder, which is kept whole
        made = make(slice(start, min(start + ROWS, total)))
        save_file(
            {key: np.ascontiguousarray(value) for key, value in made.items()}, hidden
        )  # it writes memory as it lies
        os.replace(hidden, path)
