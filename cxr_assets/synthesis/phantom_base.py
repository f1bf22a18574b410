"""Pretrains the phantom base model and its oracle, and writes the training record and model card."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from cxr_assets.captions.templates import PromptTemplate
from cxr_assets.cohorts.phantom.config import AGE_BINS, FINDINGS
from cxr_assets.diffusion.bundle import PHANTOM_BASE, load_bundle, local_folder, save_bundle
from cxr_assets.diffusion.config import PretrainSettings
from cxr_assets.diffusion.pretrain import pretrain
from cxr_assets.diffusion.sampling import SamplerSettings, sample_prompts
from cxr_assets.evaluation.oracle import ORACLE, Oracle, recoverability, train_oracle
from cxr_assets.plots import film_grid, loss_curve
from cxr_assets.progress import Progress
from cxr_assets.synthesis.phantom_films import PhantomFilms, draw_requests
from cxr_assets.warehouse.manifest import digest_json

TEMPLATE = PromptTemplate()
ANONYMOUS_SHARE = 0.1


@dataclass(frozen=True)
class PhantomBaseSettings:
    """How much is drawn and how long the oracle learns."""

    films: int = 32_000
    oracle_films: int = 20_000
    oracle_steps: int = 1_500
    judged: int = 2_000
    seed: int = 11
    severity: tuple[float, float] = (0.3, 1.0)
    oracle_severity: tuple[float, float] = (0.15, 1.0)
    workers: int = 2


def captions_of(studies: pl.DataFrame, *, anonymous_share: float = 0.0, seed: int = 0) -> list[str]:
    """Captions of phantom studies; a share of them without the person, so that a prompt may leave it out."""
    nameless = np.random.default_rng([seed, 3]).random(studies.height) < anonymous_share
    captions = []
    for row, hidden in zip(studies.iter_rows(named=True), nameless, strict=True):
        shown = [f for f in FINDINGS if row[f]] or ["no_finding"]
        person = {} if hidden else {"age": row["age_years"], "sex": row["sex"], "race": row["race"]}
        captions.append(TEMPLATE.render(shown, **person))
    return captions


def make_oracle(
    settings: PhantomBaseSettings, folder: Path, out: Path, progress: Progress
) -> tuple[Oracle, pl.DataFrame]:
    """Train the oracle on films of its own and judge it on the last tenth, which it did not see."""
    drawn = draw_requests(
        settings.oracle_films,
        size=128,
        seed=settings.seed + 1000,
        severity=settings.oracle_severity,
        folder=folder,
        workers=settings.workers,
        progress=progress,
    )
    split = int(0.9 * len(drawn.films))
    female = (drawn.studies["sex"] == "female").to_numpy().astype(np.int64)
    age = np.array([AGE_BINS.index(a) for a in drawn.studies["age_bin"]])
    oracle = train_oracle(
        drawn.films[:split],
        drawn.labels[:split],
        female[:split],
        age[:split],
        findings=FINDINGS,
        ages=AGE_BINS,
        steps=settings.oracle_steps,
        folder=folder / "oracle",
        identity=digest_json(settings.__dict__),
        progress=progress,
    )
    oracle.save(out)
    held_out = recoverability(oracle.judge(drawn.films[split:]), drawn.studies[split:], AGE_BINS)
    (out / "held_out.json").write_text(json.dumps(held_out.to_dicts(), indent=1) + "\n")
    return oracle, held_out


def pretrain_phantom(
    settings: PhantomBaseSettings,
    training: PretrainSettings,
    *,
    folder: Path,
    device: torch.device,
    out: Path = PHANTOM_BASE,
    oracle_out: Path = ORACLE,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Draw, train, judge and write everything that ships; call again after a stop and it goes on.

    Args:
        folder: work folder of films and checkpoints.
        out: where the base model goes, in diffusers' format, float16 safetensors.
        oracle_out: where the oracle that judges it goes.
    """
    progress = progress or Progress()
    drawn = draw_requests(
        settings.films,
        size=training.architecture.resolution,
        seed=settings.seed,
        severity=settings.severity,
        folder=folder,
        workers=settings.workers,
        progress=progress,
    )
    captions = captions_of(drawn.studies, anonymous_share=ANONYMOUS_SHARE, seed=settings.seed)
    data = {"films": settings.films, "seed": settings.seed, "severity": settings.severity, "captions": captions[:50]}
    trained = pretrain(
        drawn.films, captions, training, device=device, folder=folder, data_digest=digest_json(data), progress=progress
    )
    oracle, held_out = make_oracle(settings, folder, oracle_out, progress)
    record = trained.record | {"earlier": earlier_training(training.start)}
    # Written beside its place and swapped in whole: a training that started from what is there must find it until the end.
    hidden = out.with_name(f".{out.name}.tmp")
    shutil.rmtree(hidden, ignore_errors=True)
    save_bundle(trained.bundle, hidden)
    full = write_card(hidden, oracle, held_out, drawn, record, settings, device=device, progress=progress)
    shutil.rmtree(out, ignore_errors=True)
    hidden.replace(out)
    return full


def earlier_training(start: str | None) -> list[dict[str, Any]]:
    """Films, settings and ancestor of each training that the starting model went through, oldest first."""
    if start is None:
        return []
    path = local_folder(start) / "record" / "training.json"
    if not path.is_file():
        return []
    record = json.loads(path.read_text())
    kept = {key: record.get(key) for key in ("started_from", "films", "data_digest", "settings")}
    return [*record.get("earlier", []), kept]


def write_card(
    out: Path,
    oracle: Oracle,
    held_out: pl.DataFrame,
    real: PhantomFilms,
    record: dict[str, Any],
    settings: PhantomBaseSettings,
    *,
    device: torch.device,
    progress: Progress,
) -> dict[str, Any]:
    """Judge samples of the shipped model and write the training record, the pictures and the model card."""
    from cxr_assets.cohorts.phantom.population import sample_requests

    bundle = load_bundle(str(out))
    asked = sample_requests(settings.judged, settings.seed + 2000).studies
    sampler = SamplerSettings(sampler="dpmpp_2m", steps=20, guidance=3.0, batch=64, resolution=real.films.shape[-1])
    films = sample_prompts(
        bundle, captions_of(asked), list(range(asked.height)), sampler, device=device, progress=progress
    )
    seen = recoverability(oracle.judge(films), asked, AGE_BINS)
    folder = out / "record"
    folder.mkdir(parents=True, exist_ok=True)
    loss_curve({"VAE": record["vae_losses"], "U-Net": record["unet_losses"]}, folder / "loss.png")
    film_grid(films[:48], folder / "samples.png", columns=12, captions=captions_of(asked[:48]))
    full = {
        **record,
        "samples": seen.to_dicts(),
        "oracle_on_real": held_out.to_dicts(),
        "sampler": sampler.model_dump(),
    }
    (folder / "training.json").write_text(json.dumps(full, indent=1) + "\n")
    (out / "README.md").write_text(_card(full, seen, held_out))
    return full


def _went_on(record: dict[str, Any]) -> str:
    """Says which trainings went before, if any."""
    steps = [f"{e['settings']['vae_steps']:,} + {e['settings']['unet_steps']:,}" for e in record.get("earlier", [])]
    return f", going on from a model of {' and then '.join(steps)} such steps" if steps else ""


def _card(record: dict[str, Any], seen: pl.DataFrame, held_out: pl.DataFrame) -> str:
    joined = seen.join(held_out, on=["quantity", "metric"], suffix="_real")
    rows = "\n".join(
        f"| {r['quantity']} | {r['metric']} | {r['value']:.3f} | {r['value_real']:.3f} |"
        for r in joined.iter_rows(named=True)
    )
    auroc = seen.filter(pl.col("metric") == "auroc")["value"].to_numpy()
    s = record["settings"]
    return f"""# Phantom base model

A small Stable Diffusion (AutoencoderKL f8, UNet2DConditionModel, CLIPTextModel, CLIPTokenizer) that draws films of the
numerical chest phantom, 128 × 128. It knows nothing of patients: every film it learned from was drawn by
`cxr_assets.cohorts.phantom`. It stands for the pretrained model that a lab would start from, so that the whole pipeline
runs where no weights can be had. Race in its prompts is an acquisition style, never anatomy.

Trained by `cxr pretrain-phantom` on {record["films"]:,} films with true labels and all groups alike: VAE
{s["vae_steps"]:,} steps of {s["vae_batch"]}, U-Net and text encoder {s["unet_steps"]:,} steps of {s["unet_batch"]}, min-SNR
{s["min_snr"]:g}, weights averaged{_went_on(record)}. `record/training.json` has every setting and loss,
`record/loss.png` the curves.

Prompts: `chest x-ray, 63 year old black female, pleural effusion and edema`; the person may be left out.

## What the oracle sees

{len(seen)} figures on {seen["n"][0]:,} samples ({record["sampler"]["sampler"]}, {record["sampler"]["steps"]} steps, guidance
{record["sampler"]["guidance"]:g}); beside them the oracle's own figures on films it had not seen, which bound them.
Mean AUROC over findings {auroc.mean():.3f}, lowest {auroc.min():.3f}.

| asked for | metric | samples | real phantom films |
|---|---|---|---|
{rows}

![samples](record/samples.png)

Terms: generated data and weights, free to use like the project itself. Not for any medical conclusion.
"""
