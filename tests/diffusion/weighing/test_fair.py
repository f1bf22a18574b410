from __future__ import annotations

import json
from typing import Any, cast

import numpy as np
import pytest

from cxr_assets.diffusion.weighing import FairDiffusionWeighing, FairDiffusionWeights, Groups, fair
from cxr_assets.diffusion.weighing.fair import drifted, floored
from cxr_assets.errors import InputError

TWO = Groups({"sex": ("female", "male"), "race": ("black", "white")})
THREE = Groups({"sex": ("female", "male"), "race": ("black", "white"), "age": ("young", "old")})


class Fixed:
    """A generator whose normal draws are known."""

    def __init__(self, draws: list[list[float]]) -> None:
        self.draws = np.array(draws)

    def standard_normal(self, shape: tuple[int, ...]) -> np.ndarray:
        return self.draws.reshape(shape)


def make(schema: Groups = TWO, *, seed: int = 0, **settings: Any) -> FairDiffusionWeights:
    return FairDiffusionWeights(schema, FairDiffusionWeighing(**{"candidates": 64, **settings}), seed=seed)


def batches(n: int, seed: int = 0, size: int = 8) -> list[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(seed)
    return [(rng.integers(-1, 2, size=(size, 2)), rng.random(size)) for _ in range(n)]


def run(controller: FairDiffusionWeights, steps: range, seed: int = 0) -> list[list[float]]:
    """Sigma after each step."""
    data = batches(steps.stop, seed)
    path = []
    for step in steps:
        controller.observe(*data[step], step)
        path.append(controller.sigma.tolist())
    return path


def draws(schema: Groups, n: int, **settings: Any) -> np.ndarray:
    groups = np.zeros((n, len(schema.names)), dtype=np.int64)
    return make(schema, **settings).weights(groups, np.random.default_rng(11))


def test_a_weight_is_one_and_its_groups_noise() -> None:
    controller = make(mode="paper")
    controller.sigma = np.array([0.3, 0.5, 0.7, 1.0])
    fixed = cast("np.random.Generator", Fixed([[2.0, -1.0], [2.0, -1.0], [2.0, -1.0]]))
    groups = np.array([[1, 1], [-1, 1], [-1, -1]])
    assert controller.weights(groups, fixed) == pytest.approx([1.0, 0.0, 1.0])


def test_tied_values_of_an_attribute_share_one_spread() -> None:
    controller = make(mode="paper", tie=True)
    controller.sigma = np.array([0.5, 1.0])
    fixed = cast("np.random.Generator", Fixed([[2.0, -1.0], [2.0, 1.0]]))
    assert controller.weights(np.array([[1, 0], [0, 1]]), fixed) == pytest.approx([1.0, 3.0])
    assert {"sigma/sex", "sigma/race"} <= set(controller.log())
    run(controller, range(31))
    assert controller.sigma.shape == (2,)


def test_what_is_learnt_from_is_minus_the_sum_of_gaps() -> None:
    controller = make(mode="paper")
    controller.observe(np.array([[0, -1], [1, -1], [-1, 0], [-1, 1]]), np.array([0.5, 0.2, 0.6, 0.1]), 0)
    controller.observe(np.array([[0, 1], [0, -1]]), np.array([0.5, 0.2]), 1)
    controller.observe(np.array([[-1, -1]]), np.array([0.5]), 2)
    values = [value for _, value in controller.state_dict()["pairs"]]
    assert values == pytest.approx([-0.8, 0.0, 0.0])


def test_safe_gaps_are_of_all_losses_since_the_window_began() -> None:
    controller = make(window=2)
    controller.observe(np.array([[0, 0]]), np.array([0.5]), 0)
    controller.observe(np.array([[1, 0]]), np.array([0.2]), 1)
    assert [value for _, value in controller.state_dict()["pairs"]] == pytest.approx([0.0, -0.3])
    controller.observe(np.array([[0, 0]]), np.array([0.5]), 2)
    controller.observe(np.array([[1, 0]]), np.array([0.2]), 3)
    assert controller.log()["gap/sex"] == 0, "a new window began"


def test_without_suggestions_sigma_forgets_at_its_known_rate() -> None:
    sigma = np.ones(4)
    for _ in range(3):
        sigma = drifted(sigma, np.zeros(4), 0.95)
    assert sigma == pytest.approx([0.857375] * 4)
    for _ in range(27):
        sigma = drifted(sigma, np.zeros(4), 0.95)
    assert sigma == pytest.approx([0.214639] * 4, abs=5e-7)
    assert drifted(np.ones(1), np.array([0.5]), 0.95) == pytest.approx([0.975])


def test_sigma_drifts_at_every_step() -> None:
    controller = make()
    u = np.random.default_rng(0).random(4)
    assert run(controller, range(1))[0] == pytest.approx(0.95 + 0.05 * u)


@pytest.mark.parametrize(("schema", "share"), [(TWO, 0.2398), (THREE, 0.2819)])
def test_published_weights_fall_below_zero_at_the_known_rate(schema: Groups, share: float) -> None:
    assert (draws(schema, 200_000, mode="paper") < 0).mean() == pytest.approx(share, abs=0.005)


@pytest.mark.parametrize(("schema", "mean"), [(TWO, 1.225), (THREE, 1.332)])
def test_a_floor_adds_weight_and_the_mean_takes_it_away_again(schema: Groups, mean: float) -> None:
    raw = draws(schema, 200_000, mode="paper")
    assert np.maximum(raw, 0.1).mean() == pytest.approx(mean, abs=0.01)
    safe = draws(schema, 200_000)
    assert safe.mean() == pytest.approx(1.0, abs=1e-12) and safe.min() > 0
    assert safe == pytest.approx(np.maximum(raw, 0.1) / np.maximum(raw, 0.1).mean())
    assert len(floored(np.zeros(0), 0.1)) == 0


def test_the_share_of_floored_weights_is_logged() -> None:
    controller = make()
    fixed = cast("np.random.Generator", Fixed([[-1.0, 0.0], [0.0, 0.0], [1.0, 0.0], [0.0, -3.0]]))
    controller.weights(np.zeros((4, 2), dtype=np.int64), fixed)
    assert controller.log()["clamped"] == 0.5


def test_the_expected_gradient_is_the_plain_one() -> None:
    rng = np.random.default_rng(2)
    features, residuals = rng.standard_normal((6, 3)), rng.standard_normal((6, 1))
    gradients = 2 * features * residuals
    groups = rng.integers(0, 2, size=(6, 2))
    weights = make(mode="paper").weights(np.tile(groups, (20_000, 1)), rng).reshape(20_000, 6)
    drawn = weights @ gradients / 6
    error = drawn.std(axis=0) / np.sqrt(20_000)
    assert (np.abs(drawn.mean(axis=0) - gradients.mean(axis=0)) < 3 * error).all()
    assert (error > 0).all()


@pytest.mark.parametrize("mode", ["paper", "safe"])
def test_suggestions_come_at_multiples_of_the_window_and_empty_the_buffer(
    mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def suggest(tried: np.ndarray, values: np.ndarray, **_: Any) -> np.ndarray:
        asked.append(len(values))
        return np.full(tried.shape[1], 0.25)

    monkeypatch.setattr(fair, "suggest", suggest)
    controller, fired, held = make(mode=mode), [], []
    for step, (groups, losses) in enumerate(batches(95)):
        before = len(asked)
        controller.observe(groups, losses, step)
        held.append(len(controller.state_dict()["pairs"]))
        if len(asked) > before:
            fired.append(step)
            assert ((controller.sigma >= 0.95 * 0.25) & (controller.sigma <= 0.95 * 0.25 + 0.05)).all()
    assert fired == [30, 60, 90] and asked == [31, 30, 30]
    assert [held[step] for step in (0, 29, 30, 31, 60)] == [1, 30, 0, 1, 0]


@pytest.mark.parametrize("mode", ["paper", "safe"])
def test_a_restored_controller_takes_the_next_forty_steps_alike(mode: str) -> None:
    whole, resumed = make(mode=mode), make(mode=mode, seed=99)
    run(whole, range(45))
    resumed.load_state_dict(json.loads(json.dumps(whole.state_dict())))
    assert run(whole, range(45, 85)) == run(resumed, range(45, 85))
    assert whole.failures == 0


def test_two_processes_fed_equal_sums_hold_equal_sigma_whatever_they_drew() -> None:
    ranks = [make(seed=3), make(seed=3)]
    own = [np.random.default_rng(rank) for rank in range(2)]
    for step, (groups, losses) in enumerate(batches(65)):
        tallies = []
        for rank, controller in enumerate(ranks):
            controller.weights(groups[rank::2], own[rank])
            tallies.append(controller.tally(groups[rank::2], losses[rank::2]))
        sums, counts = (sum(arrays) for arrays in zip(*tallies, strict=True))
        for controller in ranks:
            controller.observe_sums(sums, counts, step)
        assert np.array_equal(ranks[0].sigma, ranks[1].sigma)
    assert ((ranks[0].sigma > 0) & (ranks[0].sigma < 1)).all()
    assert not np.array_equal(ranks[0].sigma, make(seed=4).sigma)


def test_where_nothing_can_be_fitted_sigma_stays_and_the_failure_is_counted() -> None:
    controller = make(window=3, exploit=1.0)
    for step in range(7):
        controller.observe(np.array([[0, 0]]), np.array([0.5]), step)
    assert controller.failures == 2 and controller.log()["failures"] == 2.0
    assert (controller.sigma == 1).all() and controller.state_dict()["pairs"] == []


def test_a_state_with_other_ties_is_refused() -> None:
    with pytest.raises(InputError, match="'tie' was changed"):
        make(tie=True).load_state_dict(make().state_dict())
