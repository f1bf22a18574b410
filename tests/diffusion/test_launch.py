from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from safetensors.torch import load_file

from cxr_assets.diffusion import launch
from cxr_assets.diffusion.adapters import train_adapter
from cxr_assets.errors import InputError, SettingsError
from cxr_assets.project import Project

Open = Callable[..., Project]
METHOD = "hcn_fairdiffusion"
TRAINING = {
    "adapter_training__precision": "fp32",
    "adapter_training__steps": 34,
    "adapter_training__batch": 5,
    "adapter_training__checkpoint_every": 20,
}


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def processes(folder: Path, count: int) -> Path:
    """A configuration of accelerate for some processes on one machine, as docs/gpus.md has it."""
    path = folder / f"processes-{count}.yaml"
    path.write_text(
        "compute_environment: LOCAL_MACHINE\ndistributed_type: MULTI_GPU\nuse_cpu: false\nmixed_precision: 'no'\n"
        f"num_machines: 1\nmachine_rank: 0\nnum_processes: {count}\n"
        f"main_process_ip: 127.0.0.1\nmain_process_port: {free_port()}\n"
    )
    return path


def learned(project: Project) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    manifest = project.store.manifest("adapter", {"method": METHOD})
    assert manifest is not None
    folder = project.store.path(manifest.facts["folder"])
    weights = load_file(folder / "pytorch_lora_weights.safetensors") | load_file(folder / "conditioner.safetensors")
    return weights, json.loads((folder / "training.json").read_text()), manifest.facts


def test_two_processes_learn_what_one_does(ready: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    one = ready("one", **TRAINING)
    two = ready("two", **TRAINING, diffusion__accelerate=str(processes(tmp_path, 2)))
    for project in (one, two):
        train_adapter(project, METHOD)
    (weights, record, facts), (weights2, record2, facts2) = learned(one), learned(two)
    assert (facts["processes"], facts2["processes"]) == (1, 2)
    assert weights.keys() == weights2.keys()
    for name, value in weights.items():
        assert (value - weights2[name]).abs().max() < 2e-4, name
    for (step, log), (step2, log2) in zip(record["weighing"], record2["weighing"], strict=True):
        assert step == step2 and log.keys() == log2.keys()
        sigma = [key for key in log if key.startswith("sigma/")]
        assert sigma and all(abs(log[key] - log2[key]) < 1e-3 for key in sigma), f"sigma of step {step}"
    assert record["losses"][-1][1] == pytest.approx(record2["losses"][-1][1], rel=1e-4)
    rows = [p.store.table("adapter_training_rows", {"method": METHOD}).sort("study_id") for p in (one, two)]
    assert rows[0].select(pl.exclude("adapter_id")).equals(rows[1].select(pl.exclude("adapter_id"))), (
        "same films, as often"
    )


def test_a_fault_in_a_process_is_told_in_its_own_words(
    ready: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    project = ready(adapter_training__steps=2, diffusion__accelerate=str(processes(tmp_path, 1)))
    presets = project.store.root / "presets" / "methods"
    presets.mkdir(parents=True)
    (presets / "eight.yaml").write_text("title: Eight\ntrain: {optimizer: adamw_8bit}\n")
    stand_in = tmp_path / "python"  # in place of accelerate: runs the job in this process's stead and says what it said
    stand_in.write_text(
        '#!/bin/sh\necho noise\necho \'{"say": "half way"}\'\necho \'{"fault": "no bitsandbytes"}\'\nexit 3\n'
    )
    stand_in.chmod(0o755)
    monkeypatch.setattr(launch.sys, "executable", str(stand_in))
    with pytest.raises(InputError, match="code 3: no bitsandbytes"):
        train_adapter(project, "eight")
    assert project.store.manifest("adapter", {"method": "eight"}) is None
    (job,) = project.store.root.glob("work/**/job.json")
    capsys.readouterr()
    assert launch.main(job) == 1
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    assert "bitsandbytes" in told[-1]["fault"]


def test_a_process_that_dies_without_a_word_leaves_its_last_lines(
    ready: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = ready(diffusion__accelerate=str(processes(tmp_path, 1)))
    stand_in = tmp_path / "python"
    stand_in.write_text("#!/bin/sh\necho '{not json'\necho Killed >&2\nexit 137\n")
    stand_in.chmod(0o755)
    monkeypatch.setattr(launch.sys, "executable", str(stand_in))
    with pytest.raises(InputError, match=r"code 137[\s\S]*not json\nKilled"):
        train_adapter(project, METHOD)


def test_a_missing_configuration_is_named(ready: Open, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"no file .*none\.yaml"):
        train_adapter(ready(diffusion__accelerate=str(tmp_path / "none.yaml")), METHOD)
