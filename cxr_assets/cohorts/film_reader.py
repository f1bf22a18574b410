"""Stored films as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import polars as pl
from PIL import Image

from cxr_assets.cohorts.choices import Views
from cxr_assets.errors import InputError
from cxr_assets.warehouse import Store


def filmed(studies: pl.DataFrame, split: str, views: Views = "all") -> pl.DataFrame:
    """Studies of one split that have a stored film; ``frontal`` leaves those out that are known to be lateral."""
    wanted = (pl.col("split") == split) & pl.col("image_file").is_not_null()
    return studies.filter(
        wanted & (pl.col("view") != "LATERAL").fill_null(value=True) if views == "frontal" else wanted
    )


def read_film(path: Path, size: int) -> np.ndarray:
    """One stored film, uint8, shape ``(size, size)``; antialiased where it is stored larger.

    Raises:
        InputError: the file is missing or is no picture.
    """
    try:
        with Image.open(path) as image:
            grey = image.convert("L")
            if grey.size != (size, size):
                grey = grey.resize(
                    (size, size), Image.Resampling.BOX if grey.width > size else Image.Resampling.BICUBIC
                )
            return np.asarray(grey)
    except (OSError, Image.DecompressionBombError) as error:
        raise InputError(
            f"film {path} cannot be read: {error}. 'cxr doctor --storage' lists what is damaged."
        ) from error


def read_films(store: Store, files: Sequence[str], size: int, *, threads: int = 4) -> np.ndarray:
    """Stored films in the given order, uint8, shape ``(n, size, size)``."""
    if not files:
        return np.empty((0, size, size), np.uint8)
    with ThreadPoolExecutor(threads) as pool:
        return np.stack(list(pool.map(lambda file: read_film(store.path(file), size), files)))
