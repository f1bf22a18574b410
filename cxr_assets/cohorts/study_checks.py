"""What must hold of a curated cohort, each with the counts that show it. Numbers in brackets: docs/checks.md.

A check looks at tables alone, so that it can be run on any data root at any time. Those in ``BLOCKING`` stop what would be
built on the cohort; the others warn, because a lab may know why its copy differs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from cxr_assets.cohorts.base import CohortSpec, CuratedCohort, Expected
from cxr_assets.cohorts.demographics import OLDEST, UNKNOWN
from cxr_assets.cohorts.labels import CANONICAL, NO_FINDING, SUPPORT_DEVICES
from cxr_assets.cohorts.related import Related, comparable, in_other_splits, read_related
from cxr_assets.cohorts.rows import FLOAT_ID
from cxr_assets.cohorts.schema import TABLES, VIEWS
from cxr_assets.cohorts.splits import shared_patients
from cxr_assets.outcomes import Outcome
from cxr_assets.warehouse.terms import STRICTNESS, strictest

ENOUGH_RACE = 0.8
"""Share of studies with a recorded race below which a cohort that records it is warned of."""
ENOUGH_STUDIES = 10
"""Training positives below which a stratum is named as too small to plan or compare with."""
_PARENTS: Mapping[str, tuple[str, ...]] = {
    "enlarged_cardiomediastinum": ("cardiomegaly",),
    "lung_opacity": ("lung_lesion", "edema", "consolidation", "pneumonia", "atelectasis"),
    "consolidation": ("pneumonia",),
}
_AGE_SLACK = 1.0
"""Years that an age may fall between two studies in order: anchored calendars are good to a year."""


@dataclass(frozen=True)
class CheckedCohort:
    """Tables of a cohort as curated, with what is needed to judge them.

    Attributes:
        studies: studies with ``age_bin`` and ``race`` as chosen.
        tables: every curated table by name.
        related: studies of other data roots whose cohorts share films with this one (``read_related``).
        facts: facts of the manifest.
    """

    spec: CohortSpec
    studies: pl.DataFrame
    tables: Mapping[str, pl.DataFrame]
    facts: Mapping[str, Any]
    related: Related

    def __getattr__(self, name: str) -> pl.DataFrame:
        try:
            return self.tables[name]
        except KeyError:
            raise AttributeError(name) from None

    @classmethod
    def of(cls, cohort: CuratedCohort, studies: pl.DataFrame) -> CheckedCohort:
        """A cohort that has not been stored."""
        return cls(cohort.spec, studies, cohort.tables(), {}, read_related([]))

    def complaints(self, *kinds: str) -> int:
        """Rows of the quarantine of some kinds."""
        kind = pl.col("reason").str.split(": ").list.first()
        return self.quarantine.filter(kind.is_in(kinds)).height


def _listed(values: pl.Series, most: int = 5) -> str:
    """The first few of some values, and how many more there are."""
    more = f" and {values.len() - most} more" if values.len() > most else ""
    return ", ".join(str(value) for value in values.head(most)) + more


def rows_add_up(cohort: CheckedCohort) -> tuple[bool, dict[str, Any]]:
    """[1] Rows read are rows kept and dropped, of every source, and every source has its digest."""
    flow = cohort.waterfall
    read = flow.filter(pl.col("step") == "read").group_by("source").agg(read=pl.col("rows").sum())
    rest = flow.filter(pl.col("step") != "read").group_by("source").agg(rest=pl.col("rows").sum())
    off = read.join(rest, on="source", how="left").filter(pl.col("read") != pl.col("rest").fill_null(0))
    unsigned = cohort.sources.filter(~pl.col("source_id").str.contains("^[0-9a-f]{16,64}$")).height
    dropped = flow.filter(pl.col("step").str.starts_with("dropped"))["rows"].sum()
    facts = {"sources": cohort.sources.height, "rows_dropped": dropped, "sources_off": _listed(off["source"])}
    return off.is_empty() and unsigned == 0, facts | {"sources_without_digest": unsigned}


def expected_counts(cohort: CheckedCohort) -> tuple[bool, dict[str, Any]]:
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


def headers_recognised(cohort: CheckedCohort) -> tuple[bool, dict[str, Any]]:
    """[3] Every source was recognised as a form that its owners publish."""
    releases = cohort.sources.filter(pl.col("release") != "film")
    unnamed = releases.filter(pl.col("release").str.strip_chars() == "")
    return unnamed.is_empty(), {"forms": _listed(releases["release"].unique().sort())}


def films_unique_and_there(cohort: CheckedCohort) -> tuple[bool, dict[str, Any]]:
    """[4] Study ids and paths are unique; films that are missing or cannot be decoded are counted."""
    studies = cohort.studies
    paths = studies["source_path"].drop_nulls()
    twice = studies.height - studies["study_id"].n_unique()
    shared = paths.len() - paths.n_unique()
    bad = cohort.complaints("corrupt film", "unreadable film", "film too large", "film outside", "missing film")
    stored = studies["image_file"].count()
    facts = {"studies": studies.height, "films": paths.len(), "stored": stored, "missing_or_bad": bad}
    return twice == 0 and shared == 0 and bad == 0, facts | {"repeated_ids": twice, "repeated_paths": shared}


def ids_are_whole(cohort: CheckedCohort) -> tuple[bool, dict[str, Any]]:
    """[5] Ids are text that never was a float, and an image lies in one exam of one patient."""
    within = r"\.0$|[0-9][eE]\+"
    patient, study = pl.col("patient_id"), pl.col("study_id")
    odd = patient.str.contains(rf"{FLOAT_ID}|{within}|^nan$") | study.str.contains(rf"{FLOAT_ID}|{within}")
    floats = cohort.studies.filter(odd)
    exams = cohort.studies.filter(pl.col("exam_id").is_not_null()).select("exam_id", "patient_id").unique()
    torn = exams.filter(pl.col("exam_id").is_duplicated())["exam_id"].unique()
    facts = {"float_ids": floats.height, "exams_of_two_patients": torn.len(), "examples": _listed(torn)}
    return floats.is_empty() and torn.is_empty(), facts


def patients_in_one_split(cohort: CheckedCohort) -> tuple[bool, dict[str, Any]]:
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
        "examples": _listed(pl.concat([shared["patient_id"], across["patient_id"].unique().sort()])),
    }
    if not provable:
        facts["not_provable"] = "a related data root has no studies, or neither patient ids nor films can be compared"
    return shared.is_empty() and across.is_empty() and provable, facts


def no_film_in_two_splits(cohort: CheckedCohort) -> tuple[bool, dict[str, Any]]:
    """[7] No film is the same picture as one of another patient in another split."""
    people = cohort.studies.select("study_id", "patient_id", "split")
    pairs = (
        cohort.near_duplicates.join(people.rename({"study_id": "study_a"}), on="study_a")
        .join(people.rename({"study_id": "study_b"}), on="study_b", suffix="_b")
        .with_columns(pair=pl.concat_str("study_a", "study_b", separator=" = "))
    )
    across = pairs.filter((pl.col("split") != pl.col("split_b")) & (pl.col("patient_id") != pl.col("patient_id_b")))
    facts = {"films": cohort.films.height, "same_pictures": pairs.height, "across_splits": across.height}
    return across.is_empty(), facts | {"examples": _listed(across["pair"], 3)}


def label_values_closed(cohort: CheckedCohort) -> tuple[bool, dict[str, Any]]:
    """[8] Labels are 1, 0, -1 or null, one row a study, columns in canonical order."""
    values = cohort.finding_values
    names = list(TABLES["finding_values"].schema)
    outside = sum(int((~values[name].is_in([1, 0, -1])).sum()) for name in values.columns[1:])
    same = values.height == cohort.studies.height and set(values["study_id"]) == set(cohort.studies["study_id"])
    facts = {"rows": values.height, "outside": outside, "columns_in_order": values.columns == names}
    return outside == 0 and same and values.columns == names, facts


def no_finding_stands_alone(cohort: CheckedCohort) -> tuple[bool, dict[str, Any]]:
    """[9] Where No Finding is 1, no pathology is 1 or -1 (support devices may be there)."""
    others = [name for name in CANONICAL if name not in (NO_FINDING, SUPPORT_DEVICES)]
    against = pl.any_horizontal(pl.col(others).is_in([1, -1]).fill_null(value=False))
    rows = cohort.finding_values.filter((pl.col(NO_FINDING) == 1) & against)
    return rows.is_empty(), {"contradictions": rows.height, "examples": _listed(rows["study_id"])}


def parents_follow_children(cohort: CheckedCohort) -> tuple[bool, dict[str, Any]]:
    """[10] A positive finding does not have a parent at 0 (opacity above consolidation, and so on)."""
    counts = {}
    for parent, children in _PARENTS.items():
        child = pl.any_horizontal((pl.col(list(children)) == 1).fill_null(value=False))
        if broken := cohort.finding_values.filter((pl.col(parent) == 0) & child).height:
            counts[f"{parent} 0 beside a child at 1"] = broken
    return not counts, counts or {"broken": 0}


def labels_constant_in_exam(cohort: CheckedCohort) -> tuple[bool, dict[str, Any]]:
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


def findings_have_labels(cohort: CheckedCohort) -> tuple[bool, dict[str, Any]]:
    """[12] Every finding of the vocabulary has positives, and none is blank throughout."""
    counts = {name: int((cohort.finding_values[name] == 1).sum()) for name in cohort.spec.findings}
    blank = [name for name in cohort.spec.findings if cohort.finding_values[name].null_count() == cohort.studies.height]
    bare = [name for name, count in counts.items() if count == 0]
    facts = {"positives": ", ".join(f"{name} {count}" for name, count in counts.items())}
    return not bare and not blank, facts | {"without_a_positive": ", ".join(bare), "all_blank": ", ".join(blank)}


def ages_plausible(cohort: CheckedCohort) -> tuple[bool, dict[str, Any]]:
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
        "patients_whose_age_falls": _listed(falls["patient_id"].unique().sort()),
    }
    return outside == 0 and falls.is_empty(), facts


def sexes_constant(cohort: CheckedCohort) -> tuple[bool, dict[str, Any]]:
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


def races_recorded(cohort: CheckedCohort) -> tuple[bool, dict[str, Any]]:
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


def views_known(cohort: CheckedCohort) -> tuple[bool, dict[str, Any]]:
    """[16] Views are of the vocabulary or null; only frontal films train where the choice says so."""
    counts = dict(cohort.studies["view"].value_counts().iter_rows())
    outside = [view for view in counts if view not in (*VIEWS, None)]
    told = {f"view_{view or 'unknown'}": count for view, count in counts.items()}
    return not outside and cohort.complaints("unknown view") == 0, told | {
        "unknown_words": cohort.complaints("unknown view")
    }


def boxes_lie_in_films(cohort: CheckedCohort) -> tuple[bool, dict[str, Any]]:
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


def terms_on_every_row(cohort: CheckedCohort) -> tuple[bool, dict[str, Any]]:
    """[19] Every study carries terms that are known; 'unknown' may be used here and never exported."""
    tags = dict(cohort.studies["terms"].value_counts().iter_rows())
    stray = [tag for tag in tags if tag not in STRICTNESS]
    told = {f"studies_{tag}": count for tag, count in tags.items()}
    if stray:
        return False, told | {"nobody_knows": ", ".join(map(str, stray))}
    looser = STRICTNESS.index(cohort.spec.terms) < STRICTNESS.index(strictest(tags))
    return "unknown" not in tags and not looser, told | {"cohort": cohort.spec.terms}


def strata_counted(cohort: CheckedCohort) -> tuple[bool, dict[str, Any]]:
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
    return small.is_empty(), facts | {"smallest": _listed(small.select(names).to_series(), 8)}


def steady_since_last_time(cohort: CheckedCohort) -> tuple[bool, dict[str, Any]]:
    """[21] Counts, prevalence and composition moved little since the cohort was curated before."""
    from cxr_assets.cohorts.profile import moved

    before, now = cohort.facts.get("previous_profile"), cohort.facts.get("profile")
    if not before or not now:
        return True, {"compared": "nothing: this is the first time"}
    changes = moved(before, now)
    return not changes, {"compared": len(now), **changes}


StudyCheck = Callable[[CheckedCohort], tuple[bool, dict[str, Any]]]
STUDY_CHECKS: Mapping[str, StudyCheck] = {
    check.__name__: check
    for check in (
        rows_add_up,
        expected_counts,
        headers_recognised,
        films_unique_and_there,
        ids_are_whole,
        patients_in_one_split,
        no_film_in_two_splits,
        label_values_closed,
        no_finding_stands_alone,
        parents_follow_children,
        labels_constant_in_exam,
        findings_have_labels,
        ages_plausible,
        sexes_constant,
        races_recorded,
        views_known,
        boxes_lie_in_films,
        terms_on_every_row,
        strata_counted,
        steady_since_last_time,
    )
}
BLOCKING_STUDY_CHECKS = frozenset({"rows_add_up", "patients_in_one_split", "label_values_closed"})


def run_check(name: str, cohort: CheckedCohort) -> Outcome:
    """One check by name."""
    passed, facts = STUDY_CHECKS[name](cohort)
    return Outcome(name, bool(passed), facts, blocking=name in BLOCKING_STUDY_CHECKS)
