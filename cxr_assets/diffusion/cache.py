"""The ``latents`` asset: posteriors of all training films and states of all their captions, cached for every method."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from safetensors.numpy import save_file

from cxr_assets.cohorts.film_reader import read_films
from cxr_assets.diffusion.base import open_base_model, training_studies
from cxr_assets.diffusion.device import pick_device
from cxr_assets.diffusion.latents import Posteriors, encode_captions, encode_films
from cxr_assets.errors import StorageError
from cxr_assets.project import Made, Parent, Project
from cxr_assets.warehouse import Store

CODE_VERSION = "1"


def cache_latents(project: Project) -> Made:
    """Encode every training film and every distinct caption once."""
    s = project.settings.diffusion
    step = project.step(
        "latents",
        parents=[Parent("studies", "drawn_from"), Parent("captions", "drawn_from"), Parent("base_model", "drawn_with")],
        config={"resolution": s.resolution, "precision": s.precision, "views": project.settings.choices.views},
        code_version=CODE_VERSION,
    )
    if made := step.claim():
        return made
    rows = training_studies(project)
    bundle = open_base_model(project)
    device = pick_device(project.settings.device)
    films = read_films(project.store, rows["image_file"].to_list(), s.resolution)
    posteriors = encode_films(bundle.vae, films, device=device, precision=s.precision, progress=project.progress)
    captions = rows["caption"].unique(maintain_order=True).to_list()
    states = encode_captions(bundle.tokenizer, bundle.text_encoder, ["", *captions], device=device)
    folder = step.work() / "cache"
    folder.mkdir(parents=True, exist_ok=True)
    save_file({"mean": posteriors.mean, "std": posteriors.std}, folder / "posteriors.safetensors")
    save_file({"states": states}, folder / "captions.safetensors")
    number = pl.DataFrame({"caption": captions, "caption_row": np.arange(1, len(captions) + 1)})
    index = rows.with_row_index("row").join(number, on="caption", how="left").sort("row")
    with step.writing() as writer:
        digest = writer.folder(folder, "latents")
        writer.table("latent_rows", index.with_columns(pl.col("row").cast(pl.Int64)))
        writer.facts |= {
            "folder": f"latents/{digest[:16]}",
            "films": len(films),
            "captions": len(captions),
            "shape": list(posteriors.mean.shape[1:]),
        }
    return step.made()


@dataclass(frozen=True)
class LatentCache:
    """What training reads: row *i* of ``index`` has posterior *i* and caption state ``caption_row[i]``; state 0 is empty."""

    index: pl.DataFrame
    posteriors: Posteriors
    states: np.ndarray


def open_cache(store: Store) -> LatentCache:
    """The cached latents, memory-mapped. Raises StorageError where they are missing."""
    from safetensors import safe_open

    manifest = store.manifest("latents")
    if manifest is None:
        raise StorageError(f"there are no latents under {store.root}. Materialise latents first.")
    folder = store.path(manifest.facts["folder"])
    tensors: dict[str, np.ndarray] = {}
    for name in ("posteriors", "captions"):
        with safe_open(folder / f"{name}.safetensors", framework="numpy") as file:
            tensors |= {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (a file handle, not a dict)
    return LatentCache(store.table("latent_rows"), Posteriors(tensors["mean"], tensors["std"]), tensors["states"])
