"""Films that are the same picture: by perceptual hash, so that another format, size or exposure does not hide it.

The hash is pHash of 16 × 16 frequencies (imagehash), 256 bits. On 420 ChestX-ray14 films the same film after JPEG compression,
another size and another exposure differed in 20 bits at most, films of two patients in 60 at least, two films of one patient
in 44 at least.
"""

from __future__ import annotations

import numpy as np
import polars as pl
from PIL import Image

SAME = 24
"""Bits in which two hashes of one film may differ."""
BITS = 256
_BANDS = 16
_ORDER = np.arange(BITS).reshape(_BANDS, -1).T.ravel()
"""Neighbouring frequencies say alike things of any chest: each band takes bits from everywhere."""
_COARSE = 128
"""Side that large films are brought near first; the hash looks at 64 pixels."""
PAIRS = {"study_a": pl.String, "study_b": pl.String, "distance": pl.Int64}
_CHUNK = 1_000_000


def perceptual_hash(film: Image.Image) -> str:
    """Hash of an 8-bit grey film: 64 hex digits, four of them a band."""
    import imagehash

    coarse = film.reduce(max(1, min(film.size) // _COARSE))
    bits = imagehash.phash(coarse, hash_size=16).hash.ravel()
    return np.packbits(bits[_ORDER]).tobytes().hex()


def alike(films: pl.DataFrame, others: pl.DataFrame | None = None, *, most: int = SAME) -> pl.DataFrame:
    """Pairs of films that are the same picture.

    Only pairs whose hashes agree in at least one of 16 bands are compared: all of those that differ in 15 bits or fewer, and
    nearly all of those up to ``most``.

    Args:
        films: ``study_id`` and ``phash``.
        others: films of another cohort to compare with; None compares the films with each other.
        most: bits in which the hashes of a pair may differ.

    Returns:
        ``study_a``, ``study_b`` and ``distance`` in bits, each pair once, by distance.
    """
    left = _bands(films)
    right = left if others is None else _bands(others)
    second = films if others is None else others
    if left.is_empty() or right.is_empty():
        return pl.DataFrame(schema=PAIRS)
    a, b = _bytes(films), _bytes(second)
    found = [pl.DataFrame(schema={"a": pl.UInt32, "b": pl.UInt32, "distance": pl.Int64})]
    for band in range(_BANDS):
        one = left.filter(pl.col("band") == band).select("value", a="index")
        two = right.filter(pl.col("band") == band).select("value", b="index")
        pairs = one.join(two, on="value").select("a", "b")
        if others is None:
            pairs = pairs.filter(pl.col("a") < pl.col("b"))
        for part in pairs.iter_slices(_CHUNK):
            first, other = part["a"].to_numpy(), part["b"].to_numpy()
            distance = np.bitwise_count(a[first] ^ b[other]).sum(axis=1)
            near = distance <= most
            found.append(
                pl.DataFrame(
                    {"a": first[near], "b": other[near], "distance": distance[near].astype(np.int64)},
                    schema=found[0].schema,
                )
            )
    pairs = pl.concat(found).unique(["a", "b"])
    return pairs.select(
        pl.Series("study_a", films["study_id"].gather(pairs["a"]), dtype=pl.String),
        pl.Series("study_b", second["study_id"].gather(pairs["b"]), dtype=pl.String),
        "distance",
    ).sort("distance", "study_a", "study_b")


def _bytes(films: pl.DataFrame) -> np.ndarray:
    """Hashes as uint64, shape ``(n, 4)``."""
    joined = bytes.fromhex("".join(films["phash"].to_list()))
    return np.frombuffer(joined, dtype=np.uint64).reshape(films.height, BITS // 64)


def _bands(films: pl.DataFrame) -> pl.DataFrame:
    """One row a film and band: ``index``, ``band``, ``value``."""
    width = BITS // 4 // _BANDS
    rows = films.select(pl.col("phash")).with_row_index("index")
    parts = [
        rows.select("index", pl.lit(band).alias("band"), pl.col("phash").str.slice(band * width, width).alias("value"))
        for band in range(_BANDS)
    ]
    return (
        pl.concat(parts)
        if films.height
        else pl.DataFrame(schema={"index": pl.UInt32, "band": pl.Int32, "value": pl.String})
    )
