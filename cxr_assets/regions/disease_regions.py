"""The ``disease_regions`` asset: a detector trained on the cohort's boxes, its boxes and masks, and its recall."""

from __future__ import annotations

import io
import shutil

import numpy as np
import polars as pl
from PIL import Image

from cxr_assets.cohorts.film_reader import read_films
from cxr_assets.project import Made, Parent, Project, Step
from cxr_assets.regions.boxes import RECALL, box_mask, recall
from cxr_assets.regions.detector import REGIONS, detect, load_detector, threads_kept, train_detector, write_dataset
from cxr_assets.settings import RegionSettings
from cxr_assets.warehouse.manifest import folder_digest
from cxr_assets.warehouse.store import PartitionWriter

CODE_VERSION = "1"
MASKS = {"study_id": pl.String, "mask_file": pl.String}
LEAST_BOXES = 10


def find_regions(project: Project) -> Made:
    """Train (or load) the detector and run it; without boxes to learn from, the tables are empty and say why."""
    settings = project.settings.regions
    weights = folder_digest(settings.weights) if settings.weights and settings.weights.is_dir() else None
    step = project.step(
        "disease_regions",
        parents=[Parent("studies", "trained_on")],
        config={"settings": settings, "weights": weights, "findings": project.grid.findings},
        code_version=CODE_VERSION,
    )
    if made := step.claim():
        return made
    studies = project.store.table("studies").filter(pl.col("image_file").is_not_null()).sort("study_id")
    boxes = project.store.table("boxes")
    boxed = boxes["study_id"].unique().len()
    trainable = boxes.join(studies.filter(pl.col("split") == "train").select("study_id"), on="study_id", how="semi")
    skipped = None
    if not settings.enabled:
        skipped = "regions.enabled is false"
    elif settings.weights is None and trainable.height < LEAST_BOXES:
        skipped = f"{trainable.height} boxes on training films; a detector needs {LEAST_BOXES} or regions.weights"
    if skipped:
        with step.writing() as writer:
            _tables(writer, pl.DataFrame(schema=REGIONS), pl.DataFrame(schema=RECALL), pl.DataFrame(schema=MASKS))
            writer.facts |= {"skipped": skipped, "boxed_studies": boxed}
        return step.made()
    with threads_kept():
        _detect_and_write(project, step, settings, studies, boxes, trainable)
    return step.made()


def _tables(writer: PartitionWriter, regions: pl.DataFrame, recalled: pl.DataFrame, masks: pl.DataFrame) -> None:
    writer.table("regions", regions)
    writer.table("region_recall", recalled)
    writer.table("region_masks", masks)


def _detect_and_write(
    project: Project,
    step: Step,
    settings: RegionSettings,
    studies: pl.DataFrame,
    boxes: pl.DataFrame,
    trainable: pl.DataFrame,
) -> None:
    work = step.work() / step.identity[:16]
    work.mkdir(parents=True, exist_ok=True)
    device = "cpu" if project.settings.device in ("auto", "cpu") and not _cuda() else "0"
    size = project.settings.phantom.size if project.resolved.cohort == "phantom" else project.settings.films.size
    findings = [f for f in project.grid.findings if f in set(trainable["finding"])] or sorted(boxes["finding"].unique())
    model_folder = settings.weights
    if model_folder is None:
        model_folder = work / "model"
        learned = studies.filter(
            (pl.col("split") == "train") & pl.col("study_id").is_in(trainable["study_id"].implode())
        )
        learned = learned.head(settings.max_films)
        films = read_films(project.store, learned["image_file"].to_list(), size)
        check = np.arange(len(films)) % 10 == 0
        data = write_dataset(films, learned["study_id"].to_list(), boxes, findings, check, work / "data")
        train_detector(
            data, findings, settings, device=device, folder=work, out=model_folder, progress=project.progress
        )
    shown = studies.sort(pl.col("split") != "test", "study_id").head(settings.predict_films or studies.height)
    films = read_films(project.store, shown["image_file"].to_list(), size)
    found = detect(
        load_detector(model_folder, work),
        films,
        shown["study_id"].to_list(),
        settings,
        device=device,
        progress=project.progress,
    )
    test = shown.filter(pl.col("split") == "test").select("study_id")
    recalled = recall(boxes.join(test, on="study_id", how="semi"), found.join(test, on="study_id", how="semi"))
    with step.writing() as writer:
        if settings.weights is None:
            writer.folder(model_folder, "detectors")
        masks = _write_masks(writer, found, findings, size)
        _tables(writer, found, recalled, masks)
        overall = recalled.filter(pl.col("finding") == "all")["value"]
        writer.facts |= {
            "regions": found.height,
            "films": shown.height,
            "findings": findings,
            "recall": float(overall[0]) if len(overall) else None,
        }
    shutil.rmtree(work / "data", ignore_errors=True)


def _write_masks(writer: PartitionWriter, found: pl.DataFrame, findings: list[str], size: int) -> pl.DataFrame:
    """One bit-packed mask PNG for every study with a region; bit *i* is ``findings[i]``."""
    from cxr_assets.warehouse.manifest import digest_json

    rows = []
    for (study,), part in found.group_by("study_id", maintain_order=True):
        bits = [findings.index(f) for f in part["finding"]]
        mask = box_mask(part.select("x", "y", "width", "height").to_numpy(), bits, size)
        buffer = io.BytesIO()
        Image.fromarray(mask.astype(np.uint16)).save(buffer, "PNG")  # sixteen bits hold every finding
        name = digest_json([study, findings])[:32]
        entry = writer.bytes(f"images/region-masks/{name[:2]}/{name}.png", buffer.getvalue())
        rows.append({"study_id": str(study), "mask_file": entry.path})
    return pl.DataFrame(rows, schema=MASKS)


def _cuda() -> bool:
    import torch

    return torch.cuda.is_available()
