"""The forms: WebDataset shards (two kinds), a Hugging Face image folder, YOLO and COCO boxes."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import polars as pl
import torch
import webdataset
from PIL import Image

from cxr_assets.project import Project
from cxr_assets.regions.yolo import yolo_lines

SHARD = 1000
"""Images in one shard."""
_YOLO_SPLITS = {"train": "train", "validate": "val", "test": "test"}


def _pngs(
    project: Project, rows: pl.DataFrame, advance: Callable[[int], None]
) -> Iterator[tuple[dict[str, Any], bytes]]:
    """Each row with its PNG as stored."""
    for row in rows.iter_rows(named=True):
        yield row, project.store.path(row["file"]).read_bytes()
        advance(1)


def file_stem(image_id: str) -> str:
    """A name that is safe as a file and as a shard's key (no folder, no dot), one for each id."""
    safe = re.sub(r"[^A-Za-z0-9_-]", "_", image_id)
    return safe if safe == image_id else f"{safe[:100]}-{hashlib.sha256(image_id.encode()).hexdigest()[:8]}"


def _told(row: Mapping[str, Any]) -> dict[str, Any]:
    """What is said of an image beside it: no path of this machine, labels as values."""
    kept = {name: row[name] for name in row if name not in ("file", "labels")}
    return kept | {"labels": json.loads(row["labels"])}


def webdataset_shards(project: Project, rows: pl.DataFrame, out: Path, advance: Callable[[int], None]) -> None:
    """``<split>-00000.tar``: per image ``.png``, ``.txt`` (caption) and ``.json`` (everything else); keys never repeat."""
    for split, part in _by_split(rows):
        for number, first in enumerate(range(0, part.height, SHARD)):
            with webdataset.TarWriter(str(out / f"{split}-{number:05d}.tar"), mtime=0) as sink:
                for row, png in _pngs(project, part.slice(first, SHARD), advance):
                    sink.write(
                        {"__key__": file_stem(row["image_id"]), "png": png, "txt": row["text"], "json": _told(row)}
                    )


def roentgen_shards(project: Project, rows: pl.DataFrame, out: Path, advance: Callable[[int], None]) -> None:
    """Shards as RoentGen-v2 and CompDiff read them.

    Per image ``.pt_image`` (a pickled tensor, uint8, shape ``(h, w)``) and ``.prompt_metadata`` (the prompt, UTF-8); beside
    each shard ``<shard>_size.txt`` with its number of images.
    """
    for split, part in _by_split(rows):
        for number, first in enumerate(range(0, part.height, SHARD)):
            name = f"{split}-{number:05d}"
            shard = part.slice(first, SHARD)
            with webdataset.TarWriter(str(out / f"{name}.tar"), encoder=False, mtime=0) as sink:
                for row, png in _pngs(project, shard, advance):
                    with Image.open(io.BytesIO(png)) as film:
                        tensor = torch.from_numpy(np.array(film.convert("L")))
                    prompt = row["text"].encode()
                    sink.write(
                        {
                            "__key__": file_stem(row["image_id"]),
                            "pt_image": pickle.dumps(tensor),
                            "prompt_metadata": prompt,
                        }
                    )
            (out / f"{name}_size.txt").write_text(str(shard.height))


def image_folder(project: Project, rows: pl.DataFrame, out: Path, advance: Callable[[int], None]) -> None:
    """``<split>/<image>.png`` with ``<split>/metadata.jsonl``, as ``load_dataset("imagefolder")`` of Hugging Face reads it."""
    for split, part in _by_split(rows):
        folder = out / split
        folder.mkdir()
        with (folder / "metadata.jsonl").open("w", encoding="utf-8") as lines:
            for row, png in _pngs(project, part, advance):
                name = f"{file_stem(row['image_id'])}.png"
                (folder / name).write_bytes(png)
                lines.write(json.dumps({"file_name": name, **_told(row)}) + "\n")


def yolo_boxes(project: Project, rows: pl.DataFrame, out: Path, advance: Callable[[int], None]) -> None:
    """``images/<split>``, ``labels/<split>`` and ``data.yaml``; only films with a box are there."""
    boxes, sizes = _boxes(project, rows)
    number = {finding: index for index, finding in enumerate(sorted(boxes["finding"].unique()))}
    by_film = {key[0]: part for key, part in boxes.group_by("study_id")}
    for row, png in _pngs(project, rows, advance):
        if row["image_id"] not in by_film:
            continue
        split = _YOLO_SPLITS[row["split"]]
        for kind in ("images", "labels"):
            (out / kind / split).mkdir(parents=True, exist_ok=True)
        width, height = sizes[row["image_id"]]
        (out / "images" / split / f"{file_stem(row['image_id'])}.png").write_bytes(png)
        lines = yolo_lines(by_film[row["image_id"]], number, width=width, height=height)
        (out / "labels" / split / f"{file_stem(row['image_id'])}.txt").write_text(lines + "\n")
    names = "\n".join(f"  {index}: {finding}" for finding, index in number.items())
    folders = "".join(
        f"{name}: images/{name}\n" for name in ("train", "val", "test") if (out / "images" / name).is_dir()
    )
    (out / "data.yaml").write_text(f"path: .\n{folders}names:\n{names}\n")


def coco_boxes(project: Project, rows: pl.DataFrame, out: Path, advance: Callable[[int], None]) -> None:
    """``<split>/<image>.png`` and ``annotations_<split>.json`` in COCO's form; only films with a box are there."""
    boxes, sizes = _boxes(project, rows)
    number = {finding: index for index, finding in enumerate(sorted(boxes["finding"].unique()), start=1)}
    tags = rows["terms"].unique().sort().to_list()
    licences = [{"id": index, "name": tag, "url": project.spec.terms_url} for index, tag in enumerate(tags, start=1)]
    for split, part in _by_split(rows.filter(pl.col("image_id").is_in(list(sizes)))):
        (out / split).mkdir()
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for index, (row, png) in enumerate(_pngs(project, part, advance), start=1):
            name = f"{file_stem(row['image_id'])}.png"
            (out / split / name).write_bytes(png)
            width, height = sizes[row["image_id"]]
            licence = tags.index(row["terms"]) + 1
            images.append(
                {"id": index, "file_name": f"{split}/{name}", "width": width, "height": height, "license": licence}
            )
            for box in boxes.filter(study_id=row["image_id"]).iter_rows(named=True):
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": index,
                        "category_id": number[box["finding"]],
                        "bbox": [round(box[side], 3) for side in ("x", "y", "width", "height")],
                        "area": round(box["width"] * box["height"], 3),
                        "iscrowd": 0,
                    }
                )
        categories = [{"id": index, "name": finding} for finding, index in number.items()]
        page = {"licenses": licences, "images": images, "annotations": annotations, "categories": categories}
        (out / f"annotations_{split}.json").write_text(json.dumps(page))


FORMS: Mapping[str, Callable[[Project, pl.DataFrame, Path, Callable[[int], None]], None]] = MappingProxyType(
    {
        "webdataset": webdataset_shards,
        "roentgen": roentgen_shards,
        "imagefolder": image_folder,
        "yolo": yolo_boxes,
        "coco": coco_boxes,
    }
)
NEED_BOXES = ("yolo", "coco")


def _by_split(rows: pl.DataFrame) -> Iterator[tuple[str, pl.DataFrame]]:
    for split in sorted(rows["split"].unique()):
        yield split, rows.filter(pl.col("split") == split)


def _boxes(project: Project, rows: pl.DataFrame) -> tuple[pl.DataFrame, dict[str, tuple[int, int]]]:
    """Boxes of the rows in stored pixels, and width and height of each film that has one."""
    studies = project.store.table("studies").select("study_id", "width", "height")
    boxes = project.store.table("boxes").filter(pl.col("study_id").is_in(rows["image_id"].implode()))
    boxed = studies.join(boxes.select("study_id").unique(), on="study_id", how="semi")
    return boxes, {study: (width, height) for study, width, height in boxed.iter_rows()}
