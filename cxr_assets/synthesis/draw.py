"""The ``synthetic_images`` asset: many strata of one method in one go, each committed as soon as it is whole."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import polars as pl

from cxr_assets.diffusion.adapters import method_preset, open_generator
from cxr_assets.diffusion.config import MethodPreset
from cxr_assets.diffusion.device import pick_device
from cxr_assets.diffusion.lessons import impressions_of
from cxr_assets.diffusion.sampling import Ask, SamplerSettings
from cxr_assets.errors import InputError
from cxr_assets.keys import Stratum
from cxr_assets.project import Made, Parent, Project, Step
from cxr_assets.synthesis.image_rows import (
    ATTEMPTS,
    IMAGES,
    DrawnWith,
    attempt_row,
    image_row,
    png_bytes,
    stratum_keys,
)
from cxr_assets.synthesis.label_counts import label_sets
from cxr_assets.synthesis.quality import gates_of, open_judge, quality_config
from cxr_assets.synthesis.requests import ImageRequest, requests_in, worded_after
from cxr_assets.synthesis.trials import Trial
from cxr_assets.warehouse.manifest import digest_json

__all__ = ["CODE_VERSION", "draw_strata", "due_strata", "sampler_settings", "stratum_keys", "stratum_step"]
CODE_VERSION = "2"
Item = TypeVar("Item")


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
        negative_prompt=s.negative_prompt,
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


def due_strata(project: Project, method: str) -> list[str]:
    """Strata of a method that are missing or stale, in grid order; none where it has no adapter or there is no plan."""
    plan = project.store.manifest("synthesis_plan")
    adapter = project.store.manifest("adapter", {"method": method})
    if adapter is None or plan is None or "synthesis_requests" not in plan.rows:
        return []
    return [str(job.stratum) for job in _jobs(project, method, list(project.grid)) if job.step.current() is None]


def _jobs(project: Project, method: str, strata: Sequence[Stratum]) -> Iterator[_Job]:
    """How each stratum would be drawn now. What its rows of the plan ask of the method is an input of its own."""
    planned = set(project.store.table("synthesis_plan")["stratum"])
    rows = project.store.table("synthesis_requests")
    rows = rows.filter(pl.col("stratum").is_in([str(s) for s in strata]))
    asked = {name: part for (name,), part in rows.partition_by("stratum", as_dict=True).items()}
    preset = method_preset(project, method)
    impressions = impressions_of(project, preset)
    speakers = _speakers(project, impressions)
    config = {
        "sampler": sampler_settings(project).decisive(),
        "demographic_guidance": preset.demographic_guidance,
        "quality": quality_config(project.settings.synthesis, project.resolved.cohort),
    }
    for stratum in strata:
        if str(stratum) not in planned:
            raise InputError(f"stratum {stratum} is not in the plan of cohort {project.resolved.cohort!r}.")
        requests = requests_in(asked[str(stratum)]) if str(stratum) in asked else []
        requests = [worded_after(request, speakers) for request in requests]
        step = project.step(
            "synthetic_images",
            stratum_keys(method, stratum),
            parents=[Parent("adapter", "drawn_with", {"method": method})],
            config=config,
            code_version=CODE_VERSION,
            extra_inputs={"plan": digest_json([_row_of_plan(r, preset, impressions) for r in requests])},
        )
        yield _Job(step, stratum, requests)


def _speakers(project: Project, impressions: Mapping[str, str]) -> dict[frozenset[str], list[str]]:
    """Training studies that have an impression, by what they show."""
    found: dict[frozenset[str], list[str]] = {}
    if impressions:
        for study, *_, labels in label_sets(project.grid, project.filmed("train"), project.findings()).iter_rows():
            if study in impressions:
                found.setdefault(frozenset(labels.split("|")), []).append(study)
    return found


def _row_of_plan(request: ImageRequest, preset: MethodPreset, impressions: Mapping[str, str]) -> list[object]:
    """Everything that a request decides about its image and the image's row."""
    named = [request.prompt_id, request.index, request.source_study, list(request.labels)]
    return [*named, request.prompt(preset, impressions), request.person, request.run, request.seed_id]


def draw_strata(project: Project, method: str, strata: Sequence[Stratum]) -> Iterator[tuple[Stratum, Made]]:
    """Draw strata of one method, in order; what is current is found, not drawn again.

    The model is loaded once, and only if something is due. Batches run across strata, and a stratum is written and
    yielded as soon as its last image is there: a killed run keeps what it yielded. What quality control refuses is
    drawn again with the next seed, before anything else, up to ``synthesis.retries`` times.
    """
    due = []
    for job in list(_jobs(project, method, strata)):
        if made := job.step.claim():
            yield job.stratum, made
        else:
            due.append(job)
    if not due:
        return
    s = project.settings.synthesis
    adapter = project.store.manifest("adapter", {"method": method})
    assert adapter is not None  # _jobs has asked for it
    settings = sampler_settings(project)
    preset = method_preset(project, method)
    generator = open_generator(project, method)
    sampler = generator.sampler(settings, device=pick_device(project.settings.device))
    by = DrawnWith(
        method, preset, generator.bundle.base_id, adapter.facts["adapter_id"], settings, impressions_of(project, preset)
    )
    judge = open_judge(s)
    trials = [Trial(job.requests, gates_of(s, judge), s.retries) for job in due]
    waiting = deque((number, request) for number, job in enumerate(due) for request in job.requests)
    clock = Clock()
    with project.progress.task(f"synthesise {method}", len(waiting)) as advance:
        for job, trial in zip(due, trials, strict=True):
            if trial.whole:  # nothing of it was planned
                yield job.stratum, _commit(project, job, by, trial)
        while waiting:  # again where the last batch of all left something to be retried
            for (number, request), film in clock.over(sampler.draw_all(_stream(waiting, by))):
                job, trial = due[number], trials[number]
                advance(int(request.k == 0), job.stratum.finding)
                again = trial.add(request, film)
                waiting.extendleft((number, retry) for retry in reversed(again))
                if trial.whole:
                    trials[number] = Trial([], [], 0)  # its films are not needed any longer
                    yield job.stratum, _commit(project, job, by, trial, clock.rate)


@dataclass
class Clock:
    """How long it takes to get items, and not what is done with them."""

    seconds: float = 0.0
    items: int = 0

    def over(self, items: Iterator[Item]) -> Iterator[Item]:
        """The same items; the time until each one comes is added up."""
        while True:
            begun = time.monotonic()
            try:
                item = next(items)
            except StopIteration:
                return
            self.seconds += time.monotonic() - begun
            self.items += 1
            yield item

    @property
    def rate(self) -> float | None:
        """Items a second; None before the first."""
        return round(self.items / self.seconds, 3) if self.seconds else None


def _stream(waiting: deque[tuple[int, ImageRequest]], by: DrawnWith) -> Iterator[tuple[tuple[int, ImageRequest], Ask]]:
    """Empties the queue as batches are filled; what is put in meanwhile joins the next batch."""
    while waiting:
        number, request = waiting.popleft()
        yield (number, request), request.ask(by.preset, by.impressions)


def _commit(project: Project, job: _Job, by: DrawnWith, trial: Trial, images_per_second: float | None = None) -> Made:
    """Write one stratum: its images, their rows, the attempts at them, the manifest.

    Args:
        images_per_second: speed of drawing so far, over all strata of the run and without what was between.
    """
    stratum = job.stratum
    folder = "/".join(
        ["images/synthetic", *(f"{name}={value}" for name, value in stratum_keys(by.method, stratum).items())]
    )
    rows = []
    with job.step.writing() as writer:
        for kept in trial.kept:
            data = png_bytes(kept.film)
            entry = writer.bytes(f"{folder}/{by.image_id(kept.request)}.png", data)
            rows.append(
                image_row(
                    kept,
                    by,
                    data=data,
                    file=entry.path,
                    cohort=project.resolved.cohort,
                    caption_policy=project.caption_policy,
                    terms=job.step.terms,
                )
            )
        writer.table("synthetic_images", pl.DataFrame(rows, schema=IMAGES))
        tried = [attempt_row(attempt, by) for attempt in trial.attempts]
        writer.table("synthetic_attempts", pl.DataFrame(tried, schema=ATTEMPTS))
        writer.sweep(folder)
        writer.facts |= {
            "images": len(rows),
            "rejected": sum(not r["passed_quality"] for r in rows),
            "attempts": len(tried),
            "images_per_second": images_per_second,
            "folder": folder,
        }
    return job.step.made()
