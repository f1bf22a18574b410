"""Two machines that train together, as docs/gpus.md has it: here two launchers on one machine, over gloo."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from cxr_assets.diffusion.adapters import train_adapter
from tests.diffusion.test_launch import METHOD, Open, free_port, learned

DOCS = Path(__file__).parents[2] / "docs"
TRAINING = {"adapter_training__steps": 6, "adapter_training__batch": 5}


def of_two(folder: Path, rank: int, port: int) -> Path:
    """The documented configuration of one of two machines, with a process each, both of them here."""
    tree = yaml.safe_load((DOCS / "accelerate" / f"2nodes-{rank}.yaml").read_text())
    path = folder / f"2nodes-{rank}.yaml"
    changed = {"num_processes": 2, "main_process_ip": "127.0.0.1", "main_process_port": port}
    path.write_text(yaml.safe_dump(tree | changed))
    return path


def documented(configuration: Path, job: Path) -> list[str]:
    """The command that docs/gpus.md gives for the second machine, with this configuration and job."""
    (line,) = re.findall(r"^\.venv/bin/python (-m accelerate\S* .*)$", (DOCS / "gpus.md").read_text(), re.MULTILINE)
    words = {"docs/accelerate/2nodes-1.yaml": str(configuration), "$JOB": str(job)}
    return [sys.executable, *(words.get(word, word) for word in shlex.split(line))]


def job_of(root: Path) -> Path:
    """Where docs/gpus.md says that the first machine leaves the job."""
    (pattern,) = re.findall(r"^JOB=/shared/cxr/chexpert/(\S+)$", (DOCS / "gpus.md").read_text(), re.MULTILINE)
    return root / pattern.replace("method=hcn", f"method={METHOD}")


@pytest.mark.slow
def test_a_second_machine_joins_by_the_documented_command(
    ready: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.delenv("CXR_STORAGE", raising=False)  # the second machine has no settings of its own
    alone = ready("alone", **TRAINING)
    train_adapter(alone, METHOD)
    port = free_port()
    both = ready("both", **TRAINING, diffusion__accelerate=str(of_two(tmp_path, 0, port)))
    faults: list[BaseException] = []

    def first() -> None:
        try:
            train_adapter(both, METHOD)
        except BaseException as error:
            faults.append(error)

    running = threading.Thread(target=first)
    running.start()
    job = job_of(both.store.root)
    begun = time.monotonic()
    while not (job.is_file() and job.stat().st_size) and running.is_alive():
        assert time.monotonic() - begun < 60
        time.sleep(0.2)
    assert job.is_absolute() and not faults
    second = subprocess.run(
        documented(of_two(tmp_path, 1, port), job),
        cwd=Path(__file__).parents[2],
        env=os.environ,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    running.join(240)
    assert second.returncode == 0, second.stderr[-2000:]
    assert not faults and not running.is_alive()
    one: dict[str, Any]
    (one, record, _), (two, record2, facts) = learned(alone), learned(both)
    assert facts["processes"] == 2
    for name, value in one.items():
        assert (value - two[name]).abs().max() < 2e-4, name
    assert record["losses"][-1][1] == pytest.approx(record2["losses"][-1][1], rel=1e-4)
