from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
import pytest

from cxr_assets.evaluation.leaderboard import films as films_module
from cxr_assets.evaluation.leaderboard.films import halves, look, method_films, real_films, shuffled
from cxr_assets.evaluation.leaderboard.judges import Reading
from cxr_assets.evaluation.quality import feature_space
from cxr_assets.project import Project
from tests.evaluation.leaderboard.conftest import requests


@dataclass(frozen=True)
class Brightness:
    """A judge that says how bright films of 32 pixels are."""

    name: str = "brightness"
    age_from: str = "brightness"
    size: int | None = 32

    def read(self, films: np.ndarray, features: Mapping[str, np.ndarray]) -> Reading:
        assert films.shape[1:] == (32, 32) and len(features["random"]) == len(films)
        return Reading({"edema": films.mean(axis=(1, 2)) / 255})


def plain(images: pl.DataFrame) -> pl.DataFrame:
    return images.with_columns(demographics_json=pl.lit(None, pl.String))


def test_each_film_is_read_once_and_keeps_its_place(
    board: Callable[..., Project], monkeypatch: pytest.MonkeyPatch
) -> None:
    project = board()
    rows = real_films(project, "train", most=300)
    space = feature_space("random")
    whole = look(project.store, rows, [space], Brightness(), size=64)
    monkeypatch.setattr(films_module, "CHUNK", 7)
    parts = look(project.store, rows, [space], Brightness(), size=64)
    assert whole.features["random"].shape == (rows.height, 64)
    np.testing.assert_allclose(parts.features["random"], whole.features["random"], atol=1e-6)
    assert whole.reading is not None and parts.reading is not None
    np.testing.assert_array_equal(parts.reading.findings["edema"], whole.reading.findings["edema"])


def test_no_films_give_no_features_and_no_reading(board: Callable[..., Project]) -> None:
    project = board()
    seen = look(project.store, real_films(project, "train", most=0), [feature_space("random")], Brightness(), size=64)
    assert seen.features["random"].shape == (0, 0) and seen.reading is None


def test_methods_that_share_a_plan_are_sampled_on_the_same_requests(board: Callable[..., Project]) -> None:
    images = plain(requests(board()))
    other = images.with_columns(image_id=pl.format("x{}", "image_id")).reverse()
    first, second = (method_films(frame, seed=0, most=20).select("stratum", "index") for frame in (images, other))
    assert first.equals(second) and first.height == 20
    assert not first.equals(method_films(images, seed=1, most=20).select("stratum", "index"))


def test_rejected_and_double_images_are_left_out(board: Callable[..., Project]) -> None:
    images = plain(requests(board())).with_columns(passed_quality=pl.int_range(pl.len()) > 3)
    chosen = method_films(pl.concat([images, images]), seed=0, most=1000)
    assert chosen.height == images.height - 4 == chosen["image_id"].n_unique()


def test_people_are_those_asked_for_and_not_those_of_the_stratum(board: Callable[..., Project]) -> None:
    images = requests(board()).head(2)
    text = ['{"age": "unknown", "age_years": null, "race": "unknown", "sex": "unknown"}', None]
    told = method_films(images.with_columns(demographics_json=pl.Series(text)), seed=0, most=2)
    people = dict(zip(told["image_id"], told.select("age_bin", "sex", "race").rows(), strict=True))
    assert people[images["image_id"][0]] == ("unknown", "unknown", "unknown")
    assert people[images["image_id"][1]] == images.select("age", "sex", "race").row(1)


def test_a_smaller_sample_is_the_beginning_of_a_larger_one() -> None:
    films = pl.DataFrame({"study_id": [f"s{i}" for i in range(50)]})
    large = shuffled(films, 0, "study_id")["study_id"].to_list()
    assert large != sorted(large) and set(large) == set(films["study_id"])
    assert shuffled(films.reverse(), 0, "study_id")["study_id"].to_list() == large


def test_a_patient_is_in_one_half() -> None:
    patients = [f"p{i // 3}" for i in range(300)]
    found = halves(patients, 0)
    assert all(len(set(found[i : i + 3])) == 1 for i in range(0, 300, 3))
    assert 0.3 < found.mean() < 0.7


def test_real_films_are_of_the_split_asked_for(board: Callable[..., Project]) -> None:
    project = board()
    found = real_films(project, "test", most=1000)
    expected = project.filmed("test")
    assert set(found["study_id"]) == set(expected["study_id"]) and found["file"].null_count() == 0
