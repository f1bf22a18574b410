"""What a scorecard does not show, and the words to cite it by."""

from __future__ import annotations

from typing import Any

from cxr_assets.scoring.text import people

_ALWAYS = (
    "That groups are served alike because no gap is reported. Small groups have wide intervals, and the smallest none.",
    "That a gap is the model's doing alone. Groups may differ in age, view, severity and prevalence.",
    "That nobody is under-diagnosed, if labels come from reports or from another model: they may miss in the same groups."
    " Only labels that experts read for this purpose can show it.",
    "That the figures hold elsewhere. Other hospitals, devices and years have other patients.",
    "That a group is a biological kind. Recorded race is what a clerk or the patient wrote down.",
)


def limits(facts: dict[str, Any]) -> list[str]:
    """What may not be concluded from this table of predictions."""
    told = list(_ALWAYS)
    if len(facts["models"]) > 1:
        told.append(
            "That a model is fair because a gap is narrower. See whether the worst group rose or the best one fell."
        )
        told.append("That the best of several models is as good as it looks: it was chosen on these films.")
    if not facts["rules"]:
        told.append(
            "Anything about missed or false findings: without a threshold, only the ranking of films and the calibration"
            " of scores were judged."
        )
    if facts["settings"]["patient_id_kind"] != "patient":
        told.append(
            "That intervals are wide enough: patients are not known, and films of one patient resemble each other."
        )
    if any(len(seeds) == 1 for seeds in facts["seeds"].values()):
        told.append(
            "Anything about a way of training: one training seed is one model, and the next may come out otherwise."
        )
    return told


def citation(facts: dict[str, Any]) -> list[str]:
    """Sentences for a methods section."""
    chosen, kind = facts["settings"], facts["settings"]["patient_id_kind"]
    if facts["rules"] == ["given"]:
        fitted = "Thresholds were given by hand."
    elif facts["rules"]:
        rules = ", ".join(facts["rules"])
        fitted = f"Thresholds were fitted on {facts['studies']['validate']} other studies (rules {rules})."
    else:
        fitted = "No thresholds were used."
    tested = f"{facts['studies']['test']} test studies of {facts['patients']['test']} {people(kind)}"
    return [
        f"Figures of {tested}, mean over training seeds, with 95 % intervals of a {kind}-cluster bootstrap"
        f" (B = {chosen['replicates']}, seed {chosen['seed']}). {fitted}",
        f"Gaps are maximum less minimum over groups of at least {chosen['min_positives']} positives,"
        f" {chosen['min_negatives']} negatives and {chosen['min_patients']} {people(kind)} of either. Their p is from"
        f" {chosen['permutations']} exchanges of groups between those with equally many positive and negative labels,"
        " Holm-adjusted within each model over the gaps declared beforehand, by false-discovery rate over all others.",
        f"Computed with cxr-assets {facts['versions']['cxr-assets']}; scorecard.json holds every setting and all digests.",
    ]
