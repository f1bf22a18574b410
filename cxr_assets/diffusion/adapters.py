"""The ``adapter`` asset: what one method has taught the generator about the cohort."""

from __future__ import annotations

import hashlib
import json
import shutil
from typing import Any

import polars as pl

from cxr_assets.diffusion.base import open_base_model
from cxr_assets.diffusion.config import MethodPreset
from cxr_assets.diffusion.generator import Generator
from cxr_assets.diffusion.launch import teach_in_processes
from cxr_assets.diffusion.lessons import schema_of
from cxr_assets.diffusion.training_run import FIGURES, LEARNED, PICTURES, ROWS, UNLEARNED, teach
from cxr_assets.diffusion.tuning import load_generator
from cxr_assets.errors import StorageError
from cxr_assets.keys import MethodRun
from cxr_assets.processes import Processes
from cxr_assets.project import Made, Parent, Project, Step
from cxr_assets.resolve import load_preset
from cxr_assets.training import CHECKPOINT

CODE_VERSION = "3"


def method_preset(project: Project, method: str) -> MethodPreset:
    """The preset of a method, the user's own beside ``cxr.yaml`` first, with the project's training overrides on it."""
    run = MethodRun.parse(method)
    preset = load_preset("methods", run.preset, MethodPreset, project.resolved.presets)
    over = project.settings.adapter_training.model_dump(exclude_none=True) | ({"seed": run.seed} if run.seed else {})
    train = preset.train.model_copy(update=over)
    # A profile's few steps would end before a published warm-up does, and nothing be learned.
    return preset.model_copy(update={"train": train.model_copy(update={"warmup": min(train.warmup, train.steps // 2)})})


def train_adapter(project: Project, method: str) -> Made:
    """Train one method's generator; resumes from its checkpoint after a stop.

    Where ``diffusion.accelerate`` names a configuration, the training runs in the processes that it describes.
    """
    step = adapter_step(project, method)
    if made := step.claim():
        return made
    preset, work = method_preset(project, method), step.work()
    if project.settings.diffusion.accelerate is None:
        teach(project, method, preset, work=work, identity=step.identity, processes=Processes())
    else:
        teach_in_processes(project, method, preset, work=work, identity=step.identity)
    folder = work / LEARNED
    record = json.loads((folder / "training.json").read_text())
    learned = pl.read_parquet(work / ROWS)
    with step.writing() as writer:
        digest = writer.folder(folder, f"adapters/method={method}")
        rows = learned.select(
            pl.lit(digest).alias("adapter_id"),
            "study_id",
            "patient_id",
            pl.col("caption").map_elements(_sha256, return_dtype=pl.String).alias("caption_sha256"),
            "weight",
            "split",
            "times_seen",
        )
        writer.table("adapter_training_rows", rows)
        pictures = f"reports/adapters/{method}"
        for picture in sorted((work / PICTURES).iterdir()):
            writer.bytes(f"{pictures}/{picture.name}", picture.read_bytes())
        writer.sweep(pictures)
        writer.facts |= {
            "folder": f"adapters/method={method}/{digest[:16]}",
            "pictures": pictures,
            "adapter_id": digest,
            "base_id": record["base_id"],
            "final_loss": record["losses"][-1][1],
            **json.loads((work / FIGURES).read_text()),
        }
    shutil.rmtree(folder)  # it was copied to where it stays; a checkpoint of whole networks takes gigabytes
    (work / CHECKPOINT).unlink(missing_ok=True)
    return step.made()


def adapter_step(project: Project, method: str) -> Step:
    """How a method's adapter would be made now."""
    preset = method_preset(project, method)
    return project.step(
        "adapter",
        {"method": method},
        parents=[
            Parent("studies", "trained_on"),
            Parent("captions", "trained_on"),
            Parent("base_model", "drawn_with"),
            Parent("latents", "trained_on"),
        ],
        config=learned_from(project, preset),
        code_version=CODE_VERSION,
    )


DRAWING = {"demographic_guidance": True, "few_step": True, "wording": {"asked_with"}}
"""What of a preset only drawing reads."""
_NAMES = {"title": True, "source": True}


def learned_from(project: Project, preset: MethodPreset) -> dict[str, Any]:
    """All settings that decide what a method learns; how it is called, drawn and kept is left out.

    The age bins are among them where a conditioner or a weighing looks at them.
    """
    left_out: Any = DRAWING | _NAMES | {"train": UNLEARNED}
    found = preset.model_dump(mode="json", exclude=left_out)
    looks = preset.conditioner.kind != "none" or preset.weighing.kind != "uniform"
    return found | ({"schema": schema_of(project).digest()} if looks else {})


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def open_generator(project: Project, method: str) -> Generator:
    """The base model as a method has taught it.

    Raises:
        StorageError: the adapter is not made yet, or base model, conditioner or wording have changed since.
    """
    manifest = project.store.manifest("adapter", {"method": method})
    if manifest is None:
        raise StorageError(f"method {method!r} has no adapter under {project.store.root}. Materialise adapter first.")
    preset, base = method_preset(project, method), open_base_model(project)
    if base.base_id != manifest.facts["base_id"]:
        raise StorageError(
            f"method {method!r} was trained on base model {manifest.facts['base_id'][:16]}, and the one in force is"
            f" {base.base_id[:16]}. Materialise latents and adapter again."
        )
    folder = project.store.path(manifest.facts["folder"])
    learned = MethodPreset.model_validate(json.loads((folder / "training.json").read_text())["settings"])
    if (learned.conditioner, learned.wording.trained_with) != (preset.conditioner, preset.wording.trained_with):
        raise StorageError(
            f"method {method!r} was trained with another conditioner or wording than its preset has now: it would be asked"
            " for things in words that it has not learned. Materialise adapter again."
        )
    return load_generator(base, preset, schema_of(project), folder)
