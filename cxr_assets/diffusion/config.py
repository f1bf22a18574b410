"""Settings of base models and adapters; plain pydantic, so that reading a configuration loads no torch."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Precision = Literal["fp32", "bf16", "fp16"]


class BundleSpec(BaseModel):
    """Architecture of a base model trained from scratch; the defaults are those of the shipped phantom base.

    The classes are Stable Diffusion's own, only narrower: an f8 VAE makes 16² latents of a 128² film, and attention
    at 8² alone keeps a U-Net of some 4 M parameters quick on a CPU.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    resolution: int = 128
    vae_widths: tuple[int, ...] = (16, 32, 64, 64)
    latent_channels: int = 8
    unet_widths: tuple[int, ...] = (64, 128)
    unet_layers: int = 1
    heads: int = 4
    text_width: int = 128
    text_layers: int = 2
    text_heads: int = 4
    vocabulary: int = 1024
    groups: int = 8


class PretrainSettings(BaseModel):
    """How a base model is trained from scratch, or on from another one (its architecture then stands)."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    architecture: BundleSpec = BundleSpec()
    start: str | None = Field(None, description="a base model to go on from: 'phantom', a folder or a hub id")
    seed: int = 0
    precision: Precision = "bf16"
    compile: bool = False
    vae_steps: int = 4000
    vae_batch: int = 16
    vae_learning_rate: float = 1e-3
    vae_ema: float = 0.995
    kl_weight: float = 1e-5
    edge_weight: float = 1.0
    unet_steps: int = 8000
    unet_batch: int = 64
    unet_learning_rate: float = 1e-3
    unet_ema: float = 0.9995
    min_snr: float = 5.0
    caption_dropout: float = 0.1
    checkpoint_every: int = 200


class LoraSettings(BaseModel):
    """Low-rank adapters of the attention projections (Hu et al. 2022): ``W + alpha / rank · B A``, B zero at first."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    rank: int = Field(16, ge=1)
    alpha: int = Field(16, ge=1)
    dropout: float = Field(0.0, ge=0.0, lt=1.0)
    targets: list[str] = ["to_q", "to_k", "to_v", "to_out.0"]


class AdapterTraining(BaseModel):
    """How an adapter is trained."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    steps: int = Field(1000, ge=1)
    batch: int = Field(32, ge=1)
    learning_rate: float = 1e-4
    weight_decay: float = 1e-2
    warmup: int = 50
    schedule: str = "constant_with_warmup"
    min_snr: float | None = 5.0
    noise_offset: float = 0.0
    caption_dropout: float = Field(0.1, ge=0.0, lt=1.0)
    ema: float = Field(0.0, ge=0.0, lt=1.0)
    precision: Precision = "fp32"
    checkpoint_every: int = 100
    seed: int = 0


class MethodPreset(BaseModel):
    """One way to teach the generator; a YAML file in ``presets/methods``."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    title: str
    source: str = ""
    lora: LoraSettings = LoraSettings()
    train: AdapterTraining = AdapterTraining()
