"""Radiographic signs of the findings: what each adds to the attenuation, where, and what it does to the vessels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cxr_assets.cohorts.phantom.fields import Field, ridge, smooth_noise, soft_step
from cxr_assets.cohorts.phantom.geometry import Chest, column
from cxr_assets.cohorts.phantom.parameters import Array, Batch, Draws

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Sign:
    """One finding in the studies that have it, fields of shape ``(M, S, S)``.

    Attributes:
        attenuation: added to the film (negative where it is darker).
        mask: where a reader would outline the finding.
        vessels: factor on the vessels' attenuation, or None for 1.
    """

    attenuation: Field
    mask: Mask
    vessels: Field | None = None


def _side_field(chest: Chest, side: Field) -> Field:
    """1 on the named side (-1 image left, +1 image right, 0 both), else 0."""
    return np.where(side == 0, 1.0, np.where(side > 0, chest.left, 1.0 - chest.left)).astype(np.float32)


def _thorax(chest: Chest) -> Field:
    """1 within the pleural cavity, domes included."""
    return soft_step(np.minimum(np.minimum(chest.wall, chest.top), chest.medial), 0.012)


def cardiomegaly(batch: Batch, chest: Chest, size: int) -> Sign:
    """The geometry already carries the wide heart; here only its outline is kept."""
    outside = np.maximum(-chest.wall, 0.0)
    mask = (chest.heart_only > 0) & (outside == 0) & (chest.diaphragm > -0.10)
    return Sign(np.zeros_like(chest.x), mask)


def effusion_side(study: Draws) -> Array:
    """-1, +1, or 0 where both sides hold fluid, ``(N,)``."""
    both = study.chance("effusion_both", 0.25)
    return np.where(both > 0, 0.0, study.side("effusion_side")).astype(np.float32)


def pleural_effusion(batch: Batch, chest: Chest, size: int) -> Sign:
    """Fluid fills the costophrenic angle first, then rises with a meniscus that climbs the lateral wall."""
    severity = column(batch.severity["pleural_effusion"])
    on = _side_field(chest, column(effusion_side(batch.study)))
    dome = np.where(chest.left > 0.5, chest.dome_left, chest.dome_right)
    angle = dome + 0.19
    level = angle + 0.03 - 0.54 * severity**1.2
    climb = column(batch.study.uniform("effusion_curve", 0.10, 0.18)) * (0.6 + 0.6 * severity)
    lat = np.minimum(chest.lateral, 1.05)
    surface = level + climb * (0.55 - lat**5)
    under = chest.y - surface
    cavity = soft_step(np.minimum(chest.wall, chest.medial), 0.02) * soft_step(angle + 0.02 - chest.y, 0.06)
    fluid = soft_step(under, 0.035) * cavity * on
    depth = 0.72 + 0.28 * np.clip(under / 0.25, 0.0, 1.0)
    # Over the dome there is little air to displace, so the fluid only levels the contrast there.
    air = 0.12 + 0.88 * soft_step(chest.diaphragm, 0.035)
    strength = batch.gain["pleural_effusion"] * (0.08 + 0.42 * severity)
    return Sign(fluid * depth * air * strength, fluid > 0.5, 1.0 - 0.85 * fluid)


def pneumothorax(batch: Batch, chest: Chest, size: int) -> Sign:
    """A thin visceral pleural line inside the wall; beyond it no vessels and a darker field."""
    severity = column(batch.severity["pneumothorax"])
    on = _side_field(chest, column(batch.study.side("pneumothorax_side")))
    lateral = chest.wall * 0.9
    rim = np.minimum(lateral, chest.top)
    height = np.clip((chest.y - chest.apex) / (chest.wall_level - chest.apex), 0.0, 1.3)
    apical = column(batch.study.uniform("pneumothorax_apical", 0.7, 1.1))
    inset = (0.012 + 0.31 * severity**1.3) * np.clip(1.25 - apical * height, 0.0, 1.1)
    wavy = 0.012 * smooth_noise(batch.coarse[:, 2], size)
    gap = rim - inset - wavy
    inside = soft_step(np.minimum(chest.lung, 0.02 + chest.diaphragm), 0.012) * on
    free = soft_step(-gap, 0.010) * inside * soft_step(inset - 0.01, 0.012)
    line = ridge(gap, 0.013) * inside * soft_step(inset - 0.012, 0.015)
    collapsed = soft_step(gap, 0.02) * inside * np.maximum(severity - 0.35, 0.0)
    gain = batch.gain["pneumothorax"]
    attenuation = gain * (line * (0.035 + 0.085 * severity) - free * (0.01 + 0.11 * severity)) + 0.12 * collapsed
    return Sign(attenuation, free > 0.5, 1.0 - np.minimum(0.35 + severity, 0.97) * free)


def edema(batch: Batch, chest: Chest, size: int) -> Sign:
    """Perihilar (bat-wing) haze with fluffy edges, septal lines at the lateral bases."""
    severity = column(batch.severity["edema"])
    asymmetry = column(batch.study.uniform("edema_asymmetry", -0.25, 0.25))
    level = chest.hilum + column(batch.study.uniform("edema_level", 0.02, 0.14))
    reach = 0.25 + 0.12 * severity
    cloud = smooth_noise(batch.coarse[:, 0], size)
    fluff = smooth_noise(batch.medium[:, 0], size)
    wing = ridge(chest.ax - 0.27, reach) * ridge(chest.y - level, 0.30 + 0.12 * severity)
    wing *= 1.0 + asymmetry * (2.0 * chest.left - 1.0)
    lung = soft_step(chest.lung, 0.02)
    haze = np.maximum(wing * (1.0 + 0.45 * cloud + 0.45 * fluff), 0.0) * lung
    # Kerley B: short horizontal lines that touch the pleura at the bases.
    pitch = 0.034
    row = chest.y / pitch + 0.4 * cloud
    lines = ridge(row - np.floor(row) - 0.5, 0.14) * ridge(chest.wall - 0.045, 0.045) * ridge(chest.y - 0.28, 0.2)
    gain = batch.gain["edema"]
    attenuation = gain * (0.23 * severity**1.6 * haze + lines * lung * 0.09 * severity)
    return Sign(attenuation, (haze > 0.45) & (chest.lung > 0), 1.0 - 0.5 * severity * np.minimum(wing, 1.0))


def consolidation_place(study: Draws) -> tuple[Array, Array]:
    """Side (-1, +1) and height in the lung (0 apex, 1 dome) of a consolidation, ``(N,)`` each."""
    return study.side("consolidation_side"), study.uniform("consolidation_zone", 0.24, 0.86)


def consolidation(batch: Batch, chest: Chest, size: int) -> Sign:
    """Fluffy segmental opacity with an irregular border."""
    s = batch.study
    severity = column(batch.severity["consolidation"])
    side, zone = consolidation_place(s)
    on = _side_field(chest, column(side))
    dome = np.where(column(side) > 0, chest.dome_left, chest.dome_right)
    cy = chest.apex + column(zone) * (dome - chest.apex)
    cx = column(s.uniform("consolidation_x", 0.34, 0.52))
    radius = (0.12 + 0.15 * severity) * column(s.uniform("consolidation_size", 0.85, 1.2))
    squeeze = column(s.uniform("consolidation_shape", 0.75, 1.35))
    dx, dy = (chest.ax - cx) / radius * squeeze, (chest.y - cy) / radius / squeeze
    cloud, fluff = smooth_noise(batch.coarse[:, 1], size), smooth_noise(batch.medium[:, 1], size)
    field = 1.0 - np.sqrt(dx * dx + dy * dy) + 0.42 * cloud + 0.38 * fluff
    opacity = soft_step(field, 0.45) * soft_step(chest.lung, 0.014) * on * (1.0 + 0.25 * fluff)
    strength = batch.gain["consolidation"] * (0.10 + 0.21 * severity)
    return Sign(opacity * strength, opacity > 0.4, 1.0 - 0.5 * np.clip(opacity, 0.0, 1.0))


def atelectasis(batch: Batch, chest: Chest, size: int) -> Sign:
    """Plate or basal band of collapsed lung; the raised dome and the shifted mediastinum lie in the geometry."""
    s = batch.study
    severity = column(batch.severity["atelectasis"])
    side = column(s.side("atelectasis_side"))
    on = _side_field(chest, side)
    dome = np.where(side > 0, chest.dome_left, chest.dome_right)
    plate = column(s.chance("atelectasis_kind", 0.6))
    cy = dome - column(s.uniform("atelectasis_level", 0.06, 0.26))
    tilt = column(s.uniform("atelectasis_tilt", -0.3, 0.45))
    ragged = 0.012 * smooth_noise(batch.coarse[:, 2], size)
    across = chest.y - cy - tilt * (chest.ax - 0.42) + ragged
    thickness = column(s.uniform("atelectasis_thickness", 0.013, 0.022)) * (1.0 + 1.0 * severity)
    length = 0.18 + 0.12 * severity
    run = soft_step(length - np.abs(chest.ax - 0.40), 0.06)
    band = ridge(across, thickness) * run
    second = 0.7 * ridge(across + 0.085, thickness * 0.8) * run * soft_step(severity - 0.5, 0.1)
    base = soft_step(0.05 + 0.14 * severity - chest.diaphragm + 0.25 * (chest.ax - 0.3), 0.05)
    wedge = base * soft_step(0.62 - chest.ax, 0.12)
    lung = soft_step(chest.lung, 0.012) * on
    shape = np.where(plate > 0.5, np.maximum(band, second), np.maximum(wedge * 0.85, 0.7 * band)) * lung
    strength = batch.gain["atelectasis"] * (0.12 + 0.23 * severity)
    return Sign(shape * strength, shape > 0.4, 1.0 - 0.5 * shape)


def lesion_place(study: Draws) -> tuple[Array, Array]:
    """Side (-1, +1) and height in the lung (0 apex, 1 dome) of a lesion, ``(N,)`` each."""
    return study.side("lesion_side"), study.uniform("lesion_y", 0.22, 0.84)


def lung_lesion(batch: Batch, chest: Chest, size: int) -> Sign:
    """Round nodule or mass, radius 2 to 5.5 of 100 of the image width, slightly lobulated."""
    s = batch.study
    severity = column(batch.severity["lung_lesion"])
    side, height = lesion_place(s)
    side = column(side)
    dome = np.where(side > 0, chest.dome_left, chest.dome_right)
    cy = chest.apex + column(height) * (dome - chest.apex)
    cx = column(s.uniform("lesion_x", 0.30, 0.58)) + 0.05 * np.maximum(side, 0.0)
    cx = np.minimum(cx, chest.width * 0.55 + 0.35 * np.maximum(column(height) - 0.2, 0.0))
    # The image is 2 wide: 0.02 is 1 of 100 of its width.
    radius = 0.040 + 0.070 * severity
    dx, dy = side * chest.x - cx, chest.y - cy
    lobes = np.cos(3.0 * np.arctan2(dy, dx) + column(s.uniform("lesion_phase", 0.0, 6.28)))
    radius = radius * (1.0 + column(s.uniform("lesion_lobes", 0.0, 0.14)) * lobes)
    r2 = (dx * dx + dy * dy) / (radius * radius)
    ball = np.sqrt(np.clip(1.08 - r2, 0.0, 1.0)) * soft_step(1.15 - r2, 0.25)
    strength = batch.gain["lung_lesion"] * (0.20 + 0.24 * severity)
    return Sign(ball * strength, r2 < 1.0)


def fibrosis(batch: Batch, chest: Chest, size: int) -> Sign:
    """Reticular lines, densest at the bases and the periphery, in lungs that the geometry made small."""
    severity = column(batch.severity["fibrosis"])
    tilt = column(batch.study.uniform("fibrosis_asymmetry", -0.2, 0.2))
    extent = 0.16 + 0.34 * severity
    base = soft_step(extent - chest.diaphragm, 0.22)
    rim = soft_step(0.05 + 0.10 * severity - chest.wall, 0.10)
    place = np.clip(
        base * (0.45 + 0.55 * np.minimum(chest.lateral, 1.0)) + 0.8 * rim * soft_step(chest.y + 0.25, 0.3), 0, 1
    )
    place *= soft_step(chest.lung, 0.014) * (1.0 + tilt * (2.0 * chest.left - 1.0))
    net = np.exp(-np.abs(smooth_noise(batch.fine[:, 0], size)) * 7.0)
    mesh = np.exp(-np.abs(smooth_noise(batch.medium[:, 0, ::-1], size)) * 9.0)
    texture = 0.65 * net + 0.5 * mesh - 0.10
    strength = batch.gain["fibrosis"] * (0.08 + 0.25 * severity)
    return Sign(place * texture * strength, place > 0.45, 1.0 - 0.3 * place)


SIGNS: dict[str, Callable[[Batch, Chest, int], Sign]] = {
    "cardiomegaly": cardiomegaly,
    "edema": edema,
    "consolidation": consolidation,
    "atelectasis": atelectasis,
    "pneumothorax": pneumothorax,
    "pleural_effusion": pleural_effusion,
    "lung_lesion": lung_lesion,
    "fibrosis": fibrosis,
}
