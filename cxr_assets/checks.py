"""What must hold of a partition before anything is built on it. Dagster shows these as asset checks."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import polars as pl

from cxr_assets.captions.clean import clean_captions
from cxr_assets.classification.classifiers import learner_keys
from cxr_assets.cohorts.study_checks import (
    BLOCKING_STUDY_CHECKS,
    STUDY_CHECKS,
    run_check,
    stored_cohort,
)
from cxr_assets.diffusion.held_out import leaked
from cxr_assets.keys import Arm
from cxr_assets.outcomes import Outcome
from cxr_assets.project import Project
from cxr_assets.warehouse.manifest import Manifest

Check = Callable[[Project, Manifest], Outcome]


def _every_study_has_a_fate(project: Project, manifest: Manifest) -> Outcome:
    studies, fates = project.store.table("studies").height, project.store.table("caption_fates").height
    return Outcome("every_study_has_a_fate", studies == fates, {"studies": studies, "fates": fates})


def _captions_are_clean(project: Project, manifest: Manifest) -> Outcome:
    captions, fates = project.store.table("captions"), project.store.table("caption_fates")
    passed, facts = clean_captions(captions, fates)
    return Outcome("captions_are_clean", passed, facts)


def _base_model_named(project: Project, manifest: Manifest) -> Outcome:
    return Outcome(
        "weights_identified", bool(manifest.facts.get("base_id")), {"base_id": manifest.facts.get("base_id")}
    )


def _regions_recalled(project: Project, manifest: Manifest) -> Outcome:
    value = manifest.facts.get("recall")
    skipped = manifest.facts.get("skipped")
    return Outcome("recall_above_zero", bool(skipped) or bool(value), {"recall": value, "skipped": skipped})


def _latents_cover_training(project: Project, manifest: Manifest) -> Outcome:
    rows = project.store.table("latent_rows")
    other = rows.filter(pl.col("split") != "train").height
    return Outcome(
        "only_training_studies",
        other == 0 and rows.height == manifest.facts["films"],
        {"rows": rows.height, "of_other_splits": other},
        blocking=True,
    )


def _pairs_stay_represented(project: Project, manifest: Manifest) -> Outcome:
    facts = manifest.facts
    return Outcome(
        "pairs_stay_represented",
        facts["lacking"] is None,
        {"cells": len(facts["cells"]), "left_out": facts["left_out"], "lacking": facts["lacking"]},
    )


def _latents_hold_no_held_out_cell(project: Project, manifest: Manifest) -> Outcome:
    found = leaked(project, project.store.table("latent_rows")["study_id"])
    return Outcome("no_held_out_cell", found == 0, {"studies_of_held_out_patients": found}, blocking=True)


def _adapter_learned_no_held_out_cell(project: Project, manifest: Manifest) -> Outcome:
    found = leaked(project, project.store.table("adapter_training_rows", manifest.partition)["study_id"])
    return Outcome("no_held_out_cell_learned", found == 0, {"studies_of_held_out_patients": found}, blocking=True)


def _plan_covers_grid(project: Project, manifest: Manifest) -> Outcome:
    plan, s = project.store.table("synthesis_plan"), project.settings.synthesis
    least = s.per_stratum if s.composer == "targeted" else 0  # others may leave strata empty
    short = plan.filter(pl.col("planned") < least).height
    return Outcome(
        "every_stratum_planned",
        plan.height == len(project.grid) and short == 0,
        {"strata": plan.height, "short": short},
    )


def _loss_is_finite(project: Project, manifest: Manifest) -> Outcome:
    loss = manifest.facts["final_loss"]
    return Outcome("loss_is_finite", loss == loss and abs(loss) < 1e3, {"final_loss": loss}, blocking=True)


def _images_passed(project: Project, manifest: Manifest) -> Outcome:
    images, rejected = manifest.facts["images"], manifest.facts["rejected"]
    return Outcome("quality", rejected == 0, {"images": images, "quarantined": rejected})


def _catalogue_complete(project: Project, manifest: Manifest) -> Outcome:
    return Outcome("strata_complete", manifest.facts["short"] == 0, {"short": manifest.facts["short"]})


def _set_usable(project: Project, manifest: Manifest) -> Outcome:
    images, passed = manifest.facts["images"], manifest.facts["passed"]
    return Outcome(
        "pass_rate",
        images > 0 and passed >= 0.8 * images,
        {"images": images, "passed": passed, "lowest_stratum": manifest.facts["lowest_pass_rate"]},
    )


def _no_test_patient(project: Project, manifest: Manifest) -> Outcome:
    rows = project.store.table("training_set_rows", manifest.partition)
    held = project.store.table("studies").filter(pl.col("split") != "train")["patient_id"].unique()
    leaked = rows.filter(pl.col("patient_id").is_in(held.implode()))["patient_id"].n_unique()
    return Outcome("no_held_out_patient", leaked == 0, {"leaked_patients": leaked}, blocking=True)


def _views_as_chosen(project: Project, manifest: Manifest) -> Outcome:
    rows = project.store.table("training_set_rows", manifest.partition).select("study_id").drop_nulls()
    views = rows.join(project.store.table("studies").select("study_id", "view"), on="study_id")["view"]
    lateral = int((views == "LATERAL").sum())
    chosen = project.settings.choices.views
    return Outcome(
        "views_as_chosen", chosen == "all" or lateral == 0, {"lateral": lateral, "views": chosen}, blocking=True
    )


def _better_than_chance(project: Project, manifest: Manifest) -> Outcome:
    auroc = manifest.facts["validate_auroc"]
    return Outcome("better_than_chance", auroc > 0.5, {"validate_auroc": auroc})


def _source_is_no_shortcut(project: Project, manifest: Manifest) -> Outcome:
    """Whether "synthetic" could stand for a finding: told from the features, and unevenly spread over its labels."""
    given = manifest.facts.get("shortcuts") or []
    return Outcome(
        "source_is_no_shortcut",
        not given,
        {"given_away": ", ".join(given), "source_auroc": manifest.facts.get("source_auroc")},
    )


def _one_row_each(project: Project, manifest: Manifest) -> Outcome:
    rows = project.store.table("predictions", manifest.partition)
    double = rows.height - rows.select("study_id", "finding").n_unique()
    outside = rows.filter(~pl.col("score").is_between(0, 1)).height
    return Outcome(
        "one_score_each", double == 0 and outside == 0, {"double": double, "outside_0_1": outside}, blocking=True
    )


def _groups_covered(project: Project, manifest: Manifest) -> Outcome:
    estimates = project.store.table("fairness_estimates", manifest.partition)
    alone = estimates.filter(pl.col("estimate").is_not_null() & pl.col("ci_lo").is_null())
    cells = estimates.filter((pl.col("finding") == "all") & (pl.col("metric") == "tpr") & pl.col("primary"))
    return Outcome(
        "estimates_have_intervals",
        alone.is_empty(),
        {"without_interval": alone.height, "groups": cells.height, "eligible": int(cells["eligible"].sum())},
    )


def _attributes_compared(project: Project, manifest: Manifest) -> Outcome:
    """Whether every attribute with two known groups has two that are large enough to compare."""
    estimates = project.store.table("fairness_estimates", manifest.partition)
    cells = estimates.filter((pl.col("finding") == "all") & (pl.col("metric") == "tpr") & pl.col("primary"))
    singles = cells.filter(~pl.col("attribute").str.contains("×") & (pl.col("attribute") != "all"))
    counted = singles.group_by("attribute").agg(groups=pl.len(), eligible=pl.col("eligible").sum()).sort("attribute")
    bare = counted.filter(pl.col("eligible") < 2)["attribute"].to_list()
    suppressed = cells.filter(pl.col("null_reason") == "suppressed")
    return Outcome(
        "attributes_compared",
        not bare,
        {
            "not_compared": ", ".join(bare),
            "eligible": ", ".join(f"{r['attribute']} {r['eligible']} of {r['groups']}" for r in counted.to_dicts()),
            "suppressed_groups": ", ".join(suppressed["group"].to_list()[:40]),
        },
    )


def _no_patient_learned_from(project: Project, manifest: Manifest) -> Outcome:
    """Whether a patient who is scored trained the classifiers, their generator, or chose their thresholds."""
    arm = Arm.parse(manifest.partition["arm"])
    scored: set[str] = set()
    for learner in project.learners:
        scored |= set(project.store.table("predictions", learner_keys(arm, learner))["patient_id"])
    learned = set(project.store.table("training_set_rows", manifest.partition)["patient_id"].drop_nulls())
    if not arm.is_real:
        learned |= set(project.store.table("adapter_training_rows", {"method": arm.method})["patient_id"])
    held = project.store.table("studies").filter(pl.col("split") == "validate")["patient_id"]
    shared = scored & (learned | set(held))
    return Outcome("no_scored_patient_learned_from", not shared, {"patients": len(shared)}, blocking=True)


def _no_levelling_down(project: Project, manifest: Manifest) -> Outcome:
    if "fairness_contrasts" not in manifest.rows:
        return Outcome("no_levelling_down", True, {"flagged": "", "why": "one arm alone: nothing to compare"})
    rows = project.store.table("fairness_contrasts").filter(pl.col("levelling_down").fill_null(False))
    named = [f"{r['arm_a']}: {r['metric']} by {r['attribute']}" for r in rows.iter_rows(named=True)]
    return Outcome("no_levelling_down", not named, {"flagged": ", ".join(named)})


def _page_is_self_contained(project: Project, manifest: Manifest) -> Outcome:
    page = project.store.path(manifest.facts["page"]).read_text()
    outside = page.count('src="http') + page.count('href="http')
    return Outcome("self_contained", outside == 0, {"outside_links": outside})


def _equal_numbers_of_films(project: Project, manifest: Manifest) -> Outcome:
    """Whether every method that has a distance has it at the same number of films: else the numbers decide who leads."""
    scores = project.store.table("generator_scores").filter(
        pl.col("floor").is_not_null() & pl.col("value").is_not_null()
    )
    counts = scores.group_by("metric", "features", "attribute", "group").agg(numbers=pl.n_unique("n"))
    uneven = counts.filter(pl.col("numbers") > 1).height
    return Outcome("equal_numbers_of_films", uneven == 0, {"figures": counts.height, "uneven": uneven}, blocking=True)


def _every_method_compared(project: Project, manifest: Manifest) -> Outcome:
    missing = manifest.facts["missing"]
    return Outcome("every_method_compared", not missing, {"compared": manifest.facts["compared"], "missing": missing})


CHECKS: Mapping[str, tuple[str, ...]] = {
    "studies": tuple(STUDY_CHECKS),
    "datasheet": ("self_contained",),
    "captions": ("every_study_has_a_fate", "captions_are_clean"),
    "base_model": ("weights_identified",),
    "disease_regions": ("recall_above_zero",),
    "held_out_cells": ("pairs_stay_represented",),
    "latents": ("only_training_studies", "no_held_out_cell"),
    "synthesis_plan": ("every_stratum_planned",),
    "adapter": ("loss_is_finite", "no_held_out_cell_learned"),
    "synthetic_images": ("quality",),
    "synthetic_catalogue": ("strata_complete",),
    "synthetic_set": ("pass_rate",),
    "training_set": ("no_held_out_patient", "views_as_chosen"),
    "classifier": ("better_than_chance", "source_is_no_shortcut"),
    "predictions": ("one_score_each",),
    "fairness_scorecard": ("estimates_have_intervals", "attributes_compared", "no_scored_patient_learned_from"),
    "report": ("self_contained", "no_levelling_down"),
    "generator_leaderboard": ("equal_numbers_of_films", "every_method_compared"),
}
_FUNCTIONS: Mapping[str, Check] = {
    "every_study_has_a_fate": _every_study_has_a_fate,
    "captions_are_clean": _captions_are_clean,
    "weights_identified": _base_model_named,
    "recall_above_zero": _regions_recalled,
    "pairs_stay_represented": _pairs_stay_represented,
    "only_training_studies": _latents_cover_training,
    "no_held_out_cell": _latents_hold_no_held_out_cell,
    "no_held_out_cell_learned": _adapter_learned_no_held_out_cell,
    "every_stratum_planned": _plan_covers_grid,
    "loss_is_finite": _loss_is_finite,
    "quality": _images_passed,
    "strata_complete": _catalogue_complete,
    "pass_rate": _set_usable,
    "no_held_out_patient": _no_test_patient,
    "views_as_chosen": _views_as_chosen,
    "better_than_chance": _better_than_chance,
    "one_score_each": _one_row_each,
    "source_is_no_shortcut": _source_is_no_shortcut,
    "estimates_have_intervals": _groups_covered,
    "attributes_compared": _attributes_compared,
    "no_scored_patient_learned_from": _no_patient_learned_from,
    "no_levelling_down": _no_levelling_down,
    "self_contained": _page_is_self_contained,
    "equal_numbers_of_films": _equal_numbers_of_films,
    "every_method_compared": _every_method_compared,
}
BLOCKING = BLOCKING_STUDY_CHECKS | frozenset(
    {
        "only_training_studies",
        "no_held_out_cell",
        "no_held_out_cell_learned",
        "loss_is_finite",
        "no_held_out_patient",
        "views_as_chosen",
        "one_score_each",
        "no_scored_patient_learned_from",
        "equal_numbers_of_films",
    }
)


def check_partition(project: Project, manifest: Manifest) -> list[Outcome]:
    """Run every check of a partition's asset."""
    if manifest.asset == "studies":
        cohort = stored_cohort(project, manifest.facts)
        return [run_check(name, cohort) for name in STUDY_CHECKS]
    return [_FUNCTIONS[name](project, manifest) for name in CHECKS[manifest.asset]]
