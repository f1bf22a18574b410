"""Small numerical pieces that every drawing step shares: soft edges, smooth noise, splatting, blurring."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

# float32 at run time; the type is wider because numpy's stubs widen every mixture with Python floats.
Field: TypeAlias = NDArray[Any]


def soft_step(distance: Field, width: float | Field) -> Field:
    """Smooth edge: 0 where ``distance`` < -width, 1 where it is > width; any shape, float32 in [0, 1]."""
    t = distance * (0.5 / width) + 0.5
    np.clip(t, 0.0, 1.0, out=t)
    # In place: this is the most called function of the renderer.
    slope = 2.0 * t
    np.subtract(3.0, slope, out=slope)
    t *= t
    t *= slope
    return t


def ridge(distance: Field, width: float | Field) -> Field:
    """Gaussian line profile of unit height around ``distance`` = 0; any shape, float32 in [0, 1]."""
    t = distance / width
    t *= -t
    return np.exp(t, out=t)


@lru_cache(maxsize=64)
def _spline_basis(cells: int, size: int) -> Field:
    """Cubic B-spline weights, shape ``(size, cells)``: rows sum to 1 away from rounding."""
    position = (np.arange(size) + 0.5) / size * (cells - 3) + 1.0
    offset = np.abs(position[:, None] - np.arange(cells)[None, :])
    inner = 2.0 / 3.0 - offset**2 + offset**3 / 2.0
    outer = np.clip(2.0 - offset, 0.0, None) ** 3 / 6.0
    return np.where(offset < 1.0, inner, outer).astype(np.float32)


def smooth_noise(knots: Field, size: int) -> Field:
    """Spline surface through random knots, so that a texture is the same at any image size.

    Args:
        knots: standard normal values, shape ``(N, g, g)``, g >= 5.
        size: side S of the result in pixels.

    Returns:
        float32 of shape ``(N, S, S)``; standard deviation about 0.45.
    """
    basis = _spline_basis(knots.shape[-1], size)
    return np.matmul(np.matmul(basis, knots), basis.T)


def splat(x: Field, y: Field, mass: Field, size: int) -> Field:
    """Density of point masses on the canvas (bilinear).

    Args:
        x, y: canvas coordinates in [-1, 1] (points outside are dropped), shape ``(N, P)``.
        mass: mass of each point, shape ``(N, P)``.
        size: side S in pixels.

    Returns:
        Mass per unit of canvas area, float32, shape ``(N, S, S)``.
    """
    n = x.shape[0]
    col, row = (x + 1.0) * (size / 2.0) - 0.5, (y + 1.0) * (size / 2.0) - 0.5
    inside = (col >= 0) & (row >= 0) & (col < size - 1) & (row < size - 1)
    image = np.broadcast_to(np.arange(n)[:, None], x.shape)[inside]
    col, row, mass = col[inside], row[inside], mass[inside]
    left, top = col.astype(np.int64), row.astype(np.int64)
    fx, fy = col - left, row - top
    base = (image * size + top) * size + left
    index = np.concatenate([base, base + 1, base + size, base + size + 1])
    weight = np.concatenate([mass * (1 - fx) * (1 - fy), mass * fx * (1 - fy), mass * (1 - fx) * fy, mass * fx * fy])
    density = np.bincount(index, weights=weight, minlength=n * size * size).astype(np.float32)
    return density.reshape(n, size, size) * np.float32((size / 2.0) ** 2)


def blur(field: Field, width: float) -> Field:
    """Gaussian blur of each image; ``width`` is the standard deviation in canvas units (2 = image side)."""
    sigma = width * field.shape[-1] / 2.0
    if sigma < 0.2:
        return field
    return ndimage.gaussian_filter(field, sigma=(0, sigma, sigma), mode="nearest", truncate=2.5)
