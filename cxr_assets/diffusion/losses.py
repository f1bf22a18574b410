"""The denoising loss that pretraining and adapters share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


def min_snr_weights(scheduler: Any, timesteps: Tensor, gamma: float | None) -> Tensor:
    """Loss weight of each timestep, float32, shape of ``timesteps``.

    ``min(SNR, gamma) / SNR`` for noise prediction and ``min(SNR, gamma) / (SNR + 1)`` for v-prediction (Hang et al.
    2023, min-SNR-γ); ones where ``gamma`` is None.
    """
    from diffusers.training_utils import compute_snr

    if gamma is None:
        return torch.ones_like(timesteps, dtype=torch.float32)
    snr = compute_snr(scheduler, timesteps)
    capped = snr.clamp(max=gamma)
    return capped / (snr + 1) if scheduler.config.prediction_type == "v_prediction" else capped / snr


@dataclass(frozen=True)
class Noising:
    """How the latents of a batch are noised; drawn on the CPU, so that every device and process sees the same.

    Attributes:
        noise: what is to be predicted, shape ``(batch, channels, height, width)``.
        added: what the latents are noised with: the same, or with input perturbation a little more.
        timesteps: int64, shape ``(batch,)``.
    """

    noise: Tensor
    added: Tensor
    timesteps: Tensor

    def of(self, rows: slice, device: torch.device) -> Noising:
        """Some rows, on a device."""
        noise = self.noise[rows].to(device)
        added = noise if self.added is self.noise else self.added[rows].to(device)
        return Noising(noise, added, self.timesteps[rows].to(device))


def draw_noising(
    shape: tuple[int, ...],
    timesteps: int,
    generator: torch.Generator,
    *,
    noise_offset: float = 0.0,
    input_perturbation: float = 0.0,
) -> Noising:
    """Noise and timesteps of a batch of latents.

    Args:
        shape: ``(batch, channels, height, width)``.
        timesteps: how many there are to draw from.
        generator: CPU generator of this step.
        noise_offset: standard deviation ``k`` of a constant added per film and channel; the mean over space then has
            variance ``k² + 1 / (height · width)``.
        input_perturbation: ``κ`` of ``noise + κ · noise'``, with which latents are noised while ``noise`` stays the target
            (Ning et al. 2023; generation.md §2.1).
    """
    noise = torch.randn(shape, generator=generator)
    if noise_offset:
        noise = noise + noise_offset * torch.randn((*shape[:2], 1, 1), generator=generator)
    at = torch.randint(0, timesteps, (shape[0],), generator=generator)
    added = noise + input_perturbation * torch.randn(shape, generator=generator) if input_perturbation else noise
    return Noising(noise, added, at)


def denoising_errors(unet: Any, scheduler: Any, latents: Tensor, context: Tensor, noising: Noising) -> Tensor:
    """Mean squared error of the predicted noise (or velocity) of each film, float32, shape ``(batch,)``.

    Args:
        latents: scaled latents, shape ``(batch, channels, height, width)``.
        context: text states and tokens, shape ``(batch, tokens, width)``.
    """
    noise, added = noising.noise.to(latents), noising.added.to(latents)
    noisy = scheduler.add_noise(latents, added, noising.timesteps)
    velocity = scheduler.config.prediction_type == "v_prediction"
    target = scheduler.get_velocity(latents, noise, noising.timesteps) if velocity else noise
    predicted = unet(noisy, noising.timesteps, encoder_hidden_states=context, return_dict=False)[0]
    return (predicted.float() - target.float()).square().mean(dim=(1, 2, 3))


def denoising_loss(
    unet: Any,
    scheduler: Any,
    latents: Tensor,
    context: Tensor,
    generator: torch.Generator,
    *,
    min_snr: float | None = 5.0,
    noise_offset: float = 0.0,
) -> Tensor:
    """Mean squared error at random timesteps, min-SNR weighted; arguments as above."""
    steps = scheduler.config.num_train_timesteps
    drawn = draw_noising(tuple(latents.shape), steps, generator, noise_offset=noise_offset)
    noising = drawn.of(slice(None), latents.device)
    errors = denoising_errors(unet, scheduler, latents, context, noising)
    return (errors * min_snr_weights(scheduler, noising.timesteps, min_snr).to(errors)).mean()
