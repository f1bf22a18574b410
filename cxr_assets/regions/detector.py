"""A YOLOv8 detector, trained from an architecture file; weights are kept as safetensors, never as a pickle."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from cxr_assets.errors import SettingsError
from cxr_assets.progress import Progress
from cxr_assets.regions.yolo import yolo_lines
from cxr_assets.settings import RegionSettings

REGIONS = {
    "study_id": pl.String,
    "finding": pl.String,
    "x": pl.Float64,
    "y": pl.Float64,
    "width": pl.Float64,
    "height": pl.Float64,
    "confidence": pl.Float64,
}


def _ultralytics(folder: Path) -> Any:
    """The package, kept from writing settings to the home folder, from phoning home and from fetching anything."""
    os.environ.setdefault("YOLO_CONFIG_DIR", str(folder))
    os.environ.setdefault("YOLO_OFFLINE", "true")
    os.environ.setdefault("YOLO_VERBOSE", "false")
    try:
        import ultralytics
    except ImportError as error:
        raise SettingsError(
            "disease_regions needs ultralytics: pip install 'cxr-assets[regions]' (AGPL-3.0), or set regions.enabled: false."
        ) from error
    ultralytics.settings.update({"sync": False})
    return ultralytics


@contextlib.contextmanager
def threads_kept() -> Iterator[None]:
    """Give torch its threads back afterwards: on a CPU, ultralytics takes one core less for the whole process."""
    threads, asked = torch.get_num_threads(), os.environ.get("OMP_NUM_THREADS")
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        os.environ.pop("OMP_NUM_THREADS", None)
        if asked is not None:
            os.environ["OMP_NUM_THREADS"] = asked


def write_dataset(
    films: np.ndarray,
    study_ids: Sequence[str],
    boxes: pl.DataFrame,
    findings: Sequence[str],
    validate: np.ndarray,
    folder: Path,
) -> Path:
    """Write films and boxes as a YOLO data set; returns its YAML file.

    Args:
        films: uint8, shape ``(n, size, size)``.
        boxes: study_id, finding, x, y, width, height in pixels of these films.
        validate: bool, shape ``(n,)``: films that the detector is checked on, not trained on.
    """
    size = films.shape[-1]
    number = {f: i for i, f in enumerate(findings)}
    by_study = {
        key[0]: part for key, part in boxes.filter(pl.col("finding").is_in(list(findings))).group_by("study_id")
    }
    for split in ("train", "val"):
        for kind in ("images", "labels"):
            (folder / kind / split).mkdir(parents=True, exist_ok=True)
    for index, (study, film) in enumerate(zip(study_ids, films, strict=True)):
        split = "val" if validate[index] else "train"
        Image.fromarray(film).convert("RGB").save(folder / "images" / split / f"{index:06d}.png", compress_level=1)
        lines = yolo_lines(by_study[study], number, width=size, height=size) if study in by_study else ""
        (folder / "labels" / split / f"{index:06d}.txt").write_text(lines)
    data = folder / "data.yaml"
    names = json.dumps({i: f for f, i in number.items()})
    data.write_text(f"path: {folder}\ntrain: images/train\nval: images/val\nnames: {names}\n")
    return data


def train_detector(
    data: Path,
    findings: Sequence[str],
    settings: RegionSettings,
    *,
    device: str,
    folder: Path,
    out: Path,
    progress: Progress,
) -> None:
    """Train a detector on a YOLO data set, going on from its last epoch after a stop, and save it under ``out``."""
    if (out / "detector.safetensors").is_file():
        return  # it is written last
    _refuse_pickles(settings.architecture)
    threads = torch.get_num_threads()
    ultralytics = _ultralytics(folder)
    checkpoint = folder / "checkpoint.pt"
    earlier = _opened(checkpoint) if checkpoint.exists() else None
    done = earlier["epochs"] if earlier else 0
    if done < settings.epochs:
        model = ultralytics.YOLO(settings.architecture, task="detect")
        with progress.task("detector", settings.epochs, done) as advance:
            model.add_callback("on_train_start", lambda trainer: torch.set_num_threads(threads))  # it took one away
            if earlier:
                model.add_callback("on_train_start", lambda trainer: _go_on(trainer, earlier))
            model.add_callback("on_train_epoch_end", lambda trainer: advance(1))
            model.add_callback("on_model_save", lambda trainer: _keep(trainer, checkpoint))
            model.train(
                data=str(data),
                epochs=settings.epochs,
                imgsz=settings.image_size,
                batch=settings.batch,
                device=device,
                project=str(folder),
                name="run",
                exist_ok=True,
                seed=settings.seed,
                deterministic=True,
                workers=0,
                amp=False,
                plots=False,
                verbose=False,
                val=False,
                pretrained=False,
                optimizer="AdamW",
                lr0=2e-3,
                nbs=settings.batch,
                warmup_epochs=1.0,
                # A film is never flipped (the heart has a side), recoloured or cut into mosaics.
                fliplr=0.0,
                flipud=0.0,
                mosaic=0.0,
                hsv_h=0.0,
                hsv_s=0.0,
                hsv_v=0.2,
                erasing=0.0,
                auto_augment=None,
            )
    out.mkdir(parents=True, exist_ok=True)
    weights = {k: v.float().contiguous() for k, v in _opened(checkpoint)["average"].items()}
    facts = {"architecture": settings.architecture, "findings": list(findings), "image_size": settings.image_size}
    (out / "detector.json").write_text(json.dumps(facts, indent=1))
    save_file(weights, out / ".detector.tmp")
    (out / ".detector.tmp").replace(out / "detector.safetensors")


def _keep(trainer: Any, checkpoint: Path) -> None:
    """Save what training needs to go on, once an epoch: the package's own checkpoints hold code and are no place to start."""
    state = {
        "epochs": trainer.epoch + 1,
        "model": trainer.model.state_dict(),
        "average": {k: v.cpu() for k, v in trainer.ema.ema.state_dict().items()},
        "updates": trainer.ema.updates,
        "optimizer": trainer.optimizer.state_dict(),
    }
    hidden = checkpoint.with_name(".checkpoint.tmp")
    torch.save(state, hidden)
    hidden.replace(checkpoint)
    trainer.best.unlink(missing_ok=True)  # else it is opened after the last epoch and validated once more, for nobody


def _opened(checkpoint: Path) -> dict[str, Any]:
    state: dict[str, Any] = torch.load(checkpoint, map_location="cpu", weights_only=True)
    return state


def _go_on(trainer: Any, state: dict[str, Any]) -> None:
    """Put a trainer that is about to begin where a checkpoint left off."""
    trainer.model.load_state_dict(state["model"])
    trainer.ema.ema.load_state_dict(state["average"])
    trainer.ema.updates = state["updates"]
    trainer.optimizer.load_state_dict(state["optimizer"])
    trainer.start_epoch = state["epochs"]
    trainer.scheduler.last_epoch = trainer.start_epoch - 1


def _refuse_pickles(architecture: str) -> None:
    if Path(architecture).suffix not in (".yaml", ".yml"):
        raise SettingsError(
            f"regions.architecture {architecture!r} is no architecture file (.yaml). Pickled weights are never opened;"
            " give weights as regions.weights, a folder with detector.safetensors."
        )


def load_detector(folder: Path, work: Path) -> Any:
    """A saved detector as a YOLO model. Raises SettingsError for a folder without safetensors."""
    ultralytics = _ultralytics(work)
    from ultralytics.nn.tasks import DetectionModel

    try:
        facts = json.loads((folder / "detector.json").read_text())
        weights = load_file(folder / "detector.safetensors")
    except OSError as error:
        raise SettingsError(
            f"no detector under {folder}: {error}. Expected detector.json and detector.safetensors."
        ) from error
    _refuse_pickles(facts["architecture"])
    model = ultralytics.YOLO(facts["architecture"], task="detect")
    model.model = DetectionModel(facts["architecture"], nc=len(facts["findings"]), verbose=False)
    model.model.load_state_dict(weights)
    model.model.names = dict(enumerate(facts["findings"]))
    return model


def detect(
    model: Any,
    films: np.ndarray,
    study_ids: Sequence[str],
    settings: RegionSettings,
    *,
    device: str,
    progress: Progress,
    batch: int = 64,
) -> pl.DataFrame:
    """Boxes that a detector finds, in pixels of the films: the columns of REGIONS."""
    rows: list[dict[str, object]] = []
    names = model.model.names
    with progress.task("detect regions", len(films)) as advance:
        for start in range(0, len(films), batch):
            part = films[start : start + batch]
            results = model.predict(
                [np.repeat(f[..., None], 3, axis=-1) for f in part],
                imgsz=settings.image_size,
                conf=settings.confidence,
                device=device,
                verbose=False,
            )
            for study, result in zip(study_ids[start : start + batch], results, strict=True):
                for (x0, y0, x1, y1), kind, confidence in zip(
                    result.boxes.xyxy.tolist(), result.boxes.cls.tolist(), result.boxes.conf.tolist(), strict=True
                ):
                    rows.append(
                        {
                            "study_id": study,
                            "finding": names[int(kind)],
                            "x": x0,
                            "y": y0,
                            "width": x1 - x0,
                            "height": y1 - y0,
                            "confidence": confidence,
                        }
                    )
            advance(len(part))
    return pl.DataFrame(rows, schema=REGIONS)
