"""Training of adapters: a loop as the seed repositories have it against ours, and the ladder between the two.

    python bench/generator_training.py [--size phantom|sd15] [--steps N] [--rounds N] [--resolution PIXELS] [--compile]

Both learn the same films with the same networks, adapters, loss and U-Net precision; the seed-style loop takes one film at
a time, gathers four for a step, encodes film and caption anew each time and recomputes activations (generation.md §4, §6).
The two run by turns. Then every rung of the ladder changes one thing (evaluation.md §4.6); the last but one does by hand what
``Teaching``, the last, does in the project. On a GPU the peak memory of each rung is printed, and of ours at batch 1 and 8.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from sd15 import (
    Films,
    by_turns,
    go_on,
    keep_memory,
    lesson_of,
    make_films,
    open_base,
    open_teaching,
    peak_gib,
    verdict,
    watched,
)
from torch import Tensor, nn

from cxr_assets.diffusion.bundle import Bundle
from cxr_assets.diffusion.config import LoraSettings, MethodPreset, TrainingPrecision
from cxr_assets.diffusion.device import autocast, computes_in, pick_device
from cxr_assets.diffusion.latents import film_tensor
from cxr_assets.diffusion.lora import add_lora
from cxr_assets.diffusion.losses import denoising_loss
from cxr_assets.diffusion.teaching import Lesson
from cxr_assets.resolve import load_preset

RATE = 1e-4
DROPOUT = 0.1
BATCH = 32
Work = Callable[[], int]


@dataclass(frozen=True)
class Rung:
    """How a step is taken; the defaults are those of a seed-style loop. ``precision`` is the U-Net's: VAE and text encoder
    of such a loop compute in fp32, and mixed precision its users have switched on."""

    batch: int = 1
    accumulate: int = 4
    precision: TrainingPrecision = "fp32"
    memory_kept: bool = False
    cached_latents: bool = False
    cached_text: bool = False
    checkpointing: bool = True
    channels_last: bool = False
    fused: bool = False
    compiled: bool = False


def ladder(seed: Rung, *, batch: int, compiled: bool) -> list[tuple[str, Rung]]:
    """Rungs from the seed-style loop upwards, each with the one thing that it changes."""
    changes: list[tuple[str, dict[str, Any]]] = [
        ("large tensors' memory kept by the C library", {"memory_kept": True}),
        ("posteriors cached", {"cached_latents": True}),
        ("text states cached", {"cached_text": True}),
        ("no gradient checkpointing", {"checkpointing": False}),
        (f"batch {batch} instead of 4 films one by one", {"batch": batch, "accumulate": 1}),
        ("channels_last", {"channels_last": True}),
        ("fused AdamW", {"fused": True}),
    ]
    if compiled:
        changes.append(("compiled", {"compiled": True}))
    rungs = [("seed-style loop", seed)]
    for said, change in changes:
        rungs.append((said, replace(rungs[-1][1], **change)))
    return rungs


def own_unet(base: Bundle) -> Bundle:
    """The same base model with a U-Net that may be changed."""
    own = copy.copy(base)
    own.unet = copy.deepcopy(base.unet)
    return own


class PlainLoop:
    """A training of LoRA adapters written down plainly, as a user of diffusers and peft would, with a rung's settings.

    Args:
        base: its U-Net is changed.
        made: films and captions; ``lesson`` holds their posteriors and states for rungs that cache them.
    """

    def __init__(
        self, base: Bundle, made: Films, lesson: Lesson, lora: LoraSettings, rung: Rung, device: torch.device
    ) -> None:
        from diffusers.training_utils import cast_training_params

        self.base, self.made, self.lesson, self.rung, self.device = base, made, lesson, rung, device
        self.chance = torch.Generator().manual_seed(0)
        unet = base.unet.to(device)
        add_lora(unet, lora, seed=0)
        cast_training_params(unet)
        if rung.checkpointing:
            unet.enable_gradient_checkpointing()
        if rung.channels_last:
            unet.to(memory_format=torch.channels_last)
        unet.train()
        self.parameters = [p for p in unet.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(self.parameters, lr=RATE, weight_decay=1e-2, fused=rung.fused)
        self.unet: Any = torch.compile(unet) if rung.compiled else unet

    def latents(self, rows: np.ndarray) -> Tensor:
        """Scaled latents of some films, drawn from their posteriors."""
        vae = self.base.vae
        if self.rung.cached_latents:
            drawn = self.lesson.posteriors.draw(self.lesson.films[rows], self.chance).to(self.device)
        else:
            with torch.no_grad():
                posterior = vae.encode(film_tensor(self.made.films[rows], self.device)).latent_dist
                noise = torch.randn(posterior.mean.shape, generator=self.chance).to(self.device)
                drawn = posterior.mean + posterior.std * noise
        if self.rung.channels_last:
            drawn = drawn.contiguous(memory_format=torch.channels_last)
        scaled: Tensor = drawn * vae.config.scaling_factor
        return scaled

    def context(self, rows: np.ndarray) -> Tensor:
        """Text states of some films' captions, some of which are dropped."""
        dropped = (torch.rand(len(rows), generator=self.chance) < DROPOUT).numpy()
        if self.rung.cached_text:
            captions = np.where(dropped, 0, self.lesson.captions.rows[rows])
            return self.lesson.captions.context(captions, self.base, self.device)
        texts = ["" if gone else self.made.captions[row] for row, gone in zip(rows, dropped, strict=True)]
        tokens = self.base.tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt").input_ids
        with torch.no_grad():
            states: Tensor = self.base.text_encoder(tokens.to(self.device)).last_hidden_state
        return states

    def run(self, steps: int) -> int:
        """Take optimiser steps; returns the films seen."""
        rung = self.rung
        keep_memory(rung.memory_kept)
        for _ in range(steps):
            self.optimizer.zero_grad(set_to_none=True)
            for _ in range(rung.accumulate):
                rows = torch.randint(len(self.made.films), (rung.batch,), generator=self.chance).numpy()
                latents, context = self.latents(rows), self.context(rows)
                with autocast(self.device, rung.precision):
                    loss = denoising_loss(self.unet, self.base.scheduler, latents, context, self.chance)
                (loss / rung.accumulate).backward()
            nn.utils.clip_grad_norm_(self.parameters, 1.0)
            self.optimizer.step()
            float(loss.detach())  # every loop shows its loss
        return steps * rung.batch * rung.accumulate


def ours(
    base: Bundle, lesson: Lesson, lora: LoraSettings, device: torch.device, *, steps: int, batch: int, **train: Any
) -> Work:
    """The project's own training, as some steps of work."""
    preset = load_preset("methods", "label_lora", MethodPreset).model_copy(update={"lora": lora})
    teaching = open_teaching(own_unet(base), lesson, preset, device, batch=batch, **train)

    def work() -> int:
        keep_memory(True)
        return go_on(teaching, steps)

    return work


def main() -> None:
    """Print both rates by turns, their ratio, the ladder, and whether the goals are met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=("phantom", "sd15"), default="phantom")
    parser.add_argument(
        "--steps", type=int, default=3, help="steps of ours in a round; the seed loop sees a third as many films"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rung-rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=BATCH)
    parser.add_argument("--resolution", type=int, help="128 for the phantom, 512 for sd15")
    parser.add_argument("--compile", action="store_true", help="also compile, as a rung and in ours")
    given = parser.parse_args()
    device = pick_device()
    side = given.resolution or (128 if given.size == "phantom" else 512)
    made = make_films(2 * given.batch, side)
    base = open_base(given.size, made.captions).to(device)
    lesson = lesson_of(base, made, device)
    lora = LoraSettings(rank=16, alpha=16)
    precision: TrainingPrecision = "bf16" if computes_in("bf16", device) == torch.bfloat16 else "fp32"
    print(f"{given.size}, {side}², {device.type}, {torch.get_num_threads()} threads, ours in {precision}")
    seed_steps = max(1, given.batch * given.steps // 12)

    seed = Rung(precision=precision)

    def plain(rung: Rung) -> Work:
        loop = PlainLoop(own_unet(base), made, lesson, lora, rung, device)
        steps = given.steps if rung.accumulate == 1 else seed_steps
        return lambda: loop.run(steps)

    settings = {"precision": precision, "compile": given.compile}
    project = ours(base, lesson, lora, device, steps=given.steps, batch=given.batch, **settings)
    ways = {
        "seed-style": plain(seed),
        "seed-style, memory kept": plain(replace(seed, memory_kept=True)),
        "ours": project,
    }
    with watched():
        rates = by_turns(ways, rounds=given.rounds, device=device)
    for name, rate in rates.items():
        print(f"{name:24} {rate} images/s")
    ratio = rates["ours"].median / rates["seed-style"].median
    kept = rates["ours"].median / rates["seed-style, memory kept"].median
    print(f"ratio {ratio:.2f}; {kept:.2f} where the C library keeps memory for the seed-style loop too")

    rungs = ladder(seed, batch=given.batch, compiled=given.compile)
    first = 0.0
    with watched():
        for said, made_work in [
            *((s, lambda r=r: plain(r)) for s, r in rungs),
            ("the project's Teaching", lambda: project),
        ]:
            work = made_work()
            rate = by_turns({said: work}, rounds=given.rung_rounds, device=device)[said]
            first = first or rate.median
            memory = f"  {peak_gib(work, device):.1f} GiB" if device.type == "cuda" else ""
            print(f"{said:46} {rate!s:>24} images/s  ×{rate.median / first:.2f}{memory}")

    if given.size == "phantom":
        print(verdict("ratio to the seed-style loop", ratio, 6))
    elif device.type == "cuda" and side == 512:
        print(verdict("ratio to the seed-style loop", ratio, 8))
        print(verdict("training", rates["ours"].median, 80, " images/s"))
        del ways, project, work
        base.to(torch.device("cpu"))  # a training moves what it needs
        torch.cuda.empty_cache()
        for batch, limit in ((1, 6), (8, 14)):
            peak = peak_gib(ours(base, lesson, lora, device, steps=1, batch=batch, **settings), device)
            print(verdict(f"peak memory at batch {batch}", peak, limit, " GiB", least=False))
    else:
        print("the goals of sd15 are for 512² on a GPU: not looked at here")


if __name__ == "__main__":
    main()
