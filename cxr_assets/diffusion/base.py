"""The ``base_model`` asset: which generator everything starts from, loaded or trained from scratch."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import polars as pl

from cxr_assets.cohorts.film_reader import read_films
from cxr_assets.diffusion.bundle import Bundle, load_bundle, save_bundle
from cxr_assets.diffusion.candidates import SCRATCH, Candidate, read_candidate, read_candidates
from cxr_assets.diffusion.device import pick_device
from cxr_assets.diffusion.held_out import held_out, holdout_parents, training_people
from cxr_assets.diffusion.holdout import leave_out
from cxr_assets.errors import InputError
from cxr_assets.project import Made, Parent, Project
from cxr_assets.warehouse.manifest import folder_digest

CODE_VERSION = "1"


def base_identity(project: Project) -> str:
    """What the configured base model is, in a word that changes when another one would be used."""
    s = project.settings.diffusion
    if s.base_model == [SCRATCH] and s.pretrain.start:
        return f"{SCRATCH}:{_identity(read_candidate(s.pretrain.start))}"
    return ",".join(_identity(candidate) for candidate in read_candidates(s.base_model, s.revision))


def _identity(candidate: Candidate) -> str:
    folder = candidate.folder
    if folder is None or not folder.is_dir():
        return str(candidate)
    return f"{candidate}:{folder_digest(folder)[:16]}"


def tokenizer_of(project: Project) -> Callable[[Sequence[str]], Any]:
    """A function that gives the base model's tokenizer; for ``scratch`` it learns one from the captions it is given."""

    def give(captions: Sequence[str]) -> Any:
        s = project.settings.diffusion
        if s.base_model == [SCRATCH]:
            from cxr_assets.diffusion.tokenizer import train_tokenizer

            if s.pretrain.start:
                return load_bundle(s.pretrain.start, offline=s.offline).tokenizer
            return train_tokenizer(captions, vocabulary=s.pretrain.architecture.vocabulary)
        return load_bundle(s.base_model, revision=s.revision, offline=s.offline).tokenizer

    return give


def make_base_model(project: Project) -> Made:
    """Resolve the base model, or train one from the cohort's training films (``base_model: [scratch]``)."""
    s = project.settings.diffusion
    scratch = s.base_model == [SCRATCH]
    step = project.step(
        "base_model",
        parents=[Parent("studies", "trained_on"), Parent("captions", "trained_on"), *holdout_parents(project)]
        if scratch
        else [],
        config={
            "wanted": base_identity(project),
            "revision": s.revision,
            "pretrain": s.pretrain if scratch else None,
            "views": project.settings.choices.views if scratch else None,
        },
        code_version=CODE_VERSION,
    )
    if made := step.claim():
        return made
    if not scratch:
        bundle = load_bundle(s.base_model, revision=s.revision, offline=s.offline)
        for reason in bundle.passed_over:
            project.progress.say(f"base model: passed over {reason}")
        with step.writing() as writer:
            writer.facts |= _told(bundle) | {"folder": ""}
            writer.bytes("base_models/current.json", _facts(bundle))
        return step.made()
    from cxr_assets.diffusion.pretrain import pretrain
    from cxr_assets.plots import loss_curve

    rows = training_studies(project)
    size = s.pretrain.architecture.resolution
    films = read_films(project.store, rows["image_file"].to_list(), size)
    trained = pretrain(
        films,
        rows["caption"].to_list(),
        s.pretrain,
        device=pick_device(project.settings.device),
        folder=step.work(),
        data_digest=step.identity,
        progress=project.progress,
    )
    folder = step.work() / "model"
    base_id = save_bundle(trained.bundle, folder)
    (folder / "record").mkdir(exist_ok=True)
    (folder / "record" / "training.json").write_text(json.dumps(trained.record))
    loss_curve(
        {"VAE": trained.record["vae_losses"], "U-Net": trained.record["unet_losses"]}, folder / "record" / "loss.png"
    )
    with step.writing() as writer:
        digest = writer.folder(folder, "base_models")
        writer.facts |= _told(trained.bundle) | {
            "source": SCRATCH,
            "base_id": base_id,
            "folder": f"base_models/{digest[:16]}",
        }
        writer.bytes("base_models/current.json", _facts(trained.bundle))
    return step.made()


def _facts(bundle: Bundle) -> bytes:
    return json.dumps({"base_id": bundle.base_id, "source": bundle.source}, indent=1).encode()


def _told(bundle: Bundle) -> dict[str, Any]:
    """What an auditor asks of a base model: digest of its files, where it is from, which commit, and what it predicts."""
    return {
        "base_id": bundle.base_id,
        "source": bundle.source,
        "commit": bundle.commit,
        "family": bundle.family,
        "prediction_type": bundle.prediction_type,
        "passed_over": list(bundle.passed_over),
    }


def open_base_model(project: Project) -> Bundle:
    """The base model in force, as float32 on the CPU.

    It is the entry of ``diffusion.base_model`` that was taken when ``base_model`` was made, at the commit of that day: an
    entry before it that can be had again, or a hub model that has moved on, changes nothing until it is made anew.
    """
    manifest = project.store.manifest("base_model")
    if manifest is None:
        raise InputError("there is no base model yet. Materialise base_model first.")
    facts = manifest.facts
    if facts["folder"]:
        bundle = load_bundle(str(project.store.path(facts["folder"])))
        bundle.base_id = facts["base_id"]
        return bundle
    s = project.settings.diffusion
    known = {str(candidate): candidate for candidate in read_candidates(s.base_model, s.revision)}
    taken = known.get(facts["source"])
    if taken is None:
        raise InputError(
            f"diffusion.base_model is now {', '.join(known)}, and base_model was made with {facts['source']}. Materialise"
            " base_model again."
        )
    bundle = load_bundle(taken.name, revision=facts.get("commit") or taken.revision, offline=s.offline)
    if bundle.base_id != facts["base_id"]:
        raise InputError(
            f"the base model {bundle.source!r} is not the one that base_model was made with"
            f" ({bundle.base_id[:16]}, recorded {facts['base_id'][:16]}). Materialise base_model again."
        )
    return bundle


def training_studies(project: Project) -> pl.DataFrame:
    """Studies a generator may learn from: the train split, with a film and a caption, in a fixed order.

    Validation and test patients stay out, so that no scorecard is read on films that the generator has seen, and so do
    patients with a film in a held-out cell.

    Returns:
        Columns study_id, patient_id, image_file, image_digest, caption, split.
    """
    studies = project.filmed("train")
    held = held_out(project)
    if held:
        studies = studies.join(leave_out(training_people(project), held), on="study_id", how="semi")
    captions = project.store.table("captions").select("study_id", "caption")
    rows = studies.join(captions, on="study_id", how="inner").sort("study_id")
    if rows.is_empty():
        raise InputError(f"cohort {project.resolved.cohort!r} has no training study with a film and a caption.")
    return rows.select("study_id", "patient_id", "image_file", "image_digest", "caption", "split")
