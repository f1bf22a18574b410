"""A tiny base model and a tiny phantom project, small enough to be made anew wherever a test changes them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from cxr_assets.captions.caption_studies import caption_studies
from cxr_assets.cohorts.curation import curate_studies
from cxr_assets.diffusion.adapters import train_adapter
from cxr_assets.diffusion.base import base_identity, make_base_model, tokenizer_of
from cxr_assets.diffusion.bundle import Bundle, build_bundle
from cxr_assets.diffusion.cache import cache_latents
from cxr_assets.diffusion.config import BundleSpec
from cxr_assets.progress import Progress
from cxr_assets.project import Project
from cxr_assets.synthesis.plan import plan_synthesis

torch.set_num_threads(1)

CPU = torch.device("cpu")
QUIET = Progress(quiet=True)
SPEC = BundleSpec(
    resolution=64, vae_widths=(8, 16), unet_widths=(16, 32), text_width=32, text_layers=1, latent_channels=4, groups=4
)
CAPTIONS = (
    "chest x-ray, 63 year old black female, pleural effusion and edema",
    "chest x-ray, 41 year old white male, no finding",
    "chest x-ray, 80 year old asian male, cardiomegaly, atelectasis and lung lesion",
)
METHOD = "demographic_text"
TINY: dict[str, Any] = {
    "phantom.studies": 60,
    "phantom.size": 64,
    "films.workers": 1,
    "diffusion.resolution": 64,
    "synthesis.per_stratum": 1,
    "synthesis.max_ratio": 0.0,
    "synthesis.steps": 2,
    "synthesis.batch": 4,
    "adapter_training.steps": 2,
    "adapter_training.batch": 4,
    "device": "cpu",
}


def tiny_bundle(seed: int = 0) -> Bundle:
    """A randomly initialised base model of some 100,000 parameters."""
    return build_bundle(SPEC, CAPTIONS, seed=seed)


def tiny_project(root: Path, base: Path, **overrides: Any) -> Project:
    """A phantom project over a data root; ``overrides`` are dotted names with ``__`` for the dot."""
    changed = {name.replace("__", "."): value for name, value in overrides.items()}
    settings = TINY | {"diffusion.base_model": [str(base)]} | changed
    return Project.open(cohort="phantom", storage=root, overrides=settings, progress=QUIET)


def make_ready(project: Project) -> Project:
    """Materialise everything that drawing needs; returns the project."""
    curate_studies(project)
    caption_studies(project, tokenizer_of(project), tokenizer_id=base_identity(project))
    make_base_model(project)
    cache_latents(project)
    plan_synthesis(project)
    train_adapter(project, METHOD)
    return project


def noise_films(n: int, size: int = 64, seed: int = 0) -> np.ndarray:
    """Smooth random films, uint8 ``(n, size, size)``."""
    coarse = np.random.default_rng(seed).integers(0, 256, (n, size // 8, size // 8), dtype=np.uint8)
    return coarse.repeat(8, axis=1).repeat(8, axis=2)


def weights_digest(network: torch.nn.Module, *, without: Sequence[str] = ()) -> str:
    """Digest of a network's parameters and buffers by name, bit by bit."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        if not any(word in name for word in without):
            digest.update(
                name.replace(".base_layer", "").encode() + tensor.detach().cpu().contiguous().numpy().tobytes()
            )
    return digest.hexdigest()


def write_table(project: Project, asset: str, keys: dict[str, str], **tables: pl.DataFrame) -> None:
    """Write a partition by hand, as if its step had made it."""
    with project.store.writing(
        asset, keys, inputs={}, config_digest="", code_version="test", terms="generated"
    ) as writer:
        for name, frame in tables.items():
            writer.table(name, frame)
