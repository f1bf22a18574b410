"""One training loop for every network here: seeded by step, checkpointed, exactly resumable.

All randomness of step *s* comes from a generator seeded with (seed, s), and the rows of step *s* from a permutation
keyed by (seed, epoch). So a checkpoint needs no sampler position or generator state: weights, optimiser, average, what
else learns (``extras``) and the step number are the whole state, and a resumed run takes the very steps that an
uninterrupted one takes. It also makes them the same on any number of processes.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from cxr_assets.errors import InputError, SettingsError
from cxr_assets.processes import Processes
from cxr_assets.progress import Progress

CHECKPOINT = "checkpoint.pt"
LossOfStep = Callable[[np.ndarray, torch.Generator], Tensor]
"""Loss of some rows. One that has no gradient history has been back-propagated already, in parts for example."""
OrderOfEpoch = Callable[[int], np.ndarray]
"""Rows of an epoch in the order of their visits, int64, as many as there are rows."""


class Stateful(Protocol):
    """What learns beside the weights; its state is plain values."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


def derive_seed(*parts: object) -> int:
    """A 63-bit seed from any values, the same in every process."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


@lru_cache(maxsize=4)
def _permutation(rows: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng(derive_seed("epoch", seed, epoch)).permutation(rows)


def rows_of_step(rows: int, batch: int, seed: int, step: int, order: OrderOfEpoch | None = None) -> np.ndarray:
    """Row indices of one step, int64, shape ``(batch,)``: consecutive slices of one order an epoch.

    Args:
        order: gives the order of an epoch; None takes permutations keyed by ``seed`` and epoch.
    """
    if rows < 1:
        raise InputError("there is nothing to train on: 0 rows.")
    at = np.arange(step * batch, (step + 1) * batch)
    orders = {int(e): order(int(e)) if order else _permutation(rows, seed, int(e)) for e in np.unique(at // rows)}
    return np.array([orders[int(i // rows)][i % rows] for i in at])


def times_visited(rows: int, batch: int, seed: int, steps: int, order: OrderOfEpoch | None = None) -> np.ndarray:
    """How often each row is visited in a training of ``steps``, int64, shape ``(rows,)``."""
    whole, rest = divmod(steps * batch, rows)
    counts = np.full(rows, 0 if order else whole, dtype=np.int64)
    if order:
        counts += sum(np.bincount(order(epoch), minlength=rows) for epoch in range(whole))
    last = order(whole) if order else _permutation(rows, seed, whole)
    return counts + np.bincount(last[:rest], minlength=rows)


def make_optimizer(name: str, groups: list[dict[str, Any]], weight_decay: float) -> torch.optim.Optimizer:
    """AdamW, fused, or its 8-bit form. Raises SettingsError where bitsandbytes is asked for and absent."""
    if name == "adamw":
        return torch.optim.AdamW(groups, weight_decay=weight_decay, fused=True)
    try:
        from bitsandbytes.optim import AdamW8bit  # type: ignore[import-not-found,unused-ignore]
    except ImportError as error:
        raise SettingsError(
            f"optimizer {name!r} needs bitsandbytes, which cannot be imported here ({error}). Install bitsandbytes on a"
            " machine with a GPU, or set optimizer: adamw."
        ) from error
    made: torch.optim.Optimizer = AdamW8bit(groups, weight_decay=weight_decay)
    return made


@dataclass
class TrainLoop:
    """Runs ``steps`` optimiser steps over named networks.

    Args:
        name: shown in the progress bar and written to the loss record.
        modules: networks whose trainable parameters are optimised and saved.
        rows: how many rows the data has; ``loss`` gets the indices of one batch.
        learning_rates: of the modules whose rate is not ``learning_rate``, by name.
        optimizer: ``adamw_8bit`` needs bitsandbytes.
        order: which rows an epoch visits; None: each once, shuffled.
        extras: what learns beside the weights and is saved and resumed with them, by name.
        report: called with step and mean loss each time that one is noted.
        watch: called with the step number every ``watch_every`` steps (0: never) and at the end, with the averaged weights in
            place; what it does leaves the training as it was.
        processes: who else takes part; gradients are summed over all, and the first one writes.
        ema: decay of the exponential moving average, 0 for none (EMAModel of diffusers: warm-up (1+n)/(10+n)).
        folder: where the checkpoint and ``loss.jsonl`` lie; None keeps nothing.
        validate: a score, higher is better, asked every ``validate_every`` steps and at the end; the weights of the best
            score are those that stay. Without it the last (averaged) weights stay.
    """

    name: str
    modules: Mapping[str, nn.Module]
    rows: int
    steps: int
    batch: int
    learning_rate: float
    seed: int = 0
    weight_decay: float = 1e-2
    warmup: int = 0
    schedule: str = "constant_with_warmup"
    clip: float = 1.0
    ema: float = 0.0
    folder: Path | None = None
    checkpoint_every: int = 500
    identity: str = ""
    progress: Progress = field(default_factory=Progress)
    validate: Callable[[], float] | None = None
    validate_every: int = 100
    learning_rates: Mapping[str, float] = field(default_factory=dict)
    optimizer_name: str = "adamw"
    order: OrderOfEpoch | None = None
    extras: Mapping[str, Stateful] = field(default_factory=dict)
    report: Callable[[int, float], None] | None = None
    watch: Callable[[int], None] | None = None
    watch_every: int = 0
    processes: Processes = field(default_factory=Processes)

    def __post_init__(self) -> None:
        from diffusers.optimization import get_scheduler
        from diffusers.training_utils import EMAModel

        groups: list[dict[str, Any]] = [
            {
                "params": [p for p in module.parameters() if p.requires_grad],
                "lr": self.learning_rates.get(name, self.learning_rate),
            }
            for name, module in self.modules.items()
        ]
        self.parameters = [p for group in groups for p in group["params"]]
        self.optimizer = make_optimizer(self.optimizer_name, groups, self.weight_decay)
        self.scheduler = get_scheduler(
            self.schedule, self.optimizer, num_warmup_steps=self.warmup, num_training_steps=self.steps
        )
        # -1: the first decay is 2/11, as (1+n)/(10+n) has it; diffusers' own default spends one step on a copy.
        self.average = EMAModel(self.parameters, decay=self.ema, update_after_step=-1) if self.ema else None
        self.losses: list[tuple[int, float]] = []
        self.recent: list[float] = []
        self.scores: list[tuple[int, float]] = []
        self.best: list[Tensor] = []
        self.step = self.resumed_at = 0

    @property
    def state(self) -> list[Tensor]:
        """Trainable parameters, then buffers that training changes (running statistics)."""
        buffers = [b for m in self.modules.values() for b in m.buffers() if b.is_floating_point()]
        return [*self.parameters, *buffers]

    @property
    def best_step(self) -> int:
        """Step of the best validation score, the last one without validation."""
        return max(self.scores, key=lambda s: s[1])[0] if self.scores else self.steps

    @property
    def checkpoint(self) -> Path | None:
        return self.folder / CHECKPOINT if self.folder else None

    def run(self, loss: LossOfStep) -> float:
        """Train from the last checkpoint to the end; returns seconds spent, without those of watching and saving.

        Leaves the averaged weights in place.
        """
        start = self.resumed_at = self._resume()
        device = self.parameters[0].device
        begun, aside = time.monotonic(), 0.0
        with self.progress.task(self.name, self.steps, start) as advance:
            for step in range(start, self.steps):
                self.step = step
                torch.manual_seed(derive_seed(self.name, self.seed, step))
                generator = torch.Generator().manual_seed(derive_seed(self.name, "noise", self.seed, step))
                self.optimizer.zero_grad(set_to_none=True)
                value = loss(rows_of_step(self.rows, self.batch, self.seed, step, self.order), generator)
                if value.requires_grad:
                    value.backward()
                self.processes.sum_gradients(self.parameters)
                nn.utils.clip_grad_norm_(self.parameters, self.clip)
                self.optimizer.step()
                self.scheduler.step()
                if self.average:
                    self.average.step(self.parameters)
                self.recent.append(float(value.detach()))
                if len(self.recent) == 20 or step + 1 == self.steps:
                    self.losses.append((step + 1, float(np.mean(self.recent))))
                    self.recent = []
                    if self.report:
                        self.report(*self.losses[-1])
                if self.validate and ((step + 1) % self.validate_every == 0 or step + 1 == self.steps):
                    self._score(step + 1)
                paused = time.monotonic()
                if self.watch and (step + 1 == self.steps or (self.watch_every and (step + 1) % self.watch_every == 0)):
                    self._watch(step + 1)
                advance(1, f"loss {self.losses[-1][1]:.4f}" if self.losses else "")
                if (step + 1) % self.checkpoint_every == 0 or step + 1 == self.steps:
                    self._save(step + 1)
                aside += time.monotonic() - paused
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        if self.average:
            self.average.copy_to(self.parameters)
        if self.best:
            self._load(self.best)
        return time.monotonic() - begun - aside

    def _watch(self, step: int) -> None:
        """Show the averaged weights to ``watch``, then put the trained ones back."""
        assert self.watch is not None
        modes = {module: module.training for network in self.modules.values() for module in network.modules()}
        if self.average:
            self.average.store(self.parameters)
            self.average.copy_to(self.parameters)
        for network in self.modules.values():
            network.eval()
        self.watch(step)
        for module, mode in modes.items():
            module.training = mode
        if self.average:
            self.average.restore(self.parameters)

    def _score(self, step: int) -> None:
        assert self.validate is not None
        for module in self.modules.values():
            module.eval()
        score = self.validate()
        for module in self.modules.values():
            module.train()
        if not self.scores or score > max(s for _, s in self.scores):
            self.best = [t.detach().clone() for t in self.state]
        self.scores.append((step, score))

    @torch.no_grad()
    def _load(self, tensors: list[Tensor]) -> None:
        for target, saved in zip(self.state, tensors, strict=True):
            target.copy_(saved)

    def _save(self, step: int) -> None:
        if self.checkpoint is None or not self.processes.first:
            return
        state = {
            "identity": self.identity,
            "step": step,
            "losses": self.losses,
            "scores": self.scores,
            "recent": self.recent,
            "state": [t.detach().cpu() for t in self.state],
            "best": [t.cpu() for t in self.best],
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "average": self.average.state_dict() if self.average else {},
            "extras": {name: each.state_dict() for name, each in self.extras.items()},
        }
        self.checkpoint.parent.mkdir(parents=True, exist_ok=True)
        hidden = self.checkpoint.with_name(".checkpoint.tmp")
        torch.save(state, hidden)
        os.replace(hidden, self.checkpoint)
        lines = "".join(json.dumps({"step": s, "loss": v}) + "\n" for s, v in self.losses)
        (self.checkpoint.parent / "loss.jsonl").write_text(lines)

    def _resume(self) -> int:
        if self.checkpoint is None or not self.checkpoint.exists():
            return 0
        state = torch.load(self.checkpoint, map_location=self.parameters[0].device, weights_only=True)
        if state["identity"] != self.identity:
            return 0  # settings or inputs have changed since: what was learned does not belong to this run
        self._load(state["state"])
        self.best = [t.to(self.parameters[0].device) for t in state["best"]]
        self.scores = [(int(s), float(v)) for s, v in state["scores"]]
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])
        if self.average:
            self.average.load_state_dict(state["average"])
        for name, each in self.extras.items():
            each.load_state_dict(state["extras"][name])
        self.losses = [(int(s), float(v)) for s, v in state["losses"]]
        self.recent = list(state.get("recent", []))
        self.progress.say(f"{self.name}: resumed at step {state['step']} of {self.steps}")
        return int(state["step"])
