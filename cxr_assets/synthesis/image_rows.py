"""Rows of synthetic images and of the attempts at them, with the name that an image has everywhere."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import polars as pl
from PIL import Image

from cxr_assets.diffusion.config import MethodPreset
from cxr_assets.diffusion.sampling import SamplerSettings
from cxr_assets.keys import Stratum
from cxr_assets.synthesis.requests import ImageRequest
from cxr_assets.synthesis.trials import Attempt, Kept
from cxr_assets.warehouse.manifest import digest_json

IMAGES = {
    "image_id": pl.String,
    "method": pl.String,
    "finding": pl.String,
    "age": pl.String,
    "sex": pl.String,
    "race": pl.String,
    "stratum": pl.String,
    "index": pl.Int64,
    "prompt_id": pl.String,
    "k": pl.Int64,
    "source_study": pl.String,
    "age_years": pl.Int64,
    "labels": pl.String,
    "prompt": pl.String,
    "negative_prompt": pl.String,
    "demographics_json": pl.String,
    "seed": pl.Int64,
    "sampler": pl.String,
    "steps": pl.Int64,
    "guidance": pl.Float64,
    "strength": pl.Float64,
    "width": pl.Int64,
    "height": pl.Int64,
    "base_id": pl.String,
    "adapter_id": pl.String,
    "caption_policy": pl.String,
    "file": pl.String,
    "sha256": pl.String,
    "cohort": pl.String,
    "terms": pl.String,
    "passed_quality": pl.Boolean,
    "reject_reason": pl.String,
}
"""``age``, ``sex`` and ``race`` are those of the stratum; ``demographics_json`` holds what was asked for."""
ATTEMPTS = {
    "image_id": pl.String,
    "prompt_id": pl.String,
    "method": pl.String,
    "finding": pl.String,
    "age": pl.String,
    "sex": pl.String,
    "race": pl.String,
    "stratum": pl.String,
    "k": pl.Int64,
    "seed": pl.Int64,
    "accepted": pl.Boolean,
    "reason": pl.String,
}


@dataclass(frozen=True)
class DrawnWith:
    """What draws the images of a method. ``impressions`` are texts by study, where the method is asked with them."""

    method: str
    preset: MethodPreset
    base_id: str
    adapter_id: str
    sampler: SamplerSettings
    impressions: Mapping[str, str] = field(default_factory=dict)

    def prompt(self, request: ImageRequest) -> str:
        """What a request is in this method's words."""
        return request.prompt(self.preset, self.impressions)

    def image_id(self, request: ImageRequest) -> str:
        """First 32 hex digits of a SHA-256 over everything that decides the image: the same request has the same id."""
        parts = [
            self.method,
            self.base_id,
            self.adapter_id,
            self.prompt(request),
            request.person,  # a conditioner may carry what the prompt does not say
            str(request.stratum),
            self.sampler.decisive(),
            self.preset.demographic_guidance,
            request.seed,
            request.index,
        ]
        return digest_json(parts)[:32]


def stratum_keys(method: str, stratum: Stratum) -> dict[str, str]:
    """Hive keys of one method × stratum partition."""
    return {"method": method, "finding": stratum.finding, "age": stratum.age, "sex": stratum.sex, "race": stratum.race}


def image_row(
    kept: Kept, by: DrawnWith, *, data: bytes, file: str, cohort: str, caption_policy: str, terms: str
) -> dict[str, object]:
    """Row of a kept image.

    Args:
        data: bytes of its ``file``.
    """
    request, sampler = kept.request, by.sampler
    return {
        "image_id": by.image_id(request),
        **stratum_keys(by.method, request.stratum),
        "stratum": str(request.stratum),
        "index": request.index,
        "prompt_id": request.prompt_id,
        "k": request.k,
        "source_study": request.source_study,
        "age_years": request.age_years,
        "labels": "|".join(request.labels),
        "prompt": by.prompt(request),
        "negative_prompt": sampler.negative_prompt,
        "demographics_json": json.dumps(request.asked | {"age_years": request.age_years}, sort_keys=True),
        "seed": request.seed,
        "sampler": sampler.sampler,
        "steps": sampler.steps,
        "guidance": sampler.guidance,
        "strength": None,
        "width": kept.film.shape[1],
        "height": kept.film.shape[0],
        "base_id": by.base_id,
        "adapter_id": by.adapter_id,
        "caption_policy": caption_policy,
        "file": file,
        "sha256": hashlib.sha256(data).hexdigest(),
        "cohort": cohort,
        "terms": terms,
        "passed_quality": kept.reason is None,
        "reject_reason": kept.reason,
    }


def attempt_row(attempt: Attempt, by: DrawnWith) -> dict[str, object]:
    """Row of one attempt, whether it was kept or not."""
    request = attempt.request
    return {
        "image_id": by.image_id(request),
        "prompt_id": request.prompt_id,
        **stratum_keys(by.method, request.stratum),
        "stratum": str(request.stratum),
        "k": request.k,
        "seed": request.seed,
        "accepted": attempt.accepted,
        "reason": attempt.reason,
    }


def png_bytes(film: np.ndarray) -> bytes:
    """A film as 8-bit grey PNG, the same bytes for the same pixels."""
    buffer = io.BytesIO()
    Image.fromarray(film).save(buffer, "PNG", compress_level=6)
    return buffer.getvalue()
