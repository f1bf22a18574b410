"""Tiny cohorts under the true headers, generated, and the place of the real slices where there is one."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

NIH_HEADERS = {
    "v2020 gender": "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]",
    "v2020 sex, trailing comma": "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Sex,"
    "View Position,OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],",
    "sample": "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImageWidth,OriginalImageHeight,OriginalImagePixelSpacing_x,OriginalImagePixelSpacing_y",
    "underscores": "Image_Index,Finding_Labels,Follow_Up_#,Patient_ID,Patient_Age,Patient_Gender,View_Position",
}
NIH_HEADER = NIH_HEADERS["v2020 gender"]
NIH_TAIL = ",2500,2048,0.168,0.168"
BOX_HEADER = "Image Index,Finding Label,Bbox [x,y,w,h],,,"


def nih_row(
    image: str = "00000007_000.png",
    labels: str = "Effusion",
    *,
    follow: str = "0",
    patient: str | None = None,
    age: str = "58",
    sex: str = "F",
    view: str = "PA",
    tail: str = NIH_TAIL,
) -> str:
    """One line of the label table; the patient follows the image's name unless said."""
    number = patient if patient is not None else str(int(image[:8]))
    return f"{image},{labels},{follow},{number},{age},{sex},{view}{tail}"


@pytest.fixture
def nih_root(tmp_path: Path) -> Callable[..., Path]:
    """Writes a ChestX-ray14 folder from table lines; films are written for the names given."""

    def make(
        rows: Sequence[str],
        *,
        header: str = NIH_HEADER,
        films: Sequence[str] = (),
        end: str = "\n",
        name: str = "Data_Entry_2017_v2020.csv",
        encoding: str = "utf-8",
        boxes: Sequence[str] = (),
        **lists: Sequence[str],
    ) -> Path:
        root = tmp_path / "nih"
        (root / "images").mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes((end.join([header, *rows]) + end).encode(encoding))
        for film in films:
            write_film(root / "images" / film)
        if boxes:
            (root / "BBox_List_2017.csv").write_text("\n".join([BOX_HEADER, *boxes]) + "\n")
        for list_name, lines in lists.items():
            (root / f"{list_name}.txt").write_text("\n".join(lines))
        return root

    return make


def write_film(path: Path, *, width: int = 64, height: int = 64, seed: int = 0) -> Path:
    """A grey PNG of noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng([seed, *path.name.encode()]).integers(0, 256, (height, width), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the real slices; the test is skipped where it is absent."""
    root = Path(os.environ.get("CXR_SHARED_DATA") or Path(__file__).parents[3] / "shared" / "data")
    if not root.is_dir():
        pytest.skip(f"no real data at {root}; set CXR_SHARED_DATA")
    return root


@pytest.fixture
def wheel_table(tmp_path: Path) -> Callable[..., Path]:
    """Puts real tables of the installed torchxrayvision into a folder, as links; the test is skipped without them."""

    def link(*names: str) -> Path:
        spec = importlib.util.find_spec("torchxrayvision")
        data = Path(spec.submodule_search_locations[0]) / "data" if spec and spec.submodule_search_locations else None
        for name in names:
            if data is None or not (data / name).is_file():
                pytest.skip(f"the installed torchxrayvision has no {name}")
            (tmp_path / name).symlink_to(data / name)
        return tmp_path

    return link
