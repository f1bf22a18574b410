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


def base_doctor(root: Path, cache: Path, *entries: str, offline: bool = True) -> subprocess.CompletedProcess[str]:
    """`cxr doctor --base` over a hub cache of its own."""
    root.mkdir(exist_ok=True)
    settings = {"diffusion": {"base_model": list(entries), "offline": offline}}
    (root / "cxr.yaml").write_text(json.dumps(settings))  # YAML too
    os.environ["HF_HUB_CACHE"] = str(cache)
    try:
        return cxr("doctor", "--base", root=root)
    finally:
        del os.environ["HF_HUB_CACHE"]


def test_doctor_says_which_base_model_is_used_and_why_the_others_are_not(tmp_path: Path) -> None:
    from cxr_assets.diffusion.candidates import PHANTOM_BASE
    from tests.diffusion.base_models import COMMIT, changed, copied, in_cache, pickled

    pickle = pickled(copied(PHANTOM_BASE, tmp_path / "pickle"), "unet")
    paint = changed(copied(PHANTOM_BASE, tmp_path / "paint"), "unet/config.json", in_channels=17)
    cache = tmp_path / "hub"
    in_cache(cache, "some/body", PHANTOM_BASE)
    gone = "runwayml/stable-diffusion-v1-5"
    done = base_doctor(tmp_path / "root", cache, gone, "a/b", str(pickle), str(paint), f"some/body@{COMMIT}", "phantom")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line[0] for line in lines] == ["!", "!", "!", "!", " ", " "]
    for line, told in zip(
        lines,
        [
            "stable-diffusion-v1-5/stable-diffusion-v1-5",
            "nothing may be downloaded",
            "holds pickled weights",
            "is an inpainting model",
            f"is used (family own, predicts epsilon, commit {COMMIT}, 10.9 MB",
            "another comes first",
        ],
        strict=True,
    ):
        assert told in line


def test_doctor_fails_where_no_base_model_can_be_used_and_downloads_nothing(tmp_path: Path) -> None:
    cache = tmp_path / "hub"
    done = base_doctor(tmp_path / "root", cache, "a/b", str(tmp_path / "none"))
    assert done.returncode == 1 and "no base model can be used here" in done.stderr
    assert [line[0] for line in done.stdout.splitlines()] == ["!", "!"]
    online = base_doctor(tmp_path / "root", cache, "a/b@v1", offline=False)
    assert online.returncode == 0 and "it is downloaded at first use" in online.stdout and not cache.exists()
    wrong = base_doctor(tmp_path / "root", cache, "phantom", "scratch")
    assert wrong.returncode == 1 and "scratch stands alone" in wrong.stderr
