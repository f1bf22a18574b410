"""The command line: what it lists, what it refuses, what it exits with."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cxr_assets.cohorts.registry import cohort_spec, names


def cxr(*arguments: str, root: Path) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("CXR_", "DAGSTER"))} | {
        "CXR_STORAGE": str(root)
    }
    command = [sys.executable, "-m", "cxr_assets.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


@pytest.mark.parametrize(
    "command",
    [
        "demo",
        "run",
        "ingest",
        "export",
        "synthesize",
        "score",
        "query",
        "audit",
        "doctor",
        "warehouse",
        "ui",
        "pretrain-phantom",
    ],
)
def test_every_command_explains_itself(command: str, tmp_path: Path) -> None:
    done = cxr(command, "--help", root=tmp_path)
    assert done.returncode == 0 and "Usage" in done.stdout


def test_queries_are_listed_with_their_questions(tmp_path: Path) -> None:
    done = cxr("query", root=tmp_path)
    assert done.returncode == 0
    for name in (
        "gap_by_arm",
        "worst_subgroup",
        "intersectional_tpr",
        "stratum_coverage",
        "label_prevalence",
        "image_provenance",
        "quarantine",
    ):
        assert name in done.stdout


def test_a_query_answers_on_day_one(tmp_path: Path) -> None:
    done = cxr("query", "worst_subgroup", "--format", "csv", root=tmp_path)
    assert done.returncode == 0 and done.stdout.startswith("arm,finding,attribute,group")


def test_stated_failures_exit_with_one_and_one_line(tmp_path: Path) -> None:
    for arguments in (
        ("query", "worst_subgrup"),
        ("demo", "--set", "synthesis.step=3"),
        ("run", "--cohort", "nothing"),
    ):
        done = cxr(*arguments, root=tmp_path)
        assert done.returncode == 1, arguments
        assert done.stderr.startswith("error: ") and "Traceback" not in done.stderr


def test_a_data_root_that_cannot_be_made_is_a_stated_failure(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = cxr("demo", "--set", "synthesis.steps=3", root=tmp_path / "file" / "root")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert done.stderr.startswith("error: the disk refused") and str(tmp_path / "file") in done.stderr


def test_wrong_use_exits_with_two(tmp_path: Path) -> None:
    assert cxr("demo", "--set", "no-equals-sign", root=tmp_path).returncode == 2
    assert cxr("no-such-command", root=tmp_path).returncode == 2


def test_settings_show_where_they_come_from(tmp_path: Path) -> None:
    (tmp_path / "cxr.yaml").write_text("synthesis: {steps: 33}\n")
    lines = cxr("config", "show", root=tmp_path).stdout.splitlines()
    (steps,) = [line for line in lines if line.startswith("synthesis.steps")]
    assert "33" in steps and "cxr.yaml" in steps


def test_every_cohort_is_listed_with_its_terms_and_its_page(tmp_path: Path) -> None:
    done = cxr("config", "cohorts", root=tmp_path / "nothing")
    assert done.returncode == 0, done.stderr
    listed = {line.split()[0]: line for line in done.stdout.splitlines()[1:]}
    assert next(iter(listed)) == "phantom" and {"nih", "chexpert", "mimic", "openi"} < set(listed)
    for name in names():
        assert cohort_spec(name).terms in listed[name]
    assert "age, sex " in listed["nih"] and "age, sex, race" in listed["chexpert"]
    assert not (tmp_path / "nothing").exists()


def test_the_list_of_cohorts_is_data_on_request(tmp_path: Path) -> None:
    rows = json.loads(cxr("config", "cohorts", "--format", "json", root=tmp_path).stdout)
    assert {row["name"]: tuple(row["findings"]) for row in rows} == {n: cohort_spec(n).findings for n in names()}
    (nih,) = [row for row in rows if row["name"] == "nih"]
    assert (nih["recorded"], nih["title"], nih["terms"]) == (["age", "sex"], "ChestX-ray14", "nih-open")
    checkout = Path(__file__).parents[1]
    assert [row["page"] for row in rows if not (checkout / row["page"]).is_file()] == []
    assert cxr("config", "cohorts", "--format", "xml", root=tmp_path).returncode == 2
