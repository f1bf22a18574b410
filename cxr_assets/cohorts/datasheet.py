"""The datasheet of a cohort: one page that says who is in it, what is missing, where it came from and on what terms."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
import polars as pl

from cxr_assets.cohorts.demographics import UNKNOWN
from cxr_assets.cohorts.film_reader import read_films
from cxr_assets.cohorts.labels import DISPLAY_NAMES
from cxr_assets.cohorts.profile import missingness_by_group, prevalence_by_group
from cxr_assets.cohorts.study_checks import STUDY_CHECKS, CheckedCohort, run_check, stored_cohort
from cxr_assets.outcomes import Outcome
from cxr_assets.plots import data_uri, film_grid, heatmap
from cxr_assets.project import Made, Parent, Project

CODE_VERSION = "1"
TEMPLATES = Path(__file__).parent
FOLDER = "reports/datasheet"
_FILMS_A_FINDING = 2
_SMALL = 5
"""Cells of fewer patients are printed as '< 5': a page may be handed on."""
_ID_FACTS = ("examples", "patients_whose_age_falls")
"""Facts of checks that name patients or studies. They are for the checks' own pages, not for this one."""
_ONE_EACH = "files of one study each"


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
    cohort = stored_cohort(project, manifest.facts)
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
        "complaints": complaints(cohort.quarantine, cohort.waterfall),
        "sources": sources(cohort.sources, cohort.waterfall),
        "films_received": cohort.sources.filter(pl.col("release") == "film").height,
        "checks": [{"name": o.name.replace("_", " "), "passed": o.passed, "facts": _words(o.facts)} for o in outcomes],
    }


def composition(studies: pl.DataFrame, column: str) -> list[tuple[str, str, str]]:
    """Value, studies and patients of one column; small numbers are not printed."""
    rows = studies.group_by(pl.col(column).fill_null(UNKNOWN).alias("value"))
    counts = rows.agg(studies=pl.len(), patients=pl.col("patient_id").n_unique()).sort("value")
    return [(value, *map(_counted, numbers)) for value, *numbers in counts.iter_rows()]


def _counted(number: int) -> str:
    return str(number) if number >= _SMALL else f"< {_SMALL}"


def complaints(quarantine: pl.DataFrame, waterfall: pl.DataFrame) -> list[tuple[str, str, int]]:
    """Source, kind and number of complaints, most first; a file that has no account is not named, for it may name a patient."""
    kind = pl.col("reason").str.split(": ").list.first().alias("kind")
    source = pl.when(_has_account("source", waterfall)).then("source").otherwise(pl.lit(_ONE_EACH)).alias("source")
    return quarantine.group_by(source, kind).len().sort("len", "source", "kind", descending=[True, False, False]).rows()


def sources(received: pl.DataFrame, waterfall: pl.DataFrame) -> list[dict[str, Any]]:
    """Files as received without films; files that hold one study each (reports) are one row for all of a form."""
    files = received.filter(pl.col("release") != "film").with_columns(
        one=(pl.col("rows_read") == 1) & ~_has_account("path", waterfall)
    )
    single = files.filter("one").group_by("release", maintain_order=True)
    many = single.agg(pl.len(), pl.col("rows_read", "rows_kept").sum()).with_columns(
        path=pl.format("{} {}", "len", pl.lit(_ONE_EACH)), source_id=pl.lit(None, pl.String)
    )
    columns = ["path", "rows_read", "rows_kept", "release", "source_id"]
    return [*files.filter(~pl.col("one")).select(columns).to_dicts(), *many.select(columns).to_dicts()]


def _has_account(column: str, waterfall: pl.DataFrame) -> pl.Expr:
    return pl.col(column).is_in(waterfall["source"].unique().implode())


def draw_pictures(project: Project, cohort: CheckedCohort) -> dict[str, bytes]:
    """PNG by name: prevalence and missingness by subgroup, and typical films of each finding where there are films."""
    studies, findings = cohort.studies, cohort.spec.findings
    pictures = {}
    if findings:
        prevalence = without_small(prevalence_by_group(studies, cohort.finding_values, findings), studies)
        cells: dict[str, dict[str, float | None]] = {DISPLAY_NAMES[finding]: {} for finding in findings}
        for row in prevalence.iter_rows(named=True):
            group = row["group"] if row["group"] != UNKNOWN else f"{row['attribute']} ?"
            cells[DISPLAY_NAMES[row["finding"]]][group] = row["prevalence"]
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


def without_small(prevalence: pl.DataFrame, studies: pl.DataFrame) -> pl.DataFrame:
    """Prevalences with null for subgroups of few patients: the share of one patient is a diagnosis."""
    parts = [
        studies.group_by(group=pl.col(attribute).fill_null(UNKNOWN))
        .agg(patients=pl.col("patient_id").n_unique())
        .with_columns(attribute=pl.lit(attribute))
        for attribute in prevalence["attribute"].unique()
    ]
    rows = prevalence.join(pl.concat(parts), on=["attribute", "group"], how="left", maintain_order="left")
    shown = pl.when(pl.col("patients") >= _SMALL).then("prevalence").alias("prevalence")
    return rows.with_columns(shown).select(prevalence.columns)


def typical_films(cohort: CheckedCohort) -> tuple[list[str], list[str]]:
    """Stored films of each finding, those with the fewest other findings first, and what each shows."""
    if not cohort.spec.findings:
        shown = cohort.studies.filter(pl.col("image_file").is_not_null()).sort("study_id").head(16)
        return shown["image_file"].to_list(), [view or "" for view in shown["view"]]
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
    environment.filters["cell"] = _markdown
    images = {name: data_uri(png) if kind == "html" else f"{name}.png" for name, png in pictures.items()}
    template = (TEMPLATES / f"datasheet.{kind}.j2").read_text(encoding="utf-8")
    return environment.from_string(template).render(**told, images=images)


def _markdown(text: object) -> str:
    """Text that is one cell of a Markdown table, whatever is in it: no line end, no markup, no tag."""
    return re.sub(r"[\\`*\[\]|]", r"\\\g<0>", html.escape(" ".join(str(text).split()), quote=False))


def _words(facts: dict[str, Any]) -> str:
    told = {name: value for name, value in facts.items() if value not in ("", None) and name not in _ID_FACTS}
    return "; ".join(f"{name.replace('_', ' ')}: {value}" for name, value in told.items())
