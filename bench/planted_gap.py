"""How often the scorecard reports the demo's planted gap, and a gap where none was planted, over phantom cohorts of other seeds.

    python bench/planted_gap.py [--seeds 20] [--planted] [--folder DIR]

Each seed is another population with films of its own, curated, learned from and scored as the demo does with real films only
(two training seeds). Run again, it goes on where it was. Prints what each cohort's scorecard reports, and the count.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from cxr_assets.classification.classifiers import predict_test, train_classifier
from cxr_assets.classification.mixing import mix_training_set
from cxr_assets.cohorts.curation import curate_studies
from cxr_assets.evaluation.scorecards import score_predictions
from cxr_assets.keys import REAL, REAL_ONLY, Arm
from cxr_assets.progress import Progress
from cxr_assets.project import Project

ARM = Arm(REAL, REAL_ONLY)


def report_of(folder: Path, seed: int, *, planted: bool) -> pl.DataFrame:
    """Gaps of the declared family on one cohort."""
    overrides = {"phantom.seed": seed, "phantom.disparity.enabled": planted, "films.workers": 1}
    project = Project.open(
        cohort="phantom",
        storage=folder / f"seed-{seed}",
        profile="demo",
        overrides=overrides,
        progress=Progress(quiet=True),
    )
    curate_studies(project)
    mix_training_set(project, ARM)
    for learner in project.learners:
        train_classifier(project, ARM, learner)
        predict_test(project, ARM, learner)
    score_predictions(project, ARM)
    return project.store.table("fairness_gaps", {"arm": str(ARM)}).filter(pl.col("family") == "confirmatory")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--planted", action="store_true", help="with the disparity, to count how often it is found")
    parser.add_argument("--folder", type=Path, default=Path("storage/planted-gap"))
    given = parser.parse_args(arguments)
    found = 0
    for seed in range(1, given.seeds + 1):
        begun = time.perf_counter()
        gaps = report_of(given.folder / ("on" if given.planted else "off"), seed, planted=given.planted)
        reported = gaps.filter(pl.col("reported")).sort("p_adj")
        found += reported.height > 0
        named = ", ".join(f"{r['attribute']} ({r['worst_group']})" for r in reported.iter_rows(named=True)) or "none"
        lowest = gaps["p_adj"].min()
        seconds = time.perf_counter() - begun
        print(f"seed {seed}: reported {named}; least adjusted p {lowest:.3f}; {seconds:.0f} s", flush=True)
    print(f"{found} of {given.seeds} cohorts have a reported gap (planting {'on' if given.planted else 'off'})")


if __name__ == "__main__":
    main()
