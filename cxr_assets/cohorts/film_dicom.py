"""The pixels of a DICOM film as they are meant to be seen. Imported where one is met, since pydicom takes a while."""

from __future__ import annotations

import io
import warnings
from typing import Any

import numpy as np
from PIL import Image
from pydicom import Dataset, dcmread
from pydicom.pixels import apply_rescale, apply_windowing, pixel_array

from cxr_assets.cohorts.film_decode import LARGEST_PIXELS, UnusableFilm, windowed

GREY = ("MONOCHROME1", "MONOCHROME2")
_TOP = 65535.0


def refusal(tags: Dataset) -> str | None:
    """Why a file's pixels are not to be used as a film (``kind: detail``), None where they may be."""
    if int(tags.get("NumberOfFrames") or 1) > 1:
        return f"multi-frame film: {tags.NumberOfFrames} frames, expected one"
    photometric = str(tags.get("PhotometricInterpretation") or "")
    if int(tags.get("SamplesPerPixel") or 1) > 1 or photometric not in GREY:
        return f"colour film: {photometric or 'no PhotometricInterpretation'}, expected {' or '.join(GREY)}"
    if str(tags.get("BurnedInAnnotation") or "").strip().upper() == "YES":
        return "burned-in annotation: BurnedInAnnotation is YES, so the pixels may name the patient"
    return None


def _form(tags: Dataset) -> str:
    """What a file's pixels were received as: transfer syntax, photometric interpretation, stored bits."""
    return f"DICOM {tags.file_meta.TransferSyntaxUID.name}, {tags.PhotometricInterpretation}, {tags.BitsStored} bits"


def dicom_grey(data: bytes) -> tuple[Image.Image, str]:
    """8-bit grey picture of a DICOM file, in the order that the standard gives, and what it was received as.

    Stored values → modality table or rescale → VOI table, else the first window (LINEAR, LINEAR_EXACT or SIGMOID), else
    the percentile window of deep films → inverted for MONOCHROME1 or PresentationLUTShape INVERSE → 8 bit. A window that
    cannot be applied, or that leaves a single grey of many, counts as none. Padding is black.

    Raises:
        UnusableFilm: for a film with several frames, colour or burned-in text, or of more than ``LARGEST_PIXELS``.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tags = dcmread(io.BytesIO(data))
        if fault := refusal(tags):
            raise UnusableFilm(fault)
        if tags.Rows * tags.Columns > LARGEST_PIXELS:
            raise UnusableFilm(f"film too large: {tags.Columns} x {tags.Rows} pixels, at most {LARGEST_PIXELS}")
        received = pixel_array(tags, raw=True)
        stored = _stored(received, tags)
        padding = _padding(received, tags) | _padding(stored, tags)
        values = _modality(stored, tags)
        inverse = tags.PhotometricInterpretation == "MONOCHROME1" or tags.get("PresentationLUTShape") == "INVERSE"
        shown = _viewed(values, tags)
    if shown is None and _is_plain(tags):
        shown = values.astype(np.float32) * (_TOP / (2**tags.BitsStored - 1))
    if shown is None:
        deep = values.astype(np.float32)
        deep = deep.max() + deep.min() - deep if inverse else deep
        if padding.any() and not padding.all():
            deep[padding] = deep[~padding].min()
        return windowed(deep), _form(tags)
    shown = _TOP - shown if inverse else shown
    shown[padding] = 0
    return Image.fromarray(np.rint(shown * (255 / _TOP)).astype(np.uint8)), _form(tags)


def _stored(values: np.ndarray, tags: Dataset) -> np.ndarray:
    """Values, ``(rows, columns)``; in native files, bits that ``BitsStored`` leaves out are cut off."""
    bits = tags.BitsStored
    if not tags.file_meta.TransferSyntaxUID.is_compressed and bits < tags.BitsAllocated:
        wide = values.astype(np.int64) >> max(0, tags.get("HighBit", bits - 1) - bits + 1)
        wide &= (1 << bits) - 1
        values = np.where(wide >> (bits - 1), wide - (1 << bits), wide) if tags.PixelRepresentation else wide
    return values


def _padding(stored: np.ndarray, tags: Dataset) -> np.ndarray:
    """Where the film is padding; nowhere if all of it is."""
    value = tags.get("PixelPaddingValue")
    if not isinstance(value, int):
        return np.zeros(stored.shape, bool)
    limit = tags.get("PixelPaddingRangeLimit")
    low, high = sorted((value, limit if isinstance(limit, int) else value))
    padding = (stored >= low) & (stored <= high)
    return np.zeros(stored.shape, bool) if padding.all() else padding


def _modality(stored: np.ndarray, tags: Dataset) -> np.ndarray:
    if tags.get("ModalityLUTSequence"):
        return _looked_up(stored, tags.ModalityLUTSequence[0], tags)[0]
    return apply_rescale(stored, tags)


def _viewed(values: np.ndarray, tags: Dataset) -> np.ndarray | None:
    """What the VOI table or the first window shows, from 0 to ``_TOP``; None where neither can be used."""
    if tags.get("VOILUTSequence"):
        seen, low, high = _looked_up(np.rint(values).astype(np.int64), tags.VOILUTSequence[0], tags)
        return _useful((seen - low) * (_TOP / (high - low)) if high > low else None, values)
    centre, width = (_first(tags.get(name)) for name in ("WindowCenter", "WindowWidth"))
    if centre is None or width is None:
        return None
    # A view of its own: its range is that of 16 bits whatever the rescale was, and so keeps the order of the values.
    view = Dataset()
    view.PhotometricInterpretation, view.PixelRepresentation, view.BitsStored = "MONOCHROME2", 0, 16
    view.WindowCenter, view.WindowWidth = centre, width
    view.VOILUTFunction = str(tags.get("VOILUTFunction") or "LINEAR").strip().upper()
    try:
        return _useful(apply_windowing(values, view), values)
    except ValueError:
        return None


def _useful(seen: np.ndarray | None, values: np.ndarray) -> np.ndarray | None:
    """A view, or None where it shows one grey of many or no numbers."""
    if seen is None or not np.isfinite(seen).all():
        return None
    is_flat = seen.max() - seen.min() < _TOP / 255
    return None if is_flat and values.max() > values.min() else np.clip(seen, 0, _TOP)


def _looked_up(values: np.ndarray, table: Dataset, tags: Dataset) -> tuple[np.ndarray, float, float]:
    """Values through a lookup table, with its least and largest entry. Values beyond its ends take the end's entry."""
    entries, first, _ = (int(number) for number in table.LUTDescriptor)
    content = table.LUTData
    if isinstance(content, bytes):
        is_little = tags.original_encoding[1] is not False
        wide = len(content) >= 2 * (entries or 2**16)
        content = np.frombuffer(content, ("<u2" if is_little else ">u2") if wide else "u1")
    greys = np.atleast_1d(np.asarray(content, dtype=np.float64))[: entries or 2**16]
    if first >= 2**15 and values.min() < 0:
        first -= 2**16
    index = np.clip(values - first, 0, len(greys) - 1).astype(np.int64)
    return greys[index], float(greys.min()), float(greys.max())


def _first(value: Any) -> float | None:
    """The first of one or several numbers, None where there is none."""
    try:
        numbers = np.atleast_1d(np.asarray(value, dtype=np.float64))
    except (TypeError, ValueError):
        return None
    return float(numbers[0]) if numbers.size and np.isfinite(numbers[0]) else None


def _is_plain(tags: Dataset) -> bool:
    """Whether stored values of at most 8 bits are greys as they stand."""
    scale = (float(tags.get("RescaleSlope") or 1), float(tags.get("RescaleIntercept") or 0))
    return (
        tags.BitsStored <= 8
        and not tags.PixelRepresentation
        and not tags.get("ModalityLUTSequence")
        and scale == (1, 0)
    )
