"""Phantom films in bulk, drawn in parallel and kept in chunks, so that a stopped run goes on."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from cxr_assets.cohorts.phantom.config import FINDINGS
from cxr_assets.cohorts.phantom.population import Population, sample_requests
from cxr_assets.cohorts.phantom.render import render
from cxr_assets.progress import Progress
from cxr_assets.workers import keep_to_one_core

CHUNK = 500


@dataclass(frozen=True)
class PhantomFilms:
    """Films with what they show: uint8 ``(n, size, size)`` and one row a film."""

    films: np.ndarray
    studies: pl.DataFrame

    @property
    def labels(self) -> np.ndarray:
        """0/1, shape ``(n, findings)``, findings in the phantom's order."""
        return self.studies.select(FINDINGS).to_numpy().astype(np.int64)


def _draw_chunk(path: Path, population: Population, start: int, stop: int, size: int, seed: int) -> None:
    studies = population.studies[start:stop]
    truth = population.truth.filter(pl.col("study_id").is_in(studies["study_id"].implode()))
    images = render(studies, truth, size=size, seed=seed).images
    hidden = path.with_name(f".{path.stem}.tmp.npy")
    np.save(hidden, images)
    hidden.replace(path)


def draw_requests(
    n: int,
    *,
    size: int,
    seed: int,
    severity: tuple[float, float],
    folder: Path,
    workers: int = 2,
    progress: Progress | None = None,
) -> PhantomFilms:
    """Draw ``n`` requested films, or take up those that an earlier call left in ``folder``.

    Args:
        severity: range of severities, both in (0, 1].
        folder: work folder; one file for every 500 films.
    """
    population = sample_requests(n, seed, severity=severity)
    folder = folder / f"films-{size}-{seed}-{severity[0]:g}-{severity[1]:g}-{n}"
    folder.mkdir(parents=True, exist_ok=True)
    chunks = [(folder / f"{start:07d}.npy", start, min(start + CHUNK, n)) for start in range(0, n, CHUNK)]
    missing = [chunk for chunk in chunks if not chunk[0].exists()]
    with (
        (progress or Progress()).task(
            f"draw {n} films", n, n - sum(stop - start for _, start, stop in missing)
        ) as advance,
        ProcessPoolExecutor(workers, initializer=keep_to_one_core) as pool,
    ):
        jobs = [
            (pool.submit(_draw_chunk, path, population, start, stop, size, seed), stop - start)
            for path, start, stop in missing
        ]
        for job, drawn in jobs:
            job.result()
            advance(drawn)
    films = np.concatenate([np.load(path) for path, _, _ in chunks])
    return PhantomFilms(films, population.studies)
