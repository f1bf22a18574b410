"""The ``classifier`` and ``predictions`` assets: one learner trained on one arm, and what it says of the test films."""

from __future__ import annotations

import json
import warnings
from typing import Any

import numpy as np
import polars as pl
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from cxr_assets.classification.backbones import build_backbone
from cxr_assets.classification.data import LabelledFilms, augment, evaluation_films, film_batch, training_films
from cxr_assets.classification.source_probe import PROBE, probe_classifier, shortcuts
from cxr_assets.classification.thresholds import RULES, fit_threshold, refuse_fitted_rows, rows_digest
from cxr_assets.diffusion.device import autocast, pick_device
from cxr_assets.errors import CheckError, InputError, StorageError
from cxr_assets.keys import Arm, Learner
from cxr_assets.plots import loss_curve
from cxr_assets.project import Made, Parent, Project
from cxr_assets.training import TrainLoop, derive_seed

CODE_VERSION = "2"
PREDICTIONS = {
    "arm": pl.String,
    "learner": pl.String,
    "classifier_id": pl.String,
    "evaluation_set": pl.String,
    "study_id": pl.String,
    "patient_id": pl.String,
    "finding": pl.String,
    "score": pl.Float64,
    "truth": pl.Int8,
}


def learner_keys(arm: Arm, learner: Learner) -> dict[str, str]:
    """Hive keys of one arm × learner partition."""
    return {"arm": str(arm), "learner": str(learner)}


def masked_bce(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Binary cross-entropy with logits, mean over the labels that count (not NaN), each film weighted.

    Args:
        logits, labels: shape ``(n, findings)``; ``weights`` shape ``(n,)``.
    """
    counts = ~labels.isnan()
    losses = nn.functional.binary_cross_entropy_with_logits(logits, labels.nan_to_num(), reduction="none")
    weight = counts * weights[:, None]
    return (losses * weight).sum() / weight.sum().clamp(min=1e-8)


def mean_auroc(scores: np.ndarray, labels: np.ndarray) -> float:
    """Mean over findings of the AUROC, those with one class left out; 0 where none is left."""
    from sklearn.metrics import roc_auc_score

    values = []
    for column in range(labels.shape[1]):
        known = ~np.isnan(labels[:, column])
        truth = labels[known, column]
        if 0 < truth.sum() < len(truth):
            values.append(roc_auc_score(truth, scores[known, column]))
    return float(np.mean(values)) if values else 0.0


@torch.no_grad()
def predict(network: nn.Module, films: np.ndarray, *, device: torch.device, batch: int = 256) -> np.ndarray:
    """Probabilities, float32, shape ``(n, findings)``."""
    network.eval()
    parts = [
        network(film_batch(films[i : i + batch], device)).sigmoid().cpu().numpy() for i in range(0, len(films), batch)
    ]
    return np.concatenate(parts) if parts else np.empty((0, 0), np.float32)


def training_config(project: Project) -> dict[str, Any]:
    """The settings that decide how any learner is trained."""
    s = project.settings.classification
    kept = s.model_dump(exclude={"backbones", "seeds", "synthetic_weight"})
    choices = project.settings.choices
    return kept | {"findings": project.grid.findings} | choices.films | choices.labels


def train_classifier(project: Project, arm: Arm, learner: Learner) -> Made:
    """Train one learner on one arm for a fixed number of steps; the weights of the best validation AUROC stay.

    Every arm takes equally many steps, so that a mix is not helped by longer training.
    """
    s, settings = project.settings.classification, training_config(project)
    step = project.step(
        "classifier",
        learner_keys(arm, learner),
        # Labels are read from the studies when training begins, and thresholds are fitted on their validation films.
        parents=[Parent("training_set", "trained_on", {"arm": str(arm)}), Parent("studies", "fitted_on")],
        config=settings,
        code_version=CODE_VERSION,
    )
    if made := step.claim():
        return made
    device = pick_device(project.settings.device)
    train = training_films(project, project.store.table("training_set_rows", {"arm": str(arm)}))
    check = evaluation_films(project, "validate")
    if not len(check):
        raise InputError(
            f"cohort {project.resolved.cohort!r} has no validate studies with films; thresholds need some."
        )
    names = project.grid.findings
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed("classifier", learner))
        network = build_backbone(learner.backbone, len(names)).to(device).to(memory_format=torch.channels_last)
    loop = _fit(network, train, check, project, learner, device, identity=step.identity, folder=step.work())
    folder = step.work() / "model"
    folder.mkdir(parents=True, exist_ok=True)
    save_file(
        {k: v.detach().cpu().contiguous() for k, v in network.state_dict().items()}, folder / "classifier.safetensors"
    )
    scores = predict(network, check.films, device=device)
    thresholds = {
        (n, rule): _threshold(scores[:, i], check.labels[:, i], rule) for i, n in enumerate(names) for rule in RULES
    }
    record = {
        "backbone": learner.backbone,
        "seed": learner.seed,
        "findings": names,
        "image_size": s.image_size,
        "best_step": loop.best_step,
        "scores": loop.scores,
        "losses": loop.losses,
        "settings": settings,
    }
    (folder / "training.json").write_text(json.dumps(record, indent=1))
    loss_curve({f"{arm} {learner}": loop.losses}, folder / "loss.png")
    fitted_on = check.rows["study_id"].to_list()
    probe = probe_classifier(network, train, names, device=device, seed=learner.seed)
    with step.writing() as writer:
        digest = writer.folder(folder, f"classifiers/arm={arm}/learner={learner}")
        writer.table(
            "thresholds",
            pl.DataFrame(
                [
                    {
                        "classifier_id": digest,
                        **step.keys,
                        "finding": n,
                        "threshold": t,
                        "rule": rule,
                        "fitted_on": rows_digest(fitted_on),
                    }
                    for (n, rule), t in thresholds.items()
                ],
                schema_overrides={"threshold": pl.Float64},
            ),
        )
        if probe is not None:
            writer.table(
                "source_probe",
                probe.select(pl.lit(str(arm)).alias("arm"), pl.lit(str(learner)).alias("learner"), *PROBE),
            )
            writer.facts["source_auroc"] = probe["auroc"][0]
            writer.facts["shortcuts"] = shortcuts(probe)
        writer.table(
            "classifier_training",
            pl.DataFrame(
                [
                    {
                        "classifier_id": digest,
                        "training_set_id": step.inputs[step.parents[0].name],
                        "arm": str(arm),
                        "learner": str(learner),
                        "backbone": learner.backbone,
                        "seed": learner.seed,
                        "thresholds_id": rows_digest(fitted_on),
                        "best_step": loop.best_step,
                        "validate_auroc": max(v for _, v in loop.scores),
                        "films": len(train),
                    }
                ]
            ),
        )
        writer.facts |= {
            "classifier_id": digest,
            "folder": f"classifiers/arm={arm}/learner={learner}/{digest[:16]}",
            "validate_auroc": max(v for _, v in loop.scores),
            "best_step": loop.best_step,
        }
    return step.made()


def _threshold(scores: np.ndarray, labels: np.ndarray, rule: str) -> float | None:
    known = ~np.isnan(labels)
    return fit_threshold(scores[known], labels[known], rule)


def _fit(
    network: nn.Module,
    train: LabelledFilms,
    check: LabelledFilms,
    project: Project,
    learner: Learner,
    device: torch.device,
    *,
    identity: str,
    folder: object,
) -> TrainLoop:
    from pathlib import Path

    s = project.settings.classification
    labels, weights = torch.from_numpy(train.labels), torch.from_numpy(train.weights)

    def loss(rows: np.ndarray, generator: torch.Generator) -> Tensor:
        films = augment(film_batch(train.films[rows], device), generator).contiguous(memory_format=torch.channels_last)
        with autocast(device, s.precision):
            logits = network(films).float()
        return masked_bce(logits, labels[rows].to(device), weights[rows].to(device))

    loop = TrainLoop(
        str(learner),
        {"classifier": network},
        rows=len(train),
        steps=s.steps,
        batch=s.batch,
        learning_rate=s.learning_rate,
        seed=learner.seed,
        weight_decay=s.weight_decay,
        warmup=min(50, s.steps // 10),
        schedule="cosine",
        folder=Path(str(folder)),
        checkpoint_every=max(s.validate_every, 100),
        identity=identity,
        progress=project.progress,
        validate=lambda: mean_auroc(predict(network, check.films, device=device), check.labels),
        validate_every=s.validate_every,
    )
    network.train()
    loop.run(loss)
    return loop


def open_classifier(project: Project, arm: Arm, learner: Learner) -> nn.Module:
    """A trained classifier, in evaluation mode on the CPU."""
    manifest = project.store.manifest("classifier", learner_keys(arm, learner))
    if manifest is None:
        raise StorageError(f"there is no classifier of {arm} {learner}. Materialise classifier first.")
    network = build_backbone(learner.backbone, len(project.grid.findings))
    with warnings.catch_warnings():
        network.load_state_dict(load_file(project.store.path(manifest.facts["folder"]) / "classifier.safetensors"))
    return network.eval()


def predict_test(project: Project, arm: Arm, learner: Learner) -> Made:
    """Score the real test films with one classifier."""
    keys = learner_keys(arm, learner)
    step = project.step(
        "predictions",
        keys,
        parents=[Parent("classifier", "evaluated_on", keys), Parent("studies", "evaluated_on")],
        config={
            "image_size": project.settings.classification.image_size,
            "findings": project.grid.findings,
        }
        | project.settings.choices.films,
        code_version=CODE_VERSION,
    )
    if made := step.claim():
        return made
    test = evaluation_films(project, "test")
    refuse_leakage(project, arm, test.rows)
    network = open_classifier(project, arm, learner)
    device = pick_device(project.settings.device)
    scores = predict(network.to(device), test.films, device=device)
    classifier = project.store.manifest("classifier", keys)
    assert classifier is not None
    frames = []
    for column, finding in enumerate(project.grid.findings):
        known = ~np.isnan(test.labels[:, column])
        frames.append(
            test.rows.filter(pl.Series(known)).select(
                pl.lit(str(arm)).alias("arm"),
                pl.lit(str(learner)).alias("learner"),
                pl.lit(classifier.facts["classifier_id"]).alias("classifier_id"),
                pl.lit("test").alias("evaluation_set"),
                "study_id",
                "patient_id",
                pl.lit(finding).alias("finding"),
                pl.Series("score", scores[known, column].astype(np.float64)),
                pl.Series("truth", test.labels[known, column].astype(np.int8)),
            )
        )
    frame = pl.concat(frames).cast(pl.Schema(PREDICTIONS))
    with step.writing() as writer:
        writer.table("predictions", frame)
        writer.facts |= {"studies": len(test), "mean_auroc": mean_auroc(scores, test.labels)}
    return step.made()


def refuse_leakage(project: Project, arm: Arm, test: pl.DataFrame) -> None:
    """Raise CheckError where a test patient trained the classifier, an adapter it drew on, or its thresholds."""
    patients = set(test["patient_id"])
    trained = set(project.store.table("training_set_rows", {"arm": str(arm)})["patient_id"].drop_nulls())
    if not arm.is_real:
        trained |= set(project.store.table("adapter_training_rows", {"method": arm.method})["patient_id"])
    shared = patients & trained
    if shared:
        raise CheckError(
            f"{len(shared)} patients of the test split (such as {min(shared)}) trained arm {arm} or its generator."
        )
    validate = project.store.table("studies").filter(pl.col("split") == "validate")
    refuse_fitted_rows(set(validate["study_id"]), set(test["study_id"]))
