"""Drawing of films: a loop as the seed repositories have it against our sampler, and the ladder between the two.

    python bench/generator_sampling.py [--size phantom|sd15] [--rounds N] [--resolution PIXELS] [--quality N]

A seed-style loop draws one film after the other with diffusers' pipeline as it comes: 50 steps of PNDM, the prompt encoded
anew for each film, same guidance as ours. Ours draws batches with 20 steps of DPM-Solver++. Then one rung after the other
(evaluation.md §4.6). ``--quality N`` draws N films of the same prompts and seeds with PNDM 50 and with our sampler, and
compares what the phantom's oracle reads off them; both in batches, since one by one the films are the same but for a grey
level here and there.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable, Sequence

import numpy as np
import polars as pl
import torch
from sd15 import QUIET, RENDERED, by_turns, keep_memory, open_base, verdict, watched
from sklearn.metrics import roc_auc_score

from cxr_assets.cohorts.phantom.population import sample_requests
from cxr_assets.diffusion.bundle import Bundle
from cxr_assets.diffusion.config import Precision
from cxr_assets.diffusion.device import autocast, computes_in, pick_device
from cxr_assets.diffusion.sampling import (
    Ask,
    Sampler,
    SamplerSettings,
    initial_noise,
    make_scheduler,
    sample_prompts,
    to_grey,
)
from cxr_assets.evaluation.oracle import Oracle
from cxr_assets.synthesis.phantom_base import captions_of

SEED = 2011
PNDM_STEPS = 50
FEWER = (15, 12, 10)
Work = Callable[[], int]


def seed_style(
    bundle: Bundle, asks: Sequence[Ask], *, guidance: float, resolution: int, device: torch.device, precision: Precision
) -> np.ndarray:
    """Films drawn one by one with the plain pipeline, uint8, shape ``(n, resolution, resolution)``."""
    pipe = bundle.pipeline()
    pipe.scheduler = make_scheduler(bundle, "pndm")
    side = resolution // bundle.vae_factor
    films = []
    for ask in asks:
        with torch.no_grad(), autocast(device, precision):
            images = pipe(
                ask.prompt,
                latents=initial_noise([ask.seed], (bundle.unet.config.in_channels, side, side)).to(device),
                num_inference_steps=PNDM_STEPS,
                guidance_scale=guidance,
                height=resolution,
                width=resolution,
                output_type="np",
            ).images
        films.append(to_grey(images))
    return np.concatenate(films)


def mean_auroc(scores: np.ndarray, truth: np.ndarray) -> float:
    """Mean over findings of the AUROC of scores against 0/1 truth, both of shape ``(films, findings)``."""
    return float(np.mean([roc_auc_score(truth[:, column], scores[:, column]) for column in range(truth.shape[1])]))


def difference(ours: np.ndarray, theirs: np.ndarray, truth: np.ndarray, draws: int = 500) -> tuple[float, float, float]:
    """Mean AUROC of ``ours`` less that of ``theirs``, with a 95 % interval over draws of films, the same for both."""
    rng = np.random.default_rng(SEED)
    found = []
    for _ in range(draws):
        some = rng.integers(0, len(truth), len(truth))
        found.append(mean_auroc(ours[some], truth[some]) - mean_auroc(theirs[some], truth[some]))
    lo, hi = np.quantile(found, [0.025, 0.975])
    return mean_auroc(ours, truth) - mean_auroc(theirs, truth), float(lo), float(hi)


def compare_quality(bundle: Bundle, asked: pl.DataFrame, settings: SamplerSettings, *, device: torch.device) -> None:
    """Print what the oracle reads off films of PNDM 50, and how far ours are from it with fewer and fewer steps."""
    oracle = Oracle.load()
    findings = [name for name in oracle.findings if name in asked.columns]
    columns = [oracle.findings.index(name) for name in findings]
    truth = asked.select(findings).to_numpy().astype(int)
    prompts, seeds = captions_of(asked), [10_000 + row for row in range(asked.height)]

    def scores(**changed: object) -> np.ndarray:
        drawn = sample_prompts(
            bundle, prompts, seeds, settings.model_copy(update=changed), device=device, progress=QUIET
        )
        return oracle.judge(drawn).findings[:, columns]

    plain = scores(sampler="pndm", steps=PNDM_STEPS)
    print(
        f"PNDM {PNDM_STEPS}: mean AUROC over {len(findings)} findings {mean_auroc(plain, truth):.4f}, {len(truth)} films"
    )
    for steps in (settings.steps, *FEWER):
        less, lo, hi = difference(scores(steps=steps), plain, truth)
        print(f"DPM-Solver++ {steps}: {less:+.4f} ({lo:+.4f} to {hi:+.4f})")
        if steps == settings.steps:
            print(verdict("loss of mean AUROC", -less, 0.01, least=False))


def main() -> None:
    """Print both rates by turns, their ratio, the ladder, and where asked what the oracle says of both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=("phantom", "sd15"), default="phantom")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--alone", type=int, default=4, help="films that the seed-style loop draws in a round")
    parser.add_argument("--resolution", type=int, help="128 for the phantom, 512 for sd15")
    parser.add_argument("--guidance", type=float, default=3.0)
    parser.add_argument("--quality", type=int, default=0, help="films to compare by what the oracle sees; 0: none")
    given = parser.parse_args()
    device = pick_device()
    side = given.resolution or (RENDERED if given.size == "phantom" else 512)
    asked = sample_requests(max(given.batch, given.quality), SEED).studies
    prompts = captions_of(asked)
    asks = [Ask(prompt, 10_000 + row) for row, prompt in enumerate(prompts)]
    bundle = open_base(given.size, prompts).to(device)
    untouched = copy.copy(bundle)  # the sampler lays out weights as it likes
    untouched.unet, untouched.vae = copy.deepcopy(bundle.unet), copy.deepcopy(bundle.vae)
    precision: Precision = "bf16" if computes_in("bf16", device) == torch.bfloat16 else "fp32"
    settings = SamplerSettings(guidance=given.guidance, batch=given.batch, resolution=side, precision=precision)
    print(f"{given.size}, {side}², {device.type}, {torch.get_num_threads()} threads, {precision}")

    def alone(kept: bool) -> Work:
        def work() -> int:
            keep_memory(kept)
            some = asks[: given.alone]
            return len(
                seed_style(
                    untouched, some, guidance=given.guidance, resolution=side, device=device, precision=precision
                )
            )

        return work

    def batched(**changed: object) -> Work:
        sampler = Sampler(bundle, settings.model_copy(update=changed), device=device)
        return lambda: len(sampler.draw(asks[: sampler.settings.batch]))

    def kept(work: Work) -> Work:
        def remembered() -> int:
            keep_memory(True)
            return work()

        return remembered

    ways = {
        "seed-style: one by one, PNDM 50": alone(False),
        "memory kept by the C library": alone(True),
        f"batch {given.batch}, PNDM 50": kept(batched(sampler="pndm", steps=PNDM_STEPS)),
        "ours: DPM-Solver++ 20": kept(batched()),
        **{f"DPM-Solver++ {steps}": kept(batched(steps=steps)) for steps in FEWER},
    }
    with watched():
        rates = by_turns(ways, rounds=given.rounds, device=device)
    first = next(iter(rates.values())).median
    for name, rate in rates.items():
        print(f"{name:34} {rate!s:>24} images/s  ×{rate.median / first:.2f}")
    rate = rates["ours: DPM-Solver++ 20"].median
    print(verdict("drawing", rate, 8 if given.size == "phantom" else 9, " images/s"))
    print(verdict("ratio to the seed-style loop", rate / first, 8))

    if given.quality:
        compare_quality(bundle, asked[: given.quality], settings, device=device)


if __name__ == "__main__":
    main()
