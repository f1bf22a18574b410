"""Draw films from prompts: deterministic by seed, one set of networks for many prompts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from cxr_assets.diffusion.bundle import Bundle
from cxr_assets.diffusion.conditioners.blocks import Conditioner
from cxr_assets.diffusion.conditioners.guidance import guided
from cxr_assets.diffusion.conditioners.routing import added_to_time, with_tokens
from cxr_assets.diffusion.config import Precision, SamplerName
from cxr_assets.diffusion.device import autocast, computes_in
from cxr_assets.errors import InputError
from cxr_assets.progress import Progress

DECODED_AT_ONCE = {"cpu": 1}
"""Films that the VAE decodes at a time, by device. A decoder's layers are as large as the film: 32 films at once leave a
processor's caches, where one at a time is quicker, and need tens of GiB of a GPU at 512²."""
DECODED_ELSEWHERE = 8
EXACT = 8
"""Films that one pass of the U-Net takes in fp32, whatever the batch. Matrix kernels choose their order of summation by shape,
which changes a grey level here and there; with one shape for all, an image's bytes do not hang on the batch. Larger passes
are no quicker on a CPU."""


@dataclass(frozen=True)
class Ask:
    """What one film is asked to be. The person is for a conditioner to see; None is unknown."""

    prompt: str
    seed: int
    age: float | None = None
    sex: str | None = None
    race: str | None = None


class SamplerSettings(BaseModel):
    """How images are drawn; one model for validation and synthesis, so that they cannot drift apart."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    sampler: SamplerName = "dpmpp_2m"
    steps: int = 20
    guidance: float = 3.0
    batch: int = 32
    resolution: int = 128
    precision: Precision = "fp32"
    negative_prompt: str = ""

    def decisive(self) -> dict[str, Any]:
        """What decides an image's bytes: in fp32 all but the batch."""
        return self.model_dump(exclude={"batch"} if self.precision == "fp32" else set())


def make_scheduler(bundle: Bundle, name: str) -> Any:
    """A diffusers scheduler over the base model's noise schedule."""
    from diffusers import (
        DDIMScheduler,
        DPMSolverMultistepScheduler,
        LCMScheduler,
        PNDMScheduler,
        UniPCMultistepScheduler,
    )

    config = bundle.scheduler.config
    if name == "dpmpp_2m":
        return DPMSolverMultistepScheduler.from_config(config, algorithm_type="dpmsolver++", solver_order=2)
    if name == "pndm":  # as Stable Diffusion sets it; the Runge-Kutta start costs steps and fails below four
        return PNDMScheduler.from_config(config, skip_prk_steps=True)
    known: dict[str, Any] = {"ddim": DDIMScheduler, "unipc": UniPCMultistepScheduler, "lcm": LCMScheduler}
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
    loads the adapter in plain diffusers, but for what another shape of pass rounds otherwise.
    A conditioner's tokens go after the text's, and its null
    tokens after those of the negative prompt.

    Args:
        conditioner: in evaluation mode; None where demographics stand in the prompt alone.
        demographic_guidance: scale of the demographics in guidance with two scales, of which ``settings.guidance`` is
            the text's; None guides both by one.
    """

    def __init__(
        self,
        bundle: Bundle,
        settings: SamplerSettings,
        *,
        device: torch.device,
        conditioner: Conditioner | None = None,
        demographic_guidance: float | None = None,
    ) -> None:
        self.bundle = bundle.to(device)
        self.settings = settings
        self.device = device
        self.conditioner = None if conditioner is None else conditioner.to(device).eval()
        self.demographic_guidance = demographic_guidance
        if (
            device.type == "cuda"
        ):  # quicker there; on a CPU the bytes of plain diffusers are worth the tenth that it costs
            for network in (bundle.unet, bundle.vae):
                network.to(memory_format=torch.channels_last)
        self.many = EXACT if computes_in(settings.precision, device) == torch.float32 else settings.batch
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
    def draw(self, asks: Sequence[Ask]) -> np.ndarray:
        """Films of some requests: uint8, shape ``(n, resolution, resolution)``.

        In fp32 an image's bytes hang on its own request alone: passes are of ``EXACT`` films, whatever the batch. Elsewhere a
        pass is a batch.
        """
        if not asks:
            raise InputError("there is nothing to draw: 0 requests.")
        return np.concatenate([self._pass(asks[at : at + self.many]) for at in range(0, len(asks), self.many)])

    def _pass(self, asks: Sequence[Ask]) -> np.ndarray:
        """Films of one pass; a short one is padded with copies of its last row, so that the shape stays."""
        s = self.settings
        padded = [*asks, *[asks[-1]] * (self.many - len(asks))]
        side = s.resolution // self.bundle.vae_factor
        noise = initial_noise([ask.seed for ask in padded], (self.bundle.unet.config.in_channels, side, side))
        text = torch.stack([self.states(ask.prompt) for ask in padded])
        empty = self.states(s.negative_prompt).expand(len(padded), -1, -1)
        people, nobody, time = self._condition(padded)
        with autocast(self.device, s.precision):
            if self.demographic_guidance is not None:
                latents = self._two_scales(noise.to(self.device), text, empty, people, nobody, time)
            else:
                guides = s.guidance > 1
                if time is not None and guides:
                    time = torch.cat([torch.zeros_like(time), time])
                with added_to_time(self.bundle.unet, time):
                    latents = self.pipe(
                        prompt_embeds=with_tokens(text, people),
                        negative_prompt_embeds=with_tokens(empty, nobody) if guides else None,
                        latents=noise.to(self.device),
                        generator=[torch.Generator().manual_seed(ask.seed + 1) for ask in padded],  # lcm adds noise
                        num_inference_steps=s.steps,
                        guidance_scale=s.guidance,
                        height=s.resolution,
                        width=s.resolution,
                        output_type="latent",
                    ).images
            return self._decode(latents[: len(asks)])

    def _condition(self, asks: Sequence[Ask]) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """Tokens of the people asked for, tokens of nobody, and what is added to the time embedding."""
        if self.conditioner is None:
            return None, None, None
        people = self.conditioner.schema.encode([a.age for a in asks], [a.sex for a in asks], [a.race for a in asks])
        seen = self.conditioner(people.to(self.device))
        return seen.tokens, self.conditioner.unconditional(len(asks)), seen.time

    def _two_scales(
        self, latents: Tensor, text: Tensor, empty: Tensor, people: Tensor | None, nobody: Tensor | None, time: Any
    ) -> Tensor:
        """Latents by guidance with a scale for the text and one for the demographics: three predictions a step."""
        s, pipe, scale = self.settings, self.pipe, self.demographic_guidance
        assert scale is not None
        context = torch.cat([with_tokens(empty, nobody), with_tokens(text, nobody), with_tokens(text, people)])
        added = None if time is None else torch.cat([torch.zeros_like(time), torch.zeros_like(time), time])
        pipe.scheduler.set_timesteps(s.steps, device=self.device)
        latents = latents * pipe.scheduler.init_noise_sigma
        with added_to_time(self.bundle.unet, added):
            for t in pipe.scheduler.timesteps:
                seen = pipe.scheduler.scale_model_input(torch.cat([latents] * 3), t)
                predicted = self.bundle.unet(seen, t, encoder_hidden_states=context, return_dict=False)[0]
                plain, by_text, by_both = predicted.chunk(3)
                noise = guided(plain, by_text, by_both, s.guidance, scale)
                latents = pipe.scheduler.step(noise, t, latents, return_dict=False)[0]
        return latents

    def _decode(self, latents: Tensor) -> np.ndarray:
        """Films of scaled latents, as the pipeline decodes and converts them, but some at a time.

        Always equally many: a short rest is padded, for the same reason as a short batch.
        """
        many = DECODED_AT_ONCE.get(self.device.type, DECODED_ELSEWHERE)
        vae, films = self.bundle.vae, []
        for part in latents.split(many):
            full = torch.cat([part, part[-1:].expand(many - len(part), -1, -1, -1)])
            pixels = vae.decode(full / vae.config.scaling_factor, return_dict=False)[0]
            films.append(to_grey(self.pipe.image_processor.postprocess(pixels, output_type="np"))[: len(part)])
        return np.concatenate(films)

    def draw_all(self, requests: Iterable[tuple[Any, Ask]]) -> Iterator[tuple[Any, np.ndarray]]:
        """Films of any number of requests ``(tag, ask)``, in order, in full passes."""
        waiting: list[tuple[Any, Ask]] = []
        for request in requests:
            waiting.append(request)
            if len(waiting) == self.many:
                yield from self._flush(waiting)
                waiting = []
        if waiting:
            yield from self._flush(waiting)

    def _flush(self, waiting: list[tuple[Any, Ask]]) -> Iterator[tuple[Any, np.ndarray]]:
        films = self.draw([ask for _, ask in waiting])
        yield from ((tag, film) for (tag, _), film in zip(waiting, films, strict=True))


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
        for _, film in sampler.draw_all([(None, Ask(p, s)) for p, s in zip(prompts, seeds, strict=True)]):
            films.append(film)
            advance()
    return np.stack(films)
