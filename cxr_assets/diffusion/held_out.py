"""The ``held_out_cells`` asset: intersections that no generator of this data root learns from (generation.md §1.7)."""

from __future__ import annotations

import polars as pl

from cxr_assets.captions.wording import ATTRIBUTES
from cxr_assets.diffusion.holdout import Cell, Rule, choose_held_out, lacking, leave_out
from cxr_assets.errors import StorageError
from cxr_assets.project import Made, Parent, Project

CODE_VERSION = "1"
CELLS = {
    "cell": pl.String,
    "age": pl.String,
    "sex": pl.String,
    "race": pl.String,
    "images": pl.Int64,
    "patients": pl.Int64,
}


def hold_out_cells(project: Project) -> Made:
    """Choose the cells by ``diffusion.holdout``; none where it asks for none.

    Raises:
        InputError: so many cells cannot be held out; says what stands in the way.
    """
    settings = project.settings.diffusion.holdout
    step = project.step(
        "held_out_cells",
        parents=[Parent("studies", "drawn_from")],
        config=settings.model_dump()
        | project.settings.choices.demographics
        | {"views": project.settings.choices.views},
        code_version=CODE_VERSION,
    )
    if made := step.claim():
        return made
    people = training_people(project)
    rule = Rule(settings.least_pair, settings.least_single)
    held: list[Cell] = []
    if settings.cells:
        earlier: list[Cell] = []
        for repeat in range(settings.repeat + 1):
            held = choose_held_out(people, settings.cells, rule=rule, without=earlier, seed=settings.seed + repeat)
            earlier += held
    rows = [(".".join(cell), *cell, *_size(people, cell)) for cell in held]
    with step.writing() as writer:
        writer.table("held_out_cells", pl.DataFrame(rows, schema=CELLS, orient="row"))
        left = leave_out(people, held)
        writer.facts |= {
            "cells": [row[0] for row in rows],
            "training_images": people.height,
            "left_out": people.height - left.height,
            "lacking": lacking(people, held, rule=rule),
        }
    return step.made()


def training_people(project: Project) -> pl.DataFrame:
    """One row a training film: study_id, patient_id, age (bin), sex and race, null where unknown."""
    return project.filmed("train").select("study_id", "patient_id", pl.col("age_bin").alias("age"), "sex", "race")


def _size(people: pl.DataFrame, cell: Cell) -> tuple[int, int]:
    inside = people.filter(*(pl.col(name) == value for name, value in zip(ATTRIBUTES, cell, strict=True)))
    return inside.height, inside["patient_id"].n_unique()


def held_out(project: Project) -> list[Cell]:
    """The cells that generators may not learn from. Raises StorageError where they are still to be chosen."""
    if not project.settings.diffusion.holdout.cells:
        return []
    if project.store.manifest("held_out_cells") is None:
        raise StorageError(
            f"the held-out cells are not chosen yet under {project.store.root}. Materialise held_out_cells first."
        )
    return project.store.table("held_out_cells").select("age", "sex", "race").rows()


def holdout_parents(project: Project) -> list[Parent]:
    """Input of everything that a generator learns from: the held-out cells, where there are any."""
    return [Parent("held_out_cells", "kept_out_by")] if project.settings.diffusion.holdout.cells else []


def leaked(project: Project, studies: pl.Series) -> int:
    """How many of these studies belong to patients who have a film in a held-out cell."""
    people = training_people(project)
    allowed = leave_out(people, held_out(project))["study_id"]
    return int((~studies.is_in(allowed.implode())).sum())
