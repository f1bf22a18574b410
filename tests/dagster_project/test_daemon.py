"""A backfill launched on the server whose worker is killed: the retry finishes it and no pool slot stays held."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from cxr_assets.progress import Progress
from cxr_assets.project import Project
from cxr_assets.warehouse.doctor import check_storage
from tests.dagster_project.test_kill import data_root, start

pytestmark = pytest.mark.slow
__all__ = ["data_root"]
LAUNCH = """mutation($p: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $p) {
  __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }"""
STATUS = "query($id: String!) { partitionBackfillOrError(backfillId: $id) { ... on PartitionBackfill { status } } }"


def wait_for(reached: Callable[[], Any], *, seconds: float) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := reached():
            return found
        time.sleep(0.02)
    raise AssertionError(f"not reached within {seconds} s")


class Server:
    """A running ``cxr ui`` and its GraphQL."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/graphql"

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(self.url, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            found: dict[str, Any] = json.load(answer)["data"]
        return found

    def up(self) -> bool:
        try:
            repositories = self.ask("{ repositoriesOrError { ... on RepositoryConnection { nodes { name } } } }")
        except (urllib.error.URLError, OSError):
            return False
        return bool(repositories["repositoriesOrError"].get("nodes"))


@pytest.fixture
def server(data_root: Path) -> Iterator[Server]:
    """The server on the data root, its adapter trained and its plan made, no image drawn."""
    assert start(data_root, "--until", "adapters").wait(timeout=500) == 0
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "cxr_assets.cli", "ui", "--port", str(port)]
    with (data_root / "ui.log").open("wb") as log:
        process = subprocess.Popen(
            command,
            env={**os.environ, "CXR_STORAGE": str(data_root)},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    found = Server(port)
    try:
        wait_for(found.up, seconds=180)
        yield found
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=60)


def worker_of(instance: dg.DagsterInstance) -> int | None:
    """Process of the run that draws, as Dagster wrote it into the run's log."""
    for run in instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])):
        for entry in instance.all_logs(run.run_id):
            if found := re.search(r"\(pid: (\d+)\)", entry.message or entry.user_message or ""):
                return int(found[1])
    return None


def test_a_killed_worker_is_retried(server: Server, data_root: Path) -> None:
    strata = Project.open(storage=data_root, progress=Progress(quiet=True)).grid.of_finding("cardiomegaly")
    launched = server.ask(
        LAUNCH,
        p={
            "assetSelection": [{"path": ["synthetic_images"]}],
            "partitionNames": [f"demographic_text|{s}" for s in strata],
        },
    )["launchPartitionBackfill"]
    manifests = data_root / "manifests" / "synthetic_images"
    wait_for(lambda: len(list(manifests.rglob("manifest.json"))) >= 3, seconds=180)
    with dg.DagsterInstance.from_config(str(data_root / "dagster")) as instance:
        os.kill(wait_for(lambda: worker_of(instance), seconds=10), signal.SIGKILL)
    assert len(list(manifests.rglob("manifest.json"))) < len(strata), "killed too late to say anything"

    def status() -> str:
        return str(server.ask(STATUS, id=launched["backfillId"])["partitionBackfillOrError"]["status"])

    wait_for(lambda: status().startswith(("COMPLETED", "FAILED", "CANCELED")), seconds=400)
    with dg.DagsterInstance.from_config(str(data_root / "dagster")) as instance:
        runs = instance.get_runs()
        wait_for(lambda: instance.event_log_storage.get_concurrency_info("gpu").active_slot_count == 0, seconds=60)
        assert instance.event_log_storage.get_concurrency_info("gpu").pending_step_count == 0
    drawn = [r for r in runs if "dagster/backfill" in r.tags]
    assert [r.status for r in drawn] == [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE]
    assert drawn[0].parent_run_id == drawn[1].run_id
    assert len(list(manifests.rglob("manifest.json"))) == len(strata)
    assert [p for p in check_storage(data_root) if p.severity == "problem"] == []
    images = list((data_root / "images" / "synthetic").rglob("*.png"))
    rows = pl.concat(
        [
            pl.read_parquet(p)
            for p in (data_root / "tables/synthetic_images/method=demographic_text").rglob("part-*.parquet")
        ]
    )
    assert len(images) == rows.height == rows["image_id"].n_unique()
