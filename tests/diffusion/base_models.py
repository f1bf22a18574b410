"""Models of other kinds, and a hub cache, made of the tiny base model."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def copied(base: Path, folder: Path) -> Path:
    """A copy of a saved base model that a test may change."""
    return Path(shutil.copytree(base, folder))


def changed(folder: Path, file: str, **values: Any) -> Path:
    """Change values of one JSON file of a model; returns the model's folder."""
    path = folder / file
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
    return folder


def halved(folder: Path, *parts: str) -> Path:
    """Give the weights of some networks the names of the fp16 variant; returns the model's folder."""
    for part in parts:
        for weights in (folder / part).glob("*.safetensors"):
            weights.rename(weights.with_suffix(".fp16.safetensors"))
    return folder


def pickled(folder: Path, part: str) -> Path:
    """Leave one network nothing but a file that a loader would have to unpickle; returns the model's folder."""
    for weights in (folder / part).glob("*.safetensors"):
        weights.unlink()
    (folder / part / "diffusion_pytorch_model.bin").write_bytes(b"not even a pickle")
    return folder


def in_cache(cache: Path, repository: str, base: Path, *, commit: str = COMMIT, branch: str = "main") -> Path:
    """Put a model into a hub cache as one commit of a repository; returns the snapshot's folder."""
    kept = cache / f"models--{repository.replace('/', '--')}"
    (kept / "refs").mkdir(parents=True, exist_ok=True)
    (kept / "refs" / branch).write_text(commit)
    return copied(base, kept / "snapshots" / commit)


UNFIT: dict[str, tuple[Callable[[Path], Path], str]] = {
    "inpainting": (lambda m: changed(m, "unet/config.json", in_channels=9), "is an inpainting model"),
    "image beside the text": (lambda m: changed(m, "unet/config.json", in_channels=8), "another image beside the text"),
    "two text encoders": (
        lambda m: changed(m, "model_index.json", text_encoder_2=["transformers", "CLIPTextModelWithProjection"]),
        "two text encoders",
    ),
    "no U-Net": (
        lambda m: changed(m, "model_index.json", unet=[None, None], transformer=["diffusers", "SD3Transformer2DModel"]),
        "unet is missing",
    ),
    "another text encoder": (
        lambda m: changed(m, "model_index.json", text_encoder=["diffusers", "RobertaSeriesModelWithTransformation"]),
        "its text_encoder is RobertaSeriesModelWithTransformation, not CLIPTextModel",
    ),
    "parts of two families": (
        lambda m: changed(m, "unet/config.json", cross_attention_dim=1024),
        "text states 1024 wide and its text encoder makes them 32 wide",
    ),
    "an upscaler": (lambda m: changed(m, "unet/config.json", num_class_embeds=1000), "a condition beside the text"),
    "sample prediction": (
        lambda m: changed(m, "scheduler/scheduler_config.json", prediction_type="sample"),
        "predicts 'sample'",
    ),
    "no scheduler": (lambda m: changed(m, "model_index.json", scheduler=None), "names no tokenizer or no scheduler"),
    "a pickle": (lambda m: pickled(m, "unet"), r"holds pickled weights \(diffusion_pytorch_model.bin\)"),
    "a pickled fp16 VAE": (lambda m: pickled(halved(m, "unet", "text_encoder", "vae"), "vae"), "vae holds pickled"),
}
"""Models that cannot be taught here: how to make each of a good one, and what its refusal says."""
