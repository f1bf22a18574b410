"""Pulmonary vessels: one branching tree a lung, the patient's own, tapering from the hilum to the periphery."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from cxr_assets.cohorts.phantom.fields import Field, blur, splat
from cxr_assets.cohorts.phantom.geometry import Chest
from cxr_assets.cohorts.phantom.parameters import TREE_LEVELS, TREE_ROOTS, Array, Batch

_BRIGHTNESS = (0.20, 0.19, 0.16, 0.12, 0.09)
_WIDTH = (0.030, 0.023, 0.016, 0.011, 0.008)
# x, y and mass of points in body coordinates, each ``(N, P)``.
_Points: TypeAlias = tuple[Field, Field, Field]


def draw_vessels(batch: Batch, chest: Chest, *, size: int, upper: Array) -> tuple[Field, Field]:
    """Draw both trees of each study.

    Args:
        batch: draws; ``tree`` shapes the branching.
        chest: geometry.
        size: side S.
        upper: weight of upper-lobe vessels against 1.1 for lower ones, ``(N,)``: below 1 when upright, above it in
            vascular redistribution.

    Returns:
        Attenuation of all vessels and of the wide ones alone (for air bronchograms), float32 ``(N, S, S)``.
    """
    n = batch.age.shape[0]
    wide: list[_Points] = []
    middle: list[_Points] = []
    thin: list[_Points] = []
    for side in (0, 1):
        sign = -1.0 if side == 0 else 1.0
        z = batch.tree[:, side]
        fan = np.linspace(-1.32, 1.36, TREE_ROOTS, dtype=np.float32)
        angle = np.broadcast_to(fan, (n, TREE_ROOTS)) + 0.10 * z[:, :TREE_ROOTS, 2]
        # Erect lungs carry more blood at the bases.
        weight = np.where(angle < -0.2, upper[:, None], 1.1).astype(np.float32)
        x = np.full((n, TREE_ROOTS), 0.15, np.float32) + 0.02 * np.cos(angle)
        y = chest.hilum[:, :, 0] - 0.03 * (side == 1) + 0.05 * np.sin(angle)
        length = np.full((n, TREE_ROOTS), 0.215, np.float32) * (1.0 + 0.12 * np.abs(np.sin(angle)))
        start = 0
        for level in range(TREE_LEVELS):
            count = TREE_ROOTS * 2**level
            zl = z[:, start : start + count]
            start += count
            bend = 0.28 * zl[..., 0]
            reach = length * (1.0 + 0.14 * zl[..., 1])
            points = max(4, round(24 * 0.74**level * size / 128))
            t = (np.arange(points, dtype=np.float32) + 0.5) / points
            mean_angle = angle[..., None] + 0.5 * bend[..., None] * t
            px = x[..., None] + reach[..., None] * t * np.cos(mean_angle)
            py = y[..., None] + reach[..., None] * t * np.sin(mean_angle)
            taper = 1.0 - 0.25 * t
            mass = (weight * reach)[..., None] * taper * (_BRIGHTNESS[level] * _WIDTH[level] / points)
            group = wide if level < 2 else middle if level < 3 else thin
            group.append((sign * px.reshape(n, -1), py.reshape(n, -1), mass.reshape(n, -1)))
            end_angle = angle + 0.5 * bend
            x, y = x + reach * np.cos(end_angle), y + reach * np.sin(end_angle)
            fork = 0.33 + 0.09 * zl[..., 2]
            angle = np.stack([angle + bend - fork, angle + bend + fork], -1).reshape(n, -1)
            x, y = np.repeat(x, 2, axis=1), np.repeat(y, 2, axis=1)
            length, weight = np.repeat(length * 0.74, 2, axis=1), np.repeat(weight, 2, axis=1)

    def density(group: list[_Points], width: float) -> Field:
        px, py, mass = (np.concatenate(parts, axis=1) for parts in zip(*group, strict=True))
        cx, cy = chest.pose.to_canvas(px, py)
        return blur(splat(cx, cy, mass, size), width)

    trunks = density(wide, 0.0105)
    return trunks + density(middle, 0.007) + density(thin, 0.005), trunks
