"""The runs that ``cxr leaderboard`` asks for, without making them."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def asked(root: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str | None]]:
    """Every (asset, partition) that was to be materialised, in order."""
    from dagster_project import run

    found: list[tuple[str, str | None]] = []
    monkeypatch.setattr(
        run, "materialise", lambda assets, partition=None, tags=None: found.extend((a, partition) for a in assets)
    )
    monkeypatch.setattr(run, "fill_requests", lambda *a, **k: [])
    return found


def test_the_board_is_made_after_the_sets_of_its_methods(asked: list[tuple[str, str | None]]) -> None:
    from dagster_project.partitions import PROJECT
    from dagster_project.run import SHARED_ASSETS, main

    assert main(["--leaderboard"]) == 0
    assert [a for a, _ in asked[: len(SHARED_ASSETS)]] == list(SHARED_ASSETS)
    catalogues = [("synthetic_catalogue", f"{f}|demographic_text") for f in PROJECT.grid.findings]
    assert asked[len(SHARED_ASSETS) :] == [
        ("adapter", "demographic_text"),
        *catalogues,
        ("synthetic_set", "demographic_text"),
        ("generator_leaderboard", None),
    ], "the oracle judges a phantom: no classifier is trained"


def test_a_classifier_that_is_to_judge_is_trained_first(
    asked: list[tuple[str, str | None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from dagster_project import run

    learner = run.PROJECT.learners[0]
    monkeypatch.setattr(run, "judge_learner", lambda project: learner)
    run.run_leaderboard()
    last = [("training_set", "real.r000"), ("classifier", f"real.r000|{learner}"), ("generator_leaderboard", None)]
    assert asked[-3:] == last


def test_the_board_hangs_on_the_classifier_that_judges_and_on_no_other(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import dagster as dg

    from dagster_project.assets import evaluation

    project = evaluation.PROJECT
    assert evaluation.judged_by(project) == [], "the oracle judges a phantom"
    monkeypatch.setattr(evaluation, "judge_learner", lambda project: project.learners[0])
    (edge,) = evaluation.judged_by(project)
    mapping = edge.partition_mapping
    assert edge.asset_key == dg.AssetKey("classifier")
    assert isinstance(mapping, dg.SpecificPartitionsPartitionMapping)
    assert mapping.partition_keys == [f"real.r000|{project.learners[0]}"]
