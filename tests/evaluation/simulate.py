"""Simulated predictions whose disparity is known, in the long form that classifiers write."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from cxr_assets.evaluation.cells import ScoredFilms, lay_out
from cxr_assets.evaluation.fairness import Eligibility, Scorecard, score_arm

FINDINGS = ("edema", "fibrosis", "no_finding")
SMALL = Eligibility(min_positives=20, min_negatives=20, min_patients=15, suppress_below=10)
GROUPS = {"sex": ("female", "male"), "race": ("asian", "black", "white")}
WORST = "black×female"


def simulated(
    *,
    patients: int = 600,
    films: int = 1,
    seed: int = 0,
    missed: float = 0.0,
    learners: Sequence[str] = ("cnn.s0", "cnn.s1"),
    prevalence: float = 0.4,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Predictions and people.

    Args:
        missed: share of the positives of black women that score like a negative.
    """
    rng = np.random.default_rng(seed)
    person = np.arange(patients).repeat(films)
    sex, race = rng.choice(GROUPS["sex"], patients)[person], rng.choice(GROUPS["race"], patients)[person]
    worst = (sex == "female") & (race == "black")
    study = [f"s{i:05d}" for i in range(len(person))]
    frames = []
    for finding in FINDINGS:
        truth = rng.random(len(person)) < prevalence
        seen = truth & ~(worst & (rng.random(len(person)) < missed))
        ability = rng.normal(np.where(seen, 1.2, -1.2), 1.0)
        for learner in learners:
            logit = ability + rng.normal(0, 0.3, len(person))
            frames.append(
                pl.DataFrame(
                    {
                        "learner": learner,
                        "study_id": study,
                        "patient_id": [f"p{i:04d}" for i in person],
                        "finding": finding,
                        "score": 1 / (1 + np.exp(-logit)),
                        "truth": truth.astype(np.int8),
                    }
                )
            )
    return pl.concat(frames), pl.DataFrame({"study_id": study, "sex": sex, "race": race})


def laid_out(predictions: pl.DataFrame, people: pl.DataFrame) -> ScoredFilms:
    """The simulated predictions as arrays."""
    return lay_out(predictions, people, FINDINGS)


def card_of(
    predictions: pl.DataFrame,
    people: pl.DataFrame,
    *,
    arm: str = "real.r000",
    replicates: int = 200,
    threshold: float = 0.5,
    eligibility: Eligibility = SMALL,
    seed: int = 0,
) -> Scorecard:
    """Scorecard with one threshold for everything."""
    films = laid_out(predictions, people)
    cuts = np.full((len(films.learners), len(FINDINGS)), threshold)
    return score_arm(
        films, cuts, arm=arm, attributes=["sex", "race"], replicates=replicates, eligibility=eligibility, seed=seed
    )
