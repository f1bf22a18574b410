"""Films that are the same picture: by perceptual hash, so that another format, size or exposure does not hide it.

The hash is pHash of 16 × 16 frequencies (imagehash), 256 bits. On 420 ChestX-ray14 films the same film after JPEG compression,
another size and another exposure differed in 20 bits at most, films of two patients in 60 at least, two films of one patient
in 44 at least.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from cxr_assets.cohorts.film_hash import BANDS, BITS

SAME = 24
"""Bits in which two hashes of one film may differ."""
PAIRS = {"study_a": pl.String, "study_b": pl.String, "distance": pl.Int64}
_CHUNK = 2_000
_COMMON = 2_000


def alike(films: pl.DataFrame, others: pl.DataFrame | None = None, *, most: int = SAME) -> pl.DataFrame:
    """Pairs of films that are the same picture.

    Films with equal hashes are tied to the first of them (not each to each: a folder of placeholders would make millions of
    pairs). Of the rest, pairs are compared whose hashes agree in at least one of 16 bands: all of those that differ in 15 bits
    or fewer, and nearly all of those up to ``most``. A band's value that thousands of hashes share tells nothing and is passed
    over.

    Args:
        films: ``study_id`` and ``phash``.
        others: films of another cohort to compare with; None compares the films with each other.
        most: bits in which the hashes of a pair may differ.

    Returns:
        ``study_a``, ``study_b`` and ``distance`` in bits, each pair once, by distance.
    """
    ours = films.select("study_id", "phash").unique("phash", keep="first", maintain_order=True)
    theirs = (
        ours
        if others is None
        else others.select("study_id", "phash").unique("phash", keep="first", maintain_order=True)
    )
    if ours.is_empty() or theirs.is_empty():
        return pl.DataFrame(schema=PAIRS)
    near = _near(ours, theirs, most=most, within=others is None)
    found = [near]
    for frame, first in ((films, ours), (others, theirs)):
        if frame is not None:
            tied = frame.select(study_b="study_id", phash="phash").join(
                first.rename({"study_id": "study_a"}), on="phash"
            )
            equal = tied.filter(pl.col("study_a") != pl.col("study_b"))
            if others is None:
                found.append(equal.select("study_a", "study_b", pl.lit(0, pl.Int64).alias("distance")))
            elif frame is others:  # what is true of the first of them is true of its equals
                found.append(
                    near.join(equal.rename({"study_a": "study_b", "study_b": "copy"}), on="study_b").select(
                        "study_a", study_b="copy", distance="distance"
                    )
                )
            else:
                found.append(
                    near.join(equal.rename({"study_b": "copy"}), on="study_a").select(
                        study_a="copy", study_b="study_b", distance="distance"
                    )
                )
    return pl.concat(found).cast(pl.Schema(PAIRS)).sort("distance", "study_a", "study_b")


def _near(ours: pl.DataFrame, theirs: pl.DataFrame, *, most: int, within: bool) -> pl.DataFrame:
    """Pairs of distinct hashes that differ in ``most`` bits or fewer; across cohorts, equal ones as well."""
    left, right = _bands(ours), _bands(theirs)
    a, b = _bytes(ours), _bytes(theirs)
    found = [pl.DataFrame(schema={"a": pl.UInt32, "b": pl.UInt32, "distance": pl.Int64})]
    for band in range(BANDS):
        one = left.filter(pl.col("band") == band).select("value", a="index")
        two = right.filter(pl.col("band") == band).select("value", b="index")
        telling = two.group_by("value").len().filter(pl.col("len") <= _COMMON)
        two = two.join(telling, on="value", how="semi")
        for part in one.iter_slices(_CHUNK):
            pairs = part.join(two, on="value")
            if within:
                pairs = pairs.filter(pl.col("a") < pl.col("b"))
            first, other = pairs["a"].to_numpy(), pairs["b"].to_numpy()
            distance = np.bitwise_count(a[first] ^ b[other]).sum(axis=1)
            close = distance <= most
            columns = {"a": first[close], "b": other[close], "distance": distance[close].astype(np.int64)}
            found.append(pl.DataFrame(columns, schema=found[0].schema))
    pairs = pl.concat(found).unique(["a", "b"])
    return pairs.select(
        pl.Series("study_a", ours["study_id"].gather(pairs["a"]), dtype=pl.String),
        pl.Series("study_b", theirs["study_id"].gather(pairs["b"]), dtype=pl.String),
        "distance",
    )


def _bytes(films: pl.DataFrame) -> np.ndarray:
    """Hashes as uint64, shape ``(n, 4)``."""
    joined = bytes.fromhex("".join(films["phash"].to_list()))
    return np.frombuffer(joined, dtype=np.uint64).reshape(films.height, BITS // 64)


def _bands(films: pl.DataFrame) -> pl.DataFrame:
    """One row a film and band: ``index``, ``band``, ``value``."""
    width = BITS // 4 // BANDS
    rows = films.select(pl.col("phash")).with_row_index("index")
    parts = [
        rows.select("index", pl.lit(band).alias("band"), pl.col("phash").str.slice(band * width, width).alias("value"))
        for band in range(BANDS)
    ]
    return (
        pl.concat(parts)
        if films.height
        else pl.DataFrame(schema={"index": pl.UInt32, "band": pl.Int32, "value": pl.String})
    )
