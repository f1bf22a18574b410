from __future__ import annotations

from pathlib import Path

import pytest
from filelock import FileLock, Timeout

from cxr_assets.errors import StorageError
from cxr_assets.keys import MIXES, Arm, Learner
from cxr_assets.progress import Progress
from cxr_assets.project import Parent, Project, Step
from cxr_assets.settings import FilmSettings


def project_of(root: Path, **overrides: object) -> Project:
    changed = {name.replace("__", "."): value for name, value in overrides.items()}
    return Project.open(cohort="phantom", storage=root, overrides=changed, progress=Progress(quiet=True))


def source(project: Project, text: str = "a", terms: str = "generated") -> None:
    step = project.step("source", parents=[], config={}, code_version="1", extra_inputs={"text": text})
    with step.writing(terms=terms) as writer:
        writer.bytes("source.txt", text.encode())


def child(project: Project, config: object = None, code_version: str = "1") -> Step:
    return project.step(
        "child", {"method": "m"}, parents=[Parent("source", "drawn_from")], config=config, code_version=code_version
    )


def make(step: Step) -> Step:
    with step.writing() as writer:
        writer.bytes("child.txt", b"made")
    return step


def test_opening_a_project_touches_nothing(tmp_path: Path) -> None:
    project = project_of(tmp_path / "root")
    assert len(project.grid) == 288
    assert not (tmp_path / "root").exists()


def test_arms_and_learners_follow_the_settings(tmp_path: Path) -> None:
    project = project_of(
        tmp_path, synthesis__methods=["a", "b"], classification__backbones=["x", "y"], classification__seeds=2
    )
    assert project.learners == [Learner("x", 0), Learner("x", 1), Learner("y", 0), Learner("y", 1)]
    assert project.arms[0] == Arm("real", "r000")
    assert {arm.method for arm in project.arms} == {"real", "a", "b"}


def test_a_missing_input_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="Materialise source first"):
        child(project_of(tmp_path))


def test_a_partition_is_current_until_inputs_settings_or_code_change(tmp_path: Path) -> None:
    project = project_of(tmp_path)
    source(project)
    step = child(project, FilmSettings(size=64))
    assert step.current() is None
    assert make(step).made().fresh
    found = child(project, FilmSettings(size=64)).current()
    assert found is not None and not found.fresh
    assert child(project, FilmSettings(size=65)).current() is None
    assert child(project, FilmSettings(size=64), code_version="2").current() is None
    source(project, "b")
    assert child(project, FilmSettings(size=64)).current() is None


def test_an_input_made_anew_with_the_same_bytes_stales_nothing(tmp_path: Path) -> None:
    project = project_of(tmp_path)
    source(project)
    make(child(project))
    source(project)
    assert child(project).current() is not None


def test_identity_changes_with_whatever_stales_a_partition(tmp_path: Path) -> None:
    project = project_of(tmp_path)
    source(project)
    before = {child(project).identity, child(project, {"size": 1}).identity, child(project, code_version="2").identity}
    source(project, "b")
    assert len(before | {child(project).identity}) == 4


def test_a_write_that_fails_leaves_no_partition(tmp_path: Path) -> None:
    project = project_of(tmp_path)
    source(project)
    make(child(project))
    with pytest.raises(RuntimeError), child(project).writing() as writer:
        writer.bytes("child.txt", b"half")
        raise RuntimeError
    assert child(project).current() is None


def test_terms_and_edges_come_from_the_parents(tmp_path: Path) -> None:
    project = project_of(tmp_path)
    source(project, terms="stanford-research")
    manifest = make(child(project)).made().manifest
    assert manifest.terms == "stanford-research"
    edges = project.store.table("edges", {"asset": "child", "partition": "m"}).to_dicts()
    parent = project.store.digest("source")
    assert [(e["child_id"], e["parent_id"], e["relation"]) for e in edges] == [(manifest.digest, parent, "drawn_from")]


def test_a_partition_that_another_process_makes_is_waited_for(tmp_path: Path) -> None:
    project = project_of(tmp_path)
    source(project)
    step = child(project)
    other = FileLock(project.store.path("work/locks/child/m.making.lock"))
    Path(other.lock_file).parent.mkdir(parents=True)
    with other, pytest.raises(StorageError, match="being made by another run"):
        project.store.claim(step.asset, step.keys, timeout=0.1)
    assert step.claim() is None and step.claim() is None, "what this process claimed it may try again"
    with pytest.raises(Timeout), FileLock(other.lock_file, timeout=0.1):
        pass
    assert make(step).made().fresh
    with FileLock(other.lock_file, timeout=0.1):
        assert child(project).claim() is not None, "what is current needs no lock"


def test_methods_of_the_board_alone_have_no_arms(tmp_path: Path) -> None:
    many = ["demographic_text", *(f"hcn-s{seed}" for seed in range(1, 30)), "label_lora"]
    board = {"synthesis.methods": many, "evaluation.leaderboard.methods": many[:-1]}
    project = project_of(tmp_path / "root", **board)
    assert {arm.method for arm in project.arms if not arm.is_real} == {"demographic_text", "label_lora"}
    assert len(project.arms) == 1 + 2 * len(MIXES) and project.methods == many
    everything = project_of(tmp_path / "root", **{"synthesis.methods": many[:3]})
    assert len(everything.arms) == 1 + 3 * len(MIXES), "without a board every method is mixed"
