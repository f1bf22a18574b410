"""A base model: tokenizer, text encoder, VAE, U-Net and scheduler of one Stable Diffusion, in diffusers' format."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from cxr_assets.diffusion.candidates import PHANTOM_BASE as PHANTOM_BASE
from cxr_assets.diffusion.candidates import fetch, read_candidates
from cxr_assets.diffusion.config import BundleSpec
from cxr_assets.diffusion.tokenizer import MAX_TOKENS, train_tokenizer
from cxr_assets.errors import CxrError, InputError, SettingsError
from cxr_assets.warehouse.manifest import folder_digest


@dataclass
class Bundle:
    """The parts of a loaded base model. ``base_id`` is the digest of the files that were read.

    ``source`` is the entry of ``diffusion.base_model`` that it was loaded for, ``commit`` the hub's (empty for a folder),
    ``family`` is ``sd1``, ``sd2`` or ``own``, and ``passed_over`` says why each entry before it was not taken.
    """

    tokenizer: Any
    text_encoder: Any
    vae: Any
    unet: Any
    scheduler: Any
    base_id: str
    source: str
    commit: str = ""
    family: str = "own"
    passed_over: tuple[str, ...] = ()

    @property
    def prediction_type(self) -> str:
        """What the U-Net predicts: ``epsilon`` (the noise) or ``v_prediction`` (the velocity)."""
        return str(self.scheduler.config.prediction_type)

    @property
    def vae_factor(self) -> int:
        """Pixels a latent element covers along each axis."""
        return 2 ** (len(self.vae.config.block_out_channels) - 1)

    def to(self, device: torch.device) -> Bundle:
        """Move every network; returns self."""
        for network in (self.text_encoder, self.vae, self.unet):
            network.to(device=device)
        return self

    def pipeline(self) -> Any:
        """A plain diffusers pipeline over the same networks."""
        from diffusers import StableDiffusionPipeline

        pipe: Any = StableDiffusionPipeline(
            vae=self.vae,
            text_encoder=self.text_encoder,
            tokenizer=self.tokenizer,
            unet=self.unet,
            scheduler=self.scheduler,
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
        pipe.set_progress_bar_config(disable=True)
        return pipe


def build_bundle(spec: BundleSpec, captions: Iterable[str], *, seed: int = 0) -> Bundle:
    """A randomly initialised base model; its vocabulary is learned from ``captions``."""
    from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    tokenizer = train_tokenizer(captions, vocabulary=spec.vocabulary)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        text_encoder = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(tokenizer),
                hidden_size=spec.text_width,
                intermediate_size=4 * spec.text_width,
                num_hidden_layers=spec.text_layers,
                num_attention_heads=spec.text_heads,
                max_position_embeddings=MAX_TOKENS,
                projection_dim=spec.text_width,
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
            )
        )
        levels = len(spec.vae_widths)
        vae = AutoencoderKL(
            in_channels=3,
            out_channels=3,
            down_block_types=("DownEncoderBlock2D",) * levels,
            up_block_types=("UpDecoderBlock2D",) * levels,
            block_out_channels=spec.vae_widths,
            layers_per_block=1,
            latent_channels=spec.latent_channels,
            norm_num_groups=spec.groups,
            mid_block_add_attention=False,
            sample_size=spec.resolution,
        )
        inner = len(spec.unet_widths) - 1
        unet = UNet2DConditionModel(
            sample_size=spec.resolution // 2 ** (levels - 1),
            in_channels=spec.latent_channels,
            out_channels=spec.latent_channels,
            block_out_channels=spec.unet_widths,
            layers_per_block=spec.unet_layers,
            down_block_types=("DownBlock2D",) + ("CrossAttnDownBlock2D",) * inner,
            up_block_types=("CrossAttnUpBlock2D",) * inner + ("UpBlock2D",),
            cross_attention_dim=spec.text_width,
            attention_head_dim=spec.heads,
            norm_num_groups=2 * spec.groups,
        )
    scheduler = DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )
    networks: tuple[Any, ...] = (text_encoder, vae, unet)
    for network in networks:
        network.eval()  # as a loaded one is: kernels are chosen by mode too, and so are the last bits
    return Bundle(tokenizer, text_encoder, vae, unet, scheduler, base_id="", source="scratch")


def save_bundle(bundle: Bundle, folder: Path, *, half: bool = True) -> str:
    """Write the pipeline as (fp16) safetensors; returns its digest, which becomes ``base_id``."""
    import copy

    pipe = copy.deepcopy(bundle.pipeline())
    if half:
        pipe.to(torch.float16)
    pipe.save_pretrained(folder, safe_serialization=True)
    for config in folder.glob("*/config.json"):  # where the networks were loaded from is this machine's affair
        kept = {k: v for k, v in json.loads(config.read_text()).items() if k != "_name_or_path"}
        config.write_text(json.dumps(kept, indent=2, sort_keys=True) + "\n")
    bundle.base_id = folder_digest(folder)
    return bundle.base_id


def local_folder(candidate: str) -> Path:
    """Folder that a base model's name stands for; there is none where the name is a hub id."""
    return PHANTOM_BASE if candidate == "phantom" else Path(candidate).expanduser()


def load_bundle(candidates: str | list[str], *, revision: str | None = None, offline: bool = False) -> Bundle:
    """Load the first base model that can be had, as float32 on the CPU.

    Weights are safetensors, the fp16 ones where a model has no others. What cannot be used is passed over and told.

    Args:
        candidates: ``phantom`` (shipped), a folder in diffusers' format, or hub ids, each with ``@revision`` or without,
            tried in order.
        revision: commit or tag of the hub ids that name none.
        offline: take hub models from the local cache only.

    Raises:
        SettingsError: none is to be had; names each one and why.
        InputError: the same, where one is there and cannot be used: pickled weights, another kind of model.
    """
    from diffusers import StableDiffusionPipeline

    tried: list[str] = []
    unfit: list[InputError] = []
    for candidate in read_candidates([candidates] if isinstance(candidates, str) else candidates, revision):
        if candidate.kind == "scratch":
            raise SettingsError("base model 'scratch' is trained, not loaded. Materialise base_model first.")
        try:
            found = fetch(candidate, offline=offline)
            with quiet_loading():
                pipe = StableDiffusionPipeline.from_pretrained(
                    str(found.folder),
                    variant=found.variant,
                    dtype=torch.float32,
                    use_safetensors=True,
                    safety_checker=None,
                    feature_extractor=None,
                    image_encoder=None,
                    requires_safety_checker=False,
                    local_files_only=True,
                )
        except InputError as error:
            unfit.append(error)
            tried.append(f"{candidate}: {error}")
        except (CxrError, OSError, ValueError) as error:
            tried.append(f"{candidate}: {str(error).splitlines()[0][:500]}")
        else:
            return Bundle(
                pipe.tokenizer,
                pipe.text_encoder,
                pipe.vae,
                pipe.unet,
                training_scheduler(pipe.scheduler),
                found.digest,
                str(candidate),
                found.commit,
                found.family,
                tuple(tried),
            )
    if unfit and len(tried) == 1:
        raise unfit[0]
    told = (
        "no base model could be loaded. Tried: " + "; ".join(tried) + ". Give a folder in diffusers' format with"
        " safetensors, 'phantom', or [scratch]; cxr doctor --base says what is here."
    )
    raise InputError(told) if unfit else SettingsError(told)


def training_scheduler(shipped: Any) -> Any:
    """The noise schedule of a model as DDIM, whatever scheduler it came with.

    Euler, LMS, DPM-Solver and UniPC noise by another formula until they are set up for sampling; a model trained with
    theirs would learn from latents that are noisier or cleaner than their timestep says.
    """
    from diffusers import DDIMScheduler

    clip = shipped.config.get("clip_sample", False)  # DDIM's own default is for pixels
    return DDIMScheduler.from_config(shipped.config, clip_sample=clip)


@contextlib.contextmanager
def quiet_loading() -> Iterator[None]:
    """Keep the loaders' own progress bars and hints off the terminal; errors still show."""
    import diffusers.utils.logging as diffusers_logging
    import transformers.utils.logging as transformers_logging

    loggers = (diffusers_logging, transformers_logging)
    before = [logger.get_verbosity() for logger in loggers]
    for logger in loggers:
        logger.set_verbosity_error()
        logger.disable_progress_bar()
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.set_verbosity(level)
            logger.enable_progress_bar()
