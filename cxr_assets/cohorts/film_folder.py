"""Which films lie in a cohort's folder, by name, and which of them must not be followed."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

FILM_SUFFIXES = (".png", ".jpg", ".jpeg", ".dcm", ".dicom")
LEAVES_ROOT = "film outside: it is a link that leaves the cohort's folder; copy the film, or give the folder it is in"


@dataclass(frozen=True)
class FilmFolder:
    """Films found: file name to path relative to the root; names that only a link out of the root would serve."""

    found: dict[str, str] = field(default_factory=dict)
    refused: frozenset[str] = frozenset()


def locate_films(root: Path, folders: Iterable[str], *, suffixes: tuple[str, ...] = FILM_SUFFIXES) -> FilmFolder:
    """List the films in some folders of a cohort, reading directories only.

    Args:
        root: the cohort's folder.
        folders: glob patterns relative to the root (``images_*/images``), ``.`` for the root itself. A name found
            twice is taken from the earlier pattern, then from the folder that sorts first.
        suffixes: what a film's name ends in, lower case.
    """
    home = root.resolve()
    found: dict[str, str] = {}
    refused: set[str] = set()
    for pattern in folders:
        for folder in [root] if pattern == "." else sorted(root.glob(pattern)):
            if not folder.is_dir():
                continue
            inside = is_inside(folder.resolve(), home)
            prefix = "" if folder == root else folder.relative_to(root).as_posix() + "/"
            with os.scandir(folder) as entries:
                for entry in entries:
                    if not entry.name.lower().endswith(suffixes) or not entry.is_file():
                        continue
                    if not inside or (entry.is_symlink() and not is_inside(Path(entry.path).resolve(), home)):
                        refused.add(entry.name)
                    else:
                        found.setdefault(entry.name, prefix + entry.name)
    return FilmFolder(found, frozenset(refused - found.keys()))


def is_inside(path: Path, home: Path) -> bool:
    """Whether a resolved path is a resolved folder or lies in it."""
    return path == home or home in path.parents
