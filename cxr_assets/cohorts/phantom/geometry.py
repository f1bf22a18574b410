"""Where everything lies: body coordinates, lung walls, domes, heart borders.

Body coordinates: x to the image's right (patient's left), y down, both 0 at the image centre and about 1 at its edge
for an unrotated, unscaled film. Parameters are float32 of shape ``(N, 1, 1)``; fields ``(N, S, S)``.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from cxr_assets.cohorts.phantom.fields import Field, smooth_noise
from cxr_assets.cohorts.phantom.parameters import Array, Batch


def column(values: Array) -> Field:
    """``(N,)`` -> ``(N, 1, 1)`` so that a parameter broadcasts over its image."""
    return np.asarray(values, np.float32)[:, None, None]


@dataclass(frozen=True)
class Pose:
    """How body coordinates lie on the canvas: rotation (radians), shift and magnification, each ``(N,)``."""

    angle: Array
    shift_x: Array
    shift_y: Array
    scale: Array

    def to_canvas(self, x: Field, y: Field) -> tuple[Field, Field]:
        """Body points ``(N, P)`` -> canvas points ``(N, P)``."""
        cos, sin = np.cos(self.angle)[:, None], np.sin(self.angle)[:, None]
        x, y = x * self.scale[:, None], y * self.scale[:, None]
        return cos * x - sin * y + self.shift_x[:, None], sin * x + cos * y + self.shift_y[:, None]

    def to_body(self, size: int) -> tuple[Field, Field]:
        """Body coordinates of each pixel centre, two fields ``(N, S, S)``."""
        line = ((np.arange(size, dtype=np.float32) + 0.5) / size) * 2.0 - 1.0
        u = line[None, None, :] - column(self.shift_x)
        v = line[None, :, None] - column(self.shift_y)
        cos, sin = column(np.cos(self.angle) / self.scale), column(np.sin(self.angle) / self.scale)
        return cos * u + sin * v, cos * v - sin * u


@dataclass(frozen=True)
class Chest:
    """Parameters ``(N, 1, 1)`` and fields ``(N, S, S)`` of a batch of chests.

    Attributes:
        x, y: body coordinates; ax: |x|; left: 1 on the patient's left (image right).
        width: half the inner thoracic width; apex, wall_level: y of lung apex and of the widest level.
        dome_right, dome_left: y of the dome tops; hilum: y of the hila.
        ctr: cardiothoracic ratio; heart_right, heart_left: x of the outermost borders; heart_level: y of the apex.
        age01: 0 at 18 and 1 at 95 years, with a patient's own pace of ageing.
        wall, top, diaphragm, medial: signed distances into the lung; lung: their minimum.
        heart: signed distance into heart and great vessels; heart_only: the same, heart alone.
        lateral: 0 at the midline and 1 at the lateral wall.
    """

    pose: Pose
    x: Field
    y: Field
    ax: Field
    left: Field
    width: Field
    apex: Field
    wall_level: Field
    dome_right: Field
    dome_left: Field
    hilum: Field
    ctr: Field
    heart_right: Field
    heart_left: Field
    heart_level: Field
    age01: Field
    wall: Field
    top: Field
    diaphragm: Field
    medial: Field
    lung: Field
    heart: Field
    heart_only: Field
    lateral: Field

    def take(self, index: NDArray[np.intp]) -> Chest:
        """The rows ``index`` as chests of their own."""
        pose = Pose(**{f.name: getattr(self.pose, f.name)[index] for f in fields(Pose)})
        rest = {f.name: getattr(self, f.name)[index] for f in fields(Chest) if f.name != "pose"}
        return Chest(pose=pose, **rest)


def cardiothoracic_ratio(batch: Batch) -> Array:
    """Heart width over inner thoracic width, ``(N,)``: < 0.5 without cardiomegaly, > 0.5 from severity 0.5 on."""
    p, s = batch.patient, batch.study
    poor = s.chance("poor_inspiration", 0.12)
    normal = p.normal("ctr", 0.432, 0.020) + 0.020 * _age01(batch) + 0.008 * batch.ap + 0.015 * poor
    severity = batch.severity["cardiomegaly"]
    # Some of the patient's own shape stays in the enlarged heart; mild cases overlap with wide normal ones.
    enlarged = 0.45 + 0.3 * (normal - 0.44) + 0.14 * batch.gain["cardiomegaly"] * severity
    return np.where(severity > 0, enlarged, np.minimum(normal, 0.492)).astype(np.float32)


def _age01(batch: Batch) -> Array:
    return np.clip((batch.age - 18.0) / 77.0 + batch.patient.normal("aging", 0.0, 0.035), 0.0, 1.05).astype(np.float32)


def _bump(y: Field, centre: Field, above: float | Field, below: float | Field) -> Field:
    """Unit bump around ``centre`` with its own reach upwards and downwards."""
    t = (y - centre) * np.where(y < centre, 1.0 / above, 1.0 / below).astype(np.float32)
    t *= t
    return np.exp(-t * (0.6 + 0.4 * t))


def build_chest(batch: Batch, size: int) -> Chest:
    """Lay out the chests of a batch on ``size`` x ``size`` canvases."""
    p, s, severity = batch.patient, batch.study, batch.severity
    male, age01 = 1.0 - batch.female, _age01(batch)
    pose = Pose(
        angle=s.normal("rotation", 0.0, 0.022),
        shift_x=s.normal("shift_x", 0.0, 0.022),
        shift_y=s.normal("shift_y", 0.0, 0.02),
        scale=s.normal("scale", 0.985, 0.025) + 0.02 * batch.ap,
    )
    x, y = pose.to_body(size)
    warp = batch.warp
    x += 0.016 * smooth_noise(warp[:, 0], size)
    y += 0.016 * smooth_noise(warp[:, 1], size)

    fibrosis, collapse = severity["fibrosis"], severity["atelectasis"]
    collapse_side = s.side("atelectasis_side")
    poor = s.chance("poor_inspiration", 0.12)
    lift = 0.05 * s.uniform("inspiration", -1.0, 1.0) + 0.10 * poor + 0.03 * batch.ap + 0.08 * fibrosis + 0.07 * age01
    dome = p.normal("dome", 0.43, 0.018) - lift
    gap = p.uniform("dome_difference", 0.02, 0.06)
    volume_loss = 0.10 * collapse * batch.gain["atelectasis"]
    dome_right = column(dome - volume_loss * (collapse_side < 0))
    dome_left = column(dome + gap - volume_loss * (collapse_side > 0))
    width = column(0.725 + 0.055 * male + p.normal("width", 0.0, 0.018))
    apex = column(p.normal("apex", -0.735, 0.015) + 0.06 * age01**2)
    wall_level = column(p.normal("wall_level", 0.36, 0.03))
    hilum = column(p.normal("hilum_level", -0.06, 0.018) - 0.2 * lift)

    # Mediastinal shift: towards a collapse, away from a large pneumothorax.
    air = severity["pneumothorax"]
    shift = 0.035 * collapse * collapse_side - 0.05 * np.maximum(air - 0.55, 0.0) * s.side("pneumothorax_side")
    middle = column(shift + s.normal("turn", 0.0, 0.008))
    ratio = cardiothoracic_ratio(batch)
    span = 2.0 * width * column(ratio)
    right_share = column(p.uniform("heart_right", 0.26, 0.33))
    heart_right, heart_left = middle - span * right_share, middle + span * (1.0 - right_share)
    base = column(dome + 0.5 * gap)
    heart_level = base - column(p.uniform("heart_level", 0.05, 0.11))

    mx = x - middle
    ax, left = np.abs(x), (x > 0).astype(np.float32)
    t = np.clip((wall_level - y) / (wall_level - apex), 0.0, 1.0)
    low = np.maximum(y - wall_level, 0.0)
    outline = 0.27 + (width - 0.27) * np.sqrt(np.maximum(1.0 - t * t * (0.75 + 0.25 * t), 0.0)) - 0.22 * low * low
    wall = outline - ax
    inner = np.maximum(0.29 - ax, 0.0)
    top = y - apex - 2.4 * inner * inner
    peak = np.where(x > 0, dome_left, dome_right)
    off = ax - (0.36 + 0.03 * left)
    outward = np.maximum(off, 0.0) / np.maximum(width - 0.38, 0.2)
    inward = np.minimum(off, 0.0)
    dome_line = peak + 0.06 * outward * outward + 0.15 * outward**4 + 0.45 * inward * inward
    diaphragm = dome_line - y

    # Great vessels: pedicle, knob and descending aorta grow and unfold with age; the ascending aorta bulges right.
    unfold = column(0.07 * age01**1.5 * p.uniform("unfolding", 0.7, 1.3))
    knob_y = column(p.normal("knob_level", -0.33, 0.015) + 0.02 * age01)
    knob = column(0.035 + 0.075 * age01 * p.uniform("knob", 0.8, 1.2))
    pedicle = column(0.088 + 0.02 * age01 + 0.01 * batch.ap)
    reach = column(p.uniform("heart_shape", 0.30, 0.40))
    bulge = heart_left - middle - pedicle
    left_border = (
        pedicle
        + bulge * _bump(y, heart_level, reach, 0.22)
        + knob * _bump(y, knob_y, 0.075, 0.085)
        + unfold * 0.6 * _bump(y, knob_y + 0.2, 0.2, 0.4)
        + 0.035 * _bump(y, hilum - 0.04, 0.09, 0.12)
    )
    right_bulge = middle - heart_right - pedicle
    right_border = (
        pedicle + right_bulge * _bump(y, heart_level - 0.04, 0.27, 0.25) + unfold * _bump(y, knob_y + 0.12, 0.16, 0.26)
    )
    heart = np.minimum(left_border - mx, mx + right_border)
    heart_top = y - (hilum - 0.02)
    heart_only = np.minimum(np.minimum(heart, heart_top), base + 0.13 - y)
    medial = -heart
    lung = np.minimum(np.minimum(wall, top), np.minimum(diaphragm, medial))
    return Chest(
        pose=pose, x=x, y=y, ax=ax, left=left, width=width, apex=apex, wall_level=wall_level, dome_right=dome_right,
        dome_left=dome_left, hilum=hilum, ctr=column(ratio), heart_right=heart_right, heart_left=heart_left,
        heart_level=heart_level, age01=column(age01), wall=wall, top=top, diaphragm=diaphragm, medial=medial,
        lung=lung, heart=heart, heart_only=heart_only, lateral=ax / np.maximum(outline, 0.2),
    )  # fmt: skip
