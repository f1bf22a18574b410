"""Checks of sources, ids, films, splits and terms."""

from __future__ import annotations

import polars as pl

from cxr_assets.cohorts.base import Expected
from cxr_assets.cohorts.profile import moved
from cxr_assets.cohorts.related import comparable, in_other_splits
from cxr_assets.cohorts.rows import FLOAT_ID
from cxr_assets.cohorts.splits import shared_patients
from cxr_assets.cohorts.study_checks.frame import CheckedCohort, Found, listed
from cxr_assets.warehouse.terms import STRICTNESS, strictest


def rows_add_up(cohort: CheckedCohort) -> Found:
    """[1] Rows read are rows kept and dropped, of every source, and every source has its digest."""
    flow = cohort.waterfall
    read = flow.filter(pl.col("step") == "read").group_by("source").agg(read=pl.col("rows").sum())
    rest = flow.filter(pl.col("step") != "read").group_by("source").agg(rest=pl.col("rows").sum())
    off = read.join(rest, on="source", how="left").filter(pl.col("read") != pl.col("rest").fill_null(0))
    unsigned = cohort.sources.filter(~pl.col("source_id").str.contains("^[0-9a-f]{16,64}$")).height
    dropped = flow.filter(pl.col("step").str.starts_with("dropped"))["rows"].sum()
    facts = {"sources": cohort.sources.height, "rows_dropped": dropped, "sources_off": listed(off["source"])}
    return off.is_empty() and unsigned == 0, facts | {"sources_without_digest": unsigned}


def expected_counts(cohort: CheckedCohort) -> Found:
    """[2] A whole copy of a release has the counts that are known of it."""
    rows = set(cohort.sources.filter(pl.col("rows_read") > 1)["rows_read"])
    whole = [expected for expected in cohort.spec.expected if expected.when_rows in rows]
    if not whole:
        return True, {"compared_with": "no release: this copy has another number of rows than any that is known"}
    differences = {name: text for expected in whole for name, text in _differences(cohort, expected).items()}
    return not differences, {"compared_with": ", ".join(e.release for e in whole), **differences}


def _differences(cohort: CheckedCohort, expected: Expected) -> dict[str, str]:
    values, studies = cohort.finding_values, cohort.studies
    pairs: list[tuple[str, int, int]] = [("studies", studies.height, expected.studies)]
    if expected.patients is not None:
        pairs.append(("patients", studies["patient_id"].n_unique(), expected.patients))
    for column, counts in (("sex", expected.sex), ("view", expected.view)):
        pairs += [
            (f"{column} {value}", int((studies[column] == value).sum()), count) for value, count in counts.items()
        ]
    for number, named in ((1, expected.positive), (0, expected.negative), (-1, expected.uncertain)):
        pairs += [
            (f"{finding} {number}", int((values[finding] == number).sum()), count) for finding, count in named.items()
        ]
    return {
        name: f"{found} found, {count} expected"
        for name, found, count in pairs
        if abs(found - count) > expected.tolerance * count
    }


def headers_recognised(cohort: CheckedCohort) -> Found:
    """[3] Every source was recognised as a form that its owners publish."""
    releases = cohort.sources.filter(pl.col("release") != "film")
    unnamed = releases.filter(pl.col("release").str.strip_chars() == "")
    return unnamed.is_empty(), {"forms": listed(releases["release"].unique().sort())}


def films_unique_and_there(cohort: CheckedCohort) -> Found:
    """[4] Study ids and paths are unique; films that are missing or cannot be decoded are counted."""
    studies = cohort.studies
    paths = studies["source_path"].drop_nulls()
    twice = studies.height - studies["study_id"].n_unique()
    shared = paths.len() - paths.n_unique()
    bad = cohort.complaints("corrupt film", "unreadable film", "film too large", "film outside", "missing film")
    stored = studies["image_file"].count()
    facts = {"studies": studies.height, "films": paths.len(), "stored": stored, "missing_or_bad": bad}
    return twice == 0 and shared == 0 and bad == 0, facts | {"repeated_ids": twice, "repeated_paths": shared}


def ids_are_whole(cohort: CheckedCohort) -> Found:
    """[5] Ids are text that never was a float, and an image lies in one exam of one patient."""
    within = r"\.0$|[0-9][eE]\+"
    patient, study = pl.col("patient_id"), pl.col("study_id")
    odd = patient.str.contains(rf"{FLOAT_ID}|{within}|^nan$") | study.str.contains(rf"{FLOAT_ID}|{within}")
    floats = cohort.studies.filter(odd)
    exams = cohort.studies.filter(pl.col("exam_id").is_not_null()).select("exam_id", "patient_id").unique()
    torn = exams.filter(pl.col("exam_id").is_duplicated())["exam_id"].unique()
    facts = {"float_ids": floats.height, "exams_of_two_patients": torn.len(), "examples": listed(torn)}
    return floats.is_empty() and torn.is_empty(), facts


def patients_in_one_split(cohort: CheckedCohort) -> Found:
    """[6] No patient is in two splits, here or in a related cohort that shares films with this one."""
    shared = shared_patients(cohort.studies)
    across = in_other_splits(cohort.studies, cohort.films, cohort.related)
    asked = bool(cohort.related.unread) or cohort.related.studies.height > 0
    provable = not cohort.related.unread and (not asked or comparable(cohort.studies, cohort.films, cohort.related))
    facts = {
        "patients": cohort.studies["patient_id"].n_unique(),
        "in_two_splits": shared.height,
        "related_studies": cohort.related.studies.height,
        "in_another_split_of_a_related_cohort": across["patient_id"].n_unique(),
        "related_roots_without_studies": ", ".join(cohort.related.unread),
        "examples": listed(pl.concat([shared["patient_id"], across["patient_id"].unique().sort()])),
    }
    if not provable:
        facts["not_provable"] = "a related data root has no studies, or neither patient ids nor films can be compared"
    return shared.is_empty() and across.is_empty() and provable, facts


def no_film_in_two_splits(cohort: CheckedCohort) -> Found:
    """[7] No film is the same picture as one of another patient in another split."""
    people = cohort.studies.select("study_id", "patient_id", "split")
    pairs = (
        cohort.near_duplicates.join(people.rename({"study_id": "study_a"}), on="study_a")
        .join(people.rename({"study_id": "study_b"}), on="study_b", suffix="_b")
        .with_columns(pair=pl.concat_str("study_a", "study_b", separator=" = "))
    )
    across = pairs.filter((pl.col("split") != pl.col("split_b")) & (pl.col("patient_id") != pl.col("patient_id_b")))
    facts = {"films": cohort.films.height, "same_pictures": pairs.height, "across_splits": across.height}
    return across.is_empty(), facts | {"examples": listed(across["pair"], 3)}


def terms_on_every_row(cohort: CheckedCohort) -> Found:
    """[19] Every study carries terms that are known; 'unknown' may be used here and never exported."""
    tags = dict(cohort.studies["terms"].value_counts().iter_rows())
    stray = [tag for tag in tags if tag not in STRICTNESS]
    told = {f"studies_{tag}": count for tag, count in tags.items()}
    if stray:
        return False, told | {"nobody_knows": ", ".join(map(str, stray))}
    looser = STRICTNESS.index(cohort.spec.terms) < STRICTNESS.index(strictest(tags))
    return "unknown" not in tags and not looser, told | {"cohort": cohort.spec.terms}


def steady_since_last_time(cohort: CheckedCohort) -> Found:
    """[21] Counts, prevalence and composition moved little since the cohort was curated before."""
    before, now = cohort.facts.get("previous_profile"), cohort.facts.get("profile")
    if not before or not now:
        return True, {"compared": "nothing: this is the first time"}
    changes = moved(before, now)
    return not changes, {"compared": len(now), **changes}
