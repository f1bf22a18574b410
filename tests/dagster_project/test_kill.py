"""A process killed with -9 in mid-training, mid-synthesis and mid-write: the same command again finishes the work."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
import yaml

from cxr_assets.progress import Progress
from cxr_assets.project import Project
from cxr_assets.warehouse.doctor import check_storage
from tests.dagster_project.conftest import SETTINGS

pytestmark = pytest.mark.slow
PROJECT_FOLDER = Path(__file__).parents[2] / "dagster_project"


def start(root: Path, *arguments: str) -> subprocess.Popen[bytes]:
    environment = {
        **os.environ,
        "CXR_STORAGE": str(root),
        "DAGSTER_HOME": str(root / "dagster"),
        "CXR_PROGRESS": "terminal",
    }
    return subprocess.Popen(
        [sys.executable, "-m", "dagster_project.run", *arguments],
        env=environment,
        cwd=Path(__file__).parents[2],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def kill_when(process: subprocess.Popen[bytes], reached: Callable[[], bool], *, seconds: float = 240) -> bool:
    """Kill the process as soon as something is reached; False if it ended before."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        if reached():
            process.send_signal(signal.SIGKILL)
            process.wait()
            return True
        time.sleep(0.005)
    process.kill()
    return False


@pytest.fixture
def data_root(root: Path, tmp_path: Path) -> Path:
    (tmp_path / "dagster").mkdir()
    # With its pools, as the command copies it: what a killed process holds there must not stop the next one.
    (tmp_path / "dagster" / "dagster.yaml").write_text((PROJECT_FOLDER / "dagster.yaml").read_text())
    settings = SETTINGS | {
        "findings": ["no_finding", "cardiomegaly"],
        "adapter_training": {"steps": 60, "batch": 4, "checkpoint_every": 5},
    }
    (tmp_path / "cxr.yaml").write_text(yaml.safe_dump(settings))
    return tmp_path


def test_killed_runs_finish_when_started_again(data_root: Path) -> None:
    adapters = data_root / "work" / "adapter" / "method=demographic_text" / "checkpoint.pt"
    images = data_root / "images" / "synthetic"
    manifests = data_root / "manifests" / "synthetic_images"
    moments: list[Callable[[], bool]] = [
        adapters.exists,
        lambda: len(list(manifests.rglob("manifest.json"))) >= 10,
        lambda: any(images.rglob(".*.tmp")),
    ]
    assert [kill_when(start(data_root, "--until", "images"), reached) for reached in moments[:2]] == [True, True]
    kill_when(start(data_root, "--until", "images"), moments[2])  # may miss the few milliseconds that a write takes
    final = start(data_root, "--until", "images")
    assert final.wait(timeout=500) == 0
    assert [p for p in check_storage(data_root) if p.severity == "problem"] == []
    project = Project.open(storage=data_root, progress=Progress(quiet=True))
    rows = pl.concat(
        [
            pl.read_parquet(p, hive_partitioning=False)
            for p in (data_root / "tables" / "synthetic_images").rglob("part-*.parquet")
            if "=_" not in str(p)
        ]
    )
    planned = project.store.table("synthesis_plan")["planned"].sum()
    assert rows.height == planned == rows["image_id"].n_unique() == len(list(images.rglob("*.png")))
