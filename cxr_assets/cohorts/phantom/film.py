"""From attenuation to film: characteristic curve, scatter, grid, noise, collimation and markers of each style.

A style stands for a site and its equipment. It is drawn given the race field and is the only thing that field changes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cxr_assets.cohorts.phantom.fields import Field, blur, soft_step
from cxr_assets.cohorts.phantom.parameters import Batch


@dataclass(frozen=True)
class Style:
    """Equipment of a site.

    Attributes:
        slope, centre: of the logistic characteristic curve; floor: grey value of unattenuated film in [0, 1].
        unsharp: weight of the edge enhancement; noise: standard deviation of grey values; grain: blur of it in pixels.
        grid: amplitude of the anti-scatter grid's lines.
        border: width of the collimation border (0 = none), by sides ("x", "y", "xy"); border_grey: its grey value.
        marker: text beside the patient's left (image right) or right; corner: its canvas position; marker_size: height.
    """

    slope: float
    centre: float
    floor: float
    unsharp: float
    noise: float
    grain: float
    grid: float
    border: float
    border_axes: str
    border_grey: float
    marker: str
    corner: tuple[float, float]
    marker_size: float


STYLE_TABLE: dict[str, Style] = {
    "direct_digital": Style(5.6, 0.50, 0.02, 0.0, 0.016, 0.0, 0.0, 0.0, "x", 0.0, "L", (0.86, -0.80), 0.11),
    "film_scan": Style(8.6, 0.54, 0.05, 0.0, 0.030, 0.7, 0.0, 0.055, "x", 0.0, "R", (-0.84, -0.62), 0.13),
    "portable_grid": Style(4.1, 0.41, 0.12, 0.0, 0.026, 0.0, 0.020, 0.0, "y", 0.0, "PORTABLE", (-0.62, -0.93), 0.085),
    "edge_enhanced": Style(5.0, 0.52, 0.0, 0.85, 0.022, 0.0, 0.0, 0.06, "xy", 0.72, "L", (0.80, 0.78), 0.10),
}

_GLYPHS: dict[str, tuple[str, ...]] = {
    "A": ("01110", "10001", "10001", "11111", "10001", "10001", "10001"),
    "B": ("11110", "10001", "10001", "11110", "10001", "10001", "11110"),
    "E": ("11111", "10000", "10000", "11110", "10000", "10000", "11111"),
    "L": ("10000", "10000", "10000", "10000", "10000", "10000", "11111"),
    "O": ("01110", "10001", "10001", "10001", "10001", "10001", "01110"),
    "P": ("11110", "10001", "10001", "11110", "10000", "10000", "10000"),
    "R": ("11110", "10001", "10001", "11110", "10100", "10010", "10001"),
    "T": ("11111", "00100", "00100", "00100", "00100", "00100", "00100"),
    " ": ("00000",) * 7,
}


def _bitmap(text: str) -> NDArray[np.float32]:
    """Text as a bitmap of 7 rows, one empty column between letters."""
    rows = ["0".join(_GLYPHS[letter][r] for letter in text) for r in range(7)]
    return np.array([[float(bit) for bit in row] for row in rows], np.float32)


def _stamp(image: Field, text: str, x: float, y: float, height: float) -> None:
    """Burn text into one image (S, S) in place; centre and height in canvas units."""
    size = image.shape[0]
    bits = np.pad(_bitmap(text), 1)
    cell = height * size / 2.0 / 7.0
    rows, cols = bits.shape
    top, left = (y + 1.0) * size / 2.0 - rows * cell / 2.0, (x + 1.0) * size / 2.0 - cols * cell / 2.0
    left = min(max(left, 0.0), size - cols * cell)
    r0, r1 = max(int(top), 0), min(int(np.ceil(top + rows * cell)), size)
    c0, c1 = max(int(left), 0), min(int(np.ceil(left + cols * cell)), size)
    # Four samples a pixel and axis keep small letters legible.
    sub = (np.arange(4) + 0.5) / 4.0
    yy = ((np.arange(r0, r1)[:, None] + sub).ravel() - top) / cell
    xx = ((np.arange(c0, c1)[:, None] + sub).ravel() - left) / cell
    rr, cc = np.floor(yy).astype(int), np.floor(xx).astype(int)
    ok = ((rr >= 0) & (rr < rows))[:, None] & ((cc >= 0) & (cc < cols))[None, :]
    ink = np.where(ok, bits[np.clip(rr, 0, rows - 1)][:, np.clip(cc, 0, cols - 1)], 0.0)
    ink = ink.reshape(r1 - r0, 4, c1 - c0, 4).mean((1, 3))
    patch = image[r0:r1, c0:c1]
    np.copyto(patch, patch + (0.97 - patch) * ink)


def develop(attenuation: Field, batch: Batch) -> NDArray[np.uint8]:
    """Expose and process the films of a batch.

    Args:
        attenuation: float32 ``(N, S, S)``, 0 in air to about 1 in the abdomen.
        batch: draws, styles and views.

    Returns:
        uint8 ``(N, S, S)``, white = dense.
    """
    size = attenuation.shape[-1]
    s = batch.study
    styles = [STYLE_TABLE[name] for name in batch.style]

    def each(name: str) -> Field:
        return np.array([getattr(style, name) for style in styles], np.float32)[:, None, None]

    exposure = s.normal("exposure", 0.0, 0.022)[:, None, None]
    contrast = s.normal("contrast", 1.0, 0.06)[:, None, None]
    signal = blur(attenuation, 0.0052)
    unsharp = each("unsharp")
    if unsharp.any():
        some = np.flatnonzero(unsharp[:, 0, 0])
        signal[some] += unsharp[some] * (signal[some] - blur(signal[some], 0.045))
    slope, floor = each("slope") * contrast, each("floor")
    image = 1.0 / (1.0 + np.exp(-slope * (signal - each("centre") - exposure)))
    lowest = 1.0 / (1.0 + np.exp(slope * (each("centre") + exposure)))
    image = floor + (0.96 - floor) * (image - lowest) / (1.0 - lowest)

    line = (np.arange(size, dtype=np.float32) + 0.5) / size * 2.0 - 1.0
    # The grid's pitch is 1/21 of the image: visible as lines at any size from 64 pixels on.
    image += each("grid") * np.sin(line * np.float32(np.pi * 21.0))[None, :, None]
    noise = np.stack([rng.standard_normal((size, size), dtype=np.float32) for rng in batch.grain])
    grain = np.flatnonzero(each("grain")[:, 0, 0])
    if grain.size:
        noise[grain] = 1.7 * blur(noise[grain], 1.4 / size)
    level = each("noise") * s.uniform("noise", 0.75, 1.35)[:, None, None]
    image += level * noise * (0.55 + 0.9 * np.sqrt(np.clip(1.0 - image, 0.0, 1.0)))

    vary = s.uniform("border", 0.6, 1.4)
    for i, style in enumerate(styles):
        if style.border > 0:
            edge = 1.0 - style.border * vary[i]
            across = soft_step(edge - np.abs(line), 0.008)
            keep = np.ones((size, size), np.float32)
            if "x" in style.border_axes:
                keep *= across[None, :]
            if "y" in style.border_axes:
                keep *= across[:, None]
            image[i] = image[i] * keep + style.border_grey * (1.0 - keep)
    mx, my = s.uniform("marker_x", -0.04, 0.04), s.uniform("marker_y", -0.04, 0.04)
    shown = s.chance("marker_kind", 0.92)
    for i, style in enumerate(styles):
        if shown[i]:
            _stamp(image[i], style.marker, style.corner[0] + mx[i], style.corner[1] + my[i], style.marker_size)
        under = 0.16 if style.corner[1] < 0 else -0.16
        if batch.ap[i] and style.marker != "PORTABLE":
            _stamp(image[i], "AP", style.corner[0] + mx[i], style.corner[1] + my[i] + under, 0.09)
    return (np.clip(image, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)
