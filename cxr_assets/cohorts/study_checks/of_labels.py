"""Checks of labels and boxes."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from cxr_assets.cohorts.chexpert_labels import contradictions
from cxr_assets.cohorts.labels import CANONICAL
from cxr_assets.cohorts.schema import TABLES
from cxr_assets.cohorts.study_checks.frame import CheckedCohort, Found, listed

_PARENTS: Mapping[str, tuple[str, ...]] = {
    "enlarged_cardiomediastinum": ("cardiomegaly",),
    "lung_opacity": ("lung_lesion", "edema", "consolidation", "pneumonia", "atelectasis"),
    "consolidation": ("pneumonia",),
}


def label_values_closed(cohort: CheckedCohort) -> Found:
    """[8] Labels are 1, 0, -1 or null, one row a study, columns in canonical order."""
    values = cohort.finding_values
    names = list(TABLES["finding_values"].schema)
    outside = sum(int((~values[name].is_in([1, 0, -1])).sum()) for name in values.columns[1:])
    same = values.height == cohort.studies.height and set(values["study_id"]) == set(cohort.studies["study_id"])
    facts = {"rows": values.height, "outside": outside, "columns_in_order": values.columns == names}
    return outside == 0 and same and values.columns == names, facts


def no_finding_stands_alone(cohort: CheckedCohort) -> Found:
    """[9] Where No Finding is 1, no pathology is 1 or -1 (support devices may be there)."""
    rows = contradictions(cohort.finding_values)
    return rows.is_empty(), {"contradictions": rows.height, "examples": listed(rows["study_id"])}


def parents_follow_children(cohort: CheckedCohort) -> Found:
    """[10] A positive finding does not have a parent at 0 (opacity above consolidation, and so on)."""
    counts = {}
    for parent, children in _PARENTS.items():
        child = pl.any_horizontal((pl.col(list(children)) == 1).fill_null(value=False))
        if broken := cohort.finding_values.filter((pl.col(parent) == 0) & child).height:
            counts[f"{parent} 0 beside a child at 1"] = broken
    return not counts, counts or {"broken": 0}


def labels_constant_in_exam(cohort: CheckedCohort) -> Found:
    """[11] Labels that were made for a whole exam are the same on all its films."""
    studies = cohort.studies.filter((pl.col("label_granularity") == "study") & pl.col("exam_id").is_not_null())
    if studies.is_empty():
        return True, {"exams": 0}
    packed = cohort.finding_values.select(
        "study_id",
        pl.sum_horizontal(
            (pl.col(name).cast(pl.Int64).fill_null(2) + 1) * 4**index for index, name in enumerate(CANONICAL)
        ).alias("labels"),
    )
    exams = studies.select("study_id", "exam_id").join(packed, on="study_id").group_by("exam_id")
    torn = exams.agg(low=pl.col("labels").min(), high=pl.col("labels").max()).filter(pl.col("low") != pl.col("high"))
    return torn.is_empty(), {"exams": studies["exam_id"].n_unique(), "differing": torn.height}


def findings_have_labels(cohort: CheckedCohort) -> Found:
    """[12] Every finding of the vocabulary has positives, and none is blank throughout."""
    counts = {name: int((cohort.finding_values[name] == 1).sum()) for name in cohort.spec.findings}
    blank = [name for name in cohort.spec.findings if cohort.finding_values[name].null_count() == cohort.studies.height]
    bare = [name for name, count in counts.items() if count == 0]
    facts = {"positives": ", ".join(f"{name} {count}" for name, count in counts.items())}
    return not bare and not blank, facts | {"without_a_positive": ", ".join(bare), "all_blank": ", ".join(blank)}


def boxes_lie_in_films(cohort: CheckedCohort) -> Found:
    """[17] Boxes have an area, lie in their film, and name a finding that the film has, or may have."""
    boxes = cohort.boxes
    if boxes.is_empty():
        return True, {"boxes": 0}
    rows = boxes.join(
        cohort.studies.select("study_id", film_width="width", film_height="height"), on="study_id", how="left"
    )
    right, low = pl.col("x") + pl.col("width"), pl.col("y") + pl.col("height")
    slack = 0.5
    outside = rows.filter(
        (pl.min_horizontal("x", "y") < -slack)
        | (right > pl.col("film_width") + slack)
        | (low > pl.col("film_height") + slack)
    )
    flat = rows.filter((pl.col("width") <= 0) | (pl.col("height") <= 0))
    long = cohort.finding_values.unpivot(index="study_id", variable_name="finding", value_name="value")
    odd = boxes.join(long.filter(pl.col("value").is_in([1, -1])), on=["study_id", "finding"], how="anti")
    facts = {"boxes": boxes.height, "outside": outside.height, "without_area": flat.height, "without_label": odd.height}
    return outside.is_empty() and flat.is_empty() and odd.is_empty(), facts
