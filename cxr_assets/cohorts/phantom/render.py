"""Draws studies: parameters -> attenuation -> film, with lung fields and a mask per finding."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cxr_assets.cohorts.phantom.anatomy import abdomen, aortic_calcification, bones, lung_air, mediastinum, soft_tissue
from cxr_assets.cohorts.phantom.config import FINDINGS
from cxr_assets.cohorts.phantom.fields import smooth_noise, soft_step
from cxr_assets.cohorts.phantom.film import develop
from cxr_assets.cohorts.phantom.geometry import build_chest, column
from cxr_assets.cohorts.phantom.lookalikes import draw_lookalikes
from cxr_assets.cohorts.phantom.parameters import Batch, draw_batch, severity_matrix
from cxr_assets.cohorts.phantom.signs import SIGNS
from cxr_assets.cohorts.phantom.vessels import draw_vessels

# Pixels drawn at once: the working fields of a block then stay within a few hundred megabytes at any image size.
_BLOCK_PIXELS = 32 * 128 * 128
_NEEDED = ("study_id", "patient_id", "age_years", "sex", "style", "view")


@dataclass(frozen=True)
class RenderedBatch:
    """Images of N studies in the order of the request.

    Attributes:
        images: uint8 ``(N, S, S)``, white = dense.
        lungs: bool ``(N, S, S)``, lung fields outside heart and domes.
        masks: finding -> bool ``(N, S, S)``, all False where the finding is absent.
    """

    images: NDArray[np.uint8]
    lungs: NDArray[np.bool_]
    masks: dict[str, NDArray[np.bool_]]


def render(
    studies: pl.DataFrame, truth: pl.DataFrame, *, size: int, seed: int, gains: dict[str, float] | None = None
) -> RenderedBatch:
    """Draw studies.

    Args:
        studies: one row a study, with study_id, patient_id, age_years, sex, style and view.
        truth: long table with study_id, finding, present and severity; rows of other studies are ignored.
        size: side S of the images in pixels, 64 to 512.
        seed: of the cohort. Pixels depend on it, on the ids and on the study's own row, never on the batch.
        gains: finding -> visibility factor (``PhantomConfig.contrast_gain``); 1 where not given.

    Returns:
        RenderedBatch with images, lungs and masks.
    """
    missing = [name for name in _NEEDED if name not in studies.columns]
    if missing:
        raise ValueError(f"phantom studies have no column {missing}. Seen: {studies.columns}. Nothing was drawn.")
    if not 64 <= size <= 512:
        raise ValueError(f"phantom image size {size}. Expected 64 to 512 pixels. Nothing was drawn.")
    gain = {finding: 1.0 for finding in FINDINGS} | (gains or {})
    severity = severity_matrix(studies, truth)
    n = studies.height
    out = RenderedBatch(
        images=np.empty((n, size, size), np.uint8),
        lungs=np.empty((n, size, size), np.bool_),
        masks={finding: np.zeros((n, size, size), np.bool_) for finding in FINDINGS},
    )
    block = max(1, _BLOCK_PIXELS // (size * size))
    for start in range(0, n, block):
        rows = slice(start, min(start + block, n))
        batch = draw_batch(studies[rows], severity[rows], seed=seed, gain=gain)
        _draw_block(batch, size, out, start)
    return out


def _draw_block(batch: Batch, size: int, out: RenderedBatch, start: int) -> None:
    """Draw one block into its rows of ``out``."""
    chest = build_chest(batch, size)
    stop = start + batch.age.shape[0]
    tissue, inside = soft_tissue(batch, chest)
    clouds = smooth_noise(batch.coarse[:, 0, ::-1], size)
    attenuation = tissue - lung_air(chest) * inside * (1.0 + 0.04 * clouds)
    attenuation += mediastinum(batch, chest) * inside
    attenuation += abdomen(batch, chest) * inside
    attenuation += bones(batch, chest, size) * inside
    attenuation += aortic_calcification(batch, chest)
    attenuation += draw_lookalikes(batch, chest) * inside

    vascular = batch.study.uniform("vessels", 0.62, 1.12)
    # Healthy upper lobes differ as well, so that mild redistribution is no proof of edema.
    upper = 0.62 + batch.study.uniform("edema_asymmetry", -0.12, 0.28) + 0.34 * batch.severity["edema"]
    vessels, trunks = draw_vessels(batch, chest, size=size, upper=upper)
    factor = soft_step(chest.lung + 0.02, 0.025) * column(vascular)
    for finding, draw in SIGNS.items():
        some = np.flatnonzero(batch.severity[finding] > 0)
        if not some.size:
            continue
        sign = draw(batch.take(some), chest.take(some), size)
        attenuation[some] += sign.attenuation
        if finding == "consolidation":
            # Air-filled bronchi run beside the wide vessels and show dark once the lung around them is airless.
            attenuation[some] -= 0.9 * trunks[some] * sign.mask
        if sign.vessels is not None:
            factor[some] *= sign.vessels
        out.masks[finding][start + some] = sign.mask
    attenuation += vessels * factor
    out.lungs[start:stop] = chest.lung > 0
    out.images[start:stop] = develop(attenuation, batch)
