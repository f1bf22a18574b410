"""The ``adapter`` asset: what one method has taught the generator about the cohort."""

from __future__ import annotations

import hashlib
import json

import polars as pl

from cxr_assets.cohorts.demographics import RACES, SEXES, UNKNOWN, age_scheme
from cxr_assets.diffusion.base import open_base_model
from cxr_assets.diffusion.cache import open_cache
from cxr_assets.diffusion.conditioners.schema import DemographicSchema
from cxr_assets.diffusion.config import MethodPreset
from cxr_assets.diffusion.device import pick_device
from cxr_assets.diffusion.generator import Generator, load_generator
from cxr_assets.diffusion.lora import save_lora, train_lora
from cxr_assets.errors import StorageError
from cxr_assets.keys import MethodRun
from cxr_assets.plots import loss_curve
from cxr_assets.project import Made, Parent, Project
from cxr_assets.settings import load_preset

CODE_VERSION = "1"


def method_preset(project: Project, method: str) -> MethodPreset:
    """The preset of a method, the user's own beside ``cxr.yaml`` first, with the project's training overrides on it."""
    run = MethodRun.parse(method)
    preset = load_preset("methods", run.preset, MethodPreset, project.resolved.presets)
    over = project.settings.adapter_training.model_dump(exclude_none=True) | ({"seed": run.seed} if run.seed else {})
    return preset.model_copy(update={"train": preset.train.model_copy(update=over)})


def schema_of(project: Project) -> DemographicSchema:
    """Demographic vocabulary of the cohort's conditioners; one without sexes or races has the tables, never used."""
    sexes, races = ([w for w in words if w != UNKNOWN] for words in (project.spec.sexes, project.spec.races))
    edges = age_scheme(project.settings.choices.age_scheme).edges
    return DemographicSchema(edges, tuple(sexes) or SEXES, tuple(races) or RACES)


def train_adapter(project: Project, method: str) -> Made:
    """Train the adapter of one method; resumes from its checkpoint after a stop."""
    preset = method_preset(project, method)
    step = project.step(
        "adapter",
        {"method": method},
        parents=[
            Parent("studies", "trained_on"),
            Parent("captions", "trained_on"),
            Parent("base_model", "drawn_with"),
            Parent("latents", "trained_on"),
        ],
        config={"lora": preset.lora, "train": preset.train.model_dump(exclude={"checkpoint_every"})},
        code_version=CODE_VERSION,
    )
    if made := step.claim():
        return made
    cache = open_cache(project.store)
    bundle = open_base_model(project)
    loop = train_lora(
        bundle,
        cache.posteriors,
        cache.states,
        cache.index["caption_row"].to_numpy(),
        preset.lora,
        preset.train,
        device=pick_device(project.settings.device),
        folder=step.work(),
        identity=step.identity,
        progress=project.progress,
    )
    folder = step.work() / "adapter"
    save_lora(bundle, folder)
    record = {
        "method": method,
        "base_id": bundle.base_id,
        "settings": preset.model_dump(mode="json"),
        "losses": loop.losses,
    }
    (folder / "training.json").write_text(json.dumps(record, indent=1))
    loss_curve({method: loop.losses}, folder / "loss.png")
    seen = -(-preset.train.steps * preset.train.batch // cache.index.height)
    with step.writing() as writer:
        digest = writer.folder(folder, f"adapters/method={method}")
        rows = cache.index.select(
            pl.lit(digest).alias("adapter_id"),
            "study_id",
            "patient_id",
            pl.col("caption").map_elements(_sha256, return_dtype=pl.String).alias("caption_sha256"),
            pl.lit(1.0).alias("weight"),
            "split",
            pl.lit(seen, pl.Int64).alias("times_seen"),
        )
        writer.table("adapter_training_rows", rows)
        writer.facts |= {
            "folder": f"adapters/method={method}/{digest[:16]}",
            "adapter_id": digest,
            "base_id": bundle.base_id,
            "final_loss": loop.losses[-1][1],
        }
    return step.made()


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def open_generator(project: Project, method: str) -> Generator:
    """The base model as a method has taught it. Raises StorageError where the adapter is not made yet."""
    manifest = project.store.manifest("adapter", {"method": method})
    if manifest is None:
        raise StorageError(f"method {method!r} has no adapter under {project.store.root}. Materialise adapter first.")
    preset = method_preset(project, method)
    return load_generator(
        open_base_model(project), preset, schema_of(project), project.store.path(manifest.facts["folder"])
    )
