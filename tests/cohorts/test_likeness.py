from __future__ import annotations

import io

import numpy as np
import polars as pl
import pytest
from PIL import Image

from cxr_assets.cohorts.film_decode import decode_film
from cxr_assets.cohorts.film_hash import perceptual_hash
from cxr_assets.cohorts.likeness import SAME, alike


def film(seed: int) -> Image.Image:
    """A smooth picture, as different from that of another seed as two chests are."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 255, (12, 12), np.uint8))
    return coarse.resize((256, 256), Image.Resampling.BICUBIC)


def phash(data: bytes, size: int = 128) -> str:
    return decode_film(data, size=size, fit="pad").phash


def encoded(image: Image.Image, kind: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def bits_apart(a: str, b: str) -> int:
    return (int(a, 16) ^ int(b, 16)).bit_count()


@pytest.mark.parametrize(
    "copy",
    [
        encoded(film(1), "JPEG", quality=75),
        encoded(film(1).resize((200, 200)), "PNG"),
        encoded(film(1).point(lambda grey: int(255 * (grey / 255) ** 1.2)), "PNG"),
    ],
    ids=["compressed", "resized", "exposed"],
)
def test_a_copy_keeps_its_hash_within_the_limit(copy: bytes) -> None:
    assert bits_apart(phash(encoded(film(1), "PNG")), phash(copy, size=256)) <= SAME


def test_other_films_are_far_away() -> None:
    hashes = [perceptual_hash(film(seed)) for seed in range(12)]
    assert min(bits_apart(a, b) for i, a in enumerate(hashes) for b in hashes[:i]) > 2 * SAME


def flipped(phash: str, bits: int) -> str:
    """The hash with its lowest bits turned over."""
    return f"{int(phash, 16) ^ (2**bits - 1):064x}"


def test_pairs_are_found_once_with_their_distance() -> None:
    rng = np.random.default_rng(0)
    one, two, three = (rng.bytes(32).hex() for _ in range(3))
    films = pl.DataFrame({"study_id": ["a", "b", "c", "d", "e"], "phash": [one, two, flipped(one, 7), three, one]})
    assert alike(films).rows() == [("a", "e", 0), ("a", "c", 7)], "e is tied to a, not to all that a is like"
    assert alike(films, most=0).rows() == [("a", "e", 0)]
    others = pl.DataFrame({"study_id": ["x", "y"], "phash": [flipped(two, SAME + 1), flipped(three, 3)]})
    assert alike(films, others).rows() == [("d", "y", 3)]


def test_nothing_is_like_nothing() -> None:
    none = pl.DataFrame(schema={"study_id": pl.String, "phash": pl.String})
    assert alike(none).is_empty() and alike(none, none).is_empty()


def test_real_films_of_the_slice_are_all_different(shared_data) -> None:
    paths = sorted((shared_data / "nih-chestxray14" / "images").glob("*.png"))[:120]
    films = pl.DataFrame({"study_id": [p.name for p in paths], "phash": [phash(p.read_bytes()) for p in paths]})
    assert films.height == 120 and alike(films).is_empty()


def test_a_folder_of_placeholders_is_tied_to_its_first_film() -> None:
    rng = np.random.default_rng(0)
    blank, other = rng.bytes(32).hex(), rng.bytes(32).hex()
    films = pl.DataFrame({"study_id": [f"s{n:05d}" for n in range(20_000)], "phash": [blank] * 19_999 + [other]})
    pairs = alike(films)
    assert pairs.height == 19_998 and set(pairs["study_a"]) == {"s00000"}


def test_copies_in_another_cohort_are_all_named() -> None:
    one = np.random.default_rng(0).bytes(32).hex()
    ours = pl.DataFrame({"study_id": ["a", "b"], "phash": [one, one]})
    theirs = pl.DataFrame({"study_id": ["x", "y"], "phash": [one, one]})
    assert {(a, b) for a, b, _ in alike(ours, theirs).rows()} == {("a", "x"), ("b", "x"), ("a", "y")}
