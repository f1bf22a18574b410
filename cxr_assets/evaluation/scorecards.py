"""The ``fairness_scorecard`` asset: one arm's figures over all its learners."""

from __future__ import annotations

import numpy as np
import polars as pl

from cxr_assets.classification.classifiers import learner_keys
from cxr_assets.errors import CheckError
from cxr_assets.evaluation.cells import lay_out
from cxr_assets.evaluation.fairness import Eligibility, score_arm
from cxr_assets.keys import Arm
from cxr_assets.project import Made, Parent, Project

CODE_VERSION = "1"


def score_predictions(project: Project, arm: Arm) -> Made:
    """Score the predictions of an arm's learners on the test films."""
    settings = project.settings.evaluation
    learners = [learner_keys(arm, learner) for learner in project.learners]
    step = project.step(
        "fairness_scorecard",
        {"arm": str(arm)},
        parents=[
            *(Parent("predictions", "evaluated_on", keys) for keys in learners),
            Parent("studies", "evaluated_on"),
        ],
        config=settings.model_dump(exclude={"features"})
        | {"findings": project.grid.findings}
        | project.settings.choices.demographics,
        code_version=CODE_VERSION,
    )
    if made := step.claim():
        return made
    predictions = pl.concat([project.store.table("predictions", keys) for keys in learners])
    thresholds = pl.concat([project.store.table("thresholds", keys) for keys in learners])
    unknown = set(predictions["classifier_id"]) - set(thresholds["classifier_id"])
    if unknown:
        raise CheckError(f"arm {arm}: predictions of classifier {min(unknown)[:16]} have no thresholds. Predict again.")
    people = project.studies().select("study_id", *settings.attributes)
    films = lay_out(predictions, people, project.grid.findings)
    known = {(r["learner"], r["finding"]): r["threshold"] for r in thresholds.iter_rows(named=True)}
    cuts = np.array([[known.get((x, f)) for f in films.findings] for x in films.learners], dtype=np.float64)
    card = score_arm(
        films,
        cuts,
        arm=str(arm),
        attributes=settings.attributes,
        replicates=settings.replicates,
        seed=settings.seed,
        patient_kind=project.spec.patient_id_kind,
        eligibility=Eligibility(
            settings.min_positives, settings.min_negatives, settings.min_patients, settings.suppress_below
        ),
    )
    with step.writing() as writer:
        writer.table("fairness_estimates", card.estimates)
        writer.table("fairness_gaps", card.gaps)
        writer.table("fairness_replicates", card.replicates)
        overall = card.estimates.filter((pl.col("attribute") == "all") & (pl.col("finding") == "all"))
        reported = card.gaps.filter(pl.col("reported")).sort("p_adj", "attribute")
        writer.facts |= {
            "learners": len(films.learners),
            "studies": len(films.patient),
            "overall": {r["metric"]: [r["estimate"], r["ci_lo"], r["ci_hi"]] for r in overall.iter_rows(named=True)},
            "reported_gaps": [f"{r['attribute']}: {r['worst_group']}" for r in reported.iter_rows(named=True)],
        }
    return step.made()
