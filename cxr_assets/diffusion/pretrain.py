"""Train a base model from scratch: first the VAE, then text encoder and U-Net on its cached latents.

The recipe behind the shipped phantom base, and behind ``base_model: scratch`` of any cohort. Min-SNR weighting (Hang et
al. 2023), an exponential moving average of the weights, caption dropout for classifier-free guidance, and checkpoints
from which a stopped run goes on.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cxr_assets.diffusion.bundle import Bundle, build_bundle, load_bundle
from cxr_assets.diffusion.config import PretrainSettings
from cxr_assets.diffusion.device import attention_to_learn, autocast
from cxr_assets.diffusion.latents import Posteriors, encode_films, film_tensor
from cxr_assets.diffusion.losses import denoising_loss
from cxr_assets.progress import Progress
from cxr_assets.training import TrainLoop
from cxr_assets.warehouse.manifest import digest_json


@dataclass(frozen=True)
class Pretrained:
    """A trained base model and the record of its training."""

    bundle: Bundle
    record: dict[str, Any]


def vae_loss(films: Tensor, rebuilt: Tensor, posterior: Any, *, kl_weight: float, edge_weight: float) -> Tensor:
    """Reconstruction loss of the VAE.

    Mean absolute error, plus that of horizontal and vertical differences after averaging over 2 and 4 pixels (lines and
    edges are what a chest film is read by, and a plain error is content to blur them; at full resolution the differences
    are mostly noise, which no latent can hold), plus the Kullback-Leibler divergence to N(0, 1) per element.
    """
    error = (rebuilt - films).mean(dim=1, keepdim=True)
    loss = (rebuilt - films).abs().mean()
    for scale in (2, 4):
        coarse = nn.functional.avg_pool2d(error, scale)
        for axis in (-1, -2):
            loss = loss + edge_weight * scale / 2 * coarse.diff(dim=axis).abs().mean()
    kl = 0.5 * (posterior.mean.float().square() + posterior.var.float() - 1.0 - posterior.logvar.float()).mean()
    return loss + kl_weight * kl


class _AutoEncode(nn.Module):
    """Encode, draw and decode in one call, so that one graph is compiled."""

    def __init__(self, vae: Any) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, films: Tensor, noise: Tensor) -> tuple[Tensor, Any]:
        posterior = self.vae.encode(films).latent_dist
        return self.vae.decode(posterior.mean + posterior.std * noise).sample, posterior


def train_vae(
    bundle: Bundle,
    films: np.ndarray,
    settings: PretrainSettings,
    *,
    device: torch.device,
    folder: Path,
    identity: str,
    progress: Progress,
) -> TrainLoop:
    """Train the VAE on films, uint8, shape ``(n, height, width)``."""
    vae = bundle.vae.to(device, memory_format=torch.channels_last).train()
    network: Any = _AutoEncode(vae)
    if settings.compile:
        network = torch.compile(network)
    loop = TrainLoop(
        "VAE",
        {"vae": vae},
        rows=len(films),
        steps=settings.vae_steps,
        batch=settings.vae_batch,
        learning_rate=settings.vae_learning_rate,
        seed=settings.seed,
        weight_decay=1e-4,
        warmup=100,
        schedule="cosine",
        ema=settings.vae_ema,
        folder=folder,
        checkpoint_every=settings.checkpoint_every,
        identity=identity,
        progress=progress,
    )
    side = settings.architecture.resolution // bundle.vae_factor
    shape = (settings.vae_batch, bundle.vae.config.latent_channels, side, side)

    def loss(rows: np.ndarray, generator: torch.Generator) -> Tensor:
        batch = film_tensor(films[rows], device).contiguous(memory_format=torch.channels_last)
        noise = torch.randn(shape, generator=generator).to(device)
        with autocast(device, settings.precision):
            rebuilt, posterior = network(batch, noise)
        return vae_loss(
            batch, rebuilt.float(), posterior, kl_weight=settings.kl_weight, edge_weight=settings.edge_weight
        )

    loop.run(loss)
    vae.eval().requires_grad_(False)
    return loop


def set_latent_scale(vae: Any, posteriors: Posteriors) -> float:
    """Store the factor that gives the latents unit variance in the VAE's configuration; returns it."""
    first = np.arange(min(len(posteriors), 4096))
    sample = posteriors.mean[first].astype(np.float32)
    spread = np.sqrt(sample.var() + np.square(posteriors.std[first].astype(np.float32)).mean())
    vae.register_to_config(scaling_factor=float(1.0 / max(float(spread), 1e-6)))
    return float(vae.config.scaling_factor)


def train_unet(
    bundle: Bundle,
    posteriors: Posteriors,
    captions: Sequence[str],
    settings: PretrainSettings,
    *,
    device: torch.device,
    folder: Path,
    identity: str,
    progress: Progress,
) -> TrainLoop:
    """Train text encoder and U-Net together on cached posteriors and captions."""
    ids = bundle.tokenizer(list(captions), padding="max_length", truncation=True, return_tensors="pt").input_ids
    empty = bundle.tokenizer([""], padding="max_length", truncation=True, return_tensors="pt").input_ids[0]
    unet = bundle.unet.to(device, memory_format=torch.channels_last).train()
    text_encoder = bundle.text_encoder.to(device).train()
    network: Any = torch.compile(unet) if settings.compile else unet
    scale = bundle.vae.config.scaling_factor
    loop = TrainLoop(
        "U-Net",
        {"unet": unet, "text_encoder": text_encoder},
        rows=len(posteriors),
        steps=settings.unet_steps,
        batch=settings.unet_batch,
        learning_rate=settings.unet_learning_rate,
        seed=settings.seed,
        warmup=200,
        schedule="cosine",
        ema=settings.unet_ema,
        folder=folder,
        checkpoint_every=settings.checkpoint_every,
        identity=identity,
        progress=progress,
    )

    def loss(rows: np.ndarray, generator: torch.Generator) -> Tensor:
        latents = posteriors.draw(rows, generator).to(device) * scale
        batch = ids[rows].clone()
        batch[torch.rand(len(rows), generator=generator) < settings.caption_dropout] = empty
        with autocast(device, settings.precision):
            context = text_encoder(batch.to(device)).last_hidden_state
            return denoising_loss(
                network,
                bundle.scheduler,
                latents.contiguous(memory_format=torch.channels_last),
                context,
                generator,
                min_snr=settings.min_snr,
            )

    with attention_to_learn(device, settings.precision):
        loop.run(loss)
    for module in (unet, text_encoder):
        module.eval().requires_grad_(False)
    return loop


def pretrain(
    films: np.ndarray,
    captions: Sequence[str],
    settings: PretrainSettings,
    *,
    device: torch.device,
    folder: Path,
    data_digest: str,
    progress: Progress | None = None,
) -> Pretrained:
    """Train a whole base model; call again after a stop and it goes on where the last checkpoint was.

    Args:
        films: uint8, shape ``(n, resolution, resolution)``; a memory map is fine.
        captions: one a film.
        folder: work folder of the checkpoints.
        data_digest: identifies films and captions, so that a checkpoint of other data is not resumed.
    """
    progress = progress or Progress()
    start, seed = settings.start, settings.seed
    bundle = load_bundle(start) if start else build_bundle(settings.architecture, captions, seed=seed)
    fields = {**settings.model_dump(mode="json"), "checkpoint_every": 0, "compile": False, "start": bundle.base_id}
    vae_fields = {k: v for k, v in fields.items() if not k.startswith("unet_")}
    vae_identity = digest_json({"data": data_digest, **vae_fields})
    vae_loop = train_vae(
        bundle, films, settings, device=device, folder=folder / "vae", identity=vae_identity, progress=progress
    )
    posteriors = encode_films(bundle.vae, films, device=device, precision=settings.precision, progress=progress)
    scale = set_latent_scale(bundle.vae, posteriors)
    unet_identity = digest_json(
        {
            "vae": vae_identity,
            "vocabulary": bundle.tokenizer.get_vocab(),
            **fields,
        }
    )
    unet_loop = train_unet(
        bundle,
        posteriors,
        captions,
        settings,
        device=device,
        folder=folder / "unet",
        identity=unet_identity,
        progress=progress,
    )
    record = {
        "settings": json.loads(settings.model_dump_json(exclude={"start"})),
        "started_from": bundle.base_id or None,
        "films": len(films),
        "data_digest": data_digest,
        "latent_scale": scale,
        "vae_losses": vae_loop.losses,
        "unet_losses": unet_loop.losses,
    }
    return Pretrained(bundle, record)
