from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from cxr_assets.cli_leaderboard import board_of, chosen_settings, expand, show
from cxr_assets.errors import InputError, StorageError
from cxr_assets.evaluation.leaderboard.board import make_leaderboard
from cxr_assets.keys import MethodRun
from cxr_assets.project import Project
from cxr_assets.settings import Settings
from tests.evaluation.leaderboard.conftest import BOARD

OLD = Settings.model_validate({"synthesis": {"methods": ["label_lora"]}})


def cxr(*arguments: str, root: Path) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("CXR_", "DAGSTER"))}
    command = [sys.executable, "-m", "cxr_assets.cli", "leaderboard", "--storage", str(root), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def test_presets_are_spread_over_their_seeds() -> None:
    assert expand(["hcn", "demographic_text"], 2) == ["hcn", "hcn-s1", "demographic_text", "demographic_text-s1"]
    assert expand(["hcn-s2", " hcn ", "hcn"], 1) == ["hcn"], "a key stands for its preset, once"
    with pytest.raises(InputError, match="is not a slug"):
        expand(["HCN"], 1)


@given(st.lists(st.from_regex(r"[a-z][a-z_]{0,8}", fullmatch=True), min_size=1, max_size=4), st.integers(1, 12))
def test_every_seed_of_every_preset_is_asked_for_once(presets: list[str], seeds: int) -> None:
    found = [MethodRun.parse(key) for key in expand(presets, seeds)]
    assert len(found) == len(set(found)) == len(set(presets)) * seeds
    assert {(run.preset, run.seed) for run in found} == {(p, s) for p in presets for s in range(seeds)}


def test_a_new_board_keeps_the_methods_that_arms_were_trained_with() -> None:
    assert board_of(OLD) == ["label_lora"]
    chosen = chosen_settings(OLD, ["hcn", "hcn-s1"])
    assert chosen == {
        "synthesis.methods": ["label_lora", "hcn", "hcn-s1"],
        "evaluation.leaderboard.methods": ["hcn", "hcn-s1"],
    }
    new = Settings.model_validate({"evaluation": {"leaderboard": {"methods": ["hcn"]}}})
    assert board_of(new) == ["hcn"]


@pytest.mark.parametrize("format", ["table", "csv", "json", "markdown"])
def test_the_board_that_stands_is_printed(format: str, made: Project, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = make_leaderboard(made).manifest
    show(made.store.root, format)
    out = capsys.readouterr().out
    if format == "json":
        rows = json.loads(out)
        assert len(rows) == manifest.rows["generator_leaderboard"] and {r["preset"] for r in rows} == {
            "good",
            "bad",
        }
    elif format == "csv":
        assert out.startswith("preset,metric,finding,features,attribute,group,direction,mean,sd,seeds")
    elif format == "markdown":
        assert out == (made.store.root / "reports/leaderboard/leaderboard.md").read_text()
    else:
        assert "not there yet: absent" in out and "judge      oracle" in out
        assert "e-0" in next(line for line in out.splitlines() if line.startswith("kernel_distance"))


def test_without_a_board_there_is_a_line_that_says_so(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="no generator_leaderboard under"):
        show(tmp_path, "table")


def test_a_preset_that_does_not_exist_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    (tmp_path / "cxr.yaml").write_text(yaml.safe_dump({"phantom": {"studies": BOARD["phantom__studies"]}}))
    before = (tmp_path / "cxr.yaml").read_text()
    done = cxr("--methods", "no_such_preset", "--seeds", "3", root=tmp_path)
    assert done.returncode == 1 and done.stderr.startswith("error: no method preset 'no_such_preset'"), done.stderr
    assert (tmp_path / "cxr.yaml").read_text() == before
    assert cxr("--format", "parquet", root=tmp_path).returncode == 2


def test_showing_the_board_changes_no_setting(made: Project, tmp_path: Path) -> None:
    refused = cxr("--show", "--methods", "hcn", root=tmp_path)
    assert refused.returncode == 2 and "--show prints the board that stands" in " ".join(refused.stderr.split())
    empty = cxr("--show", root=tmp_path)
    assert empty.returncode == 1 and not (tmp_path / "cxr.yaml").exists()
