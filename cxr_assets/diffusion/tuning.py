"""Which weights a method trains, and how they are kept: adapters or whole networks, and the conditioner."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cxr_assets.diffusion.bundle import Bundle, quiet_loading
from cxr_assets.diffusion.conditioners.blocks import Conditioner
from cxr_assets.diffusion.conditioners.build import build_conditioner
from cxr_assets.diffusion.conditioners.saving import load_conditioner, save_conditioner
from cxr_assets.diffusion.conditioners.schema import DemographicSchema
from cxr_assets.diffusion.config import MethodPreset, Precision
from cxr_assets.diffusion.device import DTYPES, computes_in
from cxr_assets.diffusion.generator import Generator
from cxr_assets.diffusion.lora import WEIGHTS, add_lora, has_lora, load_lora, save_lora
from cxr_assets.errors import SettingsError

CONDITIONER = "conditioner.safetensors"
_WHOLE = ("unet", "text_encoder")


def open_for_training(
    bundle: Bundle, preset: MethodPreset, schema: DemographicSchema, *, text_rms: float, device: torch.device
) -> tuple[dict[str, nn.Module], Conditioner | None]:
    """Freeze a base model and open what the preset trains.

    Args:
        text_rms: root mean square of the text states, which the conditioner's tokens are scaled to.

    Returns:
        Networks with something to train, by name, and the conditioner among them.
    """
    from diffusers.training_utils import cast_training_params

    settings, seed = preset.train, preset.train.seed
    bundle.vae.requires_grad_(False)
    bundle.text_encoder.requires_grad_(False)
    networks: dict[str, nn.Module] = {"unet": bundle.unet}
    if preset.tune == "lora":
        _narrow(bundle.unet, settings.precision, device)
        add_lora(bundle.unet, preset.lora, seed=seed)
        cast_training_params(bundle.unet)
    else:
        bundle.unet.requires_grad_(True)
    if preset.text_encoder != "frozen":
        networks["text_encoder"] = bundle.text_encoder
        if preset.text_encoder == "lora":
            add_lora(bundle.text_encoder, preset.text_lora, seed=seed)
        else:
            bundle.text_encoder.requires_grad_(True)
    _save_memory(bundle, preset)
    widths = {
        "context_width": bundle.unet.config.cross_attention_dim,
        "time_width": bundle.unet.time_embedding.linear_2.out_features,
    }
    conditioner = build_conditioner(preset.conditioner.model_copy(update=widths), schema, seed=seed)
    if conditioner is not None:
        if conditioner.n_tokens:
            conditioner.match_scale(text_rms)
        networks["conditioner"] = conditioner.to(device)
    bundle.unet.to(device, memory_format=torch.channels_last)
    bundle.text_encoder.to(device)
    for network in networks.values():
        network.train()
    return networks, conditioner


def _narrow(network: Any, precision: Precision, device: torch.device) -> None:
    """Hold frozen weights in the type that they are computed in: half the memory, and nothing to cast at each step.

    Norms stay in float32, as mixed precision computes them.
    """
    if computes_in(precision, device) == torch.float32:
        return
    for layer in network.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            layer.to(dtype=DTYPES[precision])


def _save_memory(bundle: Bundle, preset: MethodPreset) -> None:
    """Memory for time, as the preset asks."""
    if preset.train.gradient_checkpointing:
        bundle.unet.enable_gradient_checkpointing()
        if preset.text_encoder != "frozen":
            bundle.text_encoder.gradient_checkpointing_enable()
    if preset.train.attention == "sliced":
        bundle.unet.set_attention_slice("auto")
    elif preset.train.attention == "xformers":
        try:
            bundle.unet.enable_xformers_memory_efficient_attention()
        except (ImportError, ValueError) as error:
            raise SettingsError(
                f"attention: xformers cannot be used here ({error}). Install xformers on a machine with a GPU, or set"
                " attention: sdpa, which torch brings along."
            ) from error


def close_after_training(bundle: Bundle, conditioner: Conditioner | None) -> None:
    """Back to what plain diffusers has, whose films ours are: float32, contiguous, in evaluation mode."""
    bundle.unet.disable_gradient_checkpointing()
    for layer in bundle.unet.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            layer.to(dtype=torch.float32)
    bundle.unet.to(memory_format=torch.contiguous_format)
    for network in (bundle.unet, bundle.text_encoder, *([conditioner] if conditioner else [])):
        network.eval().requires_grad_(False)


def save_generator(generator: Generator, folder: Path) -> None:
    """Write what a method has learned: adapters as ``load_lora_weights`` of diffusers reads them, whole networks as their
    ``from_pretrained`` does, and the conditioner with its schema."""
    folder.mkdir(parents=True, exist_ok=True)
    bundle = generator.bundle
    if any(has_lora(network) for network in (bundle.unet, bundle.text_encoder)):
        save_lora(bundle, folder)
    for name, tuned in zip(_WHOLE, (generator.preset.tune, generator.preset.text_encoder), strict=True):
        if tuned == "full":
            shutil.rmtree(folder / name, ignore_errors=True)
            with quiet_loading():
                getattr(bundle, name).save_pretrained(folder / name, safe_serialization=True)
    if generator.conditioner is not None:
        save_conditioner(generator.conditioner, folder / CONDITIONER)


def load_generator(base: Bundle, preset: MethodPreset, schema: DemographicSchema, folder: Path) -> Generator:
    """Put what a method has learned, as saved in ``folder``, on the base model that it started from.

    Raises:
        InputError: the conditioner in ``folder`` belongs to another schema.
    """
    for name in _WHOLE:
        if (folder / name).is_dir():
            with quiet_loading():
                whole = type(getattr(base, name)).from_pretrained(
                    folder / name, dtype=torch.float32, use_safetensors=True, local_files_only=True
                )
            setattr(base, name, whole.eval().requires_grad_(False))
    if (folder / WEIGHTS).exists():
        load_lora(base, folder)
    conditioner = load_conditioner(folder / CONDITIONER, schema) if (folder / CONDITIONER).exists() else None
    return Generator(base, preset, conditioner)
