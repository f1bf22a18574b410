"""One training of one method, from a project to a work folder; the same in one process and in many."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from cxr_assets.cohorts.demographics import UNKNOWN
from cxr_assets.diffusion.base import open_base_model
from cxr_assets.diffusion.config import MethodPreset
from cxr_assets.diffusion.device import peak_memory, pick_device
from cxr_assets.diffusion.generator import Generator
from cxr_assets.diffusion.lessons import impressions_of, prepare_lesson, prepare_validation
from cxr_assets.diffusion.sampling import Ask, SamplerSettings
from cxr_assets.diffusion.teaching import Teaching
from cxr_assets.diffusion.tuning import save_generator
from cxr_assets.diffusion.watching import Watch, grid_file
from cxr_assets.plots import curves, loss_curve
from cxr_assets.processes import Processes
from cxr_assets.progress import Progress
from cxr_assets.project import Project
from cxr_assets.training import derive_seed, times_visited

LEARNED, PICTURES, ROWS, FIGURES = "learned", "pictures", "rows.parquet", "figures.json"
UNLEARNED = {"checkpoint_every", "validate_every"}
"""Settings of a training that decide nothing of what is learned."""
WATCHED_AGES = (30.0, 70.0)
WATCHED = 8
_PANELS = {"gap": "largest gap of the loss between groups", "sigma": "spread of the loss weights"}


def teach(
    project: Project, method: str, preset: MethodPreset, *, work: Path, identity: str, processes: Processes
) -> None:
    """Train in this process, alone or as one of several; the first one leaves what was learned in the work folder.

    Args:
        work: gets ``learned/`` (adapters, conditioner, record), ``rows.parquet`` (studies seen), ``pictures/`` and
            ``figures.json`` (what it took, and what looking on told: no part of what was learned).
        identity: what the checkpoint belongs to.
    """
    device = pick_device(project.settings.device)
    if preset.train.compile:  # once for all methods and runs of this data root; read when torch.compile is first called
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(project.store.root / "work" / "compiled"))
    if not processes.first:
        processes.wait()  # the first one fills the caches that all read
    bundle = open_base_model(project)
    prepared = prepare_lesson(project, preset, bundle, folder=work)
    watch = None
    if processes.first:
        validation = prepare_validation(project, preset, bundle)
        processes.wait()
        sampler = watch_settings(project, preset)
        watch = Watch(work, validation, watched_asks(project, preset), sampler, device)
    teaching = Teaching(
        bundle,
        preset,
        prepared.lesson,
        device=device,
        folder=work,
        identity=identity,
        progress=project.progress if processes.first else Progress(quiet=True),
        processes=processes,
        watch=watch,
    )
    try:
        with peak_memory(device) as peak:
            generator = teaching.run()
    finally:
        if watch is not None:
            watch.close()
    if watch is None:
        return
    _keep(generator, teaching, watch, prepared.rows, work, method)
    here = max(1, preset.train.steps - teaching.loop.resumed_at)
    figures = {
        "validation_loss": watch.losses[-1][1] if watch.losses else None,
        "training_seconds": round(teaching.seconds, 2),
        "images_per_second": round(here * preset.train.batch / max(teaching.seconds, 1e-9), 2),
        "peak_memory_mib": round(peak[0], 1) if peak else None,
        "processes": processes.count,
    }
    (work / FIGURES).write_text(json.dumps(figures))


def _keep(generator: Generator, teaching: Teaching, watch: Watch, rows: pl.DataFrame, work: Path, method: str) -> None:
    """Write what was learned, its record and pictures, and which studies were seen how often."""
    folder, pictures = work / LEARNED, work / PICTURES
    for made in (folder, pictures):
        shutil.rmtree(made, ignore_errors=True)
    save_generator(generator, folder)
    pictures.mkdir(parents=True)
    loop, preset = teaching.loop, generator.preset
    record = {
        "method": method,
        "base_id": generator.bundle.base_id,
        "settings": preset.model_dump(mode="json", exclude={"train": UNLEARNED}),
        "losses": loop.losses,
        "weighed_by": teaching.weighed_by,
        "weighing": teaching.history,
    }
    (folder / "training.json").write_text(json.dumps(record, indent=1))
    loss_curve({method: loop.losses} | ({"validation": watch.losses} if watch.losses else {}), pictures / "loss.png")
    if panels := weighing_panels(teaching.history):
        curves(panels, pictures / "weighing.png")
    if (films := grid_file(work, preset.train.steps)).is_file():
        shutil.copyfile(films, pictures / "films.png")
    order = teaching.loop.order
    seen = times_visited(rows.height, preset.train.batch, preset.train.seed, preset.train.steps, order)
    rows.with_columns(
        times_seen=pl.Series(seen), weight=pl.Series(teaching.row_weights(), dtype=pl.Float64)
    ).write_parquet(work / ROWS)


def weighing_panels(
    history: Sequence[tuple[int, Mapping[str, float]]],
) -> dict[str, dict[str, list[tuple[int, float]]]]:
    """What the controller said over the steps: gaps of the loss by attribute, and its spreads where it has them."""
    panels: dict[str, dict[str, list[tuple[int, float]]]] = {}
    for step, log in history:
        for name, value in log.items():
            panel, slash, line = name.partition("/")
            if slash:
                panels.setdefault(_PANELS[panel], {}).setdefault(line, []).append((step, value))
    return panels


def watched_asks(project: Project, preset: MethodPreset) -> list[Ask]:
    """What the training's grid shows, with fixed seeds: the first findings of the cohort in two people, or the first
    impressions of validation studies where a method learns from these."""
    grid = project.grid
    people: list[dict[str, Any]] = [
        {
            "age": None if UNKNOWN in grid.ages else WATCHED_AGES[end],
            "sex": _known(grid.sexes[end]),
            "race": _known(grid.races[end]),
        }
        for end in (0, -1)
    ]
    people = people[:1] if people[0] == people[1] else people  # a cohort may record nothing of them
    some = WATCHED // len(people)
    spoken = impressions_of(project, preset)
    validate = project.filmed("validate").sort("study_id")["study_id"]
    texts = [spoken[study] for study in validate if study in spoken][:some]
    bodies: list[tuple[str, dict[str, Any]]] = [(text, {"labels": [], "impression": text}) for text in texts]
    bodies = bodies or [(finding, {"labels": [finding]}) for finding in grid.findings[:some]]
    return [
        Ask(preset.prompt(**body, **person), derive_seed("watch", name), **person)
        for name, body in bodies
        for person in people
    ]


def watch_settings(project: Project, preset: MethodPreset) -> SamplerSettings:
    """How the training's grid is drawn: as synthesis draws, eight films at a time."""
    s, d = project.settings.synthesis, project.settings.diffusion
    return SamplerSettings(
        sampler=s.sampler,
        steps=s.steps,
        guidance=s.guidance,
        batch=8,
        resolution=d.resolution,
        precision=preset.train.precision,
    )


def _known(value: str) -> str | None:
    return None if value == UNKNOWN else value
