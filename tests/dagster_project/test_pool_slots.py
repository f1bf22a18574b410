"""A process killed with -9 holds a slot of the gpu pool: the next one takes it back, and nobody else's."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.storage.dagster_run import DagsterRun, DagsterRunStatus

from dagster_project.pool_slots import PROCESS, free_slots_of_the_dead, living

HOLD = """
import sys, time
from pathlib import Path
from dagster_project.pool_slots import living
with living(Path(sys.argv[1])) as tags:
    print(tags["cxr/process"], flush=True)
    time.sleep(600)
"""


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    (tmp_path / "home").mkdir()
    text = "telemetry: {enabled: false}\nconcurrency: {pools: {granularity: op, default_limit: 1}}\n"
    (tmp_path / "home" / "dagster.yaml").write_text(text)
    with dg.DagsterInstance.from_config(str(tmp_path / "home")) as made:
        yield made


def claim(instance: dg.DagsterInstance, tags: dict[str, str], run_id: str = "one") -> bool:
    """A run that has begun asks for the only slot; whether it has it."""
    instance.add_run(DagsterRun("job", run_id=run_id, status=DagsterRunStatus.STARTED, tags=tags))
    instance.event_log_storage.initialize_concurrency_limit_to_default("gpu")
    return instance.event_log_storage.claim_concurrency_slot("gpu", run_id, "adapter").is_claimed


def test_the_slot_of_a_killed_process_is_given_back(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    locks = tmp_path / "locks"
    command = [sys.executable, "-c", HOLD, str(locks)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]) as process:
        assert process.stdout is not None
        name = process.stdout.readline().strip()
        assert claim(instance, {PROCESS: name})
        assert free_slots_of_the_dead(instance, locks) == ["one"], "it is alive"
        assert not claim(instance, {PROCESS: name}, "two")
        process.kill()
        process.wait()
    assert free_slots_of_the_dead(instance, locks) == []
    run = instance.get_run_by_id("one")
    assert run is not None and run.status == DagsterRunStatus.FAILURE
    assert claim(instance, {}, "three")


def test_the_slot_of_a_server_is_left_to_it(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    assert claim(instance, {})
    assert free_slots_of_the_dead(instance, tmp_path) == ["one"]
    assert not claim(instance, {}, "two")


def test_a_lock_is_gone_when_its_process_ends_in_peace(tmp_path: Path) -> None:
    with living(tmp_path) as tags:
        assert (tmp_path / tags[PROCESS]).exists()
    assert not list(tmp_path.glob("*.lock"))
