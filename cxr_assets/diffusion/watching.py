"""What people watch while a generator learns: validation loss, films of fixed prompts, TensorBoard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cxr_assets.diffusion.conditioners.routing import added_to_time, with_tokens
from cxr_assets.diffusion.device import autocast
from cxr_assets.diffusion.generator import Generator
from cxr_assets.diffusion.losses import Noising, denoising_errors, draw_noising
from cxr_assets.diffusion.sampling import Ask, SamplerSettings
from cxr_assets.diffusion.teaching import Lesson
from cxr_assets.plots import film_grid

BATCH = 16
SEED = 2024
"""Noise and timesteps of the validation loss, the same in every method and at every step."""


@dataclass
class Watch:
    """Called by the training; keeps what it sees.

    Args:
        folder: where grids (``grids/``) and TensorBoard's events (``tensorboard/``) go.
        lesson: films of validation patients; None where there are none.
        asks: what the grid's films are asked to be.
    """

    folder: Path
    lesson: Lesson | None
    asks: Sequence[Ask]
    sampler: SamplerSettings
    device: torch.device
    losses: list[tuple[int, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.board: Any = SummaryWriter(str(self.folder / "tensorboard"))

    def __call__(self, generator: Generator, step: int) -> None:
        """Measure the loss and draw the grid of one step."""
        if self.lesson is not None:
            self.losses.append((step, validation_loss(generator, self.lesson, self.device)))
            self.board.add_scalar("loss/validation", self.losses[-1][1], step)
        if self.asks:
            drawn = generator.sampler(self.sampler, device=self.device).draw_all((None, ask) for ask in self.asks)
            films = np.stack([film for _, film in drawn])
            captions = [ask.prompt for ask in self.asks]
            film_grid(films, grid_file(self.folder, step), columns=4, captions=captions)
            self.board.add_images("films", films[:, None], step)
        self.board.flush()

    def note(self, step: int, figures: Mapping[str, float]) -> None:
        """Scalars of a training step for TensorBoard."""
        for name, value in figures.items():
            self.board.add_scalar(name, value, step)

    def close(self) -> None:
        """Write what TensorBoard still holds back, and end its thread."""
        self.board.close()

    def state_dict(self) -> dict[str, Any]:
        return {"losses": [[step, loss] for step, loss in self.losses]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.losses[:] = [(int(step), float(loss)) for step, loss in state["losses"]]


def grid_file(folder: Path, step: int) -> Path:
    """Where the films of a step are, PNG."""
    return folder / "grids" / f"step-{step:06d}.png"


@torch.no_grad()
def validation_loss(generator: Generator, lesson: Lesson, device: torch.device) -> float:
    """Mean squared error of the predicted noise over films, with noise and timesteps that never change."""
    bundle, conditioner = generator.bundle, generator.conditioner
    rows = np.arange(len(lesson.films))
    chance = torch.Generator().manual_seed(SEED)
    latents = lesson.posteriors.draw(lesson.films, chance) * bundle.vae.config.scaling_factor
    steps = bundle.scheduler.config.num_train_timesteps
    drawn = draw_noising(tuple(latents.shape), steps, chance)
    even = (torch.arange(len(rows)) + 0.5) * steps / len(rows)  # all noise levels alike, which few films would not be
    noising = Noising(drawn.noise, drawn.added, even.long())
    errors = []
    for start in range(0, len(rows), BATCH):
        part = slice(start, start + BATCH)
        seen = None if conditioner is None else conditioner(lesson.people.rows(torch.from_numpy(rows[part])).to(device))
        with (
            autocast(device, generator.preset.train.precision),
            added_to_time(bundle.unet, None if seen is None else seen.time),
        ):
            text = lesson.captions.context(lesson.captions.rows[rows[part]], bundle, device)
            context = with_tokens(text, None if seen is None else seen.tokens)
            there = latents[part].to(device, memory_format=torch.channels_last)
            errors.append(denoising_errors(bundle.unet, bundle.scheduler, there, context, noising.of(part, device)))
    return float(torch.cat(errors).mean())
