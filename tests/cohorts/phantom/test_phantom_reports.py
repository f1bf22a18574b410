from __future__ import annotations

import re
from collections.abc import Callable

import polars as pl
import pytest

from cxr_assets.cohorts.phantom.config import FINDINGS, PhantomConfig
from cxr_assets.cohorts.phantom.parameters import study_draws
from cxr_assets.cohorts.phantom.population import Population, sample_population
from cxr_assets.cohorts.phantom.reports import FINDING_TERMS, NEGATIVE_OPENINGS, write_reports
from cxr_assets.cohorts.phantom.signs import effusion_side

Phantoms = Callable[..., tuple[pl.DataFrame, pl.DataFrame]]


@pytest.fixture(scope="module")
def population() -> Population:
    return sample_population(PhantomConfig(studies=800))


@pytest.fixture(scope="module")
def reports(population: Population) -> pl.DataFrame:
    return write_reports(population.studies, population.truth, seed=0)


def named(section: str) -> set[str]:
    """Findings that a section affirms."""
    sentences = [s for s in re.split(r"(?<=\.)\s+", section) if not s.startswith(NEGATIVE_OPENINGS)]
    text = " ".join(sentences).lower()
    return {finding for finding, terms in FINDING_TERMS.items() if any(term in text for term in terms)}


def test_reports_name_exactly_the_labelled_findings(population: Population, reports: pl.DataFrame) -> None:
    for study, report in zip(population.studies.iter_rows(named=True), reports.iter_rows(named=True), strict=True):
        labelled = {finding for finding in FINDINGS if study[finding]}
        assert named(report["findings"]) == labelled, report["findings"]
        assert named(report["impression"]) == labelled, report["impression"]


def test_reports_deny_no_labelled_finding(population: Population, reports: pl.DataFrame) -> None:
    for study, text in zip(population.studies.iter_rows(named=True), reports["findings"], strict=True):
        denied = " ".join(s for s in re.split(r"(?<=\.)\s+", text) if s.startswith(NEGATIVE_OPENINGS)).lower()
        for finding in FINDINGS:
            if study[finding]:
                assert not any(term in denied for term in FINDING_TERMS[finding]), text


def test_under_labelled_findings_stay_out_of_the_text(population: Population, reports: pl.DataFrame) -> None:
    removed = population.truth.filter(pl.col("reason") == "under_labelled")
    text = dict(reports.select("study_id", "impression").iter_rows())
    assert removed.height > 10
    for study_id, finding in removed.select("study_id", "finding").iter_rows():
        assert finding not in named(text[study_id])


def test_demographics_are_in_the_indication_only(population: Population, reports: pl.DataFrame) -> None:
    words = re.compile(r"\b(female|male|woman|man|year|asian|black|hispanic|white)\b", re.IGNORECASE)
    for study, report in zip(population.studies.iter_rows(named=True), reports.iter_rows(named=True), strict=True):
        assert not words.search(report["findings"] + report["impression"])
        assert f"{int(study['age_years'])}-year-old {study['sex']}" in report["indication"]
        assert study["race"] not in report["report"].lower()


def test_severity_words_follow_severity(phantoms: Phantoms) -> None:
    for severity, word in ((0.1, "small"), (0.5, "moderate"), (0.95, "large")):
        studies, truth = phantoms(5, {"pleural_effusion": severity})
        for section in ("findings", "impression"):
            assert all(word in t.lower() for t in write_reports(studies, truth, seed=0)[section])


def test_side_in_the_text_is_the_side_that_is_drawn(phantoms: Phantoms) -> None:
    studies, truth = phantoms(20, {"pleural_effusion": 0.8})
    sides = [{-1.0: "right", 1.0: "left", 0.0: "bilateral"}[float(v)] for v in effusion_side(study_draws(studies, 5))]
    assert len(set(sides)) == 3
    for side, text in zip(sides, write_reports(studies, truth, seed=5)["impression"], strict=True):
        assert side in text.lower()


def test_reports_are_deterministic_varied_and_independent_of_the_batch(
    population: Population, reports: pl.DataFrame
) -> None:
    assert write_reports(population.studies, population.truth, seed=0).equals(reports)
    alone = write_reports(population.studies[5:6], population.truth, seed=0)
    assert alone["report"][0] == reports["report"][5]
    assert reports["findings"].n_unique() > 0.8 * reports.height
