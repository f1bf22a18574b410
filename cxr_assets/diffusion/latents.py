"""VAE posteriors and text states, computed once and kept: neither changes while its network is frozen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cxr_assets.diffusion.config import Precision
from cxr_assets.diffusion.device import autocast
from cxr_assets.diffusion.shards import Shards
from cxr_assets.progress import Progress


@dataclass(frozen=True)
class Posteriors:
    """Diagonal Gaussian posteriors of films, unscaled.

    ``mean`` and ``std`` are float16, shape ``(n, channels, height, width)``, in memory or in mapped shards. Keeping both
    rather than one draw lets every epoch see another latent of the same film, as training on films would.
    """

    mean: np.ndarray | Shards
    std: np.ndarray | Shards

    def __len__(self) -> int:
        return len(self.mean)

    def draw(self, rows: np.ndarray, generator: torch.Generator) -> Tensor:
        """Latents of some rows, float32, on the CPU, unscaled."""
        mean = torch.from_numpy(np.asarray(self.mean[rows], dtype=np.float32))
        std = torch.from_numpy(np.asarray(self.std[rows], dtype=np.float32))
        return mean + std * torch.randn(mean.shape, generator=generator)


def film_tensor(films: np.ndarray, device: torch.device) -> Tensor:
    """Grey films, uint8 ``(n, h, w)``, as the RGB tensor in [-1, 1] that a Stable Diffusion VAE reads."""
    grey = torch.from_numpy(np.ascontiguousarray(films)).to(device).float().div_(127.5).sub_(1.0)
    return grey[:, None].expand(-1, 3, -1, -1)


@torch.no_grad()
def encode_films(
    vae: Any,
    films: np.ndarray,
    *,
    device: torch.device,
    precision: Precision = "fp32",
    batch: int | None = None,
    progress: Progress | None = None,
) -> Posteriors:
    """Posterior of every film, uint8 ``(n, h, w)`` in; so many at a time as make 64 films of 128² unless said.

    An encoder's first layers are as large as the film: 64 films of 512² need some 40 GiB with Stable Diffusion's VAE.
    """
    batch = batch or max(1, 64 * 128 * 128 // (films.shape[1] * films.shape[2]))
    vae = vae.to(device)
    means, stds = [], []
    with (progress or Progress(quiet=True)).task("encode films", len(films)) as advance:
        for start in range(0, len(films), batch):
            rows = films[start : start + batch]
            with autocast(device, precision):
                posterior = vae.encode(
                    film_tensor(rows, device).contiguous(memory_format=torch.channels_last)
                ).latent_dist
            means.append(posterior.mean.float().cpu().numpy().astype(np.float16))
            stds.append(posterior.std.float().cpu().numpy().astype(np.float16))
            advance(len(rows))
    # channels_last networks give arrays whose memory is in another order than their shape says.
    return Posteriors(*(np.ascontiguousarray(np.concatenate(parts)) for parts in (means, stds)))


@torch.no_grad()
def encode_captions(
    tokenizer: Any, text_encoder: Any, captions: Sequence[str], *, device: torch.device, batch: int = 128
) -> np.ndarray:
    """Text states of distinct captions, float16, shape ``(n, 77, width)``."""
    text_encoder = text_encoder.to(device)
    states = []
    for start in range(0, len(captions), batch):
        ids = tokenizer(
            list(captions[start : start + batch]),
            padding="max_length",
            truncation=True,
            max_length=tokenizer.model_max_length,
            return_tensors="pt",
        ).input_ids
        states.append(text_encoder(ids.to(device)).last_hidden_state.float().cpu().numpy().astype(np.float16))
    return np.concatenate(states)
