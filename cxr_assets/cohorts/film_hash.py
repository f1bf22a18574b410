"""The perceptual hash of one film. Runs in worker processes, so it imports little; :mod:`likeness` compares hashes."""

from __future__ import annotations

import numpy as np
from PIL import Image

BITS = 256
BANDS = 16
_ORDER = np.arange(BITS).reshape(BANDS, -1).T.ravel()
"""Neighbouring frequencies say alike things of any chest: each band takes bits from everywhere."""
_COARSE = 128
"""Side that large films are brought near first; the hash looks at 64 pixels."""


def perceptual_hash(film: Image.Image) -> str:
    """Hash of an 8-bit grey film: 64 hex digits, four of them a band."""
    import imagehash

    coarse = film.reduce(max(1, min(film.size) // _COARSE))
    bits = imagehash.phash(coarse, hash_size=16).hash.ravel()
    return np.packbits(bits[_ORDER]).tobytes().hex()
