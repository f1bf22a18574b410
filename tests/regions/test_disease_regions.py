"""The whole asset on a tiny phantom: boxes found, masks that agree with them, recall, and nothing without boxes."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from cxr_assets.cohorts.curation import curate_studies
from cxr_assets.describe import describe
from cxr_assets.progress import Progress
from cxr_assets.project import Project
from cxr_assets.regions.disease_regions import find_regions

TINY = {"phantom.studies": 60, "phantom.size": 64, "films.workers": 1, "regions.image_size": 64, "regions.batch": 4}
SHORT = {"regions.epochs": 1, "regions.max_films": 16, "regions.predict_films": 6, "regions.confidence": 0.001}


def opened(root: Path, **more: object) -> Project:
    overrides = TINY | SHORT | {k.replace("__", "."): v for k, v in more.items()}
    return Project.open(cohort="phantom", storage=root, overrides=overrides, progress=Progress(quiet=True))


@pytest.mark.skipif(find_spec("ultralytics") is None, reason="ultralytics is not installed")
def test_masks_hold_the_boxes_that_were_found(tmp_path: Path) -> None:
    project = opened(tmp_path)
    curate_studies(project)
    made = find_regions(project)
    regions, masks = project.store.table("regions"), project.store.table("region_masks")
    assert regions.height == made.manifest.facts["regions"] > 0
    assert set(masks["study_id"]) == set(regions["study_id"])
    findings = made.manifest.facts["findings"]
    for study, file in masks.iter_rows():
        mask = np.asarray(Image.open(project.store.path(file)))
        shown = {findings[bit] for bit in range(16) if (mask >> bit & 1).any()}
        assert mask.shape == (64, 64) and shown <= set(regions.filter(pl.col("study_id") == study)["finding"])
    assert project.store.table("region_recall").filter(pl.col("finding") == "all").height == 1
    assert not find_regions(project).fresh
    assert describe(project, made).pictures["regions"].startswith(b"\x89PNG"), "the best ones are drawn on their films"


def test_without_a_detector_the_tables_are_empty_and_say_why(tmp_path: Path) -> None:
    project = opened(tmp_path, regions__enabled=False)
    curate_studies(project)
    assert find_regions(project).manifest.facts["skipped"] == "regions.enabled is false"
    assert project.store.table("region_masks").is_empty()
