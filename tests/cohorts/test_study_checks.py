from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

from cxr_assets.cohorts.base import CohortSpec, CuratedCohort, Expected, patients_of
from cxr_assets.cohorts.choices import Choices, apply_choices
from cxr_assets.cohorts.profile import moved, prevalence_by_group, profile_of
from cxr_assets.cohorts.registry import cohort_spec
from cxr_assets.cohorts.related import Related, read_related
from cxr_assets.cohorts.schema import TABLES, conform
from cxr_assets.cohorts.study_checks import (
    BLOCKING_STUDY_CHECKS,
    STUDY_CHECKS,
    CheckedCohort,
    run_check,
)

SPEC = cohort_spec("chexpert").model_copy(
    update={"findings": ("no_finding", "edema"), "ages": ("00-39",), "sexes": ("female",), "races": ("white",)}
)
HASHES = [np.random.default_rng(seed).bytes(32).hex() for seed in range(40)]


def studies(**changes: list[Any]) -> pl.DataFrame:
    """Forty films of twenty patients, two of one exam each, with nothing wrong."""
    rows = 40
    split = ["train"] * 24 + ["validate"] * 8 + ["test"] * 8
    columns: dict[str, Any] = {
        "cohort": ["c"] * rows,
        "study_id": [f"s{n:02d}" for n in range(rows)],
        "patient_id": [f"p{n // 2:02d}" for n in range(rows)],
        "patient_id_kind": ["patient"] * rows,
        "exam_id": [f"e{n // 2:02d}" for n in range(rows)],
        "study_number": [n % 2 for n in range(rows)],
        "view": ["PA"] * rows,
        "split": split,
        "age_years": [30.0] * rows,
        "sex": ["female"] * rows,
        "race5": ["white"] * rows,
        "race_only": ["white"] * rows,
        "image_file": [f"images/{n}.png" for n in range(rows)],
        "width": [100] * rows,
        "height": [100] * rows,
        "source_path": [f"{n}.png" for n in range(rows)],
        "label_source": ["nlp_report"] * rows,
        "label_granularity": ["study"] * rows,
        "terms": ["cc-by"] * rows,
    }
    return conform(pl.DataFrame(columns | changes), "studies")


def values(**changes: list[int | None]) -> pl.DataFrame:
    columns: dict[str, Any] = {
        "study_id": [f"s{n:02d}" for n in range(40)],
        "no_finding": [0] * 12 + [1] * 28,
        "edema": [1] * 12 + [0] * 28,
    }
    return pl.DataFrame(columns | changes, strict=False)


def cohort(
    frame: pl.DataFrame | None = None,
    labels: pl.DataFrame | None = None,
    *,
    spec: CohortSpec = SPEC,
    facts: dict[str, Any] | None = None,
    related: Related | None = None,
    **tables: pl.DataFrame | None,
) -> CheckedCohort:
    frame = studies() if frame is None else frame
    hashed = frame.select("cohort", "study_id", phash=pl.Series(HASHES)).with_columns(
        pl.lit("PNG L").alias("received_as"),
        *(pl.lit(100, pl.Int64).alias(name) for name in ("source_width", "source_height")),
        *(pl.lit(1.0).alias(name) for name in ("scale_x", "scale_y", "offset_x", "offset_y")),
    )
    sources = pl.DataFrame(
        {
            "source_id": ["a" * 64],
            "cohort": ["c"],
            "path": ["t.csv"],
            "bytes": [1],
            "rows_read": [40],
            "rows_kept": [40],
            "terms": ["cc-by"],
            "terms_url": ["u"],
            "release": ["v1"],
        }
    )
    flow = pl.DataFrame({"cohort": ["c"] * 2, "source": ["t.csv"] * 2, "step": ["read", "kept"], "rows": [40, 40]})
    if tables.get("films", hashed) is None:
        tables["films"] = TABLES["films"].empty()
    given = {
        "films": hashed,
        "sources": sources,
        "waterfall": flow,
        **{
            name: TABLES[name].empty()
            for name in ("boxes", "reports", "quarantine", "study_sources", "near_duplicates")
        },
        **tables,
    }
    made = CuratedCohort(
        spec=spec,
        studies=frame,
        patients=patients_of(frame),
        finding_values=values() if labels is None else labels,
        **given,
    )
    seen = apply_choices(made.studies, Choices())
    return CheckedCohort(spec, seen, made.tables(), facts or {}, read_related([]) if related is None else related)


@pytest.mark.parametrize("name", STUDY_CHECKS)
def test_a_sound_cohort_passes(name: str) -> None:
    outcome = run_check(name, cohort())
    assert outcome.passed, outcome.facts
    assert outcome.blocking == (name in BLOCKING_STUDY_CHECKS)


def changed(column: str, row: int, value: object) -> pl.DataFrame:
    """The studies with one cell changed."""
    frame = studies()
    cells = frame[column].to_list()
    cells[row] = value
    return frame.with_columns(pl.Series(column, cells, dtype=frame.schema[column]))


def complaint(reason: str) -> pl.DataFrame:
    return pl.DataFrame(
        {"cohort": ["c"], "source": ["t.csv"], "row": [2], "column": ["x"], "value": ["y"], "reason": [reason]}
    )


def box(**changes: float | str) -> pl.DataFrame:
    row = {
        "cohort": "c",
        "study_id": "s00",
        "finding": "edema",
        "x": 1.0,
        "y": 1.0,
        "width": 9.0,
        "height": 9.0,
        "source": "t",
    }
    return pl.DataFrame([row | changes])


FAULTS: dict[str, CheckedCohort] = {
    "rows_add_up": cohort(
        waterfall=pl.DataFrame(
            {"cohort": ["c"] * 2, "source": ["t.csv"] * 2, "step": ["read", "kept"], "rows": [41, 40]}
        )
    ),
    "expected_counts": cohort(
        spec=SPEC.model_copy(
            update={"expected": (Expected(release="v1", when_rows=40, studies=40, positive={"edema": 25}),)}
        )
    ),
    "headers_recognised": cohort(sources=cohort().sources.with_columns(release=pl.lit(" "))),
    "films_unique_and_there": cohort(quarantine=complaint("missing film: not there")),
    "ids_are_whole": cohort(changed("exam_id", 0, "e01")),
    "patients_in_one_split": cohort(changed("split", 0, "test")),
    "no_film_in_two_splits": cohort(
        near_duplicates=pl.DataFrame({"study_a": ["s00"], "study_b": ["s39"], "distance": [3]})
    ),
    "label_values_closed": cohort(labels=values().head(39)),
    "no_finding_stands_alone": cohort(labels=values(no_finding=[1] * 40)),
    "parents_follow_children": cohort(labels=values(lung_opacity=[0] * 40)),
    "labels_constant_in_exam": cohort(labels=values(edema=[None] + [1] * 11 + [0] * 28)),
    "findings_have_labels": cohort(labels=values(edema=[0] * 40)),
    "ages_plausible": cohort(studies(age_years=[30.0, 28.0] * 20)),
    "sexes_constant": cohort(changed("sex", 0, "male")),
    "races_recorded": cohort(studies(race5=["white"] * 31 + [None] * 9)),
    "views_known": cohort(quarantine=complaint("unknown view: expected PA")),
    "boxes_lie_in_films": cohort(boxes=box(x=95.0)),
    "terms_on_every_row": cohort(changed("terms", 3, "unknown")),
    "strata_counted": cohort(labels=values(edema=[1] * 9 + [0] * 31, no_finding=[0] * 9 + [1] * 31)),
    "steady_since_last_time": cohort(
        facts={"previous_profile": {"prevalence edema": 0.6}, "profile": {"prevalence edema": 0.4}}
    ),
}


@pytest.mark.parametrize("name", STUDY_CHECKS)
def test_each_check_sees_its_fault(name: str) -> None:
    assert not run_check(name, FAULTS[name]).passed


@pytest.mark.parametrize(
    ("changes", "passed"),
    [
        ({"width": 0.0}, False),
        ({"finding": "no_finding"}, False),
        ({"x": 91.4, "width": 9.0}, True),
        ({"y": -2.0}, False),
    ],
)
def test_boxes(changes: dict[str, Any], passed: bool) -> None:
    assert run_check("boxes_lie_in_films", cohort(boxes=box(**changes))).passed == passed


def test_a_slice_of_a_release_is_not_held_to_its_counts() -> None:
    spec = SPEC.model_copy(update={"expected": (Expected(release="v1", when_rows=1000, studies=1000),)})
    assert run_check("expected_counts", cohort(spec=spec)).passed


def test_a_difference_names_what_was_found_and_expected() -> None:
    facts = run_check("expected_counts", FAULTS["expected_counts"]).facts
    assert facts["edema 1"] == "12 found, 25 expected"


def elsewhere(unread: tuple[str, ...] = (), **columns: list[Any]) -> Related:
    """Two test studies of another data root."""
    rows: dict[str, Any] = {
        "study_id": ["0:x", "0:y"],
        "patient_id": ["q1", "q2"],
        "namespace": [None, None],
        "split": ["test", "test"],
        "phash": [None, None],
    }
    schema = dict.fromkeys(rows, pl.String)
    return Related(pl.DataFrame(rows | columns, schema=schema), unread)


def test_a_film_that_a_related_cohort_tests_on_may_not_train_here() -> None:
    outcome = run_check("patients_in_one_split", cohort(related=elsewhere(phash=[HASHES[0], HASHES[39]])))
    assert not outcome.passed and outcome.blocking
    assert outcome.facts["in_another_split_of_a_related_cohort"] == 1 and "p00" in outcome.facts["examples"]


def test_a_patient_whom_a_related_cohort_tests_on_may_not_train_here() -> None:
    ours = studies(cohort=["nih"] * 40)
    leak = elsewhere(patient_id=["p00", "p19"], namespace=["nih", "nih"])
    outcome = run_check("patients_in_one_split", cohort(ours, related=leak))
    assert not outcome.passed and outcome.facts["examples"] == "p00"
    other_ids = elsewhere(patient_id=["p00", "p19"], namespace=["elsewhere", "elsewhere"])
    assert "not_provable" in run_check("patients_in_one_split", cohort(ours, films=None, related=other_ids)).facts


@pytest.mark.parametrize("related", [elsewhere(), elsewhere(unread=("/no/such/root",))])
def test_what_cannot_be_proven_does_not_pass(related: Related) -> None:
    outcome = run_check("patients_in_one_split", cohort(related=related))
    assert not outcome.passed and "not_provable" in outcome.facts


def test_two_films_of_one_patient_may_look_alike() -> None:
    pair = pl.DataFrame({"study_a": ["s00"], "study_b": ["s01"], "distance": [3]})
    assert run_check("no_film_in_two_splits", cohort(near_duplicates=pair)).passed


def test_ages_may_fall_by_the_year_that_calendars_are_good_to() -> None:
    assert run_check("ages_plausible", cohort(studies(age_years=[30.0, 29.0] * 20))).passed


def test_small_strata_are_named() -> None:
    facts = run_check("strata_counted", FAULTS["strata_counted"]).facts
    assert facts["smallest"] == "edema.00-39.female.white" and facts["strata"] == 2


def test_a_profile_tells_what_moved() -> None:
    seen = apply_choices(studies(), Choices())
    before = profile_of(seen, values(), SPEC.findings)
    assert (before["rows studies"], before["prevalence edema"], before["share sex=female"]) == (40, 0.3, 1.0)
    assert moved(before, before) == {}
    later = profile_of(seen, values(edema=[1] * 30 + [0] * 10), SPEC.findings)
    assert moved(before, later) == {"prevalence edema": "0.3 before, 0.75 now"}


def test_prevalence_counts_stated_labels_only() -> None:
    seen = apply_choices(studies(), Choices())
    labels = values(edema=[1] * 10 + [0] * 10 + [-1] * 10 + [None] * 10)
    row = prevalence_by_group(seen, labels, ("edema",)).filter(attribute="sex").row(0, named=True)
    assert (row["positives"], row["stated"], row["prevalence"], row["studies"]) == (10, 20, 0.5, 40)
