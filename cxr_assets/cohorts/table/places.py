"""Where the films of a table lie: one index of the cohort's folders, and a look-up for paths of any form."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import polars as pl

from cxr_assets.cohorts.film_folder import FILM_SUFFIXES, LEAVES_ROOT, is_inside
from cxr_assets.errors import InputError

_BARE = re.compile(r"\.\d*")
"""What follows the last point of a name without a suffix: nothing, or more of a number such as a UID."""


@dataclass(frozen=True)
class FilmIndex:
    """Films under some folders, links that leave the cohort's folder apart; every path is relative to that folder."""

    root: Path
    paths: frozenset[str]
    refused: frozenset[str]
    refused_names: frozenset[str]
    by_name: dict[str, list[str]]
    by_folded_name: dict[str, list[str]]
    by_stem: dict[str, list[str]]


def has_film_suffix(name: str) -> bool:
    """Whether a file's name is that of a film: its suffix is one of a film, or it has none."""
    suffix = os.path.splitext(name)[1].lower()
    return suffix in FILM_SUFFIXES or not suffix or _BARE.fullmatch(suffix) is not None


def index_films(root: Path, folders: Iterable[str], *, cohort: str) -> FilmIndex:
    """List the films of some folders and of what is in them, reading directories only; hidden names are left out.

    Raises:
        InputError: for a folder that is not there or is a link out of the root.
    """
    home = root.resolve()
    paths: dict[str, None] = {}
    refused: set[str] = set()
    for folder in folders:
        start = os.path.normpath(os.path.join(root, folder))
        if not os.path.isdir(start) or not is_inside(Path(start).resolve(), home):
            raise InputError(
                f"cohort {cohort!r}: roots: {folder} is no folder inside {root}. Name folders relative to it that are"
                " there. Nothing was written."
            )
        waiting = [start]
        while waiting:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    elif has_film_suffix(entry.name) and entry.is_file():
                        path = os.path.relpath(entry.path, root).replace(os.sep, "/")
                        if entry.is_symlink() and not is_inside(Path(entry.path).resolve(), home):
                            refused.add(path)
                        else:
                            paths[path] = None
    names: dict[str, list[str]] = defaultdict(list)
    folded: dict[str, list[str]] = defaultdict(list)
    stems: dict[str, list[str]] = defaultdict(list)
    for path in sorted(paths):
        name = path.rsplit("/", 1)[-1]
        names[name].append(path)
        folded[name.casefold()].append(path)
        stems[os.path.splitext(name)[0]].append(path)
    outside = frozenset(path.rsplit("/", 1)[-1] for path in refused)
    return FilmIndex(root, frozenset(paths), frozenset(refused), outside, dict(names), dict(folded), dict(stems))


@dataclass(frozen=True)
class Found:
    """Where a path of a table leads; ``complaint`` (``kind: detail``) says what is odd, with or without a place."""

    place: str | None
    complaint: str | None = None


def find(index: FilmIndex, path: str, *, beside: Sequence[str]) -> Found:
    """The film that a path means: a path below one of some folders, or a bare name anywhere in the index.

    A bare name may lack its suffix, or differ in case (which is said). One that several films have means none of them.

    Args:
        path: safe and relative, with forward slashes.
        beside: folders that paths may begin in: that of the table, the root, the roots.
    """
    steps = {PurePosixPath(folder, path).as_posix() for folder in beside}
    there = sorted(step for step in steps if step in index.paths or _is_film(index.root, step))
    if "/" not in path:
        there = sorted({*there, *index.by_name.get(path, ())}) or index.by_stem.get(path, [])
    if len(there) > 1:
        return Found(None, f"duplicate film name: {', '.join(there[:3])} all fit; give more of the path")
    if there:
        alike = [
            other for other in index.by_folded_name.get(os.path.basename(path).casefold(), ()) if other != there[0]
        ]
        clash = [other for other in alike if other.casefold() == there[0].casefold()]
        return Found(there[0], f"film name clash: {clash[0]} differs in case only" if clash else None)
    if "/" not in path and len(alike := index.by_folded_name.get(path.casefold(), [])) == 1:
        return Found(alike[0], f"film name differs in case: taken from {alike[0]}")
    if steps & index.refused or path in index.refused_names:
        return Found(None, LEAVES_ROOT)
    return Found(None, "missing film: under none of the roots; the study is kept without a film")


def _is_film(root: Path, step: str) -> bool:
    """Whether a path outside the index is a file inside the root."""
    path = os.path.join(root, step)
    return os.path.isfile(path) and is_inside(Path(path).resolve(), root.resolve())


def located(paths: pl.Series, index: FilmIndex, *, beside: Sequence[str]) -> pl.DataFrame:
    """``place`` and ``complaint`` of each path, null for null; every distinct path is looked up once."""
    beside = list(dict.fromkeys(beside))
    found = [(path, find(index, path, beside=beside)) for path in paths.drop_nulls().unique()]
    rows = [(path, one.place, one.complaint) for path, one in found]
    table = pl.DataFrame(rows, schema=dict.fromkeys(("path", "place", "complaint"), pl.String), orient="row")
    return paths.to_frame("path").join(table, on="path", how="left", maintain_order="left").drop("path")
