"""The ``synthetic_images`` asset: many strata of one method in one go, each committed as soon as it is whole."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from PIL import Image

from cxr_assets.diffusion.adapters import method_preset, open_generator
from cxr_assets.diffusion.device import pick_device
from cxr_assets.diffusion.sampling import SamplerSettings
from cxr_assets.errors import InputError
from cxr_assets.keys import Stratum
from cxr_assets.project import Made, Parent, Project, Step
from cxr_assets.synthesis.plan import ImageRequest, requests_of
from cxr_assets.warehouse.manifest import digest_json

CODE_VERSION = "1"
IMAGES = {
    "image_id": pl.String,
    "method": pl.String,
    "finding": pl.String,
    "age": pl.String,
    "sex": pl.String,
    "race": pl.String,
    "stratum": pl.String,
    "index": pl.Int64,
    "age_years": pl.Int64,
    "labels": pl.String,
    "prompt": pl.String,
    "negative_prompt": pl.String,
    "demographics_json": pl.String,
    "seed": pl.Int64,
    "sampler": pl.String,
    "steps": pl.Int64,
    "guidance": pl.Float64,
    "strength": pl.Float64,
    "width": pl.Int64,
    "height": pl.Int64,
    "base_id": pl.String,
    "adapter_id": pl.String,
    "caption_policy": pl.String,
    "file": pl.String,
    "sha256": pl.String,
    "cohort": pl.String,
    "terms": pl.String,
    "passed_quality": pl.Boolean,
    "reject_reason": pl.String,
}


def stratum_keys(method: str, stratum: Stratum) -> dict[str, str]:
    """Hive keys of one method × stratum partition."""
    return {"method": method, "finding": stratum.finding, "age": stratum.age, "sex": stratum.sex, "race": stratum.race}


def image_id(method: str, base_id: str, adapter_id: str, request: ImageRequest, sampler: SamplerSettings) -> str:
    """First 32 hex digits of a SHA-256 over everything that decides the image: the same request has the same id."""
    drawn_with = sampler.model_dump(exclude={"batch"})
    parts = [method, base_id, adapter_id, request.prompt, str(request.stratum), drawn_with, request.seed, request.index]
    return digest_json(parts)[:32]


def sampler_settings(project: Project) -> SamplerSettings:
    """How this project draws."""
    s, d = project.settings.synthesis, project.settings.diffusion
    return SamplerSettings(
        sampler=s.sampler,
        steps=s.steps,
        guidance=s.guidance,
        batch=s.batch,
        resolution=d.resolution,
        precision=s.precision,
    )


@dataclass(frozen=True)
class _Job:
    step: Step
    stratum: Stratum
    requests: list[ImageRequest]


def stratum_step(project: Project, method: str, stratum: Stratum) -> tuple[Step, list[ImageRequest]]:
    """How one stratum would be drawn now, and its requests. Raises StorageError where adapter or plan is missing."""
    (job,) = _jobs(project, method, [stratum])
    return job.step, job.requests


def _step(
    project: Project, method: str, stratum: Stratum, planned: int, cofindings: pl.DataFrame
) -> tuple[Step, list[ImageRequest]]:
    s = project.settings.synthesis
    requests = requests_of(stratum, planned, cofindings, seed=s.seed)
    config = {"sampler": sampler_settings(project).model_dump(exclude={"batch"}), "min_contrast": s.min_contrast}
    step = project.step(
        "synthetic_images",
        stratum_keys(method, stratum),
        parents=[Parent("adapter", "drawn_with", {"method": method})],
        config=config,
        code_version=CODE_VERSION,
        extra_inputs={"plan": digest_json([[r.index, r.prompt, r.seed] for r in requests])},
    )
    return step, requests


def due_strata(project: Project, method: str) -> list[str]:
    """Strata of a method that are missing or stale, in grid order; none where the method has no adapter yet."""
    if (
        project.store.manifest("adapter", {"method": method}) is None
        or project.store.manifest("synthesis_plan") is None
    ):
        return []
    return [str(job.stratum) for job in _jobs(project, method, list(project.grid)) if job.step.current() is None]


def _jobs(project: Project, method: str, strata: Sequence[Stratum]) -> Iterator[_Job]:
    plan = project.store.table("synthesis_plan")
    planned = dict(zip(plan["stratum"], plan["planned"], strict=True))
    cofindings = project.store.table("synthesis_cofindings")
    for stratum in strata:
        if str(stratum) not in planned:
            raise InputError(f"stratum {stratum} is not in the plan of cohort {project.resolved.cohort!r}.")
        step, requests = _step(project, method, stratum, int(planned[str(stratum)]), cofindings)
        yield _Job(step, stratum, requests)


def draw_strata(project: Project, method: str, strata: Sequence[Stratum]) -> Iterator[tuple[Stratum, Made]]:
    """Draw strata of one method, in order; what is current is found, not drawn again.

    The model is loaded once, and only if something is due. Batches run across strata, and a stratum is written and
    yielded as soon as its last image is there: a killed run keeps what it yielded.
    """
    jobs = list(_jobs(project, method, strata))
    due = []
    for job in jobs:
        if made := job.step.claim():
            yield job.stratum, made
        else:
            due.append(job)
    if not due:
        return
    adapter = project.store.manifest("adapter", {"method": method})
    assert adapter is not None  # _jobs has asked for it
    settings = sampler_settings(project)
    preset = method_preset(project, method)
    generator = open_generator(project, method)
    sampler = generator.sampler(settings, device=pick_device(project.settings.device))
    bundle = generator.bundle
    total = sum(len(job.requests) for job in due)
    films: dict[int, list[np.ndarray]] = {number: [] for number in range(len(due))}
    wanted = [(n, r.ask(preset)) for n, job in enumerate(due) for r in job.requests]
    empty = [n for n, job in enumerate(due) if not job.requests]
    with project.progress.task(f"synthesise {method}", total) as advance:
        for number in empty:
            yield (
                due[number].stratum,
                _commit(project, due[number], method, [], settings, adapter.facts["adapter_id"], bundle.base_id),
            )
        for number, film in sampler.draw_all(wanted):
            films[number].append(film)
            advance(1, due[number].stratum.finding)
            if len(films[number]) == len(due[number].requests):
                drawn = films.pop(number)
                yield (
                    due[number].stratum,
                    _commit(project, due[number], method, drawn, settings, adapter.facts["adapter_id"], bundle.base_id),
                )


def _commit(
    project: Project,
    job: _Job,
    method: str,
    films: list[np.ndarray],
    sampler: SamplerSettings,
    adapter_id: str,
    base_id: str,
) -> Made:
    """Write one stratum: its images, their rows, the manifest."""
    stratum = job.stratum
    folder = f"images/synthetic/method={method}/finding={stratum.finding}/age={stratum.age}/sex={stratum.sex}/race={stratum.race}"
    rows = []
    with job.step.writing() as writer:
        for request, film in zip(job.requests, films, strict=True):
            name = image_id(method, base_id, adapter_id, request, sampler)
            data = png_bytes(film)
            entry = writer.bytes(f"{folder}/{name}.png", data)
            fault = quality_fault(film, project.settings.synthesis.min_contrast)
            person = {"age": stratum.age, "age_years": request.age_years, "sex": stratum.sex, "race": stratum.race}
            rows.append(
                {
                    "image_id": name,
                    "method": method,
                    "finding": stratum.finding,
                    "age": stratum.age,
                    "sex": stratum.sex,
                    "race": stratum.race,
                    "stratum": str(stratum),
                    "index": request.index,
                    "age_years": request.age_years,
                    "labels": "|".join(request.labels),
                    "prompt": request.prompt,
                    "negative_prompt": sampler.negative_prompt,
                    "demographics_json": json.dumps(person, sort_keys=True),
                    "seed": request.seed,
                    "sampler": sampler.sampler,
                    "steps": sampler.steps,
                    "guidance": sampler.guidance,
                    "strength": None,
                    "width": film.shape[1],
                    "height": film.shape[0],
                    "base_id": base_id,
                    "adapter_id": adapter_id,
                    "caption_policy": project.caption_policy,
                    "file": entry.path,
                    "sha256": hashlib.sha256(data).hexdigest(),
                    "cohort": project.resolved.cohort,
                    "terms": job.step.terms,
                    "passed_quality": fault is None,
                    "reject_reason": fault,
                }
            )
        writer.table("synthetic_images", pl.DataFrame(rows, schema=IMAGES))
        writer.sweep(folder)
        writer.facts |= {"images": len(rows), "rejected": sum(not r["passed_quality"] for r in rows), "folder": folder}
    return job.step.made()


def png_bytes(film: np.ndarray) -> bytes:
    """A film as 8-bit grey PNG, the same bytes for the same pixels."""
    buffer = io.BytesIO()
    Image.fromarray(film).save(buffer, "PNG", compress_level=6)
    return buffer.getvalue()


def quality_fault(film: np.ndarray, min_contrast: float) -> str | None:
    """Why an image cannot be used, or None. Contrast is the standard deviation of grey values in [0, 1]."""
    contrast = float(film.std()) / 255.0
    return f"contrast {contrast:.3f} below {min_contrast:g}" if contrast < min_contrast else None
