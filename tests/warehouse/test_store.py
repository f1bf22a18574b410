"""Partitions are written whole or not at all, whatever happens in between."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import polars as pl
import pytest

from cxr_assets.errors import StorageError
from cxr_assets.warehouse import Store

KEYS = {"method": "m", "stratum": "s"}
HOW = {"inputs": {"a": "1"}, "config_digest": "c", "code_version": "1"}


def put(store: Store, value: int, **how: object) -> None:
    with store.writing("images", KEYS, **{**HOW, **how}) as writer:  # type: ignore[arg-type]
        writer.table("rows", pl.DataFrame({"value": [value]}))


def test_a_partition_is_current_only_for_what_it_was_made_from(tmp_path: Path) -> None:
    store = Store(tmp_path)
    put(store, 1)
    assert store.is_current("images", KEYS, **HOW)  # type: ignore[arg-type]
    for changed in ({"inputs": {"a": "2"}}, {"config_digest": "d"}, {"code_version": "2"}):
        assert not store.is_current("images", KEYS, **{**HOW, **changed})  # type: ignore[arg-type]


def test_equal_content_has_an_equal_digest_in_any_run(tmp_path: Path) -> None:
    digests = []
    for name in ("a", "b"):
        store = Store(tmp_path / name)
        put(store, 1)
        digests.append(store.digest("images", KEYS))
    put(store, 2)
    assert digests[0] == digests[1] != store.digest("images", KEYS)


def test_an_error_in_the_middle_leaves_no_manifest(tmp_path: Path) -> None:
    store = Store(tmp_path)
    put(store, 1)
    with pytest.raises(RuntimeError), store.writing("images", KEYS, **HOW) as writer:  # type: ignore[arg-type]
        writer.table("rows", pl.DataFrame({"value": [2]}))
        raise RuntimeError("power cut")
    assert store.manifest("images", KEYS) is None
    put(store, 3)
    assert store.table("rows", KEYS)["value"].to_list() == [3]


@pytest.mark.parametrize("path", ["../outside", "tables/../../outside", "/etc/passwd"])
def test_paths_outside_the_root_are_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises(StorageError, match="leaves the data root"):
        Store(tmp_path).put_bytes(path, b"x")


def test_leftovers_of_a_killed_writer_are_swept(tmp_path: Path) -> None:
    store = Store(tmp_path)
    put(store, 1)
    leftover = tmp_path / "tables/rows/method=m/stratum=s/.part-0.parquet.dead.tmp"
    leftover.write_bytes(b"half")
    put(store, 2)
    assert not leftover.exists()


def test_a_lock_dies_with_its_process(tmp_path: Path) -> None:
    code = textwrap.dedent(f"""
        import time
        from cxr_assets.warehouse import Store
        with Store({str(tmp_path)!r}).locked("images", {KEYS!r}):
            print("held", flush=True)
            time.sleep(60)
    """)
    holder = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
    with pytest.raises(StorageError, match="another run"), Store(tmp_path).locked("images", KEYS, timeout=0.05):
        pass
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    with Store(tmp_path).locked("images", KEYS, timeout=5):
        put_into = Store(tmp_path).path("free")
    assert put_into.name == "free"


def test_a_full_disk_is_a_clear_error_and_the_old_file_stays(tmp_path: Path) -> None:
    store = Store(tmp_path)
    put(store, 1)
    code = textwrap.dedent(f"""
        import resource, signal
        import numpy as np, polars as pl
        from cxr_assets.errors import StorageError
        from cxr_assets.warehouse import Store
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))  # no file may grow past this, as on a full disk
        store = Store({str(tmp_path)!r})
        for data in (lambda: store.put_frame("tables/rows/method=m/stratum=s/part-0.parquet",
                                             pl.DataFrame({{"value": np.random.default_rng(0).random(50_000)}})),
                     lambda: store.put_bytes("images/x.png", b"x" * 200_000)):
            try:
                data()
            except StorageError as error:
                assert "cannot write" in str(error), error
            else:
                raise SystemExit("nothing was raised")
    """)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert store.table("rows", KEYS)["value"].to_list() == [1]
    assert not list(tmp_path.rglob(".*.tmp"))


def test_a_root_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "root").write_text("a file where the data root should be")
    with pytest.raises(StorageError, match="cannot"):
        put(Store(tmp_path / "root"), 1)


def test_a_broken_manifest_names_itself_and_the_way_out(tmp_path: Path) -> None:
    store = Store(tmp_path)
    put(store, 1)
    store.manifest_path("images", KEYS).write_text("{not json")
    with pytest.raises(StorageError, match="Delete it and make the partition again"):
        store.manifest("images", KEYS)
