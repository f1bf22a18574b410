"""One film: from the file as received to an 8-bit grey square. Runs in worker processes, so it imports little."""

from __future__ import annotations

import hashlib
import io
import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import imagecodecs
import numpy as np
from PIL import Image, UnidentifiedImageError

from cxr_assets.cohorts.film_hash import perceptual_hash

Fit = Literal["pad", "crop"]
RECIPE = "2"
"""Raise this when the same film would give other bytes: stored films are then made anew."""
LARGEST_BYTES = 512 * 1024**2
LARGEST_PIXELS = 100_000_000
_SIXTEEN_BIT = ("I;16", "I;16B", "I;16L", "I;16N", "I", "F")
_WINDOW_PERCENTILES = (0.5, 99.5)
_WINDOW_GREYS = (5.0, 250.0)


@dataclass(frozen=True)
class Placement:
    """Where a film's pixels went: ``stored = received * scale + offset`` on each axis, in pixels."""

    source_width: int
    source_height: int
    scale_x: float
    scale_y: float
    offset_x: float
    offset_y: float


@dataclass(frozen=True)
class DecodedFilm:
    """PNG bytes of the stored film, where its pixels came from, its perceptual hash, and what it was received as."""

    png: bytes
    digest: str
    placement: Placement
    phash: str
    received_as: str


class UnusableFilm(Exception):
    """A film that cannot be decoded; the text is ``kind: detail``."""


def read_film(path: Path) -> tuple[bytes, str]:
    """Bytes and SHA-256 of a film. Raises UnusableFilm where it cannot be read or is too large to be one."""
    try:
        size = os.stat(path).st_size
        if size > LARGEST_BYTES:
            raise UnusableFilm(f"film too large: {size} bytes, at most {LARGEST_BYTES}")
        data = path.read_bytes()
    except OSError as error:
        raise UnusableFilm(f"unreadable film: {error.strerror or error}") from error
    return data, hashlib.sha256(data).hexdigest()


def is_dicom(data: bytes) -> bool:
    """Whether the bytes begin as a DICOM file does."""
    return data[128:132] == b"DICM"


def decode_film(data: bytes, *, size: int, fit: Fit) -> DecodedFilm:
    """Decode PNG, JPEG or DICOM bytes to a square 8-bit grey PNG of ``size`` pixels a side.

    Which of them it is, is read from the bytes. Colour becomes luminance and alpha is ignored. Deeper greys are mapped
    by a window between the 0.5 and 99.5 percentile that keeps five grey values at either end for what lies outside, so
    that nothing is cut off; a DICOM file is shown as it says itself (``film_dicom``). The aspect is kept: ``pad`` shows
    the whole film on black, ``crop`` fills the square from the film's centre.

    Raises:
        UnusableFilm: for anything that is not a whole film of at most 100 million pixels, and for DICOM files that
            ``film_dicom.refusal`` names.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            grey, received, form = _grey(data, size)
    except UnusableFilm:
        raise
    except UnidentifiedImageError as error:  # its text holds a memory address, which would differ from run to run
        raise UnusableFilm("corrupt film: neither PNG, JPEG nor DICOM") from error
    except Exception as error:  # a hostile file may raise anything from inside a decoder
        raise UnusableFilm(f"corrupt film: {type(error).__name__}: {error}") from error
    stored, placement = _square(grey, received, size=size, fit=fit)
    png = _encoded(stored)
    return DecodedFilm(png, hashlib.sha256(png).hexdigest(), placement, perceptual_hash(stored), form)


def _encoded(film: Image.Image) -> bytes:
    """PNG of a stored film: one filter and no search for matches, which a film's grain has none of (a third of the time)."""
    png = imagecodecs.png_encode(
        np.asarray(film),
        level=1,
        strategy=imagecodecs.PNG.STRATEGY.HUFFMAN_ONLY,
        filter=imagecodecs.PNG.FILTER.UP,
    )
    return bytes(png)


def _grey(data: bytes, size: int) -> tuple[Image.Image, tuple[int, int], str]:
    """8-bit grey image, possibly decoded at a reduced scale, the size of the film as received, and its form."""
    if is_dicom(data):
        from cxr_assets.cohorts.film_dicom import dicom_grey

        film, form = dicom_grey(data)
        return film, film.size, form
    with Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as film:
        width, height = received = film.size
        if width * height > LARGEST_PIXELS:
            raise UnusableFilm(f"film too large: {width} x {height} pixels, at most {LARGEST_PIXELS}")
        form = f"{film.format} {film.mode}"
        if film.format == "JPEG":
            film.draft("L", (2 * size, 2 * size))
        if film.format == "PNG" and film.mode == "L" and "transparency" not in film.info:
            return Image.fromarray(imagecodecs.png_decode(data)), received, form
        film.load()
        if film.mode in _SIXTEEN_BIT:
            return windowed(np.asarray(film)), received, form
        if film.mode in ("P", "PA", "CMYK", "YCbCr", "LAB", "HSV"):
            return film.convert("RGB").convert("L"), received, form
        return film.convert("L"), received, form


def windowed(deep: np.ndarray) -> Image.Image:
    """Deep greys to 8 bit, monotone, without saturating either end."""
    values = deep.astype(np.float32, copy=False)
    lowest, highest = float(values.min()), float(values.max())
    if highest <= lowest:
        return Image.fromarray(np.zeros(values.shape, np.uint8))
    low, high = (float(value) for value in np.percentile(values, _WINDOW_PERCENTILES))
    if high <= low:
        low, high = lowest, highest
    points = np.array([lowest, low, high, highest])
    greys = np.array([0.0, *_WINDOW_GREYS, 255.0])
    if low <= lowest:
        greys[:2] = 0.0
    if high >= highest:
        greys[2:] = 255.0
    return Image.fromarray(np.rint(np.interp(values, points, greys)).astype(np.uint8))


def _square(grey: Image.Image, received: tuple[int, int], *, size: int, fit: Fit) -> tuple[Image.Image, Placement]:
    width, height = received
    scale = size / (max(width, height) if fit == "pad" else min(width, height))
    new = (max(1, round(width * scale)), max(1, round(height * scale)))
    if grey.size != new:
        grey = grey.resize(new, Image.Resampling.LANCZOS, reducing_gap=3.0)
    left, top = ((size - side) // 2 for side in new)
    if new == (size, size):
        return grey, Placement(width, height, new[0] / width, new[1] / height, 0.0, 0.0)
    square = Image.new("L", (size, size), 0)
    square.paste(grey, (left, top))
    return square, Placement(width, height, new[0] / width, new[1] / height, float(left), float(top))
