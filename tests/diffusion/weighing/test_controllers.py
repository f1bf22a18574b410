from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter

from cxr_assets.diffusion.weighing import (
    GroupDroWeights,
    Groups,
    InverseFrequencyWeights,
    Weighing,
    WeightController,
    make_controller,
)
from cxr_assets.errors import InputError

SCHEMA = Groups({"sex": ("female", "male"), "race": ("asian", "black", "white")})
TRAINING = np.repeat([[0, 0], [0, 2], [1, 1], [1, 2]], [10, 50, 20, 120], axis=0)
COUNTS = SCHEMA.cell_counts(TRAINING)
KINDS = ["uniform", "inverse_frequency", "group_dro", "fairdiffusion", "tempered"]


def make(kind: str, schema: Groups = SCHEMA, **settings: Any) -> WeightController:
    config = TypeAdapter(Weighing).validate_python({"kind": kind, **settings})
    return make_controller(config, schema, SCHEMA.cell_counts(TRAINING), seed=1)


def weights(controller: WeightController, groups: np.ndarray, seed: int = 0) -> np.ndarray:
    return controller.weights(groups, np.random.default_rng(seed))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_weighs_any_batch_and_goes_on_from_its_saved_state(kind: str) -> None:
    first, second = make(kind), make(kind)
    rng = np.random.default_rng(5)
    batches = [(rng.integers(-1, [2, 3], size=(8, 2)), rng.random(8)) for _ in range(80)]
    for step, (groups, losses) in enumerate(batches[:40]):
        weights(first, groups)
        first.observe(groups, losses, step)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    for step, (groups, losses) in enumerate(batches[40:], start=40):
        given = weights(first, groups, step)
        assert given.shape == (8,) and given.dtype == np.float64 and np.isfinite(given).all()
        assert np.array_equal(given, weights(second, groups, step))
        first.observe(groups, losses, step)
        second.observe(groups, losses, step)
        assert first.log() == second.log()
    assert first.state_dict() == second.state_dict()


@pytest.mark.parametrize("kind", KINDS)
def test_what_processes_saw_adds_up_to_what_one_would_have_seen(kind: str) -> None:
    alone, one, two = make(kind), make(kind), make(kind)
    groups = TRAINING[::10]
    losses = np.arange(len(groups)) / 8.0
    alone.observe(groups, losses, 0)
    halves = [one.tally(groups[:7], losses[:7]), two.tally(groups[7:], losses[7:])]
    sums, counts = (a + b for a, b in zip(*halves, strict=True))
    one.observe_sums(sums, counts, 0)
    two.observe_sums(sums, counts, 0)
    assert alone.state_dict() == one.state_dict() == two.state_dict()


@pytest.mark.parametrize("kind", ["uniform", "group_dro"])
def test_gaps_are_logged_per_attribute(kind: str) -> None:
    controller = make(kind)
    controller.observe(np.array([[0, 0], [1, 1], [1, 2]]), np.array([0.5, 0.1, 0.3]), 0)
    log = controller.log()
    assert log["gap/sex"] == pytest.approx(0.3) and log["gap/race"] == pytest.approx(0.4)


def test_uniform_and_tempered_weights_are_one() -> None:
    assert (weights(make("uniform"), TRAINING) == 1).all() and (weights(make("tempered"), TRAINING) == 1).all()


@pytest.mark.parametrize("kind", ["inverse_frequency", "group_dro"])
def test_cells_weigh_the_same_in_total_and_examples_one_on_average(kind: str) -> None:
    given = weights(make(kind), TRAINING)
    cells = SCHEMA.cell_of(TRAINING)
    assert given.mean() == pytest.approx(1.0)
    assert [given[cells == c].sum() for c in np.unique(cells)] == pytest.approx([50.0] * 4)
    assert given[0] == pytest.approx(200 / (4 * 10))


@pytest.mark.parametrize("kind", ["inverse_frequency", "group_dro"])
def test_examples_of_no_known_or_trained_cell_weigh_one(kind: str) -> None:
    assert weights(make(kind), np.array([[-1, 2], [0, -1], [0, 1]])).tolist() == [1.0, 1.0, 1.0]
    nothing = make_controller(TypeAdapter(Weighing).validate_python({"kind": kind}), SCHEMA, COUNTS * 0, seed=0)
    assert (weights(nothing, TRAINING) == 1).all()


def test_group_dro_multiplies_by_the_exponential_of_the_loss() -> None:
    controller = GroupDroWeights(SCHEMA, COUNTS, eta=0.5)
    losses = {0: 2.0, 2: 0.4, 4: 1.0}  # the cell (1, 2) is not in the batch
    groups = np.array([[0, 0], [0, 0], [0, 2], [1, 1], [-1, 1]])
    for step in range(2):
        controller.observe(groups, np.array([1.0, 3.0, 0.4, 1.0, 99.0]), step)
    q = np.array([np.exp(2 * 0.5 * losses.get(cell, 0.0)) for cell in (0, 2, 4, 5)])
    expected = q / q.sum() / (np.array([10, 50, 20, 120]) / 200)
    assert weights(controller, np.array([[0, 0], [0, 2], [1, 1], [1, 2]])) == pytest.approx(expected)
    assert weights(controller, TRAINING).mean() == pytest.approx(1.0)


def test_group_dro_stands_losses_of_any_size() -> None:
    controller = GroupDroWeights(SCHEMA, COUNTS, eta=1.0)
    controller.observe(np.array([[0, 0], [1, 1], [1, 2]]), np.array([5000.0, np.inf, np.nan]), 0)
    assert weights(controller, np.array([[0, 0], [1, 1], [1, 2]])) == pytest.approx([20.0, 0.0, 0.0])


def test_state_of_another_kind_or_of_other_groups_is_refused() -> None:
    state = make("uniform").state_dict()
    with pytest.raises(InputError, match="'uniform'"):
        make("group_dro").load_state_dict(state)
    swapped = Groups({"sex": ("male", "female"), "race": ("asian", "black", "white")})
    with pytest.raises(InputError, match="sex=male"):
        make("uniform", swapped).load_state_dict(state)


def test_counts_of_another_schema_are_refused() -> None:
    with pytest.raises(InputError, match="has 6 cells"):
        InverseFrequencyWeights(SCHEMA, np.ones(5, dtype=np.int64))
