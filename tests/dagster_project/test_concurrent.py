"""Four backfill runs at once and a reader that asks in a loop: no lock error, exact row counts, no torn partition."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
import yaml

from cxr_assets.progress import Progress
from cxr_assets.project import Project
from cxr_assets.warehouse.connect import connect
from cxr_assets.warehouse.doctor import check_storage
from tests.dagster_project.conftest import SETTINGS
from tests.dagster_project.test_kill import start

pytestmark = pytest.mark.slow
FINDINGS = ["cardiomegaly", "edema", "pneumothorax", "fibrosis"]


def test_concurrent_backfills_and_a_reader(root: Path, tmp_path: Path) -> None:
    (tmp_path / "dagster").mkdir()
    (tmp_path / "cxr.yaml").write_text(yaml.safe_dump(SETTINGS | {"findings": FINDINGS}))
    assert start(tmp_path, "--until", "adapters").wait(timeout=300) == 0  # adapter and plan, no image
    project = Project.open(storage=tmp_path, progress=Progress(quiet=True))
    planned = dict(project.store.table("synthesis_plan").group_by("finding").agg(pl.col("planned").sum()).iter_rows())
    runs = [start(tmp_path, "--until", "images", "--findings", f) for f in FINDINGS]
    seen, reads = 0, 0
    while any(run.poll() is None for run in runs):
        with connect(tmp_path) as reader:
            counted = reader.execute("select count(*), count(distinct image_id) from synthetic_images").fetchone()
        assert counted is not None and counted[0] == counted[1] >= seen
        seen, reads = counted[0], reads + 1
    assert [run.returncode for run in runs] == [0, 0, 0, 0]
    assert reads > 5
    with connect(tmp_path) as reader:
        rows = dict(reader.execute("select finding, count(*) from synthetic_images group by finding").fetchall())
    assert rows == planned
    assert [p for p in check_storage(tmp_path) if p.severity == "problem"] == []
