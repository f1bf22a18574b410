"""How often the scorecard reports the demo's planted gap, and a gap where none was planted, over phantom cohorts of other seeds.

    python bench/long/planted_gap.py [--seeds 20] [--planted] [--folder DIR]

Each seed is another population with films of its own, curated, learned from and scored as the demo does with real films only
(two training seeds). Run again, it goes on where it was. Prints what each cohort's scorecard reports, how many name the planted
subgroup as the worst of its intersection, and how many report any gap at all: with the planting off there are still
acquisition styles that go with race, and bodies that go with sex, so that some of these gaps are real.
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
SUBGROUP = "black×female"
"""What the demo plants its disparity in (`phantom.disparity.subgroup`)."""


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
    parser.add_argument("--first", type=int, default=1, help="first seed, so that two processes can share the work")
    parser.add_argument("--planted", action="store_true", help="with the disparity, to count how often it is found")
    parser.add_argument("--folder", type=Path, default=Path("storage/planted-gap"))
    given = parser.parse_args(arguments)
    named = some = 0
    for seed in range(given.first, given.first + given.seeds):
        begun = time.perf_counter()
        gaps = report_of(given.folder / ("on" if given.planted else "off"), seed, planted=given.planted)
        reported = gaps.filter(pl.col("reported")).sort("p_adj")
        some += reported.height > 0
        named += SUBGROUP in reported["worst_group"].to_list()
        told = ", ".join(f"{r['attribute']} ({r['worst_group']})" for r in reported.iter_rows(named=True)) or "none"
        print(f"seed {seed}: reported {told}; {time.perf_counter() - begun:.0f} s", flush=True)
    planting = "on" if given.planted else "off"
    print(f"planting {planting}: {named} of {given.seeds} cohorts name {SUBGROUP}, {some} report some gap")


if __name__ == "__main__":
    main()
