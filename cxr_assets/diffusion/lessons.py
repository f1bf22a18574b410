"""From a cohort to what one method learns from: films, captions as it words them, people, and its prior."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
import torch
from torch import Tensor

from cxr_assets.captions.build import build_captions
from cxr_assets.captions.templates import PromptTemplate
from cxr_assets.cohorts.demographics import OLDEST, RACES, SEXES, UNKNOWN, age_scheme
from cxr_assets.cohorts.film_reader import read_films
from cxr_assets.diffusion.bundle import Bundle
from cxr_assets.diffusion.cache import LatentCache, open_cache, states_of
from cxr_assets.diffusion.conditioners.schema import DemographicBatch, DemographicSchema
from cxr_assets.diffusion.config import MethodPreset, PriorPreservation
from cxr_assets.diffusion.device import pick_device
from cxr_assets.diffusion.latents import encode_captions, encode_films
from cxr_assets.diffusion.sampling import initial_noise, make_scheduler
from cxr_assets.diffusion.teaching import Captions, Lesson
from cxr_assets.errors import InputError
from cxr_assets.project import Project
from cxr_assets.training import derive_seed

VALIDATION_FILMS = 64


@dataclass(frozen=True)
class Prepared:
    """A lesson, and the rows of studies that it is made of: study_id, patient_id, caption, split."""

    lesson: Lesson
    rows: pl.DataFrame


def schema_of(project: Project) -> DemographicSchema:
    """Demographic vocabulary of the cohort's conditioners; one without sexes or races has the tables, never used."""
    sexes, races = ([w for w in words if w != UNKNOWN] for words in (project.spec.sexes, project.spec.races))
    edges = age_scheme(project.settings.choices.age_scheme).edges
    return DemographicSchema(edges, tuple(sexes) or SEXES, tuple(races) or RACES)


def people_of(studies: pl.DataFrame, schema: DemographicSchema) -> DemographicBatch:
    """Demographics of studies with ``age_years``, ``sex`` and ``race``; what the schema has no word for is unknown."""
    low = schema.age_edges[0]
    ages = [age if age is not None and low <= age <= OLDEST else None for age in studies["age_years"]]
    sexes = [sex if sex in schema.sexes else None for sex in studies["sex"]]
    races = [race if race in schema.races else None for race in studies["race"]]
    return schema.encode(ages, sexes, races)


def body_policy(project: Project, preset: MethodPreset) -> Literal["labels", "impression"]:
    """What a method's captions are made of, in this cohort."""
    return project.caption_policy if preset.wording.body == "cohort" else preset.wording.body


def impressions_of(project: Project, preset: MethodPreset) -> dict[str, str]:
    """Impression of every study that has one, ready for a prompt; empty for a method whose body is labels."""
    if body_policy(project, preset) == "labels":
        return {}
    tables = (project.studies(), project.finding_values(), project.store.table("reports"))
    built = build_captions(*tables, policy="impression", attributes=())
    start = f"{PromptTemplate().header()}. "
    return {study: text.removeprefix(start) for study, text in built.captions.select("study_id", "caption").iter_rows()}


def method_captions(project: Project, preset: MethodPreset, bundle: Bundle, studies: pl.DataFrame) -> pl.DataFrame:
    """Captions of studies as a method words them, within the text encoder's budget: study_id and caption.

    Studies without a body of the kind that the method wants are missing.
    """
    built = build_captions(
        studies,
        project.finding_values(),
        project.store.table("reports"),
        policy=body_policy(project, preset),
        attributes=preset.caption_attributes,
        tokenizer=bundle.tokenizer,
    )
    return built.captions.select("study_id", "caption")


def prepare_lesson(project: Project, preset: MethodPreset, bundle: Bundle, *, folder: Path) -> Prepared:
    """Everything that training reads, memory-mapped where it is large.

    Args:
        bundle: the base model, untouched.
        folder: work folder, where the prior's latents are kept.

    Raises:
        InputError: no training film has a caption of the kind that the method wants.
    """
    cache = open_cache(project.store)
    index = cache.index.select("row", "study_id", "patient_id", "split", cached="caption")
    studies = project.studies().join(index.select("study_id"), on="study_id", how="semi")
    captions = method_captions(project, preset, bundle, studies)
    rows = index.join(captions, on="study_id", how="inner", maintain_order="left").join(
        studies.select("study_id", "age_years", "sex", "race"), on="study_id", how="left", maintain_order="left"
    )
    if rows.is_empty():
        raise InputError(
            f"method {preset.title!r} finds no training film with a caption of its kind ({preset.wording.body}). Choose"
            " another body in the preset's wording."
        )
    schema = schema_of(project)
    device = pick_device(project.settings.device)
    prior = None
    if preset.train.prior is not None:
        prior = _prior(bundle, preset, preset.train.prior, project, folder, device)
    lesson = Lesson(
        cache.posteriors,
        rows["row"].to_numpy(),
        _captions(project, preset, bundle, rows, cache),
        people_of(rows, schema),
        schema,
        prior,
    )
    return Prepared(lesson, rows.select("study_id", "patient_id", "caption", "split"))


def _captions(
    project: Project, preset: MethodPreset, bundle: Bundle, rows: pl.DataFrame, cache: LatentCache
) -> Captions:
    """States (or token ids) of the method's captions; those of the cohort's own wording are in the cache already."""
    if rows["caption"].equals(rows["cached"]):
        at = cache.index["caption_row"].to_numpy()[rows["row"].to_numpy()]
        states, texts = cache.states, None
    else:
        texts = rows["caption"].unique(maintain_order=True).to_list()
        number = dict(zip(texts, range(1, len(texts) + 1), strict=True))
        at = np.array([number[text] for text in rows["caption"]])
        states = states_of(project, bundle, texts)
    if texts is None and preset.text_encoder != "frozen":
        first = cache.index.unique("caption_row", keep="first").sort("caption_row")
        texts = first["caption"].to_list()
    return Captions(at, states, token_ids(bundle, preset, ["", *(texts or ())]))


def token_ids(bundle: Bundle, preset: MethodPreset, texts: list[str]) -> Tensor | None:
    """Token ids of texts, int64, shape ``(texts, tokens)``, for a text encoder that learns; None where it is frozen."""
    if preset.text_encoder == "frozen":
        return None
    ids: Tensor = bundle.tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt").input_ids
    return ids


def prepare_validation(project: Project, preset: MethodPreset, bundle: Bundle) -> Lesson | None:
    """A few films of validation patients, for the loss that training does not see; None where there are none."""
    studies = project.filmed("validate").sort("study_id")
    worded = method_captions(project, preset, bundle, studies)
    rows = studies.join(worded, on="study_id", how="inner", maintain_order="left").head(VALIDATION_FILMS)
    if rows.is_empty():
        return None
    device = pick_device(project.settings.device)
    s = project.settings.diffusion
    films = read_films(project.store, rows["image_file"].to_list(), s.resolution)
    posteriors = encode_films(bundle.vae, films, device=device, precision=s.precision)
    texts = ["", *rows["caption"]]
    states = encode_captions(bundle.tokenizer, bundle.text_encoder, texts, device=device)
    schema, at = schema_of(project), np.arange(rows.height)
    captions = Captions(at + 1, states, token_ids(bundle, preset, texts))
    return Lesson(posteriors, at, captions, people_of(rows, schema), schema)


def _prior(
    bundle: Bundle,
    preset: MethodPreset,
    prior: PriorPreservation,
    project: Project,
    folder: Path,
    device: torch.device,
) -> tuple[Tensor, Captions]:
    """Latents that the base model draws of the prior prompt, and the prompt."""
    from safetensors.torch import load_file, save_file

    seed, prompt = preset.train.seed, plain_prompt(bundle, prior, preset, device=device)
    resolution = project.settings.diffusion.resolution
    path = folder / f"prior-{derive_seed(bundle.base_id, seed, resolution, prior.model_dump_json())}.safetensors"
    if not path.exists():
        latents = prior_latents(bundle, prior, seed=seed, resolution=resolution, device=device)
        path.parent.mkdir(parents=True, exist_ok=True)
        hidden = path.with_name(f".{path.name}.tmp")
        save_file({"latents": latents}, hidden)
        hidden.replace(path)
    return load_file(path)["latents"], prompt


def plain_prompt(bundle: Bundle, prior: PriorPreservation, preset: MethodPreset, *, device: torch.device) -> Captions:
    """The prior's prompt as the text of one film; its token ids too where the text encoder learns."""
    states = encode_captions(bundle.tokenizer, bundle.text_encoder, [prior.prompt], device=device)
    return Captions(np.zeros(1, dtype=np.int64), states, token_ids(bundle, preset, [prior.prompt]))


@torch.no_grad()
def prior_latents(
    bundle: Bundle, prior: PriorPreservation, *, seed: int, resolution: int, device: torch.device, batch: int = 16
) -> Tensor:
    """Scaled latents of the prior prompt without guidance, float32 on the CPU, shape ``(films, channels, h, w)``."""
    pipe = bundle.to(device).pipeline()
    pipe.scheduler = make_scheduler(bundle, "dpmpp_2m")
    side = resolution // bundle.vae_factor
    seeds = [derive_seed("prior", seed, i) for i in range(prior.films)]
    drawn = []
    for start in range(0, prior.films, batch):
        noise = initial_noise(seeds[start : start + batch], (bundle.unet.config.in_channels, side, side)).to(device)
        made = pipe(
            [prior.prompt] * len(noise),
            latents=noise,
            num_inference_steps=prior.steps,
            guidance_scale=1.0,
            height=resolution,
            width=resolution,
            output_type="latent",
        )
        drawn.append(made.images.float().cpu())
    return torch.cat(drawn)
