"""A small lesson and trainings on it, for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from cxr_assets.diffusion.bundle import Bundle
from cxr_assets.diffusion.conditioners.schema import DemographicSchema
from cxr_assets.diffusion.config import MethodPreset
from cxr_assets.diffusion.latents import Posteriors, encode_captions
from cxr_assets.diffusion.lessons import plain_prompt, prior_latents
from cxr_assets.diffusion.teaching import Captions, Lesson, Teaching
from cxr_assets.processes import Processes
from cxr_assets.training import derive_seed
from tests.helpers import CAPTIONS, CPU, QUIET, tiny_bundle

FILMS = 12
SIDE = 16
SCHEMA = DemographicSchema((0, 40, 60, 80))
AGES = [30.0, 50.0, 70.0, 85.0, None, 30.0, 50.0, 70.0, 85.0, 30.0, 50.0, 70.0]
SEXES = ["female", "male"] * 5 + [None, "female"]
RACES = ["black", "white", "asian"] * 4
TRAINING: dict[str, Any] = {
    "steps": 8,
    "batch": 4,
    "learning_rate": 5e-3,
    "warmup": 0,
    "checkpoint_every": 3,
    "precision": "fp32",
}


def lesson(bundle: Bundle, preset: MethodPreset) -> Lesson:
    """Random posteriors with captions and people."""
    rng = np.random.default_rng(0)
    shape = (FILMS, bundle.unet.config.in_channels, SIDE, SIDE)
    posteriors = Posteriors(rng.standard_normal(shape).astype(np.float16), np.full(shape, 0.1, dtype=np.float16))
    texts = ["", *CAPTIONS]
    states = encode_captions(bundle.tokenizer, bundle.text_encoder, texts, device=CPU)
    ids = None
    if preset.text_encoder != "frozen":
        ids = bundle.tokenizer(texts, padding="max_length", return_tensors="pt").input_ids
    prior = None
    if preset.train.prior is not None:
        drawn = prior_latents(bundle, preset.train.prior, seed=0, resolution=2 * SIDE, device=CPU)
        prior = (drawn, plain_prompt(bundle, preset.train.prior, preset, device=CPU))
    captions = Captions(np.arange(FILMS) % 3 + 1, states, ids)
    return Lesson(posteriors, np.arange(FILMS), captions, SCHEMA.encode(AGES, SEXES, RACES), SCHEMA, prior)


def small(preset: MethodPreset, **train: Any) -> MethodPreset:
    """A preset with a training that a test can wait for."""
    return preset.model_copy(update={"train": preset.train.model_copy(update=TRAINING | train)})


def teaching(
    folder: Path | None = None,
    preset: MethodPreset | None = None,
    *,
    bundle: Bundle | None = None,
    processes: Processes | None = None,
    train: dict[str, Any] | None = None,
    **changed: Any,
) -> Teaching:
    """A training of a tiny base model; ``changed`` are fields of the preset, ``train`` of its training."""
    adapters = {} if changed.get("tune") == "full" else {"lora": {"rank": 2, "alpha": 8}}
    fields = {"title": "Test", **adapters, **changed}
    preset = small(preset or MethodPreset.model_validate(fields), **(train or {}))
    bundle = bundle or tiny_bundle()
    torch.manual_seed(derive_seed("unrelated"))
    return Teaching(
        bundle,
        preset,
        lesson(bundle, preset),
        device=CPU,
        folder=folder,
        identity="i",
        progress=QUIET,
        processes=processes or Processes(),
    )
