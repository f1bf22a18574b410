from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from cxr_assets.errors import InputError, SettingsError
from cxr_assets.progress import Progress
from cxr_assets.training import TrainLoop, derive_seed, rows_of_step, times_visited

STEPS = 50
ROWS = torch.randn(30, 6, generator=torch.Generator().manual_seed(1))
TARGETS = ROWS[:, :1] * 2 - ROWS[:, 1:2]


class Killed(RuntimeError):
    """Stands for the end of the process."""


def network() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 1))


def loop_of(net: nn.Module, folder: Path | None = None, **changed: Any) -> TrainLoop:
    settings: dict[str, Any] = {
        "rows": len(ROWS),
        "steps": STEPS,
        "batch": 8,
        "learning_rate": 1e-2,
        "schedule": "cosine",
        "warmup": 5,
        "checkpoint_every": 10,
        "identity": "one",
        "progress": Progress(quiet=True),
        "folder": folder,
    }
    return TrainLoop("toy", {"net": net}, **(settings | changed))


def loss_of(net: nn.Module, stop_at: int | None = None) -> Callable[[np.ndarray, torch.Generator], Tensor]:
    calls = iter(range(10_000))

    def loss(rows: np.ndarray, generator: torch.Generator) -> Tensor:
        if next(calls) == stop_at:
            raise Killed
        noise = 0.1 * torch.randn((len(rows), 6), generator=generator)
        return (net(ROWS[rows] + noise) - TARGETS[rows]).square().mean()

    return loss


def held_out(net: nn.Module) -> float:
    """A score that goes up and down, so that the best step is not the last."""
    with torch.no_grad():
        return 3.0 * float(torch.sin(50 * next(net.parameters()).sum())) - float((net(ROWS) - TARGETS).square().mean())


def train(
    folder: Path | None, stop_at: int | None = None, *, validated: bool = False, **changed: Any
) -> tuple[nn.Module, TrainLoop]:
    net = network()
    if validated:
        changed |= {"validate": lambda: held_out(net), "validate_every": 7}
    loop = loop_of(net, folder, **changed)
    loop.run(loss_of(net, stop_at))
    return net, loop


def same(first: nn.Module, second: nn.Module) -> bool:
    pairs = zip(first.state_dict().items(), second.state_dict().items(), strict=True)
    return all(torch.equal(a, b) for (name, a), (_, b) in pairs if "num_batches" not in name)


VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "averaged": {"ema": 0.9},
    "validated": {"validated": True},
    "both": {"validated": True, "ema": 0.9},
    "checkpoints between the points of the loss record": {"checkpoint_every": 7},
}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("stop_at", [5, 23, 49])
def test_a_stopped_run_ends_in_the_weights_of_one_that_never_stopped(
    tmp_path: Path, variant: str, stop_at: int
) -> None:
    whole, uninterrupted = train(tmp_path / "whole", **VARIANTS[variant])
    with pytest.raises(Killed):
        train(tmp_path / "stopped", stop_at, **VARIANTS[variant])
    resumed, loop = train(tmp_path / "stopped", **VARIANTS[variant])
    assert same(whole, resumed)
    assert (loop.losses, loop.scores, loop.best_step) == (
        uninterrupted.losses,
        uninterrupted.scores,
        uninterrupted.best_step,
    )


def test_a_run_stopped_twice_and_one_that_had_ended_change_nothing(tmp_path: Path) -> None:
    whole, _ = train(None, ema=0.9)
    for stop_at in (15, 18):
        with pytest.raises(Killed):
            train(tmp_path, stop_at, ema=0.9)
    assert same(whole, train(tmp_path, ema=0.9)[0])
    assert same(whole, train(tmp_path, 0, ema=0.9)[0]), "a finished run takes no step"


def test_a_checkpoint_of_another_identity_is_not_taken_up(tmp_path: Path) -> None:
    with pytest.raises(Killed):
        train(tmp_path, 35)
    fresh, _ = train(None, identity="two", seed=3)
    restarted, _ = train(tmp_path, identity="two", seed=3)
    assert same(fresh, restarted)


def test_another_seed_trains_other_weights() -> None:
    assert not same(train(None)[0], train(None, seed=1)[0])


def test_the_random_state_before_a_run_plays_no_part() -> None:
    torch.manual_seed(1)
    first, _ = train(None)
    torch.manual_seed(2)
    assert same(first, train(None)[0])


def test_the_average_follows_its_published_decay(tmp_path: Path) -> None:
    net = nn.Linear(1, 1, bias=False)
    before: list[float] = []

    def loss(rows: np.ndarray, generator: torch.Generator) -> Tensor:
        before.append(float(net.weight.detach()))
        return (net(torch.ones(1, 1)) - torch.randn((), generator=generator)).square().mean()

    loop = loop_of(net, tmp_path, rows=4, steps=40, batch=1, ema=0.75, schedule="constant")
    loop.run(loss)
    last = torch.load(tmp_path / "checkpoint.pt", weights_only=True)["state"][0]
    weights = [*before[1:], float(last)]
    average = before[0]  # it begins at the weights as they were
    for n, weight in enumerate(weights, start=1):
        decay = min(0.75, (1 + n) / (10 + n))
        average = decay * average + (1 - decay) * weight
    assert float(net.weight.detach()) == pytest.approx(average, abs=1e-6), "the averaged weights are those that stay"
    assert abs(float(last) - average) > 1e-3


def test_the_average_of_a_step_from_0_to_1_has_the_published_values() -> None:
    net = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(net.weight)
    loop = loop_of(net, ema=0.9999)
    assert loop.average is not None
    nn.init.ones_(net.weight)
    averages = []
    for _ in range(1000):
        loop.average.step(net.parameters())
        averages.append(float(loop.average.shadow_params[0].detach()))
    assert averages[:3] == pytest.approx([0.818182, 0.954545, 0.986014], abs=1e-6)
    assert loop.average.cur_decay_value == pytest.approx(0.991089, abs=1e-6), "after 1000 steps"
    capped = loop_of(net, ema=0.5).average
    assert capped is not None
    for _ in range(20):
        capped.step(net.parameters())
    assert capped.cur_decay_value == 0.5


def test_rows_are_visited_as_often_as_it_is_said() -> None:
    def backwards(epoch: int) -> np.ndarray:
        return np.arange(7)[::-1] // 2 * 2  # even rows twice, odd ones never

    for order in (None, backwards):
        seen = np.concatenate([rows_of_step(7, 3, 5, step, order) for step in range(11)])
        assert times_visited(7, 3, 5, 11, order).tolist() == np.bincount(seen, minlength=7).tolist()
    assert set(rows_of_step(7, 3, 5, 0, backwards)) <= {0, 2, 4, 6}


def test_a_module_may_learn_at_its_own_rate() -> None:
    fast, slow = nn.Linear(1, 1), nn.Linear(1, 1)
    loop = TrainLoop(
        "toy", {"fast": fast, "slow": slow}, rows=1, steps=5, batch=1, learning_rate=1e-4, learning_rates={"fast": 1e-2}
    )
    assert [group["lr"] for group in loop.optimizer.param_groups] == pytest.approx([1e-2, 1e-4])


def test_eight_bit_adam_is_refused_where_bitsandbytes_is_missing() -> None:
    with pytest.raises(SettingsError, match="bitsandbytes"):
        loop_of(network(), optimizer_name="adamw_8bit")


def test_who_watches_sees_the_averaged_weights_and_changes_nothing() -> None:
    def trained(watch: bool) -> tuple[nn.Module, list[float]]:
        net, seen = network(), []
        loop = loop_of(net, ema=0.9, watch_every=20, watch=None)

        def look(step: int) -> None:
            assert not any(module.training for module in net.modules())
            shadow = loop.average.shadow_params[0] if loop.average else None
            assert shadow is not None and torch.equal(next(net.parameters()), shadow)
            torch.rand(5)  # chance of its own
            seen.append(step)

        loop.watch = look if watch else None
        loop.run(loss_of(net))
        return net, seen

    (watched, steps), (alone, _) = trained(True), trained(False)
    assert steps == [20, 40, 50] and same(watched, alone)


def test_what_learns_beside_the_weights_is_resumed(tmp_path: Path) -> None:
    class Counter:
        count = 0

        def state_dict(self) -> dict[str, Any]:
            return {"count": self.count}

        def load_state_dict(self, state: dict[str, Any]) -> None:
            self.count = state["count"]

    def run(stop_at: int | None) -> int:
        net, counter = network(), Counter()
        plain = loss_of(net, stop_at)

        def loss(rows: np.ndarray, generator: torch.Generator) -> Tensor:
            value = plain(rows, generator)
            counter.count += int(rows.sum())
            return value

        with contextlib.suppress(Killed):
            loop_of(net, tmp_path, extras={"counter": counter}).run(loss)
        return counter.count

    whole = sum(int(rows_of_step(len(ROWS), 8, 0, step).sum()) for step in range(STEPS))
    run(stop_at=33)
    assert run(stop_at=None) == whole


def test_a_loss_in_parts_steps_as_one_in_one_piece() -> None:
    def in_parts(net: nn.Module) -> Callable[[np.ndarray, torch.Generator], Tensor]:
        def loss(rows: np.ndarray, generator: torch.Generator) -> Tensor:
            total = torch.zeros(())
            for part in np.array_split(rows, 3):
                value = (net(ROWS[part]) - TARGETS[part]).square().sum() / len(rows)
                value.backward()
                total += value.detach()
            return total

        return loss

    nets = [nn.Linear(6, 1) for _ in range(2)]
    nets[1].load_state_dict(nets[0].state_dict())
    loops = [loop_of(net, schedule="constant") for net in nets]
    loops[0].run(in_parts(nets[0]))
    loops[1].run(lambda rows, generator: (nets[1](ROWS[rows]) - TARGETS[rows]).square().mean())
    assert torch.allclose(nets[0].weight, nets[1].weight, atol=1e-5)
    assert loops[0].losses[-1][1] == pytest.approx(loops[1].losses[-1][1], rel=1e-4)


def test_the_weights_of_the_best_validation_score_stay() -> None:
    net, loop = train(None, validated=True)
    steps, scores = zip(*loop.scores, strict=True)
    assert steps == (7, 14, 21, 28, 35, 42, 49, 50)
    assert loop.best_step == steps[int(np.argmax(scores))] != 50, (
        "the score was made so that the last step is not the best"
    )
    net.eval()
    assert held_out(net) == pytest.approx(max(scores), abs=1e-5)


def test_training_lowers_the_loss_and_writes_it_down(tmp_path: Path) -> None:
    _, loop = train(tmp_path, steps=100)
    assert [step for step, _ in loop.losses] == [20, 40, 60, 80, 100]
    assert loop.losses[-1][1] < 0.8 * loop.losses[0][1]
    written = [json.loads(line) for line in (tmp_path / "loss.jsonl").read_text().splitlines()]
    assert [(row["step"], row["loss"]) for row in written] == loop.losses


@given(st.integers(1, 40), st.integers(1, 50), st.integers(0, 3))
def test_every_row_is_seen_once_an_epoch(rows: int, batch: int, seed: int) -> None:
    epochs = 3
    steps = -(-epochs * rows // batch)
    seen = np.concatenate([rows_of_step(rows, batch, seed, step) for step in range(steps)])
    for epoch in range(epochs):
        assert sorted(seen[epoch * rows : (epoch + 1) * rows]) == list(range(rows))


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    orders = [rows_of_step(50, 50, seed, step).tolist() for seed in (0, 1) for step in (0, 1)]
    assert len({tuple(order) for order in orders}) == 4
    with pytest.raises(InputError, match="0 rows"):
        rows_of_step(0, 1, 0, 0)


def test_seeds_are_the_same_in_every_process_and_tell_parts_apart() -> None:
    assert derive_seed("image", 0, "edema.00-39.female.black", 3) == 2666492023738270824
    assert derive_seed("a", "bc") != derive_seed("ab", "c")
    assert all(0 <= derive_seed(i) < 2**63 for i in range(200))
