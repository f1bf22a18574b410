"""Draw films from prompts: deterministic by seed, one set of networks for many prompts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from cxr_assets.diffusion.bundle import Bundle
from cxr_assets.diffusion.config import Precision
from cxr_assets.diffusion.device import autocast
from cxr_assets.errors import InputError
from cxr_assets.progress import Progress


class SamplerSettings(BaseModel):
    """How images are drawn; one model for validation and synthesis, so that they cannot drift apart."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    sampler: Literal["dpmpp_2m", "ddim", "pndm", "unipc"] = "dpmpp_2m"
    steps: int = 20
    guidance: float = 3.0
    batch: int = 32
    resolution: int = 128
    precision: Precision = "fp32"
    negative_prompt: str = ""


def make_scheduler(bundle: Bundle, name: str) -> Any:
    """A diffusers scheduler over the base model's noise schedule."""
    from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, PNDMScheduler, UniPCMultistepScheduler

    config = bundle.scheduler.config
    if name == "dpmpp_2m":
        return DPMSolverMultistepScheduler.from_config(config, algorithm_type="dpmsolver++", solver_order=2)
    if name == "pndm":  # as Stable Diffusion sets it; the Runge-Kutta start costs steps and fails below four
        return PNDMScheduler.from_config(config, skip_prk_steps=True)
    known = {"ddim": DDIMScheduler, "unipc": UniPCMultistepScheduler}
    if name not in known:
        raise InputError(f"sampler {name!r} is none of dpmpp_2m, pndm, {', '.join(known)}.")
    return known[name].from_config(config)


def initial_noise(seeds: Sequence[int], shape: tuple[int, ...]) -> Tensor:
    """Standard normal noise, one CPU generator an image, so that an image hangs on its own seed alone.

    Returns:
        float32, shape ``(len(seeds), *shape)``.
    """
    return torch.stack([torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds])


class Sampler:
    """Draws films with one bundle; text states of a prompt are computed once.

    The pipeline is diffusers' own ``StableDiffusionPipeline``: what it returns for an adapter is what anybody gets who
    loads the adapter in plain diffusers.
    """

    def __init__(self, bundle: Bundle, settings: SamplerSettings, *, device: torch.device) -> None:
        self.bundle = bundle.to(device)
        self.settings = settings
        self.device = device
        self.pipe = bundle.pipeline()
        self.pipe.scheduler = make_scheduler(bundle, settings.sampler)
        self._states: dict[str, Tensor] = {}

    @torch.no_grad()
    def states(self, prompt: str) -> Tensor:
        """Text states of a prompt, shape ``(tokens, width)``, on the device; kept for the next time."""
        if prompt not in self._states:
            if len(self._states) > 4096:
                self._states.clear()
            encoded, _ = self.pipe.encode_prompt(prompt, self.device, 1, do_classifier_free_guidance=False)
            self._states[prompt] = encoded[0]
        return self._states[prompt]

    @torch.no_grad()
    def draw(self, prompts: Sequence[str], seeds: Sequence[int]) -> np.ndarray:
        """Films of one batch: uint8, shape ``(n, resolution, resolution)``.

        A short batch is padded to the configured size with copies of its last row: matrix kernels choose their
        summation order by shape, and equal shapes make an image's bytes independent of what stands beside it.
        """
        s = self.settings
        if not 0 < len(prompts) == len(seeds) <= s.batch:
            raise InputError(
                f"a batch holds 1 to {s.batch} prompts with a seed each, got {len(prompts)} and {len(seeds)}."
            )
        padding = s.batch - len(prompts)
        prompts, seeds = [*prompts, *[prompts[-1]] * padding], [*seeds, *[seeds[-1]] * padding]
        side = s.resolution // self.bundle.vae_factor
        shape = (self.bundle.unet.config.in_channels, side, side)
        context = torch.stack([self.states(p) for p in prompts])
        empty = self.states(s.negative_prompt).expand(len(prompts), -1, -1)
        with autocast(self.device, s.precision):
            images = self.pipe(
                prompt_embeds=context,
                negative_prompt_embeds=empty if s.guidance > 1 else None,
                latents=initial_noise(seeds, shape).to(self.device),
                num_inference_steps=s.steps,
                guidance_scale=s.guidance,
                height=s.resolution,
                width=s.resolution,
                output_type="np",
            ).images
        return to_grey(images)[: len(prompts) - padding]

    def draw_all(
        self, requests: Iterator[tuple[Any, str, int]] | Sequence[tuple[Any, str, int]]
    ) -> Iterator[tuple[Any, np.ndarray]]:
        """Films of any number of requests ``(tag, prompt, seed)``, in order, in full batches."""
        waiting: list[tuple[Any, str, int]] = []
        for request in requests:
            waiting.append(request)
            if len(waiting) == self.settings.batch:
                yield from self._flush(waiting)
                waiting = []
        if waiting:
            yield from self._flush(waiting)

    def _flush(self, waiting: list[tuple[Any, str, int]]) -> Iterator[tuple[Any, np.ndarray]]:
        films = self.draw([w[1] for w in waiting], [w[2] for w in waiting])
        yield from ((w[0], film) for w, film in zip(waiting, films, strict=True))


def to_grey(images: np.ndarray) -> np.ndarray:
    """Pipeline output, float ``(n, h, w, c)`` in [0, 1], as 8-bit grey ``(n, h, w)``: the mean over channels, rounded."""
    return np.rint(images.astype(np.float64).mean(axis=-1) * 255.0).clip(0, 255).astype(np.uint8)


def sample_prompts(
    bundle: Bundle,
    prompts: Sequence[str],
    seeds: Sequence[int],
    settings: SamplerSettings,
    *,
    device: torch.device,
    progress: Progress | None = None,
) -> np.ndarray:
    """Films for a list of prompts, uint8, shape ``(n, resolution, resolution)``."""
    sampler = Sampler(bundle, settings, device=device)
    films = []
    with (progress or Progress(quiet=True)).task("sample", len(prompts)) as advance:
        for _, film in sampler.draw_all([(i, p, s) for i, (p, s) in enumerate(zip(prompts, seeds, strict=True))]):
            films.append(film)
            advance()
    return np.stack(films)
