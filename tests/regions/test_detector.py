from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from cxr_assets.errors import SettingsError
from cxr_assets.progress import Advance, Progress
from cxr_assets.regions.detector import REGIONS, detect, load_detector, threads_kept, train_detector, write_dataset
from cxr_assets.settings import RegionSettings
from tests.helpers import QUIET, noise_films

FINDINGS = ("edema", "lung_lesion")
SETTINGS = RegionSettings(image_size=64, epochs=1, batch=8, confidence=0.0001)

# Looked up, not imported: the package writes to the home folder unless it is told otherwise first.
needs_ultralytics = pytest.mark.skipif(find_spec("ultralytics") is None, reason="ultralytics is not installed")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("detector")


def films_and_boxes() -> tuple[np.ndarray, list[str], pl.DataFrame]:
    films, studies = noise_films(24), [f"s{i:02d}" for i in range(24)]
    rows = [
        {"study_id": s, "finding": FINDINGS[i % 2], "x": 8.0, "y": 16.0, "width": 16.0, "height": 32.0}
        for i, s in enumerate(studies[:20])
    ]
    stray = {"study_id": "s00", "finding": "hernia", "x": 0.0, "y": 0.0, "width": 8.0, "height": 8.0}
    return films, studies, pl.DataFrame([*rows, stray])


def test_a_data_set_is_written_in_shares_of_the_film(tmp_path: Path) -> None:
    films, studies, boxes = films_and_boxes()
    data = write_dataset(films, studies, boxes, FINDINGS, np.arange(24) % 4 == 0, tmp_path)
    labels = {
        p.relative_to(tmp_path / "labels").as_posix(): p.read_text() for p in (tmp_path / "labels").rglob("*.txt")
    }
    assert len(labels) == 24 == len(list((tmp_path / "images").rglob("*.png")))
    assert sum(name.startswith("val/") for name in labels) == 6
    assert labels["val/000000.txt"] == "0 0.250000 0.500000 0.250000 0.500000", "findings outside the list stay out"
    assert labels["train/000001.txt"].startswith("1 ") and labels["train/000021.txt"] == ""
    assert '"1": "lung_lesion"' in data.read_text()


@needs_ultralytics
def test_a_detector_trains_saves_and_finds_boxes_with_everything_in_its_folder(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(home)
    films, studies, boxes = films_and_boxes()
    data = write_dataset(films, studies, boxes, FINDINGS, np.arange(24) % 4 == 0, home / "data")
    train_detector(data, FINDINGS, SETTINGS, device="cpu", folder=home / "work", out=home / "model", progress=QUIET)
    assert {p.name for p in (home / "model").iterdir()} == {"detector.safetensors", "detector.json"}
    assert {p.name for p in home.iterdir()} == {"data", "work", "model"}, "nothing is written beside them"
    model = load_detector(home / "model", home / "work")
    found = detect(model, films[:6], studies[:6], SETTINGS, device="cpu", progress=QUIET, batch=4)
    assert found.schema == pl.Schema(REGIONS) and found.height > 0
    assert set(found["study_id"]) <= set(studies[:6]) and set(found["finding"]) <= set(FINDINGS)
    assert ((found["x"] >= 0) & (found["x"] + found["width"] <= 64.01) & (found["height"] > 0)).all()
    again = detect(
        load_detector(home / "model", home / "work"), films[:6], studies[:6], SETTINGS, device="cpu", progress=QUIET
    )
    assert again.select("study_id", "finding").equals(found.select("study_id", "finding"))


@needs_ultralytics
def test_a_folder_without_safetensors_is_refused(tmp_path: Path) -> None:
    (tmp_path / "last.pt").write_bytes(b"a pickle")
    with pytest.raises(SettingsError, match=r"detector\.safetensors"):
        load_detector(tmp_path, tmp_path)


def test_training_a_detector_leaves_torch_its_threads() -> None:
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with threads_kept():
            torch.set_num_threads(1)  # what ultralytics does on two cores
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@needs_ultralytics
def test_a_torn_checkpoint_is_started_over(tmp_path: Path) -> None:
    films, studies, boxes = films_and_boxes()
    data = write_dataset(films, studies, boxes, FINDINGS, np.arange(24) % 4 == 0, tmp_path / "data")
    last = tmp_path / "work" / "run" / "weights" / "last.pt"
    last.parent.mkdir(parents=True)
    last.write_bytes(b"PK torn by a kill")
    out = tmp_path / "model"
    train_detector(data, FINDINGS, SETTINGS, device="cpu", folder=tmp_path / "work", out=out, progress=QUIET)
    written = (out / "detector.safetensors").stat().st_mtime_ns
    train_detector(data, FINDINGS, SETTINGS, device="cpu", folder=tmp_path / "work", out=out, progress=QUIET)
    assert (out / "detector.safetensors").stat().st_mtime_ns == written, "a finished detector is not trained again"


def test_pickled_architectures_are_refused(tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(update={"architecture": "yolov8n.pt"})
    with pytest.raises(SettingsError, match="never opened"):
        train_detector(
            tmp_path / "data.yaml",
            FINDINGS,
            settings,
            device="cpu",
            folder=tmp_path,
            out=tmp_path / "model",
            progress=QUIET,
        )


class Stop(Exception):
    pass


@dataclass
class Epochs(Progress):
    """Notes the end of each epoch, and breaks off at one, as a kill would: before its checkpoint is written."""

    stop_at: int = 99
    seen: list[int] = field(default_factory=list)

    @contextlib.contextmanager
    def task(self, name: str, total: int, done: int = 0) -> Iterator[Advance]:
        def advance(*_: object) -> None:
            self.seen.append(done + len(self.seen) + 1)
            if self.seen[-1] == self.stop_at:
                raise Stop

        yield advance


@needs_ultralytics
def test_training_goes_on_after_a_stop_and_opens_no_pickle(tmp_path: Path) -> None:
    films, studies, boxes = films_and_boxes()
    data = write_dataset(films, studies, boxes, FINDINGS, np.arange(24) % 4 == 0, tmp_path / "data")
    settings = SETTINGS.model_copy(update={"epochs": 3})
    work, stopped, resumed = tmp_path / "work", Epochs(stop_at=2), Epochs()

    def train(progress: Progress) -> None:
        train_detector(data, FINDINGS, settings, device="cpu", folder=work, out=tmp_path / "model", progress=progress)

    with pytest.raises(Stop):
        train(stopped)
    for pickled in (work / "run" / "weights").glob("*.pt"):
        pickled.write_bytes(b"opening this would fail")
    train(resumed)
    assert (stopped.seen, resumed.seen) == ([1, 2], [2, 3]), "the first epoch is not learned twice"
    assert (tmp_path / "model" / "detector.safetensors").is_file()
