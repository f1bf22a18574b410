"""Definitions read their cohort when they are imported, so a tiny data root must be named before any test imports them."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path

import pytest
import yaml

ROOT = Path(tempfile.mkdtemp(prefix="cxr-graph-"))
atexit.register(shutil.rmtree, ROOT, ignore_errors=True)
SETTINGS = {
    "findings": ["no_finding", "cardiomegaly", "pleural_effusion"],
    "phantom": {"studies": 150, "size": 64, "seed": 5},
    "films": {"workers": 1},
    "regions": {"enabled": False},
    "diffusion": {"base_model": [str(ROOT / "base")], "resolution": 64},
    "adapter_training": {"steps": 2, "batch": 4},
    "synthesis": {"per_stratum": 1, "max_ratio": 0.1, "steps": 2, "batch": 16},
    "classification": {"image_size": 32, "steps": 8, "batch": 8, "validate_every": 4},
    "evaluation": {"replicates": 100, "min_positives": 3, "min_negatives": 3, "min_patients": 3, "suppress_below": 2},
    "arms": ["real.r000", "demographic_text.r010", "demographic_text.only"],
}
os.environ |= {
    "CXR_COHORT": "phantom",
    "CXR_STORAGE": str(ROOT),
    "DAGSTER_HOME": str(ROOT / "dagster"),
    "DAGSTER_DISABLE_TELEMETRY": "yes",
}
os.environ.pop("CXR_PROFILE", None)
(ROOT / "dagster").mkdir()
(ROOT / "dagster" / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
(ROOT / "cxr.yaml").write_text(yaml.safe_dump(SETTINGS))


@pytest.fixture(scope="session")
def root() -> Path:
    """Data root of the tiny phantom, with a base model of the real classes in it."""
    from cxr_assets.cohorts.phantom.population import sample_requests
    from cxr_assets.diffusion.bundle import build_bundle, save_bundle
    from cxr_assets.synthesis.phantom_base import captions_of
    from tests.helpers import SPEC

    save_bundle(build_bundle(SPEC, captions_of(sample_requests(80, 1).studies)), ROOT / "base")
    return ROOT
