"""The denoising loss that pretraining and adapters share."""

from __future__ import annotations

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


def denoising_loss(
    unet: Any,
    scheduler: Any,
    latents: Tensor,
    context: Tensor,
    generator: torch.Generator,
    *,
    min_snr: float | None = 5.0,
    noise_offset: float = 0.0,
    weights: Tensor | None = None,
) -> Tensor:
    """Mean weighted squared error of the predicted noise (or velocity) at random timesteps.

    Args:
        latents: scaled latents, shape ``(batch, channels, height, width)``.
        context: text states, shape ``(batch, tokens, width)``.
        generator: CPU generator of this step; noise is drawn on the CPU so that every device sees the same.
        noise_offset: standard deviation of a per-channel constant added to the noise.
        weights: weight of each example, mean 1; None weighs them alike.
    """
    noise = torch.randn(latents.shape, generator=generator)
    if noise_offset:
        noise = noise + noise_offset * torch.randn((*latents.shape[:2], 1, 1), generator=generator)
    timesteps = torch.randint(0, scheduler.config.num_train_timesteps, (latents.shape[0],), generator=generator)
    noise, timesteps = noise.to(latents), timesteps.to(latents.device)
    noisy = scheduler.add_noise(latents, noise, timesteps)
    target = (
        scheduler.get_velocity(latents, noise, timesteps)
        if scheduler.config.prediction_type == "v_prediction"
        else noise
    )
    predicted = unet(noisy, timesteps, encoder_hidden_states=context, return_dict=False)[0]
    per_example = (predicted.float() - target.float()).square().mean(dim=(1, 2, 3))
    per_example = per_example * min_snr_weights(scheduler, timesteps, min_snr).to(per_example)
    return (per_example * (1.0 if weights is None else weights.to(per_example))).mean()
