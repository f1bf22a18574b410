from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxr_assets.diffusion import shards
from cxr_assets.diffusion.shards import Shards, map_tensors, open_shards, write_shards
from cxr_assets.errors import StorageError


@given(st.lists(st.integers(1, 5), min_size=1, max_size=4), st.data())
def test_rows_over_files_are_rows_of_the_whole(sizes: list[int], data: st.DataObject) -> None:
    whole = np.arange(sum(sizes) * 3).reshape(-1, 3)
    rows = np.array(data.draw(st.lists(st.integers(0, len(whole) - 1), max_size=9)), dtype=np.int64)
    parts = Shards(np.split(whole, np.cumsum(sizes)[:-1]))
    assert len(parts) == len(whole) and parts.shape == whole.shape
    assert np.array_equal(parts[rows], whole[rows])


def test_what_was_written_is_not_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "ROWS", 4)
    made: list[slice] = []

    def make(part: slice) -> dict[str, np.ndarray]:
        if len(made) == 2 and not (tmp_path / "f" / "x-00002.safetensors").exists() and part.start == 8 and stop:
            raise KeyboardInterrupt
        made.append(part)
        return {
            "a": np.arange(part.start, part.stop, dtype=np.float16),
            "b": np.ones((part.stop - part.start, 2), np.float32),
        }

    stop = True
    with pytest.raises(KeyboardInterrupt):
        write_shards(tmp_path / "f", "x", 10, make)
    stop = False
    write_shards(tmp_path / "f", "x", 10, make)
    assert made == [slice(0, 4), slice(4, 8), slice(8, 10)]
    opened = open_shards(tmp_path / "f", "x")
    assert opened["a"][np.array([9, 0, 5])].tolist() == [9, 0, 5] and opened["b"].shape == (10, 2)
    assert all(isinstance(part, np.memmap) for part in opened["a"].parts), "read where it lies"
    assert [p.name for p in tmp_path.iterdir()] == ["f"], "nothing unfinished stays"


@pytest.mark.parametrize(
    "content", [b"", b"12", b"\xff" * 64, b"\x02\0\0\0\0\0\0\0{}x", b"\x09\0\0\0\0\0\0\0not json!"]
)
def test_a_damaged_shard_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x-00000.safetensors"
    path.write_bytes(content)
    if content.endswith(b"{}x"):
        assert map_tensors(path) == {}
    else:
        with pytest.raises(StorageError, match="x-00000"):
            map_tensors(path)


def test_a_folder_without_shards_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="holds no captions"):
        open_shards(tmp_path, "captions")


def test_an_array_in_another_order_of_memory_comes_back_as_it_was(tmp_path: Path) -> None:
    turned = np.arange(48, dtype=np.float32).reshape(2, 2, 3, 4).transpose(0, 3, 1, 2)
    assert not turned.flags.c_contiguous
    write_shards(tmp_path / "f", "x", 2, lambda part: {"a": turned})
    assert np.array_equal(open_shards(tmp_path / "f", "x")["a"][np.arange(2)], turned)
