"""The films that are compared: which ones, and one look at each of them for everything that is measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from cxr_assets.cohorts.film_reader import read_films
from cxr_assets.evaluation.leaderboard.judges import Judge, Reading
from cxr_assets.evaluation.quality import FeatureSpace
from cxr_assets.project import Project
from cxr_assets.training import derive_seed
from cxr_assets.warehouse import Store

CHUNK = 256


@dataclass(frozen=True)
class Seen:
    """Films that were looked at.

    ``rows`` one row a film (file, age_bin, sex, race, age_years …); ``features`` float64 ``(n, width)`` by space;
    ``reading`` what the judge says, None without one.
    """

    rows: pl.DataFrame
    features: dict[str, np.ndarray] = field(default_factory=dict)
    reading: Reading | None = None


def look(store: Store, rows: pl.DataFrame, spaces: Sequence[FeatureSpace], judge: Judge | None, *, size: int) -> Seen:
    """Read each film once, a few at a time, and keep its features and what the judge says of it.

    Args:
        rows: one row a film with its ``file``.
        size: side that films are read at, pixels. A judge that learned at another size reads its own.
    """
    features: dict[str, list[np.ndarray]] = {space.name: [] for space in spaces}
    readings = []
    for start in range(0, rows.height, CHUNK):
        files = rows["file"][start : start + CHUNK].to_list()
        films = read_films(store, files, size)
        found = {space.name: space.embed(films) for space in spaces}
        for name, values in found.items():
            features[name].append(values)
        if judge is not None:
            own = films if judge.size in (None, size) else read_films(store, files, int(judge.size or size))
            readings.append(judge.read(own, found))
    joined = {name: np.concatenate(parts) if parts else np.empty((0, 0)) for name, parts in features.items()}
    return Seen(rows, joined, Reading.join(readings) if readings else None)


def shuffled(films: pl.DataFrame, seed: int, *names: str) -> pl.DataFrame:
    """Films in a fixed random order that hangs on ``names`` alone, so that a prefix is a fair sample."""
    order = [derive_seed("leaderboard", seed, *row) for row in films.select(names).iter_rows()]
    return films.with_columns(order=pl.Series(order, dtype=pl.Int64)).sort("order", *names).drop("order")


def method_films(images: pl.DataFrame, *, seed: int, most: int) -> pl.DataFrame:
    """A sample of a method's images that passed, in an order that is the same for every method.

    The order hangs on stratum and index, so methods that share a plan are compared on the same requests. Age, sex and
    race are those that were asked for: a plan may place an image in a stratum whose people its prompt does not name.
    """
    passed = images.filter(pl.col("passed_quality")).unique("image_id", keep="first", maintain_order=True)
    asked = {
        name: pl.col("demographics_json").str.json_path_match(f"$.{key}").fill_null(pl.col(key))
        for name, key in (("age_bin", "age"), ("sex", "sex"), ("race", "race"))
    }
    chosen = passed.select("image_id", "file", "stratum", "index", "age_years", "labels", **asked)
    return shuffled(chosen, seed, "stratum", "index").head(most)


def real_films(project: Project, split: str, *, most: int) -> pl.DataFrame:
    """A sample of a split's real films in a fixed random order: study_id, patient_id, file and demographics."""
    films = project.filmed(split)
    if split == "test" and (sources := project.settings.choices.truth_from):
        films = films.filter(pl.col("label_source").is_in(sources))
    columns = ["study_id", "patient_id", "age_bin", "sex", "race", "age_years"]
    chosen = films.select(*columns, file="image_file")
    return shuffled(chosen, project.settings.evaluation.seed, "study_id").head(most)


def halves(patients: Sequence[str], seed: int) -> np.ndarray:
    """Which half each film is in, bool; all films of a patient are in one."""
    return np.array([derive_seed("half", seed, p) % 2 == 0 for p in patients], dtype=bool)
