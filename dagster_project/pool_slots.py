"""Slots of Dagster's pools that a killed process holds: without a daemon nobody gives them back, and the next run waits for ever.

Each process that materialises by itself holds a lock, which the kernel takes away when it dies, and names it in its runs.
"""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
from dagster._core.storage.dagster_run import FINISHED_STATUSES
from filelock import FileLock, Timeout

PROCESS = "cxr/process"
"""Tag of a run: the lock of the process that it runs in."""


@contextlib.contextmanager
def living(folder: Path) -> Iterator[dict[str, str]]:
    """Hold this process's lock in a folder; yields the tags of its runs."""
    name = f"process-{os.getpid()}-{uuid.uuid4().hex[:8]}.lock"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / name):
        yield {PROCESS: name}
    (folder / name).unlink(missing_ok=True)


def free_slots_of_the_dead(instance: dg.DagsterInstance, folder: Path) -> list[str]:
    """Give back what dead processes hold, and record their runs as failed; returns the runs that others still hold slots for.

    A run of a server is left to the server's daemon, which looks after its own.
    """
    log, alive = instance.event_log_storage, []
    if not log.supports_global_concurrency_limits:
        return []
    for pool in log.get_concurrency_keys():
        info = log.get_concurrency_info(pool)
        claimed = {slot.run_id for slot in info.claimed_slots}
        for run_id in sorted(claimed | {step.run_id for step in info.pending_steps}):
            run = instance.get_run_by_id(run_id)
            name = None if run is None else run.tags.get(PROCESS)
            if run is not None and run.status not in FINISHED_STATUSES:
                if name is None or _held(folder / Path(name).name):
                    alive += [run_id] if run_id in claimed else []
                    continue
                instance.report_run_failed(
                    run, "The process that this run was in has been killed. Run it again: it goes on."
                )
            log.free_concurrency_slots_for_run(run_id)
    return alive


def _held(lock: Path) -> bool:
    """Whether a living process holds a lock."""
    if not lock.exists():
        return False
    try:
        with FileLock(lock, timeout=0):
            return False
    except Timeout:
        return True
