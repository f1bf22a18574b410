"""How fast films enter the store, against decoding and resizing them and nothing else, on all cores.

    python bench/film_store.py [--films 2000] [--size 512]

Films are made up as data sets have them: 1024 × 1024 PNG (ChestX-ray14) and 2320 × 2828 JPEG (CheXpert); a hundred are drawn, and
copied with another last byte, so that each is a file of its own. Both ways run by turns, three times; the store also hashes,
encodes, names, writes and indexes each film, and starts its workers.
"""

from __future__ import annotations

import argparse
import io
import os
import statistics
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import polars as pl
from PIL import Image

from cxr_assets.cohorts.films import import_films
from cxr_assets.cohorts.schema import TABLES
from cxr_assets.warehouse import Store
from cxr_assets.workers import keep_to_one_core

KINDS = {"png": (1024, 1024), "jpeg": (2320, 2828)}
ROUNDS = 3
DRAWN = 100


def make_film(path: Path, kind: str, seed: int) -> None:
    """A smooth picture with grain, so that it is as large as a film of its kind."""
    rng = np.random.default_rng(seed)
    width, height = KINDS[kind]
    smooth = Image.fromarray(rng.integers(30, 220, (24, 24), np.uint8)).resize(
        (width, height), Image.Resampling.BICUBIC
    )
    grain = rng.integers(-3, 4, (height, width), dtype=np.int16)
    film = Image.fromarray(np.clip(np.asarray(smooth, np.int16) + grain, 0, 255).astype(np.uint8))
    film.save(path, "PNG" if kind == "png" else "JPEG", **({"compress_level": 6} if kind == "png" else {"quality": 90}))


def decode_and_resize(task: tuple[str, int]) -> int:
    """What any importer must do: read, decode, resize with antialiasing; with Pillow's own shortcuts for both."""
    path, size = task
    with Image.open(io.BytesIO(Path(path).read_bytes())) as film:
        film.draft("L", (2 * size, 2 * size))
        grey = film.convert("L")
        scale = size / max(grey.size)
        small = grey.resize(
            (round(grey.width * scale), round(grey.height * scale)), Image.Resampling.LANCZOS, reducing_gap=3.0
        )
    return small.width


def plain(paths: list[str], size: int, workers: int) -> float:
    """Films a second, decoded and resized."""
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=keep_to_one_core) as pool:
        list(pool.map(decode_and_resize, [(paths[0], size)] * workers))
        begun = time.perf_counter()
        list(pool.map(decode_and_resize, [(path, size) for path in paths], chunksize=8))
        return len(paths) / (time.perf_counter() - begun)


def stored(folder: Path, paths: list[str], size: int, workers: int) -> float:
    """Films a second into a new store, starting of the workers included."""
    rows = TABLES["studies"].empty()
    names = [Path(path).name for path in paths]
    required = {c.name: "x" for c in TABLES["studies"].columns if not c.nullable}
    required |= {"patient_id_kind": "image", "split": "train", "label_source": "mesh", "label_granularity": "image"}
    frame = pl.DataFrame({"study_id": names, "source_path": names}).with_columns(
        pl.lit(value).alias(name) for name, value in required.items() if name != "study_id"
    )
    studies = pl.concat(
        [rows, frame.cast({n: t for n, t in rows.schema.items() if n in frame.columns})], how="diagonal"
    )
    with tempfile.TemporaryDirectory() as root:
        begun = time.perf_counter()
        done = import_films(studies, folder, Store(Path(root)), size=size, workers=workers)
        seconds = time.perf_counter() - begun
    if done.placements.height != len(paths):
        raise SystemExit(f"{len(paths) - done.placements.height} films were not stored")
    return len(paths) / seconds


def main() -> None:
    """Print both rates and their ratio for each kind of film."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--films", type=int, default=2000)
    parser.add_argument("--size", type=int, default=512)
    given = parser.parse_args()
    workers = os.cpu_count() or 1
    for kind in KINDS:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            suffix = "png" if kind == "png" else "jpg"
            for seed in range(min(DRAWN, given.films)):
                make_film(folder / f"{seed:05d}.{suffix}", kind, seed)
            for number in range(DRAWN, given.films):  # decoders stop before what stands behind a picture
                drawn = (folder / f"{number % DRAWN:05d}.{suffix}").read_bytes()
                (folder / f"{number:05d}.{suffix}").write_bytes(drawn + str(number).encode())
            paths = [str(path) for path in sorted(folder.iterdir())]
            rates = [
                (plain(paths, given.size, workers), stored(folder, paths, given.size, workers)) for _ in range(ROUNDS)
            ]
            bare, ours = (statistics.median(column) for column in zip(*rates, strict=True))
            print(f"{kind:5} plain {bare:.1f} films/s, stored {ours:.1f} films/s: ratio {ours / bare:.2f} (limit 0.80)")


if __name__ == "__main__":
    main()
