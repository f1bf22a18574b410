"""A curated phantom whose test films stand in for the images of a perfect generator, and noise for those of a bad one."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image

from cxr_assets.cohorts.curation import curate_studies
from cxr_assets.evaluation.leaderboard.board import make_leaderboard
from cxr_assets.project import Project
from cxr_assets.synthesis.draw import IMAGES
from tests.helpers import noise_films, tiny_project, write_table

BOARD: dict[str, Any] = {
    "phantom__studies": 200,
    "evaluation__features": ["random"],
    "evaluation__attributes": ["sex", "race"],
    "evaluation__leaderboard.min_films": 10,
    "synthesis__methods": ["good", "good-s1", "bad", "bad-s1", "absent"],
}


@pytest.fixture(scope="session")
def cohort_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data root of a curated phantom; read only."""
    root = tmp_path_factory.mktemp("board")
    curate_studies(tiny_project(root, root, **BOARD))
    return root


@pytest.fixture(scope="session")
def made_root(cohort_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data root with a board of two presets with two seeds each; read only."""
    root = tmp_path_factory.mktemp("made") / "root"
    shutil.copytree(cohort_root, root)
    project = tiny_project(root, root, **BOARD)
    give_all(project)
    make_leaderboard(project)
    return root


@pytest.fixture
def made(made_root: Path, tmp_path: Path) -> Project:
    """The project of a copy of that root."""
    shutil.copytree(made_root, tmp_path / "made")
    return tiny_project(tmp_path / "made", made_root, **BOARD)


@pytest.fixture
def board(cohort_root: Path, tmp_path: Path) -> Callable[..., Project]:
    """Opens a copy of the curated root."""

    def open_copy(**changed: Any) -> Project:
        if not (tmp_path / "root").exists():
            shutil.copytree(cohort_root, tmp_path / "root")
        return tiny_project(tmp_path / "root", tmp_path, **(BOARD | changed))

    return open_copy


def requests(project: Project, *, skip: int = 0) -> pl.DataFrame:
    """Test films as requests: a row with what it shows, and its own film as the answer."""
    labels = project.findings().filter(pl.col("value") == 1).group_by("study_id", maintain_order=True).agg("finding")
    films = project.filmed("test").join(labels, on="study_id").sort("study_id")[skip:]
    finding = pl.col("finding").list.get(0)
    return films.select(
        image_id=pl.col("study_id"),
        finding=finding,
        age="age_bin",
        sex="sex",
        race="race",
        stratum=pl.concat_str(finding, "age_bin", "sex", "race", separator="."),
        age_years=pl.col("age_years").cast(pl.Int64),
        labels=pl.col("finding").list.join("|"),
        prompt=pl.lit("chest x-ray"),
        file="image_file",
        passed_quality=pl.lit(True),
    ).with_columns(index=pl.int_range(pl.len()).over("stratum"))


def give_set(project: Project, method: str, images: pl.DataFrame) -> None:
    """Write a synthetic set by hand."""
    missing = [pl.lit(None, dtype).alias(name) for name, dtype in IMAGES.items() if name not in images.columns]
    frame = images.with_columns(missing).with_columns(method=pl.lit(method)).select(*IMAGES).cast(pl.Schema(IMAGES))
    write_table(project, "synthetic_set", {"method": method}, synthetic_set=frame)


def noise_for(project: Project, images: pl.DataFrame, seed: int) -> pl.DataFrame:
    """The same requests answered with noise."""
    files = []
    for number, film in enumerate(noise_films(images.height, seed=seed)):
        buffer = io.BytesIO()
        Image.fromarray(np.asarray(film)).save(buffer, "PNG")
        files.append(project.store.put_bytes(f"images/synthetic/noise/{seed}-{number}.png", buffer.getvalue()).path)
    return images.with_columns(
        file=pl.Series(files), image_id=pl.format("n{}-{}", pl.lit(seed), pl.int_range(pl.len()))
    )


def give_all(project: Project) -> None:
    """Sets of two seeds of a good and of a bad preset."""
    good = requests(project)
    for seed, ending in enumerate(("", "-s1")):
        give_set(project, f"good{ending}", good.head(good.height - seed))
        give_set(project, f"bad{ending}", noise_for(project, good.head(good.height - seed), seed))
