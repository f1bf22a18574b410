"""The part of a film import that runs in a worker process: read, decode and store one film."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cxr_assets.cohorts.film_decode import Fit, Placement, UnusableFilm, decode_film, read_film
from cxr_assets.cohorts.film_folder import LEAVES_ROOT, is_inside


@dataclass(frozen=True)
class StoredFilm:
    """A film in the store: its digest, its size in bytes, where its pixels came from, its perceptual hash, what it was."""

    digest: str
    bytes: int
    placement: Placement
    phash: str
    received_as: str


@dataclass(frozen=True)
class FilmResult:
    """What became of one study's film. ``fault`` is set, and the rest may be null, where it could not be stored."""

    study_id: str
    path: str
    source_id: str | None = None
    source_bytes: int | None = None
    stored: StoredFilm | None = None
    fault: str | None = None


@dataclass(frozen=True)
class FilmWorker:
    """Imports films of one cohort at one size. ``known`` holds what earlier imports stored, by the source's digest."""

    cohort_root: Path
    folder: Path
    size: int
    fit: Fit
    known: Mapping[str, StoredFilm]

    def __call__(self, task: tuple[str, str]) -> FilmResult:
        """Store the film of ``(study_id, path relative to the cohort)``."""
        study_id, relative = task
        path = (self.cohort_root / relative).resolve()
        if not is_inside(path, self.cohort_root):
            return FilmResult(study_id, relative, fault=LEAVES_ROOT)
        try:
            data, source_id = read_film(path)
            stored = self.known.get(source_id)
            if stored is None or not self._is_stored(stored):
                film = decode_film(data, size=self.size, fit=self.fit)
                stored = StoredFilm(film.digest, len(film.png), film.placement, film.phash, film.received_as)
                if not self._is_stored(stored):
                    self._write(film.digest, film.png)
        except UnusableFilm as fault:
            return FilmResult(study_id, relative, fault=str(fault))
        return FilmResult(study_id, relative, source_id, len(data), stored)

    def target(self, digest: str) -> Path:
        """Where a stored film lies."""
        return self.folder / digest[:2] / f"{digest}.png"

    def _is_stored(self, film: StoredFilm) -> bool:
        try:
            return self.target(film.digest).stat().st_size == film.bytes
        except FileNotFoundError:
            return False

    def _write(self, digest: str, png: bytes) -> None:
        target = self.target(digest)
        target.parent.mkdir(parents=True, exist_ok=True)
        hidden = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
        try:
            hidden.write_bytes(png)
            hidden.replace(target)
        finally:
            hidden.unlink(missing_ok=True)


_worker: FilmWorker | None = None


def start(worker: FilmWorker) -> None:
    """Give this process its worker, once, so that tasks stay small."""
    global _worker
    _worker = worker


def run(task: tuple[str, str]) -> FilmResult:
    """Import one film with this process's worker."""
    if _worker is None:
        raise RuntimeError("start() was not called in this process")
    return _worker(task)
