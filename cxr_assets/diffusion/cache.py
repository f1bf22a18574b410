"""The ``latents`` asset: posteriors of all training films and states of all their captions, cached for every method."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import torch

from cxr_assets.cohorts.film_reader import read_films
from cxr_assets.diffusion.base import open_base_model, training_studies
from cxr_assets.diffusion.bundle import Bundle
from cxr_assets.diffusion.device import pick_device
from cxr_assets.diffusion.held_out import holdout_parents
from cxr_assets.diffusion.latents import Posteriors, encode_captions, encode_films
from cxr_assets.diffusion.shards import Shards, open_shards, write_shards
from cxr_assets.errors import StorageError
from cxr_assets.progress import Progress
from cxr_assets.project import Made, Parent, Project
from cxr_assets.warehouse import Store
from cxr_assets.warehouse.manifest import digest_json

CODE_VERSION = "3"
POSTERIORS, STATES = "posteriors", "captions"


def cache_latents(project: Project) -> Made:
    """Encode every training film and every distinct caption once; a killed run goes on at the shard it was at.

    Films that the cache in force holds, encoded in the same way, are taken from it: other captions, labels or held-out
    cells encode no film again.
    """
    s = project.settings.diffusion
    step = project.step(
        "latents",
        parents=[
            Parent("studies", "drawn_from"),
            Parent("captions", "drawn_from"),
            Parent("base_model", "drawn_with"),
            *holdout_parents(project),
        ],
        config={"resolution": s.resolution, "precision": s.precision, "views": project.settings.choices.views},
        code_version=CODE_VERSION,
    )
    if made := step.claim():
        return made
    rows = training_studies(project)
    bundle = open_base_model(project)
    device = pick_device(project.settings.device)
    files, digests = rows["image_file"].to_list(), rows["image_digest"].to_list()
    encoder = digest_json([CODE_VERSION, bundle.base_id, s.resolution, s.precision])
    held = _held(project.store, encoder)
    captions = rows["caption"].unique(maintain_order=True).to_list()
    folder = step.work() / step.identity[:16]
    with project.progress.task("encode films", len(files)) as advance:

        def encode(part: slice) -> dict[str, np.ndarray]:
            due = [file for file, digest in zip(files[part], digests[part], strict=True) if digest not in held.rows]
            made = None
            if due:
                films = read_films(project.store, due, s.resolution)
                encoded = encode_films(bundle.vae, films, device=device, precision=s.precision)
                made = {"mean": np.asarray(encoded.mean), "std": np.asarray(encoded.std)}
            advance(len(digests[part]))
            return held.with_new(digests[part], made)

        write_shards(folder, POSTERIORS, len(files), encode)
    write_states(folder, bundle, captions, device=device, progress=project.progress)
    number = pl.DataFrame({"caption": captions, "caption_row": np.arange(1, len(captions) + 1)})
    index = rows.with_row_index("row").join(number, on="caption", how="left").sort("row")
    with step.writing() as writer:
        digest = writer.folder(folder, "latents")
        writer.table("latent_rows", index.with_columns(pl.col("row").cast(pl.Int64)))
        writer.facts |= {
            "folder": f"latents/{digest[:16]}",
            "encoder": encoder,
            "films": len(files),
            "captions": len(captions),
            "shape": list(open_shards(folder, POSTERIORS)["mean"].shape[1:]),
        }
    shutil.rmtree(folder)  # they were copied to where they stay
    return step.made()


@dataclass(frozen=True)
class _Held:
    """Posteriors that are there already; ``rows`` says where, by the film's digest."""

    rows: Mapping[str, int]
    posteriors: Posteriors | None

    def with_new(self, digests: Sequence[str], made: Mapping[str, np.ndarray] | None) -> dict[str, np.ndarray]:
        """Mean and deviation of some films in order: those held, and in their places those ``made``."""
        there = np.array([digest in self.rows for digest in digests])
        if self.posteriors is None or not there.any():
            assert made is not None
            return dict(made)
        at = np.array([self.rows[digest] for digest in digests if digest in self.rows])
        found = {}
        for name, kept in (("mean", self.posteriors.mean[at]), ("std", self.posteriors.std[at])):
            found[name] = np.empty((len(digests), *kept.shape[1:]), dtype=kept.dtype)
            found[name][there] = kept
            if made is not None:
                found[name][~there] = made[name]
        return found


def _held(store: Store, encoder: str) -> _Held:
    """What the cache in force holds, if the same encoder made it."""
    manifest = store.manifest("latents")
    if manifest is None or manifest.facts.get("encoder") != encoder:
        return _Held({}, None)
    cache = open_cache(store)
    return _Held(dict(cache.index.select("image_digest", "row").iter_rows()), cache.posteriors)


def write_states(
    folder: Path, bundle: Bundle, captions: Sequence[str], *, device: torch.device, progress: Progress
) -> None:
    """Write the text states of the empty caption, row 0, and of distinct captions after it."""
    texts = ["", *captions]
    with progress.task("encode captions", len(texts)) as advance:

        def encode(part: slice) -> dict[str, np.ndarray]:
            states = encode_captions(bundle.tokenizer, bundle.text_encoder, texts[part], device=device)
            advance(len(states))
            return {"states": states}

        write_shards(folder, STATES, len(texts), encode)


@dataclass(frozen=True)
class LatentCache:
    """What training reads: row *i* of ``index`` has posterior *i* and caption state ``caption_row[i]``; state 0 is empty."""

    index: pl.DataFrame
    posteriors: Posteriors
    states: Shards


def open_cache(store: Store) -> LatentCache:
    """The cached latents, memory-mapped. Raises StorageError where they are missing."""
    manifest = store.manifest("latents")
    if manifest is None:
        raise StorageError(f"there are no latents under {store.root}. Materialise latents first.")
    folder = store.path(manifest.facts["folder"])
    films = open_shards(folder, POSTERIORS)
    states = open_shards(folder, STATES)["states"]
    return LatentCache(store.table("latent_rows"), Posteriors(films["mean"], films["std"]), states)


def states_of(project: Project, bundle: Bundle, captions: Sequence[str]) -> Shards:
    """Text states of the empty caption and of distinct captions, computed once for all methods that word them alike.

    They lie under ``work/``, by what they were made of: another base model or wording has states of its own.
    """
    key = digest_json([bundle.base_id, list(captions)])[:16]
    folder = project.store.root / "work" / "text_states" / key
    device = pick_device(project.settings.device)
    write_states(folder, bundle, captions, device=device, progress=project.progress)
    return open_shards(folder, STATES)["states"]
