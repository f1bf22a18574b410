"""The whole graph on a tiny phantom: the same runs as ``cxr demo``, then what people and auditors read from it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import dagster as dg
import duckdb
import polars as pl
import pytest
import torch
from safetensors.torch import load_file

from cxr_assets.diffusion.adapters import train_adapter
from cxr_assets.evaluation.report import scored_arms
from cxr_assets.progress import Progress
from cxr_assets.project import Project
from cxr_assets.warehouse.audit import audit
from cxr_assets.warehouse.connect import declared_tables
from cxr_assets.warehouse.doctor import check_storage
from cxr_assets.warehouse.queries import list_queries, run_query


def run_graph(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dagster_project.run", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "CXR_PROGRESS": "terminal"},
        cwd=Path(__file__).parents[2],
        check=False,
    )


@pytest.fixture(scope="module")
def project(root: Path) -> Project:
    """The tiny project after one run of everything."""
    done = run_graph()
    assert done.returncode == 0, done.stderr[-3000:]
    return Project.open(progress=Progress(quiet=True))


def test_every_arm_is_scored_with_intervals(project: Project) -> None:
    for arm in project.settings.arms:
        estimates = project.store.table("fairness_estimates", {"arm": arm})
        shown = estimates.filter(pl.col("estimate").is_not_null())
        assert shown.height and shown["ci_lo"].null_count() == 0
        assert set(estimates["attribute"]) >= {"all", "sex", "race", "race×sex"}


def test_every_planned_image_is_there_once(project: Project) -> None:
    plan = project.store.table("synthesis_plan")
    images = project.store.table("synthetic_set", {"method": "demographic_text"})
    assert images.height == plan["planned"].sum()
    assert images["image_id"].n_unique() == images.height
    on_disk = list((project.store.root / "images" / "synthetic").rglob("*.png"))
    assert sorted(project.store.relative(p) for p in on_disk) == sorted(images["file"])


def test_the_library_alone_makes_the_adapter_that_the_graph_made(project: Project, tmp_path: Path) -> None:
    made = project.store.manifest("adapter", {"method": "demographic_text"})
    shutil.copytree(project.store.root, tmp_path / "copy", ignore=shutil.ignore_patterns("work", "dagster"))
    copy = Project.open(cohort="phantom", storage=tmp_path / "copy", progress=Progress(quiet=True))
    copy.store.manifest_path("adapter", {"method": "demographic_text"}).unlink()
    again = train_adapter(copy, "demographic_text")
    assert made is not None and again.fresh and again.manifest.inputs == made.inputs
    ours, theirs = (
        load_file(store.path(facts["folder"]) / "pytorch_lora_weights.safetensors")
        for store, facts in ((copy.store, again.manifest.facts), (project.store, made.facts))
    )
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():  # as many threads, as many orders of a sum
        assert torch.allclose(value, theirs[name], atol=1e-5), name


def test_events_carry_content_digests(project: Project) -> None:
    with dg.DagsterInstance.get() as instance:
        records = instance.fetch_materializations(dg.AssetKey("synthetic_images"), limit=500).records
        assert {r.partition_key for r in records} == {f"demographic_text|{s}" for s in project.grid}
        tags = records[0].asset_materialization.tags or {}  # type: ignore[union-attr]
        for name in (
            "dagster/data_version",
            "dagster/code_version",
            "dagster/input_data_version/adapter",
            "dagster/input_event_pointer/adapter",
        ):
            assert name in tags


def test_nothing_is_stale_after_a_full_run(project: Project) -> None:
    from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
    from dagster._core.loader import LoadingContextForTest

    from dagster_project.definitions import defs

    with dg.DagsterInstance.get() as instance:
        resolver = CachingStaleStatusResolver(instance, defs.resolve_asset_graph(), LoadingContextForTest(instance))
        strata = [f"demographic_text|{s}" for s in project.grid][:5]
        assert {resolver.get_status(dg.AssetKey("synthetic_images"), s) for s in strata} == {StaleStatus.FRESH}
        assert resolver.get_status(dg.AssetKey("training_set"), "demographic_text.r010") == StaleStatus.FRESH


def test_labels_reach_classifiers_and_scorecards(project: Project) -> None:
    studies = project.store.digest("studies")
    for manifest in (*project.store.manifests("classifier"), *project.store.manifests("fairness_scorecard")):
        assert manifest.inputs["studies~all"] == studies


def test_a_scorecard_of_other_settings_is_not_set_beside_the_others(project: Project) -> None:
    assert [str(a) for a in scored_arms(project)] == ["real.r000", "demographic_text.r010", "demographic_text.only"]
    for changed in ({"classification.steps": 9}, {"classification.seeds": 3}):
        other = Project.open(storage=project.store.root, overrides=changed, progress=Progress(quiet=True))
        assert scored_arms(other) == []


def test_a_second_run_makes_nothing_anew(project: Project) -> None:
    before = {m.asset + str(m.partition): m.made_at + m.run_id for m in project.store.manifests()}
    assert run_graph().returncode == 0
    assert {m.asset + str(m.partition): m.made_at + m.run_id for m in project.store.manifests()} == before


def test_storage_is_whole(project: Project) -> None:
    assert [p for p in check_storage(project.store.root) if p.severity == "problem"] == []


def test_tables_are_as_the_schema_declares_them(project: Project) -> None:
    tables = project.store.path("tables")
    declared = {d.table: list(d.columns) for d in declared_tables()}
    added = {"scorecard_id", "method"}  # by a view, as a digest cannot be in what it is of; by the folder's name
    with duckdb.connect() as con:
        for folder in tables.iterdir():
            part = str(next(folder.glob("**/part-*.parquet")))
            sql = "select column_name, column_type from (describe from read_parquet($part, hive_partitioning = false))"
            columns = con.execute(sql, {"part": part}).fetchall()
            names = {name for name, _ in columns}
            assert columns == [c for c in declared[folder.name] if c[0] in names], folder.name
            assert {name for name, _ in declared[folder.name]} - names <= added, folder.name


def test_named_queries_answer(project: Project) -> None:
    for query in list_queries():
        frame = run_query(project.store.root, query.name, {})
        assert frame.width > 0, query.name
    coverage = run_query(project.store.root, "stratum_coverage", {})
    assert coverage.height == len(project.grid) and set(coverage["state"]) == {"complete"}


def test_an_image_leads_to_its_sources_and_scorecards(project: Project) -> None:
    rows = project.store.table("training_set_rows", {"arm": "demographic_text.r010"}).filter(
        pl.col("origin") == "synthetic"
    )
    tree = str(audit(project.store.root, "image", rows["image_id"][0]))
    for word in ("adapter", "studies", "classifier", "fairness_scorecard"):
        assert word in tree


def test_a_patient_leads_to_everything_derived(project: Project) -> None:
    rows = project.store.table("adapter_training_rows", {"method": "demographic_text"})
    tree = str(audit(project.store.root, "patient", rows["patient_id"][0]))
    for word in ("direct", "derived", "adapter", "classifier"):
        assert word in tree


def test_report_is_one_page_that_needs_nothing_beside_it(project: Project) -> None:
    page = (project.store.root / "reports" / "index.html").read_text()
    assert 'src="http' not in page and "<script" not in page
    for arm in project.settings.arms:
        assert arm in page
    assert page.count("data:image/png;base64,") >= 3


def test_schedule_asks_for_what_was_lost(project: Project) -> None:
    from dagster_project.automation import fill_nightly
    from dagster_project.resources import ProjectResource

    lost = project.grid.of_finding("cardiomegaly")[3]
    keys = {"method": "demographic_text", "finding": lost.finding, "age": lost.age, "sex": lost.sex, "race": lost.race}
    manifest = project.store.manifest_path("synthetic_images", keys)
    kept = manifest.read_bytes()
    manifest.unlink()
    try:
        with dg.instance_for_test() as instance:
            import datetime

            context = dg.build_schedule_context(
                instance=instance,
                resources={"project": ProjectResource()},
                scheduled_execution_time=datetime.datetime(2026, 1, 1, 1, tzinfo=datetime.UTC),
            )
            (request,) = fill_nightly(context)
    finally:
        manifest.write_bytes(kept)
    assert request.tags["dagster/asset_partition_range_start"] == f"demographic_text|{lost}"
    assert request.tags["dagster/asset_partition_range_end"] == f"demographic_text|{lost}"
