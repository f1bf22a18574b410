from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl
import pytest

from cxr_assets.checks import BLOCKING, check_partition
from cxr_assets.diffusion.adapters import train_adapter
from cxr_assets.diffusion.base import training_studies
from cxr_assets.diffusion.cache import cache_latents
from cxr_assets.diffusion.held_out import held_out, hold_out_cells, leaked, training_people
from cxr_assets.errors import InputError, StorageError
from cxr_assets.project import Project

Open = Callable[..., Project]
HOLDOUT = {
    "diffusion__holdout__cells": 1,
    "diffusion__holdout__least_pair": 1,
    "diffusion__holdout__least_single": 2,
}


def passed(project: Project, asset: str, keys: dict[str, str] | None = None) -> dict[str, bool]:
    manifest = project.store.manifest(asset, keys or {})
    assert manifest is not None
    return {outcome.name: outcome.passed for outcome in check_partition(project, manifest)}


def test_without_a_wish_nothing_is_held_out_and_nothing_is_stale(ready: Open) -> None:
    project = ready()
    made = hold_out_cells(project)
    assert made.manifest.facts["cells"] == [] and held_out(project) == []
    assert not cache_latents(project).fresh and leaked(project, training_studies(project)["study_id"]) == 0


def test_patients_of_a_held_out_cell_are_in_nothing_that_a_generator_sees(ready: Open) -> None:
    project = ready(**HOLDOUT)
    made = hold_out_cells(project)
    (cell,) = held_out(project)
    assert made.manifest.facts["cells"] == [".".join(cell)] and passed(project, "held_out_cells") == {
        "pairs_stay_represented": True
    }
    people = training_people(project)
    inside = people.filter((pl.col("age") == cell[0]) & (pl.col("sex") == cell[1]) & (pl.col("race") == cell[2]))
    assert inside.height == project.store.table("held_out_cells")["images"][0] > 0
    assert cache_latents(project).fresh, "the cached latents of before hold the cell"
    rows = project.store.table("latent_rows")
    assert (
        set(rows["patient_id"]).isdisjoint(inside["patient_id"])
        and rows.height == made.manifest.facts["training_images"] - made.manifest.facts["left_out"]
    )
    train_adapter(project, "hcn")
    learned = project.store.table("adapter_training_rows", {"method": "hcn"})
    assert set(learned["patient_id"]).isdisjoint(inside["patient_id"])
    assert (
        passed(project, "adapter", {"method": "hcn"})["no_held_out_cell_learned"]
        and passed(project, "latents")["no_held_out_cell"]
    )


def test_a_leak_is_seen(ready: Open) -> None:
    """An adapter of before, which has learned from everybody, fails the check once a cell is held out."""
    before = ready()
    train_adapter(before, "hcn")
    project = ready(**HOLDOUT)
    hold_out_cells(project)
    assert passed(project, "adapter", {"method": "hcn"})["no_held_out_cell_learned"] is False
    assert (
        passed(project, "latents")["no_held_out_cell"] is False
        and {"no_held_out_cell", "no_held_out_cell_learned"} <= BLOCKING
    )


def test_a_second_set_shares_no_cell_with_the_first(ready: Open) -> None:
    sets = []
    for repeat in (0, 1):
        project = ready(f"set{repeat}", **HOLDOUT, diffusion__holdout__repeat=repeat)
        hold_out_cells(project)
        sets.append(set(held_out(project)))
    assert sets[0].isdisjoint(sets[1]) and all(sets)


def test_what_cannot_be_held_out_is_said(ready: Open) -> None:
    changed: dict[str, Any] = HOLDOUT | {"diffusion__holdout__least_pair": 5000}
    with pytest.raises(InputError, match="would be left with"):
        hold_out_cells(ready(**changed))


def test_cells_are_chosen_before_anything_learns(ready: Open) -> None:
    with pytest.raises(StorageError, match="Materialise held_out_cells first"):
        training_studies(ready(**HOLDOUT))
