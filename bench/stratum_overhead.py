"""What a stratum costs in a ranged run beside drawing its image: at most 0.2 s.

One ranged Dagster run over a whole finding (32 strata, one image each, a toy model of the real classes) against the same
images drawn by the sampler alone, in this process, alternately. Prints seconds a stratum of both and their difference.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from pathlib import Path

import yaml

REPEATS = 3


def main() -> None:
    root = Path(tempfile.mkdtemp(prefix="cxr-bench-"))
    settings = {
        "phantom": {"studies": 80, "size": 64},
        "films": {"workers": 1},
        "regions": {"enabled": False},
        "diffusion": {"base_model": [str(root / "base")], "resolution": 64},
        "adapter_training": {"steps": 1, "batch": 2},
        "synthesis": {"per_stratum": 1, "max_ratio": 0.0, "steps": 2, "batch": 32},
    }
    (root / "cxr.yaml").write_text(yaml.safe_dump(settings))
    (root / "dagster").mkdir()
    os.environ |= {
        "CXR_COHORT": "phantom",
        "CXR_STORAGE": str(root),
        "DAGSTER_HOME": str(root / "dagster"),
        "DAGSTER_DISABLE_TELEMETRY": "yes",
        "CXR_PROGRESS": "terminal",
    }
    from cxr_assets.cohorts.phantom.population import sample_requests
    from cxr_assets.diffusion.bundle import build_bundle, save_bundle
    from cxr_assets.diffusion.config import BundleSpec
    from cxr_assets.synthesis.phantom_base import captions_of

    spec = BundleSpec(
        resolution=64,
        vae_widths=(8, 16),
        latent_channels=4,
        unet_widths=(16, 32),
        text_width=32,
        text_layers=1,
        groups=4,
    )
    save_bundle(build_bundle(spec, captions_of(sample_requests(80, 1).studies)), root / "base")
    from cxr_assets.diffusion.adapters import method_preset, open_generator
    from cxr_assets.diffusion.device import pick_device
    from cxr_assets.project import Project
    from cxr_assets.synthesis.draw import sampler_settings, stratum_keys, stratum_step
    from dagster_project.automation import END, START
    from dagster_project.run import SHARED_ASSETS, materialise

    materialise(SHARED_ASSETS)
    materialise(["adapter"], partition="demographic_text")
    project = Project.open()
    strata = project.grid.of_finding("edema")
    requests = [r for s in strata for r in stratum_step(project, "demographic_text", s)[1]]
    ranged, alone = [], []
    for _ in range(REPEATS):
        for s in strata:
            project.store.manifest_path("synthetic_images", stratum_keys("demographic_text", s)).unlink(missing_ok=True)
        begun = time.perf_counter()
        materialise(
            ["synthetic_images"], tags={START: f"demographic_text|{strata[0]}", END: f"demographic_text|{strata[-1]}"}
        )
        ranged.append((time.perf_counter() - begun) / len(strata))
        begun = time.perf_counter()
        preset = method_preset(project, "demographic_text")
        sampler = open_generator(project, "demographic_text").sampler(
            sampler_settings(project), device=pick_device("cpu")
        )
        for _ in sampler.draw_all([(r, r.ask(preset)) for r in requests]):
            continue
        alone.append((time.perf_counter() - begun) / len(strata))
    best, bare = min(ranged), min(alone)
    print(f"ranged run {best:.3f} s a stratum, drawing alone {bare:.3f} s, ratio {best / bare:.1f}")
    print(f"overhead {best - bare:.3f} s a stratum (limit 0.2)")
    shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    main()
