"""Low-rank adapters of a base model's U-Net: made by peft, saved in the format that diffusers loads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cxr_assets.diffusion.bundle import Bundle, quiet_loading
from cxr_assets.diffusion.config import AdapterTraining, LoraSettings
from cxr_assets.diffusion.device import autocast
from cxr_assets.diffusion.latents import Posteriors
from cxr_assets.diffusion.losses import denoising_loss
from cxr_assets.progress import Progress
from cxr_assets.training import TrainLoop, derive_seed

WEIGHTS = "pytorch_lora_weights.safetensors"


def add_lora(unet: Any, settings: LoraSettings, *, seed: int) -> Any:
    """Freeze the U-Net and add trainable adapters to it; returns their peft configuration."""
    from peft import LoraConfig

    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=sorted(settings.targets),
        init_lora_weights="gaussian",
    )
    unet.requires_grad_(False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed("lora", seed))
        unet.add_adapter(config)
    return config


def train_lora(
    bundle: Bundle,
    posteriors: Posteriors,
    states: np.ndarray,
    caption_rows: np.ndarray,
    lora: LoraSettings,
    training: AdapterTraining,
    *,
    device: torch.device,
    folder: Path,
    identity: str,
    progress: Progress,
) -> TrainLoop:
    """Train adapters on cached posteriors and caption states; nothing is decoded, encoded or tokenised in the loop.

    Args:
        states: caption states, shape ``(captions, tokens, width)``; row 0 is the empty caption.
        caption_rows: index into ``states`` for every posterior, int64, shape ``(n,)``.
    """
    unet = bundle.unet.to(device, memory_format=torch.channels_last)
    add_lora(unet, lora, seed=training.seed)
    unet.train()
    scale = bundle.vae.config.scaling_factor
    loop = TrainLoop(
        "adapter",
        {"unet": unet},
        rows=len(posteriors),
        steps=training.steps,
        batch=training.batch,
        learning_rate=training.learning_rate,
        seed=training.seed,
        weight_decay=training.weight_decay,
        warmup=training.warmup,
        schedule=training.schedule,
        ema=training.ema,
        folder=folder,
        checkpoint_every=training.checkpoint_every,
        identity=identity,
        progress=progress,
    )

    def loss(rows: np.ndarray, generator: torch.Generator) -> Tensor:
        latents = posteriors.draw(rows, generator).to(device) * scale
        texts = caption_rows[rows].copy()
        texts[torch.rand(len(rows), generator=generator).numpy() < training.caption_dropout] = 0
        context = torch.from_numpy(states[texts].astype(np.float32)).to(device)
        with autocast(device, training.precision):
            return denoising_loss(
                unet,
                bundle.scheduler,
                latents,
                context,
                generator,
                min_snr=training.min_snr,
                noise_offset=training.noise_offset,
            )

    loop.run(loss)
    unet.to(memory_format=torch.contiguous_format).eval()  # as plain diffusers has it, whose films ours are
    return loop


def save_lora(bundle: Bundle, folder: Path) -> None:
    """Write the U-Net's adapters; rank and alpha go into the file, so that ``load_lora_weights`` scales them alike."""
    from diffusers import StableDiffusionPipeline
    from peft.utils import get_peft_model_state_dict

    config = bundle.unet.peft_config["default"].to_dict()
    facts = {k: sorted(v) if isinstance(v, set) else v for k, v in config.items()}
    facts["lora_dropout"] = 0.0  # for training only; diffusers' loader would leave it switched on
    layers = {k: v.detach().float().cpu().contiguous() for k, v in get_peft_model_state_dict(bundle.unet).items()}
    StableDiffusionPipeline.save_lora_weights(folder, unet_lora_layers=layers, unet_lora_adapter_metadata=facts)
    _sort_header(folder / WEIGHTS)


def _sort_header(path: Path) -> None:
    """Rewrite a safetensors header with its notes in name order: the format leaves that to a hash map's chance."""
    data = path.read_bytes()
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + data[end:])


def load_lora(bundle: Bundle, folder: Path) -> Bundle:
    """Put saved adapters on a base model, by diffusers' own loader; returns the bundle."""
    pipe = bundle.pipeline()
    with quiet_loading():
        pipe.load_lora_weights(folder, weight_name=WEIGHTS)
    bundle.unet.eval().requires_grad_(False)
    return bundle
