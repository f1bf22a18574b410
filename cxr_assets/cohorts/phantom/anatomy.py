"""Attenuation of the healthy chest, structure by structure; values add up as they do along an X-ray beam."""

from __future__ import annotations

import numpy as np

from cxr_assets.cohorts.phantom.fields import Field, ridge, smooth_noise, soft_step
from cxr_assets.cohorts.phantom.geometry import Chest, column
from cxr_assets.cohorts.phantom.parameters import Batch


def soft_tissue(batch: Batch, chest: Chest) -> tuple[Field, Field]:
    """Body outline with neck, shoulders and breasts or pectoral muscle.

    Returns:
        Attenuation and body mask in [0, 1], float32 ``(N, S, S)``.
    """
    p, male = batch.patient, column(1.0 - batch.female)
    neck = 0.19 + 0.05 * male + column(p.normal("neck", 0.0, 0.012))
    drop = 0.46 - 0.10 * male + column(p.normal("shoulder", 0.0, 0.03))
    beyond = np.maximum(chest.ax - neck, 0.0)
    shoulder = chest.y + 1.12 - drop * (1.0 - np.exp(-beyond * 2.7))
    flank = chest.width + 0.13 + 0.03 * male + column(p.normal("tissue", 0.0, 0.02))
    flank = flank + 0.7 * soft_step(-(chest.y + 0.08), 0.30)
    body = np.minimum(shoulder, flank - chest.ax)
    inside = soft_step(body, 0.018)
    tissue = inside * (0.40 + 0.24 * (1.0 - np.exp(-np.maximum(body, 0.0) * 9.0)))

    size = column(p.uniform("breast_size", 0.27, 0.35))
    cy = column(p.normal("breast_level", 0.14, 0.03)) + 0.05 * chest.age01
    dx, dy = (chest.ax - 0.47) / 1.15, chest.y - cy
    radius = np.sqrt(dx * dx + dy * dy)
    # Breast tissue is deepest low down and ends in a sharp crescent.
    depth = np.clip(0.55 + 0.9 * dy / size, 0.0, 1.3)
    breast = soft_step(size - radius, 0.03) * (0.04 + 0.10 * depth)
    pectoral = ridge(chest.ax - 0.55, 0.28) * ridge(chest.y + 0.32, 0.26) * 0.05
    return tissue + inside * np.where(male > 0.5, pectoral, breast), inside


def lung_air(chest: Chest) -> Field:
    """Attenuation that the lungs' air takes away, 0 to about 0.45; some lung lies behind heart and domes."""
    bounds = np.minimum(chest.wall, chest.top)
    deep = 0.66 + 0.34 * (1.0 - np.exp(-np.maximum(bounds, 0.0) * 7.0))
    rim = soft_step(bounds, 0.014)
    front = soft_step(np.minimum(chest.diaphragm, chest.medial), 0.014)
    behind = soft_step(np.minimum(chest.diaphragm + 0.16, chest.ax - 0.09), 0.06)
    return rim * deep * (0.39 * front + 0.09 * behind)


def mediastinum(batch: Batch, chest: Chest) -> Field:
    """Heart, great vessels, hila, trachea and main bronchi."""
    p = batch.patient
    heart = soft_step(chest.heart_only, 0.05) * 0.10 * (1.0 - np.exp(-np.maximum(chest.heart, 0.0) * 6.0))
    pedicle = soft_step(chest.heart, 0.03) * 0.07
    hila = column(p.uniform("hilum_size", 0.075, 0.115))
    hy = chest.hilum - 0.035 * chest.left
    blob = (
        column(p.uniform("hilum_size", 0.08, 0.19))
        * ridge(chest.ax - 0.165, hila * 0.8)
        * ridge(chest.y - hy, hila * 1.35)
    )
    bend = column(p.uniform("trachea", 0.01, 0.03))
    carina = chest.hilum - 0.13
    centre = -bend * ridge(chest.y - carina + 0.12, 0.15)
    airway = ridge(chest.x - centre, 0.044) * soft_step(carina - chest.y, 0.03)
    run = chest.y - carina
    slope = np.where(chest.left > 0.5, 1.15, 0.75)
    bronchi = ridge(chest.ax - 0.01 - slope * run, 0.034) * soft_step(run, 0.03) * soft_step(0.15 - run, 0.05)
    return heart + pedicle + blob - 0.17 * airway - 0.11 * bronchi


def abdomen(batch: Batch, chest: Chest) -> Field:
    """Liver and spleen below the domes, with the stomach bubble under the left one."""
    below = soft_step(-chest.diaphragm, 0.05)
    bubble_x = 0.34 + column(batch.patient.uniform("bubble", -0.06, 0.06))
    show = column(batch.study.chance("bubble_show", 0.75) * (0.5 + 0.5 * batch.patient.uniform("bubble", 0.0, 1.0)))
    dx, dy = (chest.x - bubble_x) / 0.17, (chest.y - chest.dome_left - 0.13) / 0.075
    bubble = soft_step(1.0 - dx * dx - dy * dy, 0.35)
    return below * (0.13 + 0.03 * (1.0 - chest.left)) - 0.20 * show * bubble


def _rib_band(phase: Field, half_width: Field) -> Field:
    """Profile of a rib across its run: body with denser cortical margins; ``phase`` counts ribs."""
    off = np.abs(phase - np.floor(phase) - 0.5)
    return soft_step(half_width - off, 0.07) * 0.62 + ridge(off - half_width + 0.04, 0.055) * 0.55


def bones(batch: Batch, chest: Chest, size: int) -> Field:
    """Ribs, clavicles, scapulae, spine; density falls with age while costal cartilage and aorta calcify."""
    p, s = batch.patient, batch.study
    male = column(1.0 - batch.female)
    density = (1.22 - 0.62 * chest.age01) * column(p.uniform("bone", 0.92, 1.08)) * (0.94 + 0.12 * male)
    lat = np.minimum(chest.lateral, 1.3)
    pitch = column(p.uniform("rib_pitch", 0.112, 0.128)) * (1.0 - 0.08 * chest.age01)
    half = column(p.uniform("rib_width", 0.18, 0.23))
    # Old, kyphotic chests carry their ribs more steeply.
    drop = column(p.uniform("rib_drop", 0.28, 0.36)) + 0.05 * chest.age01
    lat2 = lat * lat
    fall = -0.13 * lat + drop * lat2 + 0.10 * lat2 * lat2 * lat2
    phase = (chest.y - fall + 0.62) / pitch + column(p.uniform("rib_phase", 0.0, 1.0))
    cage = soft_step(1.06 - lat, 0.035) * soft_step(lat - 0.13, 0.05)
    reach = soft_step(chest.top + 0.04, 0.05) * soft_step(0.62 - chest.y, 0.25)
    uneven = 1.0 + 0.22 * smooth_noise(batch.warp[:, 0, ::-1], size)
    posterior = _rib_band(phase, half) * cage * reach * uneven * 0.105
    rise = 1.0 - lat
    fall = column(p.uniform("anterior_drop", 0.50, 0.60)) * rise - 0.20 * rise * rise
    phase = (chest.y - fall + 0.5) / (pitch * 1.12) + column(p.uniform("anterior_phase", 0.0, 1.0))
    junction = soft_step(lat - 0.44, 0.07)
    front = soft_step(1.06 - lat, 0.035) * soft_step(chest.y + 0.50, 0.12) * soft_step(0.52 - chest.y, 0.2)
    anterior = _rib_band(phase, half * 1.15) * front * junction * 0.062
    cartilage = np.maximum(chest.age01 - 0.42, 0.0) * column(p.uniform("calcification", 0.8, 1.5))
    off = np.abs(phase - np.floor(phase) - 0.5)
    speckle = np.maximum(smooth_noise(batch.fine[:, 1], size) + 0.35, 0.0)
    spots = ridge(off, 0.22) * ridge(chest.ax - 0.32, 0.09) * front * speckle * cartilage * 0.42

    level = column(p.normal("clavicle_level", -0.50, 0.018)) - 0.03 * column(batch.ap)
    tilt = column(p.uniform("clavicle_angle", 0.10, 0.28))
    bow = column(p.uniform("clavicle_bow", 0.03, 0.06))
    extent = 0.66 + 0.10 * male
    along = (chest.ax - 0.08) / extent
    centre = level - tilt * (chest.ax - 0.08) - bow * np.sin(along * 6.0)
    thick = column(p.uniform("clavicle_thickness", 0.022, 0.029)) * (0.9 + 0.2 * male) * (1.0 + 0.5 * ridge(along, 0.2))
    across = np.abs(chest.y - centre) / thick
    shaft = soft_step(1.0 - across, 0.25) * 0.65 + ridge(across - 0.85, 0.22) * 0.4
    clavicle = shaft * soft_step(along, 0.03) * soft_step(1.0 - along, 0.04) * 0.17

    edge = 0.66 + 0.04 * male + column(p.normal("scapula", 0.0, 0.02)) - 0.05 * column(batch.ap)
    border = chest.ax - edge - 0.16 * (chest.y + 0.2)
    blade = soft_step(border, 0.012) * soft_step(0.30 - border, 0.10)
    blade *= soft_step(chest.y + 0.58 - 0.3 * border, 0.05) * soft_step(0.16 - chest.y - 1.1 * border, 0.06)
    shown = column(s.uniform("scapula_show", 0.3, 1.0)) * (0.8 + 0.4 * column(batch.ap))
    scapula = (blade * 0.045 + blade * ridge(border - 0.014, 0.02) * 0.05) * shown
    head = soft_step(0.15 - np.hypot(chest.ax - 0.93 - 0.04 * male, chest.y + 0.56), 0.05) * 0.085

    vertebra = (chest.y + 0.03 * column(p.uniform("vertebra", 0.0, 4.0))) / (pitch * 0.95)
    disc = np.abs(vertebra - np.floor(vertebra) - 0.5)
    body = soft_step(0.105 + 0.02 * chest.y - chest.ax, 0.018)
    spine = body * (0.075 + 0.04 * soft_step(0.36 - disc, 0.08)) + 0.05 * ridge(chest.ax - 0.062, 0.02) * ridge(
        disc, 0.2
    )
    spine *= 0.75 + 0.25 * density
    return density * (posterior + anterior + clavicle + scapula + head) + spine + spots


def aortic_calcification(batch: Batch, chest: Chest) -> Field:
    """Bright arc along the aortic knob, from about 60 years on."""
    amount = np.maximum(chest.age01 - 0.52, 0.0) * column(batch.patient.uniform("calcification", 0.8, 1.5))
    knob_y = column(batch.patient.normal("knob_level", -0.33, 0.015)) + 0.02 * chest.age01
    return amount * 0.55 * ridge(chest.heart - 0.014, 0.014) * ridge(chest.y - knob_y, 0.075) * chest.left
