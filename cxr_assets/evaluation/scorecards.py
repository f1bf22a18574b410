"""The ``fairness_scorecard`` asset: one arm's figures over all its learners."""

from __future__ import annotations

import numpy as np
import polars as pl

from cxr_assets.classification.classifiers import learner_keys
from cxr_assets.classification.thresholds import RULES, refuse_fitted_rows, rows_digest
from cxr_assets.errors import CheckError
from cxr_assets.evaluation.cells import ScoredFilms, lay_out
from cxr_assets.evaluation.fairness import Eligibility, score_arm
from cxr_assets.evaluation.family import refuse_too_few
from cxr_assets.keys import Arm
from cxr_assets.project import Made, Parent, Project

CODE_VERSION = "3"


def score_predictions(project: Project, arm: Arm) -> Made:
    """Score the predictions of an arm's learners on the test films."""
    settings = project.settings.evaluation
    refuse_too_few(settings.family, settings.attributes, settings.permutations)
    learners = [learner_keys(arm, learner) for learner in project.learners]
    step = project.step(
        "fairness_scorecard",
        {"arm": str(arm)},
        parents=[
            *(Parent("predictions", "evaluated_on", keys) for keys in learners),
            Parent("studies", "evaluated_on"),
        ],
        config=settings.model_dump(exclude={"features", "leaderboard"})
        | {"findings": project.grid.findings, "threshold_rule": project.settings.classification.threshold_rule}
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
    validate = project.store.table("studies").filter(pl.col("split") == "validate")["study_id"]
    refuse_fitted_rows(set(validate), set(films.people["study_id"]))
    if rows_digest(films.people["study_id"].to_list()) in set(thresholds["fitted_on"]):
        raise CheckError(f"arm {arm}: its thresholds were fitted on the very films that are to be scored.")
    card = score_arm(
        films,
        _operating_points(thresholds, films, project.settings.classification.threshold_rule),
        arm=str(arm),
        attributes=settings.attributes,
        replicates=settings.replicates,
        permutations=settings.permutations,
        seed=settings.seed,
        family=settings.family,
        patient_kind=project.spec.patient_id_kind,
        eligibility=Eligibility(
            settings.min_positives, settings.min_negatives, settings.min_patients, settings.suppress_below
        ),
        progress=project.progress,
    )
    with step.writing() as writer:
        writer.table("fairness_estimates", card.estimates)
        writer.table("fairness_gaps", card.gaps)
        writer.table("fairness_replicates", card.replicates)
        writer.table("fairness_reliability", card.reliability)
        overall = card.estimates.filter(
            (pl.col("attribute") == "all") & (pl.col("finding") == "all") & pl.col("primary")
        )
        reported = card.gaps.filter(pl.col("reported")).sort("p_adj", "attribute")
        writer.facts |= {
            "learners": len(films.learners),
            "studies": len(films.patient),
            "overall": {r["metric"]: [r["estimate"], r["ci_lo"], r["ci_hi"]] for r in overall.iter_rows(named=True)},
            "reported_gaps": [f"{r['attribute']}: {r['worst_group']}" for r in reported.iter_rows(named=True)],
        }
    return step.made()


def _operating_points(thresholds: pl.DataFrame, films: ScoredFilms, primary: str) -> dict[str, np.ndarray]:
    """Thresholds by rule, ``(learners, findings)`` each, the primary rule first."""
    known = {(r["rule"], r["learner"], r["finding"]): r["threshold"] for r in thresholds.iter_rows(named=True)}
    return {
        rule: np.array([[known.get((rule, x, f)) for f in films.findings] for x in films.learners], dtype=np.float64)
        for rule in (primary, *(r for r in RULES if r != primary))
    }
