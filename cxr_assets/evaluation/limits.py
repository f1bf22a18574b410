"""What a cohort's columns do not allow, in words: said on the report and at the end of a run, never passed over."""

from __future__ import annotations

import polars as pl

from cxr_assets.cohorts.demographics import UNKNOWN
from cxr_assets.project import Project


def limits(project: Project) -> list[str]:
    """One sentence for each thing that could not be done on this cohort, and why."""
    spec, studies = project.spec, project.studies()
    told = []
    if not spec.findings:
        told.append(
            "No finding is mapped: no image can be asked for by finding, no classifier trained, and no fairness measured."
        )
    missing = [
        name
        for name, values in (("age", spec.ages), ("sex", spec.sexes), ("recorded race", spec.races))
        if values == (UNKNOWN,)
    ]
    if missing:
        told.append(f"Not recorded: {', '.join(missing)}. Groups by {' or '.join(missing)} cannot be told apart.")
    if spec.patient_id_kind != "patient":
        told.append(
            f"The patient is not given (each id is one {spec.patient_id_kind}): no interval here is patient-level, and one"
            " person's films may lie in two splits."
        )
    films = studies["image_file"].count()
    if films < studies.height:
        told.append(
            f"{studies.height - films} of {studies.height} studies have no stored film: they are in tables alone."
        )
    if project.store.table("boxes").is_empty():
        told.append("No boxes: no disease regions, and no focus of a classifier on them.")
    for split in ("train", "validate", "test"):
        if films and not project.filmed(split).height:
            told.append(f"No film of the views chosen is in split {split}.")
    bare = [f for f in spec.findings if not _has_both(project, f)]
    if bare:
        told.append(
            f"No AUROC for {', '.join(bare)}: its test films lack positive or negative labels."
            if len(bare) == 1
            else f"No AUROC for {', '.join(bare)}: their test films lack positive or negative labels."
        )
    return told


def _has_both(project: Project, finding: str) -> bool:
    """Whether test films have both labels of a finding."""
    test = project.filmed("test").select("study_id").join(project.finding_values(), on="study_id")
    labels = set(test.select(pl.col(finding).drop_nulls().unique()).to_series())
    return {0, 1} <= labels
