"""Low-rank adapters of a base model's networks: made by peft, saved in the format that diffusers loads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from cxr_assets.diffusion.bundle import Bundle, quiet_loading
from cxr_assets.diffusion.config import LoraSettings
from cxr_assets.errors import InputError
from cxr_assets.training import derive_seed

WEIGHTS = "pytorch_lora_weights.safetensors"


def add_lora(network: Any, settings: LoraSettings, *, seed: int) -> Any:
    """Freeze a network and add trainable adapters to it; returns their peft configuration.

    Raises:
        InputError: no layer of the network has a name that ends in one of the targets.
    """
    from peft import LoraConfig

    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=sorted(settings.targets),
        init_lora_weights="gaussian" if settings.init == "gaussian" else True,
    )
    network.requires_grad_(False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed("lora", seed))
        try:
            network.add_adapter(config)
        except ValueError as error:
            raise InputError(
                f"lora: {type(network).__name__} has none of the layers {', '.join(sorted(settings.targets))}. Correct the"
                f" preset's targets. ({error})"
            ) from error
    _leave_casts_to_autocast(network)
    return config


def _leave_casts_to_autocast(network: Any) -> None:
    """Let adapters take their inputs as they come. peft widens them to the weights' float32, and autocast narrows the same
    values again, forwards and backwards in every adapter; without autocast all is float32 anyway."""
    from peft.tuners.lora import LoraLayer

    for layer in network.modules():
        if isinstance(layer, LoraLayer):
            layer.cast_input_dtype_enabled = False


def has_lora(network: Any) -> bool:
    """Whether adapters are on a network."""
    return bool(getattr(network, "peft_config", None))


def save_lora(bundle: Bundle, folder: Path) -> None:
    """Write the adapters; rank and alpha go into the file, so that ``load_lora_weights`` scales them alike."""
    from diffusers import StableDiffusionPipeline

    parts: dict[str, Any] = {}
    for name, network in (("unet", bundle.unet), ("text_encoder", bundle.text_encoder)):
        if has_lora(network):
            parts |= {f"{name}_lora_layers": _layers(network), f"{name}_lora_adapter_metadata": _facts(network)}
    StableDiffusionPipeline.save_lora_weights(folder, **parts)
    _sort_header(folder / WEIGHTS)


def _layers(network: Any) -> dict[str, torch.Tensor]:
    from peft.utils import get_peft_model_state_dict

    return {k: v.detach().float().cpu().contiguous() for k, v in get_peft_model_state_dict(network).items()}


def _facts(network: Any) -> dict[str, Any]:
    config = network.peft_config["default"].to_dict()
    facts = {k: sorted(v) if isinstance(v, set) else v for k, v in config.items()}
    return facts | {"lora_dropout": 0.0}  # for training only; diffusers' loader would leave it switched on


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
    for network in (bundle.unet, bundle.text_encoder):
        network.eval().requires_grad_(False)
        _leave_casts_to_autocast(network)
    return bundle
