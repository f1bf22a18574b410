"""Teach a base model about a cohort: any conditioner, any weighing, adapters or whole networks, one loop for all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from cxr_assets.diffusion.bundle import Bundle
from cxr_assets.diffusion.conditioners.guidance import drop_masks
from cxr_assets.diffusion.conditioners.routing import added_to_time, with_tokens
from cxr_assets.diffusion.conditioners.schema import DemographicBatch, DemographicSchema
from cxr_assets.diffusion.config import MethodPreset
from cxr_assets.diffusion.device import attention_to_learn, autocast, computes_in
from cxr_assets.diffusion.generator import Generator
from cxr_assets.diffusion.latents import Posteriors
from cxr_assets.diffusion.losses import Noising, denoising_errors, draw_noising, min_snr_weights
from cxr_assets.diffusion.recorded_groups import groups_of, who_is_weighed
from cxr_assets.diffusion.shards import Shards
from cxr_assets.diffusion.tuning import close_after_training, open_for_training
from cxr_assets.diffusion.weighing import (
    FairDiffusionWeighing,
    Groups,
    TemperedSampling,
    make_controller,
    tempered_order,
)
from cxr_assets.processes import Processes
from cxr_assets.progress import Progress
from cxr_assets.training import OrderOfEpoch, Stateful, TrainLoop, derive_seed

ControllerLog = dict[str, float]


@dataclass(frozen=True)
class Captions:
    """Text of the training films. Row 0 of ``states`` and of ``ids`` is the empty caption.

    Attributes:
        rows: row of each film's caption, int64, shape ``(films,)``.
        states: text states, shape ``(captions, tokens, width)``, where the text encoder is frozen.
        ids: token ids, int64, shape ``(captions, tokens)``, where it is trained.
    """

    rows: np.ndarray
    states: np.ndarray | Shards
    ids: Tensor | None = None

    def context(self, captions: np.ndarray, bundle: Bundle, device: torch.device) -> Tensor:
        """Text states of some captions, on the device."""
        if self.ids is not None:
            found: Tensor = bundle.text_encoder(self.ids[captions].to(device)).last_hidden_state
            return found
        return torch.from_numpy(self.states[captions].astype(np.float32)).to(device)

    def rms(self) -> float:
        """Root mean square of the states of (some of) the captions."""
        some = self.states[np.arange(min(len(self.states), 64))].astype(np.float32)
        return float(np.sqrt(np.square(some).mean()))


@dataclass(frozen=True)
class Lesson:
    """What a generator learns from.

    Attributes:
        films: row of each film's posterior, int64, shape ``(films,)``.
        people: demographics of each film's patient; what the conditioner and the weighing look at.
        schema: vocabulary of ``people``.
        prior: latents that the base model drew of a plain prompt, and that prompt.
    """

    posteriors: Posteriors
    films: np.ndarray
    captions: Captions
    people: DemographicBatch
    schema: DemographicSchema
    prior: tuple[Tensor, Captions] | None = None


class Watcher(Stateful, Protocol):
    """Who looks on; what it has seen is part of the checkpoint."""

    def __call__(self, generator: Generator, step: int) -> None: ...

    def note(self, step: int, figures: Mapping[str, float]) -> None: ...


@dataclass
class _Batch:
    """One step's rows, drawn whole on the CPU."""

    latents: Tensor
    captions: np.ndarray
    noising: Noising
    weights: Tensor
    prior: Tensor | None


@dataclass
class Teaching:
    """A training of one method; ``run`` goes on from its checkpoint.

    Args:
        bundle: the base model; its networks are opened, trained in place and closed again.
        folder: where the checkpoint lies.
        identity: what the checkpoint belongs to.
        watch: shown the generator, averaged weights in place, every ``validate_every`` steps and at the end.
    """

    bundle: Bundle
    preset: MethodPreset
    lesson: Lesson
    device: torch.device
    folder: Path | None
    identity: str
    progress: Progress = field(default_factory=Progress)
    processes: Processes = field(default_factory=Processes)
    watch: Watcher | None = None

    def __post_init__(self) -> None:
        settings, lesson = self.preset.train, self.lesson
        networks, self.conditioner = open_for_training(
            self.bundle, self.preset, lesson.schema, text_rms=lesson.captions.rms(), device=self.device
        )
        groups, self.groups = groups_of(lesson.people, lesson.schema)
        self.weighed_by = groups.names
        if told := who_is_weighed(self.preset.weighing.kind, groups, self.groups):
            self.progress.say(told)
        counts = groups.cell_counts(self.groups)
        seed = derive_seed("weighing", settings.seed) >> 31
        self.controller = make_controller(self.preset.weighing, groups, counts, seed=seed)
        self.history: list[tuple[int, ControllerLog]] = []
        self.unet: Any = torch.compile(self.bundle.unet) if settings.compile else self.bundle.unet
        self.generator = Generator(self.bundle, self.preset, self.conditioner)
        rate = settings.conditioner_learning_rate
        self.loop = TrainLoop(
            "adapter",
            networks,
            rows=len(lesson.films),
            steps=settings.steps,
            batch=settings.batch,
            learning_rate=settings.learning_rate,
            learning_rates={} if rate is None else {"conditioner": rate},
            optimizer_name=settings.optimizer,
            seed=settings.seed,
            weight_decay=settings.weight_decay,
            warmup=settings.warmup,
            schedule=settings.schedule,
            ema=settings.ema,
            folder=self.folder,
            checkpoint_every=settings.checkpoint_every,
            identity=self.identity,
            order=self._order(groups),
            extras=self._extras(),
            report=self._report,
            watch=None if self.watch is None else self._show,
            watch_every=settings.validate_every,
            progress=self.progress,
            processes=self.processes,
        )
        self.micro_batch = self._micro_batch()

    def run(self) -> Generator:
        """Train to the end; returns the generator, closed."""
        self.seconds = self.loop.run(self._step)
        close_after_training(self.bundle, self.conditioner)
        return self.generator

    def row_weights(self) -> np.ndarray:
        """How much each film counts now, on average over noise; float64, shape ``(films,)``."""
        if isinstance(self.preset.weighing, FairDiffusionWeighing):
            return np.ones(len(self.groups))
        return self.controller.weights(self.groups, np.random.default_rng(0))

    def _extras(self) -> dict[str, Stateful]:
        extras: dict[str, Stateful] = {"controller": self.controller, "history": _History(self.history)}
        return extras if self.watch is None else extras | {"watch": self.watch}

    def _report(self, step: int, loss: float) -> None:
        if self.watch is not None and self.processes.first:
            rate = float(self.loop.scheduler.get_last_lr()[0])
            self.watch.note(step, {"loss/train": loss, "learning_rate": rate, **self.controller.log()})

    def _order(self, groups: Groups) -> OrderOfEpoch | None:
        weighing = self.preset.weighing
        if not isinstance(weighing, TemperedSampling):
            return None
        cells, seed = groups.cell_of(self.groups), derive_seed("order", self.preset.train.seed) >> 31
        return lambda epoch: tempered_order(cells, weighing.tau, seed=seed, epoch=epoch)

    def _show(self, step: int) -> None:
        assert self.watch is not None
        if self.processes.first:
            self.watch(self.generator, step)

    def _draw(self, rows: np.ndarray, generator: torch.Generator) -> tuple[_Batch, Tensor | None]:
        """A whole batch and the rows whose demographics are dropped."""
        settings, scheduler = self.preset.train, self.bundle.scheduler
        latents = (
            self.lesson.posteriors.draw(self.lesson.films[rows], generator) * self.bundle.vae.config.scaling_factor
        )
        captions = self.lesson.captions.rows[rows].copy()
        no_people = None
        if self.conditioner is None:
            no_text = torch.rand(len(rows), generator=generator) < settings.caption_dropout
        else:
            no_text, no_people = drop_masks(len(rows), self.preset.conditioner, generator)
        captions[no_text.numpy()] = 0
        noising = draw_noising(
            tuple(latents.shape),
            scheduler.config.num_train_timesteps,
            generator,
            noise_offset=settings.noise_offset,
            input_perturbation=settings.input_perturbation,
        )
        chance = np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))
        weights = torch.from_numpy(self.controller.weights(self.groups[rows], chance)).float()
        prior = None
        if self.lesson.prior is not None:
            prior = torch.randint(len(self.lesson.prior[0]), (len(rows),), generator=generator)
        return _Batch(latents, captions, noising, weights, prior), no_people

    def _step(self, rows: np.ndarray, generator: torch.Generator) -> Tensor:
        """Gradients of one step, left on the parameters; returns the loss of the whole batch, detached.

        The conditioner sees the whole batch at once in every process, since its losses are not sums over rows; the U-Net
        sees this process's share in micro-batches. Its gradients reach the conditioner through a copy of the tokens.
        """
        batch, no_people = self._draw(rows, generator)
        seen = people = None
        leaves: list[tuple[Tensor, Tensor]] = []
        if self.conditioner is not None:
            at = torch.from_numpy(rows)
            people = self.lesson.people.rows(at).to(self.device)
            seen = self.conditioner(people, None if no_people is None else no_people.to(self.device), generator)
            leaves = [(made, made.detach().requires_grad_()) for made in (seen.tokens, seen.time) if made is not None]
        copies = {id(made): leaf for made, leaf in leaves}
        tokens = None if seen is None else copies[id(seen.tokens)]
        time = None if seen is None or seen.time is None else copies[id(seen.time)]
        errors = torch.zeros(len(rows), device=self.device)
        total = torch.zeros((), device=self.device)
        for part in _parts(self.processes.share(len(rows)), self.micro_batch):
            with attention_to_learn(self.device, self.preset.train.precision):
                loss, found = self._part(batch, part, tokens, time)
                loss.backward()
            errors[part], total = found, total + loss.detach()
        if self.conditioner is not None and seen is not None and people is not None:
            extra = torch.stack(list(self.conditioner.losses(seen, people, self.loop.step).values())).sum()
            extra = extra / self.processes.count
            passed = [(made * leaf.grad).sum() for made, leaf in leaves if leaf.grad is not None]
            torch.stack([extra, *passed]).sum().backward()
            total = total + extra.detach()
        figures = self.processes.sum(torch.cat([errors, total[None]]))
        self.controller.observe(self.groups[rows], figures[:-1].double().cpu().numpy(), self.loop.step)
        self._note()
        return figures[-1].detach()

    def _part(self, batch: _Batch, part: slice, tokens: Tensor | None, time: Tensor | None) -> tuple[Tensor, Tensor]:
        """Share of the batch's loss that some rows have, and their unweighted errors."""
        settings, scheduler = self.preset.train, self.bundle.scheduler
        whole = len(batch.latents)
        latents = batch.latents[part].to(self.device, memory_format=torch.channels_last)
        noising = batch.noising.of(part, self.device)
        with autocast(self.device, settings.precision):
            text = self._text(self.lesson.captions, batch.captions[part])
            context = with_tokens(text, None if tokens is None else tokens[part])
            with added_to_time(self.bundle.unet, None if time is None else time[part]):
                errors = denoising_errors(self.unet, scheduler, latents, context, noising)
            weights = batch.weights[part].to(errors) * min_snr_weights(scheduler, noising.timesteps, settings.min_snr)
            loss = (errors * weights).sum() / whole
            if batch.prior is not None:
                loss = loss + self._prior_loss(batch.prior[part], noising, context.shape[1] - text.shape[1]) / whole
        return loss, errors.detach()

    def _text(self, captions: Captions, rows: np.ndarray) -> Tensor:
        """Text states in the format of the step: cast here, once, and not in every layer that reads them or the tokens."""
        dtype = computes_in(self.preset.train.precision, self.device)
        return captions.context(rows, self.bundle, self.device).to(dtype)

    def _prior_loss(self, rows: Tensor, noising: Noising, tokens: int) -> Tensor:
        """Summed, weighted loss on the base model's own latents, with the noise of the films beside them."""
        assert self.lesson.prior is not None and self.preset.train.prior is not None
        drawn, prompt = self.lesson.prior
        latents = drawn[rows].to(self.device, memory_format=torch.channels_last)
        text = self._text(prompt, np.zeros(1, dtype=np.int64)).expand(len(rows), -1, -1)
        nobody = None if self.conditioner is None or not tokens else self.conditioner.unconditional(len(rows))
        errors = denoising_errors(self.unet, self.bundle.scheduler, latents, with_tokens(text, nobody), noising)
        snr = min_snr_weights(self.bundle.scheduler, noising.timesteps, self.preset.train.min_snr)
        return self.preset.train.prior.weight * (errors * snr).sum()

    def _note(self) -> None:
        """Keep what the controller says of itself, some 200 times in a training."""
        step = self.loop.step + 1
        if step % max(1, self.preset.train.steps // 200) == 0 or step == self.preset.train.steps:
            self.history.append((step, self.controller.log()))

    def _micro_batch(self) -> int:
        """Films at a time: as set, or found by trying steps that are not taken."""
        wanted, share = self.preset.train.micro_batch, self.processes.share(self.preset.train.batch)
        most = max(1, share.stop - share.start)  # with more processes than films some have nothing to do
        if wanted != "auto" or self.device.type != "cuda":
            return most if wanted in (None, "auto") else min(int(wanted), most)
        from accelerate.utils import find_executable_batch_size

        # What is there from the first step on and not yet: the optimiser's moments, and a conditioner's tokens.
        moments = [torch.zeros_like(p) for p in self.loop.parameters for _ in range(2)]
        tokens = None
        if self.conditioner is not None:
            tokens = self.conditioner.unconditional(self.preset.train.batch).detach().requires_grad_()
        kept = self.controller.state_dict()
        rows = np.arange(self.preset.train.batch) % len(self.lesson.films)

        def attempt(size: int) -> int:
            batch, _ = self._draw(rows, torch.Generator().manual_seed(0))
            loss, _ = self._part(batch, slice(0, size), tokens, None)
            loss.backward()
            return size

        found: int = find_executable_batch_size(attempt, starting_batch_size=most)()
        del moments
        self.controller.load_state_dict(kept)
        self.loop.optimizer.zero_grad(set_to_none=True)
        self.progress.say(f"adapter: {found} films at a time fit this GPU")
        return found


class _History:
    """What the controller has said, as part of the checkpoint."""

    def __init__(self, notes: list[tuple[int, ControllerLog]]) -> None:
        self.notes = notes

    def state_dict(self) -> dict[str, Any]:
        return {"notes": [[step, log] for step, log in self.notes]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.notes[:] = [(int(step), dict(log)) for step, log in state["notes"]]


def _parts(share: slice, size: int) -> Iterator[slice]:
    for start in range(share.start, share.stop, size):
        yield slice(start, min(start + size, share.stop))
