"""Checks of ages, sexes, recorded races, views and strata."""

from __future__ import annotations

import polars as pl

from cxr_assets.cohorts.demographics import OLDEST, UNKNOWN
from cxr_assets.cohorts.schema import VIEWS
from cxr_assets.cohorts.study_checks.frame import CheckedCohort, Found, listed

ENOUGH_RACE = 0.8
"""Share of studies with a recorded race below which a cohort that records it is warned of."""
ENOUGH_STUDIES = 10
"""Training positives below which a stratum is named as too small to plan or compare with."""
_AGE_SLACK = 1.0
"""Years that an age may fall between two studies in order: anchored calendars are good to a year."""


def ages_plausible(cohort: CheckedCohort) -> Found:
    """[13] Ages lie in [0, 120] or are null, and never fall by more than a year in a patient's order of studies."""
    age = cohort.studies["age_years"]
    outside = int(((age < 0) | (age > OLDEST)).sum())
    ordered = cohort.studies.drop_nulls(["age_years", "study_number"]).sort("patient_id", "study_number")
    same = pl.col("patient_id") == pl.col("patient_id").shift()
    falls = ordered.filter(same & (pl.col("age_years").diff() < -_AGE_SLACK))
    flags = cohort.studies["age_flags"].drop_nulls().value_counts(sort=True)
    facts = {
        "outside": outside,
        "missing": age.null_count(),
        "flags": ", ".join(f"{flag} {count}" for flag, count in flags.iter_rows()),
        "falling": falls.height,
        "patients_whose_age_falls": listed(falls["patient_id"].unique().sort()),
    }
    return outside == 0 and falls.is_empty(), facts


def sexes_constant(cohort: CheckedCohort) -> Found:
    """[14] Sex is of the vocabulary or null, and the same on all films of a patient."""
    known = cohort.studies.drop_nulls("sex")
    torn = known.group_by("patient_id").agg(pl.col("sex").n_unique()).filter(pl.col("sex") > 1)
    changed = cohort.complaints("sex differs within patient")
    words = cohort.complaints("unknown sex")
    facts = {
        "missing": cohort.studies.height - known.height,
        "set_to_null_for_contradiction": changed,
        "unknown_words": words,
    }
    return torn.is_empty() and words == 0, facts | {"differing_patients": torn.height}


def races_recorded(cohort: CheckedCohort) -> Found:
    """[15] Every race text is in the table, and enough studies have a recorded race where the cohort records it."""
    unknown = cohort.complaints("unknown race text")
    if cohort.spec.races == (UNKNOWN,):
        return unknown == 0, {"recorded": "not by this cohort"}
    studies = cohort.studies
    share = studies["race"].count() / max(1, studies.height)
    everything = studies.drop_nulls(["age_years", "sex", "race"]).height
    axis = "race5" if studies["race"].equals(studies["race5"]) else "race_only"
    facts = {
        "axis": axis,
        "share_with_race": round(share, 4),
        "with_age_sex_and_race": everything,
        "texts_in_no_table": unknown,
        "patients_with_conflict": studies.filter(pl.col("race_flags").is_not_null())["patient_id"].n_unique(),
    }
    return unknown == 0 and share >= ENOUGH_RACE, facts


def views_known(cohort: CheckedCohort) -> Found:
    """[16] Views are of the vocabulary or null; only frontal films train where the choice says so."""
    counts = dict(cohort.studies["view"].value_counts().iter_rows())
    outside = [view for view in counts if view not in (*VIEWS, None)]
    told = {f"view_{view or 'unknown'}": count for view, count in counts.items()}
    return not outside and cohort.complaints("unknown view") == 0, told | {
        "unknown_words": cohort.complaints("unknown view")
    }


def strata_counted(cohort: CheckedCohort) -> Found:
    """[20] Every finding × age × sex × race is counted; those with few training positives are named."""
    people = cohort.studies.filter(pl.col("split") == "train").select(
        "study_id", *(pl.col(name).fill_null(UNKNOWN) for name in ("age_bin", "sex", "race"))
    )
    long = cohort.finding_values.select("study_id", *cohort.spec.findings).unpivot(
        index="study_id", variable_name="finding", value_name="value"
    )
    cells = (
        long.filter(pl.col("value") == 1)
        .join(people, on="study_id")
        .group_by("finding", "age_bin", "sex", "race")
        .len()
    )
    spec = cohort.spec
    if not spec.findings:
        return True, {"strata": 0}
    grid = pl.DataFrame(
        [(f, a, s, r) for f in spec.findings for a in spec.ages for s in spec.sexes for r in spec.races],
        schema=["finding", "age_bin", "sex", "race"],
        orient="row",
    )
    counted = grid.join(cells, on=["finding", "age_bin", "sex", "race"], how="left").with_columns(
        pl.col("len").fill_null(0)
    )
    small = counted.filter(pl.col("len") < ENOUGH_STUDIES).sort("len", "finding", "age_bin", "sex", "race")
    names = pl.concat_str("finding", "age_bin", "sex", "race", separator=".")
    facts = {"strata": counted.height, "small": small.height, "empty": (small["len"] == 0).sum()}
    return small.is_empty(), facts | {"smallest": listed(small.select(names).to_series(), 8)}
