"""What conditioners and weighings add to a training step of plain LoRA: at most 5 %.

    python bench/conditioning_cost.py [--rounds 62] [--batch 32] [--size phantom|sd15] [--methods hcn,fairdiffusion]

Every round takes one step of each method, in another order, so that what else the machine does falls on all alike. A step is
compared with the plain step of its round; the median over rounds is the overhead. FairDiffusion asks a Gaussian process
once in 30 steps: those rounds are counted apart and spread over the 30. Its library is loaded beforehand, once a process.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Sequence

import numpy as np
import torch
from sd15 import go_on, keep_memory, lesson_of, make_films, open_base, open_teaching, watched

from cxr_assets.diffusion.bundle import Bundle
from cxr_assets.diffusion.config import MethodPreset, TrainingPrecision
from cxr_assets.diffusion.device import computes_in, pick_device
from cxr_assets.diffusion.teaching import Lesson, Teaching
from cxr_assets.diffusion.weighing.gaussian_process import suggest
from cxr_assets.resolve import load_preset

PLAIN = "label_lora"
METHODS = ("demographic_encoder", "hcn", "compdiff_lora", "fairdiffusion", "hcn_fairdiffusion")
WINDOW = 30
LIMIT = 5.0


def teachings(
    base: Bundle,
    lesson: Lesson,
    device: torch.device,
    methods: Sequence[str] = METHODS,
    *,
    batch: int,
    precision: TrainingPrecision,
) -> dict[str, Teaching]:
    """A training of plain LoRA and of each method, each over a U-Net of its own."""
    opened = {}
    for method in (PLAIN, *methods):
        own = copy.copy(base)
        own.unet = copy.deepcopy(base.unet)
        preset = load_preset("methods", method, MethodPreset)
        opened[method] = open_teaching(own, lesson, preset, device, batch=batch, precision=precision)
    return opened


def seconds_of_steps(opened: dict[str, Teaching], rounds: int, device: torch.device) -> np.ndarray:
    """Seconds of each step after two to warm up, float64, shape ``(rounds, methods)``; row ``i`` is step ``i + 2``."""
    names = list(opened)
    seconds = np.zeros((rounds + 2, len(names)))
    for turn in range(rounds + 2):
        for place in np.roll(np.arange(len(names)), turn):
            begun = time.perf_counter()
            go_on(opened[names[place]], 1)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            seconds[turn, place] = time.perf_counter() - begun
    return seconds[2:]


def overheads(seconds: np.ndarray, window: int = WINDOW) -> np.ndarray:
    """Percent that each method adds to the first one, float64, shape ``(methods, 2)``: at every step, and by the rounds
    that are a whole number of windows, spread over the window."""
    steps = np.arange(len(seconds)) + 2
    asked = steps % window == 0
    plain = np.median(seconds[~asked, 0])
    every = np.median(seconds[~asked] - seconds[~asked, :1], axis=0)
    now_and_then = np.zeros_like(every)
    if asked.any():
        extra = np.median(seconds[asked] - seconds[asked, :1], axis=0) - every
        now_and_then = np.maximum(extra, 0.0) / window
    return 100 * np.stack([every, now_and_then], axis=1) / plain


def main() -> None:
    """Print the overhead of each method in percent of a plain step."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=62)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--size", choices=("phantom", "sd15"), default="phantom")
    parser.add_argument("--resolution", type=int)
    parser.add_argument("--methods", default=",".join(METHODS), help="each holds a U-Net in memory: 3.4 GB with sd15")
    given = parser.parse_args()
    device = pick_device()
    keep_memory(True)
    suggest(np.array([[0.2], [0.8]]), np.array([0.0, 1.0]), beta=0.1, candidates=8, seed=0)
    films = make_films(4 * given.batch, given.resolution or (128 if given.size == "phantom" else 512))
    base = open_base(given.size, films.captions).to(device)
    opened = teachings(
        base, lesson_of(base, films, device), device, given.methods.split(","), batch=given.batch, precision="bf16"
    )
    with watched():
        seconds = seconds_of_steps(opened, given.rounds, device)
    print(f"{given.size}, batch {given.batch}, {given.rounds} steps each, {computes_in('bf16', device)}, {device.type}")
    for name, column, (every, now) in zip(opened, seconds.T, overheads(seconds), strict=True):
        total = every + now
        said = "" if name == PLAIN else f"{total:+.1f} % ({every:+.1f} each step, {now:+.1f} by the Gaussian process)"
        print(f"{name:20} {np.median(column):.3f} s a step  {said}  {'MISSED' if total > LIMIT else ''}")


if __name__ == "__main__":
    main()
