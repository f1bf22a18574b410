"""The datasheet of a cohort: one page that says who is in it, what is missing, where it came from and on what terms."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
import polars as pl

from cxr_assets.cohorts.demographics import UNKNOWN
from cxr_assets.cohorts.film_reader import read_films
from cxr_assets.cohorts.labels import DISPLAY_NAMES
from cxr_assets.cohorts.profile import missingness_by_group, prevalence_by_group
from cxr_assets.cohorts.schema import TABLES
from cxr_assets.cohorts.study_checks import STUDY_CHECKS, CheckedCohort, related_studies, run_check
from cxr_assets.outcomes import Outcome
from cxr_assets.plots import data_uri, film_grid, heatmap
from cxr_assets.project import Made, Parent, Project

CODE_VERSION = "1"
TEMPLATES = Path(__file__).parent
FOLDER = "reports/datasheet"
_FILMS_A_FINDING = 2
_SMALL = 5
"""Cells of fewer patients are printed as '< 5': a page may be handed on."""


def write_datasheet(project: Project) -> Made:
    """Write the page as HTML (self-contained) and as Markdown with its pictures beside it."""
    step = project.step(
        "datasheet",
        parents=[Parent("studies", "summarised_from")],
        code_version=CODE_VERSION,
        config=project.settings.choices.demographics
        | {"templates": [(TEMPLATES / f"datasheet.{kind}.j2").read_text(encoding="utf-8") for kind in ("html", "md")]},
    )
    if made := step.claim():
        return made
    manifest = project.store.manifest("studies")
    assert manifest is not None  # the step has it as a parent
    cohort = CheckedCohort(
        spec=project.spec,
        studies=project.studies(),
        tables={name: project.store.table(name) for name in TABLES},
        facts=manifest.facts,
        related=related_studies(project.settings.related_roots),
    )
    outcomes = [run_check(name, cohort) for name in STUDY_CHECKS]
    pictures = draw_pictures(project, cohort)
    told = facts_of(cohort, outcomes, choices=project.settings.choices.demographics, terms=manifest.terms or "")
    with step.writing() as writer:
        for name, png in pictures.items():
            writer.bytes(f"{FOLDER}/{name}.png", png)
        for kind in ("md", "html"):
            page = render(kind, told, pictures)
            writer.bytes(f"{FOLDER}/index.{kind}", page.encode())
        writer.sweep(FOLDER)
        failed = [outcome.name for outcome in outcomes if not outcome.passed]
        writer.facts |= {
            "page": f"{FOLDER}/index.html",
            "studies": cohort.studies.height,
            "patients": cohort.studies["patient_id"].n_unique(),
            "checks_passed": len(outcomes) - len(failed),
            "checks_failed": ", ".join(failed),
        }
    return step.made()


def facts_of(
    cohort: CheckedCohort, outcomes: Sequence[Outcome], *, choices: dict[str, Any], terms: str
) -> dict[str, Any]:
    """What the templates print: plain values, lists and mappings."""
    studies, values = cohort.studies, cohort.finding_values
    labels = []
    for finding in cohort.spec.findings:
        column = values[finding]
        counts = {
            name: int((column == number).sum())
            for name, number in (("positive", 1), ("negative", 0), ("uncertain", -1))
        }
        labels.append({"finding": DISPLAY_NAMES[finding], **counts, "unmentioned": column.null_count()})
    return {
        "spec": cohort.spec,
        "terms": terms,
        "choices": choices,
        "studies": studies.height,
        "patients": studies["patient_id"].n_unique(),
        "films": studies["image_file"].count(),
        "reports": cohort.reports["study_id"].n_unique(),
        "composition": {name: composition(studies, name) for name in ("split", "age_bin", "sex", "race", "view")},
        "sources_of_labels": studies["label_source"].value_counts(sort=True).rows(),
        "labels": labels,
        "missing": missingness_by_group(studies).filter(pl.col("attribute") == "split").rows(),
        "waterfall": cohort.waterfall.select("source", "step", "rows").rows(),
        "complaints": complaints(cohort.quarantine),
        "sources": cohort.sources.filter(pl.col("release") != "film").to_dicts(),
        "films_received": cohort.sources.filter(pl.col("release") == "film").height,
        "checks": [{"name": o.name.replace("_", " "), "passed": o.passed, "facts": _words(o.facts)} for o in outcomes],
    }


def composition(studies: pl.DataFrame, column: str) -> list[tuple[str, int, str]]:
    """Value, studies and patients of one column; small numbers of patients are not printed."""
    rows = studies.group_by(pl.col(column).fill_null(UNKNOWN).alias("value"))
    counts = rows.agg(studies=pl.len(), patients=pl.col("patient_id").n_unique()).sort("value")
    return [(value, n, str(people) if people >= _SMALL else f"< {_SMALL}") for value, n, people in counts.iter_rows()]


def complaints(quarantine: pl.DataFrame) -> list[tuple[str, str, int]]:
    """Source, kind and number of complaints, most first."""
    kind = pl.col("reason").str.split(": ").list.first().alias("kind")
    return (
        quarantine.group_by("source", kind).len().sort("len", "source", "kind", descending=[True, False, False]).rows()
    )


def draw_pictures(project: Project, cohort: CheckedCohort) -> dict[str, bytes]:
    """PNG by name: prevalence and missingness by subgroup, and typical films of each finding where there are films."""
    studies, findings = cohort.studies, cohort.spec.findings
    pictures = {}
    prevalence = prevalence_by_group(studies, cohort.finding_values, findings)
    cells: dict[str, dict[str, float | None]] = {DISPLAY_NAMES[finding]: {} for finding in findings}
    for row in prevalence.iter_rows(named=True):
        cells[DISPLAY_NAMES[row["finding"]]][
            f"{row['group']}" if row["group"] != UNKNOWN else f"{row['attribute']} ?"
        ] = row["prevalence"]
    pictures["prevalence"] = heatmap(cells, title="Positive share of stated labels, by subgroup")
    missing: dict[str, dict[str, float | None]] = {}
    for attribute, group, what, share in missingness_by_group(studies).iter_rows():
        missing.setdefault(f"{attribute} {group}", {})[f"no {what.removesuffix('_file').removesuffix('_years')}"] = (
            share
        )
    pictures["missingness"] = heatmap(missing, title="Share of studies without …, by subgroup")
    shown, captions = typical_films(cohort)
    if shown:
        films = read_films(project.store, shown, 128)
        pictures["films"] = film_grid(films, columns=8, captions=captions, cell=128)
    return pictures


def typical_films(cohort: CheckedCohort) -> tuple[list[str], list[str]]:
    """Stored films of each finding, those with the fewest other findings first, and what each shows."""
    films = cohort.studies.filter(
        pl.col("image_file").is_not_null() & (pl.col("view") != "LATERAL").fill_null(value=True)
    )
    findings = list(cohort.spec.findings)
    rows = films.select("study_id", "image_file", "age_bin", "sex").join(cohort.finding_values, on="study_id")
    rows = rows.with_columns(found=pl.sum_horizontal((pl.col(findings) == 1).fill_null(value=False).cast(pl.Int64)))
    files, captions = [], []
    for finding in findings:
        chosen = rows.filter(pl.col(finding) == 1).sort("found", "study_id").head(_FILMS_A_FINDING)
        for file, age, sex in chosen.select("image_file", "age_bin", "sex").iter_rows():
            files.append(file)
            captions.append(" ".join(filter(None, [DISPLAY_NAMES[finding], sex, age])))
    return files, captions


def render(kind: str, told: dict[str, Any], pictures: dict[str, bytes]) -> str:
    """The page as ``html`` with its pictures inside, or as ``md`` with them beside it."""
    environment = jinja2.Environment(
        autoescape=kind == "html", trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["cell"] = lambda text: str(text).replace("|", "\\|").replace("\n", " ")
    images = {name: data_uri(png) if kind == "html" else f"{name}.png" for name, png in pictures.items()}
    template = (TEMPLATES / f"datasheet.{kind}.j2").read_text(encoding="utf-8")
    return environment.from_string(template).render(**told, images=images)


def _words(facts: dict[str, Any]) -> str:
    return "; ".join(f"{name.replace('_', ' ')}: {value}" for name, value in facts.items() if value not in ("", None))
