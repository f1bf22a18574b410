"""Things that resemble a finding and are none: nipples, skin folds, fat pads, haze, leads. Any film may show them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from cxr_assets.cohorts.phantom.fields import Field, ridge, soft_step
from cxr_assets.cohorts.phantom.geometry import Chest, column
from cxr_assets.cohorts.phantom.parameters import Array, Batch


def draw_lookalikes(batch: Batch, chest: Chest) -> Field:
    """Attenuation of all look-alikes, float32 ``(N, S, S)``; strengths are 0 in most films."""
    p, s = batch.patient, batch.study
    total = np.zeros_like(chest.x)

    def add(weight: Array, draw: Callable[[Batch, Chest], Field]) -> None:
        some = np.flatnonzero(weight)
        if some.size:
            total[some] += column(weight[some]) * draw(batch.take(some), chest.take(some))

    def nipples(b: Batch, c: Chest) -> Field:
        x = 0.45 + 0.04 * column(b.patient.uniform("nipple", -1.0, 1.0))
        y = 0.30 + column(b.patient.normal("breast_level", 0.0, 0.03))
        side = column(b.study.side("nipple_side"))
        one = np.where(side > 0, c.left, 1.0 - c.left) + 0.35
        r2 = ((c.ax - x) ** 2 + (c.y - y) ** 2) / 0.030**2
        return np.minimum(one, 1.0) * soft_step(1.0 - r2, 0.5) * 0.085

    def fold(b: Batch, c: Chest) -> Field:
        side = column(b.study.side("fold_side"))
        lean = column(b.study.uniform("fold_angle", -0.25, 0.35))
        across = side * c.x - column(b.study.uniform("fold_x", 0.42, 0.60)) + lean * c.y
        # A fold fades to one side and has an edge, not a line; vessels go on beyond it.
        skin = soft_step(-across, 0.008) * np.exp(np.minimum(across, 0.0) * 9.0)
        return skin * soft_step(c.y + 0.55, 0.1) * soft_step(0.35 - c.y, 0.15) * soft_step(c.lung, 0.02) * 0.085

    def fat_pad(b: Batch, c: Chest) -> Field:
        near = ridge(c.medial, 0.09) * ridge(c.diaphragm - 0.02, 0.09) * soft_step(c.lung, 0.01)
        return near * (0.4 + 0.6 * c.left) * 0.12

    def haze(b: Batch, c: Chest) -> Field:
        x, y = column(b.study.uniform("haze_x", -0.5, 0.5)), column(b.study.uniform("haze_y", -0.3, 0.4))
        return ridge(c.x - x, 0.24) * ridge(c.y - y, 0.22) * 0.075

    def lead(b: Batch, c: Chest) -> Field:
        start = column(b.study.uniform("device_x", -0.5, 0.5))
        wire = ridge(c.x - start - 0.12 * np.sin(c.y * 3.0 + 4.0 * start), 0.008)
        return wire * soft_step(0.7 - np.abs(c.y), 0.05) * 0.13

    add(s.chance("nipple_show", 0.18), nipples)
    add(s.chance("skin_fold", 0.13), fold)
    add(p.chance("fat_pad", 0.30), fat_pad)
    add(s.chance("lookalike_haze", 0.30), haze)
    add(s.chance("device", 0.10), lead)
    return total
