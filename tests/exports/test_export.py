from __future__ import annotations

import io
import json
import pickle
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
import webdataset
import yaml
from PIL import Image
from typer.testing import CliRunner

from cxr_assets.cli import app
from cxr_assets.cohorts.curation import curate_studies
from cxr_assets.errors import CheckError, InputError
from cxr_assets.exports import write
from cxr_assets.exports.forms import FORMS, file_stem
from cxr_assets.exports.rows import export_rows, gate
from cxr_assets.project import Project
from cxr_assets.warehouse.terms import MAY_EXPORT, STRICTNESS
from tests.cohorts.conftest import BOX_HEADER, NIH_HEADER, nih_row
from tests.helpers import write_table

NAMES = ("00000001_000.png", "00000002_000.png", "00000003_000.png")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Three films, one with a box, curated at 32 pixels."""
    root = tmp_path_factory.mktemp("nih")
    (root / "images").mkdir()
    rng = np.random.default_rng(0)
    for name in NAMES:
        Image.fromarray(rng.integers(0, 255, (64, 64), np.uint8)).save(root / "images" / name)
    rows = [nih_row(NAMES[0], "Effusion|Mass"), nih_row(NAMES[1], "No Finding", age="030Y", sex="M"), nih_row(NAMES[2])]
    (root / "Data_Entry_2017_v2020.csv").write_text("\n".join([NIH_HEADER, *rows]))
    (root / "BBox_List_2017.csv").write_text(f"{BOX_HEADER}\n{NAMES[0]},Effusion,256,512,256,128,,,\n")
    (root / "train_val_list.txt").write_text("\n".join(NAMES[:2]))
    (root / "test_list.txt").write_text(NAMES[2])
    opened = Project.open(
        cohort="nih",
        storage=tmp_path_factory.mktemp("root"),
        overrides={"cohort_root": str(root), "films.size": 32, "films.workers": 1, "curate.validate_share": 0.0},
    )
    curate_studies(opened)
    return opened


def stored(project: Project, study: str) -> np.ndarray:
    row = project.store.table("studies").filter(study_id=study).row(0, named=True)
    with Image.open(project.store.path(row["image_file"])) as film:
        return np.array(film)


def test_shards_are_read_back_by_webdataset_itself(project: Project, tmp_path: Path) -> None:
    done = write.export(project, "real", "webdataset", tmp_path / "out", split="train")
    samples = list(webdataset.WebDataset(str(done.folder / "train-00000.tar"), shardshuffle=False).decode("l8"))
    assert [sample["__key__"] for sample in samples] == ["00000001_000", "00000002_000"]
    first = samples[0]
    np.testing.assert_array_equal(first["png"], stored(project, "00000001_000"))
    assert (first["json"]["labels"]["pleural_effusion"], first["json"]["sex"]) == (1, "female")
    assert (
        first["json"]["terms"] == "nih-open"
        and first["json"]["findings"] == "lung_opacity|lung_lesion|pleural_effusion"
    )
    assert "file" not in first["json"], "no path of the data root leaves"


def test_shards_of_the_published_form_hold_a_tensor_and_a_prompt(project: Project, tmp_path: Path) -> None:
    done = write.export(project, "real", "roentgen", tmp_path / "out", split="test")
    (sample,) = list(webdataset.WebDataset(str(done.folder / "test-00000.tar"), shardshuffle=False))
    tensor = pickle.loads(sample["pt_image"])
    assert isinstance(tensor, torch.Tensor) and tensor.dtype == torch.uint8
    np.testing.assert_array_equal(tensor.numpy(), stored(project, "00000003_000"))
    assert sample["prompt_metadata"].decode() == ""
    assert (done.folder / "test-00000_size.txt").read_text() == "1"


def test_an_image_folder_has_a_row_of_metadata_for_each_file(project: Project, tmp_path: Path) -> None:
    done = write.export(project, "real", "imagefolder", tmp_path / "out")
    for split, count in (("train", 2), ("test", 1)):
        lines = [json.loads(line) for line in (done.folder / split / "metadata.jsonl").read_text().splitlines()]
        files = {path.name for path in (done.folder / split).glob("*.png")}
        assert {line["file_name"] for line in lines} == files and len(files) == count


def test_boxes_are_shares_in_yolo_and_pixels_in_coco(project: Project, tmp_path: Path) -> None:
    yolo = write.export(project, "real", "yolo", tmp_path / "yolo").folder
    label = (yolo / "labels" / "train" / "00000001_000.txt").read_text().split()
    assert [float(value) for value in label] == [0.0, 0.375, 0.5625, 0.25, 0.125]
    data = yaml.safe_load((yolo / "data.yaml").read_text())
    assert data["names"] == {0: "pleural_effusion"} and (yolo / data["train"] / "00000001_000.png").is_file()
    coco = write.export(project, "real", "coco", tmp_path / "coco").folder
    page = json.loads((coco / "annotations_train.json").read_text())
    assert page["annotations"][0]["bbox"] == [8.0, 16.0, 8.0, 4.0] and page["annotations"][0]["area"] == 32.0
    assert page["images"][0]["file_name"] == "train/00000001_000.png" and page["licenses"][0]["name"] == "nih-open"


@pytest.mark.parametrize("form", FORMS)
def test_every_export_carries_its_terms_and_is_logged(project: Project, tmp_path: Path, form: str) -> None:
    before = set(project.store.path("exports").glob("*.json"))
    done = write.export(project, "real", form, tmp_path / "out")
    assert "nih-open" in (done.folder / "TERMS.md").read_text()
    count = 1 if form in ("yolo", "coco") else 3  # one film has a box
    assert (
        json.loads((done.folder / "export.json").read_text())["terms"] == {"nih-open": count} and done.images == count
    )
    (log,) = set(project.store.path("exports").glob("*.json")) - before
    assert json.loads(log.read_text())["folder"] == str(done.folder)


def test_a_cohort_without_findings_is_exported_without_labels(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(vars(project), "spec", project.spec.model_copy(update={"findings": ()}))
    done = write.export(project, "real", "imagefolder", tmp_path / "out", split="test")
    (line,) = (done.folder / "test" / "metadata.jsonl").read_text().splitlines()
    assert json.loads(line)["labels"] == {} and json.loads(line)["findings"] == ""


def test_boxes_of_a_split_that_has_none_are_no_export(project: Project, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no real image with a box of split test"):
        write.export(project, "real", "coco", tmp_path / "out", split="test")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("tag", [tag for tag in STRICTNESS if tag not in MAY_EXPORT])
def test_terms_that_forbid_it_refuse_the_export(tag: str) -> None:
    rows = pl.DataFrame({"terms": ["nih-open", tag]})
    with pytest.raises(CheckError, match=f"1 rows under '{tag}'"):
        gate(rows)
    with pytest.raises(CheckError):
        gate(rows, despite="  ")
    assert gate(rows, despite="data steward, letter of 3 March") == {"nih-open": 1, tag: 1}


def test_a_row_without_terms_counts_as_unknown() -> None:
    with pytest.raises(CheckError, match="unknown"):
        gate(pl.DataFrame({"terms": [None, "cc-by"]}, schema={"terms": pl.String}))


def test_a_refused_export_leaves_nothing(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def strict(*args: object, **kwargs: object) -> pl.DataFrame:
        return export_rows(project, "real").with_columns(terms=pl.lit("stanford-research"))

    monkeypatch.setattr(write, "export_rows", strict)
    logged = len(list(project.store.path("exports").glob("*.json")))
    with pytest.raises(CheckError, match="stanford-research"):
        write.export(project, "real", "imagefolder", tmp_path / "out")
    assert not list(tmp_path.iterdir()) and len(list(project.store.path("exports").glob("*.json"))) == logged
    write.export(project, "real", "imagefolder", tmp_path / "out", despite="steward")
    assert "steward" in (tmp_path / "out" / "TERMS.md").read_text()


def test_what_cannot_be_exported_is_said(project: Project, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Did you mean webdataset"):
        write.export(project, "real", "webdatasets", tmp_path / "out")
    with pytest.raises(InputError, match="no synthetic image"):
        write.export(project, "synthetic", "imagefolder", tmp_path / "out")
    with pytest.raises(InputError, match="synthetic images have none"):
        write.export(project, "synthetic", "yolo", tmp_path / "out")
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match="is there already"):
        write.export(project, "real", "imagefolder", tmp_path / "out")


def test_an_export_that_fails_midway_leaves_no_folder(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(write, "FORMS", {"imagefolder": broken})
    with pytest.raises(Exception, match="No space left"):
        write.export(project, "real", "imagefolder", tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_names_are_safe_and_tell_ids_apart() -> None:
    assert file_stem("00000001_000") == "00000001_000"
    hostile = [file_stem(name) for name in ("../../etc/passwd", "a.b", "a_b", "a/b")]
    assert len(set(hostile)) == 4 and all("/" not in name and "." not in name for name in hostile)


def test_the_command_says_where_it_wrote(project: Project, tmp_path: Path) -> None:
    arguments = [
        "export",
        str(tmp_path / "out"),
        "--what",
        "real",
        "--cohort",
        "nih",
        "--storage",
        str(project.store.root),
    ]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0 and "exported 3 real images" in done.stdout
    with Image.open(io.BytesIO((tmp_path / "out" / "test" / "00000003_000.png").read_bytes())) as film:
        assert film.size == (32, 32)


def test_synthetic_images_that_passed_go_out_with_what_was_asked_of_them(project: Project, tmp_path: Path) -> None:
    names = ["a" * 8, "b" * 8, "c" * 8]
    for number, name in enumerate(names):
        project.store.put_bytes(f"images/synthetic/{name}.png", f"png {number}".encode())
    images = pl.DataFrame(
        {
            "image_id": names,
            "method": "demographic_text",
            "cohort": "nih",
            "labels": ["edema|pleural_effusion", "edema", "edema"],
            "prompt": "chest x-ray, edema",
            "age_years": [50, 60, 70],
            "sex": ["female", "unknown", "male"],
            "race": "unknown",
            "file": [f"images/synthetic/{name}.png" for name in names],
            "passed_quality": [True, True, False],
            "terms": "nih-open",
        }
    )
    write_table(project, "synthetic_set", {"method": "demographic_text"}, synthetic_set=images)
    done = write.export(project, "synthetic", "imagefolder", tmp_path / "out", method="demographic_text")
    lines = [json.loads(line) for line in (done.folder / "train" / "metadata.jsonl").read_text().splitlines()]
    assert done.images == 2 and [line["image_id"] for line in lines] == names[:2]
    assert {name for name, value in lines[0]["labels"].items() if value == 1} == {"edema", "pleural_effusion"}
    assert set(lines[0]["labels"].values()) == {0, 1} and list(lines[0]["labels"]) == list(project.grid.findings)
    assert [(line["sex"], line["race"], line["age"]) for line in lines] == [("female", None, 50.0), (None, None, 60.0)]
    assert (done.folder / "train" / f"{names[1]}.png").read_bytes() == b"png 1"
