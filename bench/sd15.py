"""What the generator's benches share: the two base models, films to teach them, and timing by turns.

    python bench/sd15.py        # builds Stable Diffusion 1.5 without memory, and says how large each of its networks is

``sd15`` is the published architecture with random weights: what a step costs does not hang on what has been learned.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import torch

from cxr_assets.cohorts.phantom.population import sample_requests
from cxr_assets.cohorts.phantom.render import render
from cxr_assets.diffusion.bundle import Bundle, load_bundle
from cxr_assets.diffusion.conditioners.schema import DemographicSchema
from cxr_assets.diffusion.config import MethodPreset
from cxr_assets.diffusion.latents import encode_captions, encode_films
from cxr_assets.diffusion.lessons import people_of
from cxr_assets.diffusion.teaching import Captions, Lesson, Teaching
from cxr_assets.diffusion.tokenizer import MAX_TOKENS, train_tokenizer
from cxr_assets.progress import Progress
from cxr_assets.synthesis.phantom_base import captions_of

VOCABULARY = 49408
RENDERED = 128
SCHEMA = DemographicSchema((0, 40, 60, 80), ("female", "male"), ("asian", "black", "other", "white"))
QUIET = Progress(quiet=True)
_TRIM, _MMAP = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of mallopt(3)


@dataclass(frozen=True)
class Films:
    """Phantom films, uint8 ``(n, side, side)``, with their captions and the table of what they show."""

    films: np.ndarray
    captions: list[str]
    studies: pl.DataFrame


def make_films(n: int, side: int, seed: int = 5) -> Films:
    """Draw phantom films; larger ones than 128² are blown up, since pixels cost what they cost whatever they show."""
    population = sample_requests(n, seed)
    films = render(population.studies, population.truth, size=min(side, RENDERED), seed=seed).images
    times = side // films.shape[-1]
    films = films.repeat(times, axis=1).repeat(times, axis=2)
    return Films(films, captions_of(population.studies), population.studies)


def sd15_bundle(captions: list[str], *, seed: int = 0) -> Bundle:
    """Stable Diffusion 1.5 with random weights, on the device that is the default; the words are those of ``captions``."""
    from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    torch.manual_seed(seed)
    widths = (128, 256, 512, 512)
    text = CLIPTextConfig(
        vocab_size=VOCABULARY,
        hidden_size=768,
        intermediate_size=3072,
        num_hidden_layers=12,
        num_attention_heads=12,
        max_position_embeddings=MAX_TOKENS,
    )
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=widths,
        layers_per_block=2,
        latent_channels=4,
        sample_size=512,
        scaling_factor=0.18215,
    )
    unet = UNet2DConditionModel(sample_size=64, cross_attention_dim=768, attention_head_dim=8)
    scheduler = DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )
    networks = [network.eval().requires_grad_(False) for network in (CLIPTextModel(text), vae, unet)]
    return Bundle(train_tokenizer(captions), *networks, scheduler, base_id="", source="sd15 with random weights")


def open_base(size: str, captions: list[str]) -> Bundle:
    """``phantom``, as shipped, or ``sd15``."""
    return load_bundle("phantom") if size == "phantom" else sd15_bundle(captions)


def lesson_of(bundle: Bundle, made: Films, device: torch.device) -> Lesson:
    """What a method learns from: posteriors and states computed once, as the ``latents`` asset keeps them."""
    texts = ["", *dict.fromkeys(made.captions)]
    numbers = {text: row for row, text in enumerate(texts)}
    captions = Captions(
        np.array([numbers[caption] for caption in made.captions]),
        encode_captions(bundle.tokenizer, bundle.text_encoder, texts, device=device),
    )
    posteriors = encode_films(bundle.vae, made.films, device=device, batch=8)
    return Lesson(posteriors, np.arange(len(made.films)), captions, people_of(made.studies, SCHEMA), SCHEMA)


def open_teaching(
    base: Bundle, lesson: Lesson, preset: MethodPreset, device: torch.device, *, batch: int, **train: object
) -> Teaching:
    """A training to be taken on by ``go_on``; ``train`` are settings of it that differ from the preset's."""
    settings = preset.train.model_copy(update={"steps": 100_000, "batch": batch, "warmup": 0, **train})
    changed = preset.model_copy(update={"train": settings})
    return Teaching(base, changed, lesson, device=device, folder=None, identity="", progress=QUIET)


def go_on(teaching: Teaching, steps: int) -> int:
    """Take a training on by some steps from where it is, with no checkpoint in between; returns the films it has seen."""
    loop = teaching.loop
    start = loop.step + 1 if loop.losses or loop.recent else 0
    loop.steps = start + steps
    loop._resume = lambda: start  # type: ignore[method-assign]
    loop.run(teaching._step)
    return steps * loop.batch


def keep_memory(keep: bool) -> None:
    """How the C library treats large tensors of this process from now on; others than glibc are left alone.

    Kept, as ``cxr`` starts its processes; or given back above 32 MiB, which is where glibc's own rule ends up.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP, 1 << 30 if keep else 32 << 20)
        mallopt(_TRIM, (1 << 31) - 1 if keep else 64 << 20)


@dataclass(frozen=True)
class Rates:
    """Rates of one way of doing something, one a round, per second."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    def __str__(self) -> str:
        return f"{self.median:.2f} ({min(self.values):.2f} to {max(self.values):.2f})"


def by_turns(ways: Mapping[str, Callable[[], int]], *, rounds: int, device: torch.device) -> dict[str, Rates]:
    """Run every way once to warm up, then all of them in turn, ``rounds`` times.

    Args:
        ways: each does some work and returns how many things it has done.
    """
    found: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds + 1):
        for name, work in ways.items():
            begun = time.perf_counter()
            done = work()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if turn:
                found[name].append(done / (time.perf_counter() - begun))
    return {name: Rates(tuple(values)) for name, values in found.items()}


@contextlib.contextmanager
def watched() -> Iterator[None]:
    """Say after the block how busy other programs kept the processors meanwhile: above a tenth, figures are not to be kept."""

    def busy() -> tuple[float, float]:
        user, nice, system = (int(n) for n in Path("/proc/stat").read_text().split()[1:4])
        mine = os.times()
        return (user + nice + system) / os.sysconf("SC_CLK_TCK"), mine.user + mine.system

    if not Path("/proc/stat").exists():
        yield
        return
    (all_before, mine_before), begun = busy(), time.perf_counter()
    yield
    all_after, mine_after = busy()
    others = (all_after - all_before) - (mine_after - mine_before)
    share = max(0.0, others) / ((time.perf_counter() - begun) * (os.cpu_count() or 1))
    print(f"other programs took {share:.0%} of the processors{': measure again' if share > 0.1 else ''}")


def peak_gib(work: Callable[[], object], device: torch.device) -> float:
    """GiB that torch has in use at most while ``work`` runs on a GPU."""
    torch.cuda.reset_peak_memory_stats(device)
    work()
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device) / 2**30


def verdict(name: str, value: float, limit: float, unit: str = "", *, least: bool = True) -> str:
    """A line that says whether a goal is met."""
    met = value >= limit if least else value <= limit
    return f"{'met   ' if met else 'MISSED'} {name}: {value:.2f}{unit} (goal {'>=' if least else '<='} {limit:g}{unit})"


def main() -> None:
    """Say how large Stable Diffusion 1.5 is here; the U-Net must have the published 859,520,964 parameters."""
    with torch.device("meta"):
        bundle = sd15_bundle(["chest x-ray, edema"])
    for name in ("unet", "vae", "text_encoder"):
        print(f"sd15 {name}: {sum(p.numel() for p in getattr(bundle, name).parameters()):,} parameters")


if __name__ == "__main__":
    main()
