"""What must hold of a curated cohort, each with the counts that show it. Numbers in brackets: docs/checks.md.

A check looks at tables alone, so that it can be run on any data root at any time. Those in ``BLOCKING_STUDY_CHECKS`` stop what
would be built on the cohort; the others warn, because a lab may know why its copy differs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from cxr_assets.cohorts.study_checks.frame import CheckedCohort, Found, stored_cohort
from cxr_assets.cohorts.study_checks.of_labels import (
    boxes_lie_in_films,
    findings_have_labels,
    label_values_closed,
    labels_constant_in_exam,
    no_finding_stands_alone,
    parents_follow_children,
)
from cxr_assets.cohorts.study_checks.of_people import (
    ages_plausible,
    races_recorded,
    sexes_constant,
    strata_counted,
    views_known,
)
from cxr_assets.cohorts.study_checks.of_sources import (
    expected_counts,
    films_unique_and_there,
    headers_recognised,
    ids_are_whole,
    no_film_in_two_splits,
    patients_in_one_split,
    rows_add_up,
    steady_since_last_time,
    terms_on_every_row,
)
from cxr_assets.outcomes import Outcome

__all__ = ["BLOCKING_STUDY_CHECKS", "STUDY_CHECKS", "CheckedCohort", "run_check", "stored_cohort"]

StudyCheck = Callable[[CheckedCohort], Found]
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
