"""The ``studies`` asset: a cohort's curated tables and its films at working resolution."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import polars as pl

from cxr_assets.cohorts.base import CuratedCohort, Describes
from cxr_assets.cohorts.choices import apply_choices
from cxr_assets.cohorts.profile import profile_of
from cxr_assets.cohorts.registry import adapter
from cxr_assets.cohorts.related import follow_splits
from cxr_assets.errors import SettingsError
from cxr_assets.project import Made, Project
from cxr_assets.warehouse import Store
from cxr_assets.warehouse.manifest import digest_json

CODE_VERSION = "2"


def curate_studies(project: Project) -> Made:
    """Curate the project's cohort; the phantom is drawn, any other is read from ``cohort_root``."""
    is_phantom = project.resolved.cohort == "phantom"
    if is_phantom:
        from cxr_assets.cohorts.phantom.adapter import refuse_age_scheme

        refuse_age_scheme(project.settings.choices.age_scheme)
    step = project.step(
        "studies",
        parents=[],
        code_version=CODE_VERSION,
        config=_config(project, is_phantom),
        extra_inputs={} if is_phantom else _inputs(project) | _followed(project),
    )
    if made := step.claim():
        return made
    extra: dict[str, pl.DataFrame] = {}
    if is_phantom:
        from cxr_assets.cohorts.phantom.adapter import draw_cohort

        phantom = draw_cohort(
            project.settings.phantom, project.store, workers=project.settings.films.workers, progress=project.progress
        )
        curated = phantom.curated
        extra = {"phantom_truth": phantom.truth, "planted_disparity": phantom.planted, "phantom_masks": phantom.masks}
    else:
        curated = _read(project)
    seen = apply_choices(curated.studies, project.settings.choices)
    before = project.store.manifest("studies")
    with step.writing(terms=curated.spec.terms) as writer:
        for name, frame in (curated.tables() | extra).items():
            writer.table(name, frame)
        writer.facts |= {
            "cohort": curated.spec.name,
            "films": curated.studies["image_file"].drop_nulls().len(),
            "film_digest": digest_json(sorted(curated.studies["image_digest"].drop_nulls().to_list())),
            "profile": profile_of(seen, curated.finding_values, curated.spec.findings),
            "previous_profile": before.facts.get("profile") if before else None,
        }
    return step.made()


def _config(project: Project, is_phantom: bool) -> Any:
    s = project.settings
    return {"phantom": s.phantom} if is_phantom else {"curate": s.curate, "size": s.films.size, "fit": s.films.fit}


def _followed(project: Project) -> dict[str, str]:
    """Digests of the studies whose splits are followed."""
    roots = project.settings.curate.follow_splits_of
    return {f"splits of {root}": Store(root).digest("studies") or "none" for root in roots}


def _root(project: Project) -> Any:
    root = project.settings.cohort_root
    if root is None:
        raise SettingsError(
            f"cohort {project.resolved.cohort!r} needs the folder of the data set: --root DIR, cohort_root in"
            f" {project.store.root / 'cxr.yaml'}, or CXR_COHORT_ROOT."
        )
    if not root.is_dir():
        raise SettingsError(f"cohort_root {root} is no folder.")
    return root


def _inputs(project: Project) -> dict[str, str]:
    """Digests of the files as received, and of the facts where a file that may lie elsewhere describes the cohort."""
    made = adapter(project.resolved.cohort)
    files = {"files": _listing(project)}
    if not isinstance(made, Describes):
        return files
    facts = made.described(_root(project), project.settings.curate)
    return files | {"facts": digest_json(facts.model_dump(mode="json"))}


def _listing(project: Project) -> str:
    """Digest of names, sizes and times of the files as received: cheap, and changes when a file does.

    They are those in the cohort's folder, and those in the files and folders that the cohort's options name.
    """
    given = project.settings.curate.options
    named = {name: str(value) for name, value in given.items() if isinstance(value, str | Path)}
    places = {"": _root(project), **{name: Path(value) for name, value in named.items() if os.path.exists(value)}}
    rows = []
    for name, place in sorted(places.items()):
        for path in sorted(p for p in (place, *place.rglob("*")) if p.is_file()):
            stat = path.stat()
            rows.append([name, path.relative_to(place).as_posix(), stat.st_size, stat.st_mtime_ns])
    return digest_json(rows)


def _read(project: Project) -> CuratedCohort:
    from cxr_assets.cohorts.films import add_films

    root, films = _root(project), project.settings.films
    curated = adapter(project.resolved.cohort).curate(root, settings=project.settings.curate)
    project.progress.say(
        f"{curated.spec.title}: {curated.studies.height} studies, {curated.quarantine.height} complaints"
    )
    if not project.settings.curate.tables_only:
        curated = add_films(
            curated,
            root,
            project.store,
            size=films.size,
            fit=films.fit,
            workers=films.workers,
            progress=project.progress.say,
        )
    if followed := project.settings.curate.follow_splits_of:
        curated, changed = follow_splits(curated, followed)
        project.progress.say(
            f"{changed} studies follow the split that their patient has in {', '.join(map(str, followed))}"
        )
    return curated
