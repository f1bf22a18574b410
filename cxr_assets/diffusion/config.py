"""Settings of base models and adapters; plain pydantic, so that reading a configuration loads no torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from cxr_assets.captions.templates import PromptTemplate
from cxr_assets.captions.wording import Wording
from cxr_assets.diffusion.conditioners.config import ConditionerConfig
from cxr_assets.diffusion.weighing.config import UniformWeighing, Weighing

Precision = Literal["fp32", "bf16", "fp16"]
TrainingPrecision = Literal["fp32", "bf16"]
"""fp16 is missing: without loss scaling its gradients vanish, and where it is fast bf16 is as fast."""
ScheduleName = Literal[
    "constant", "constant_with_warmup", "linear", "cosine", "cosine_with_restarts", "polynomial", "piecewise_constant"
]
SamplerName = Literal["dpmpp_2m", "ddim", "pndm", "unipc", "lcm"]


class BundleSpec(BaseModel):
    """Architecture of a base model trained from scratch; the defaults are those of the shipped phantom base.

    The classes are Stable Diffusion's own, only narrower: an f8 VAE makes 16² latents of a 128² film, and attention
    at 8² alone keeps a U-Net of some 4 M parameters quick on a CPU.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    resolution: int = 128
    vae_widths: tuple[int, ...] = (16, 32, 64, 64)
    latent_channels: int = 8
    unet_widths: tuple[int, ...] = (64, 128)
    unet_layers: int = 1
    heads: int = 4
    text_width: int = 128
    text_layers: int = 2
    text_heads: int = 4
    vocabulary: int = 1024
    groups: int = 8


class PretrainSettings(BaseModel):
    """How a base model is trained from scratch, or on from another one (its architecture then stands)."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    architecture: BundleSpec = BundleSpec()
    start: str | None = Field(None, description="a base model to go on from: 'phantom', a folder or a hub id")
    seed: int = 0
    precision: Precision = "bf16"
    compile: bool = False
    vae_steps: int = 4000
    vae_batch: int = 16
    vae_learning_rate: float = 1e-3
    vae_ema: float = 0.995
    kl_weight: float = 1e-5
    edge_weight: float = 1.0
    unet_steps: int = 8000
    unet_batch: int = 64
    unet_learning_rate: float = 1e-3
    unet_ema: float = 0.9995
    min_snr: float = 5.0
    caption_dropout: float = 0.1
    checkpoint_every: int = 200


class LoraSettings(BaseModel):
    """Low-rank adapters of the attention projections (Hu et al. 2022): ``W + alpha / rank · B A``, B zero at first."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    rank: int = Field(16, ge=1)
    alpha: int = Field(16, ge=1)
    dropout: float = Field(0.0, ge=0.0, lt=1.0)
    init: Literal["gaussian", "kaiming"] = Field("gaussian", description="of A; kaiming is peft's own default")
    targets: list[str] = ["to_q", "to_k", "to_v", "to_out.0"]


class PriorPreservation(BaseModel):
    """Keeps the base model's own idea of a film: its latents of a plain prompt enter the loss (Ruiz et al. 2023)."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    weight: float = Field(1.0, gt=0.0)
    films: int = Field(64, ge=1, description="latents drawn with the base model before training")
    prompt: str = "chest x-ray"
    steps: int = Field(20, ge=1, description="sampling steps of those latents")


class AdapterTraining(BaseModel):
    """How a generator is taught."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    steps: int = Field(1000, ge=1)
    batch: int = Field(32, ge=1, description="films a step, over all processes and micro-batches")
    micro_batch: int | Literal["auto"] | None = Field(
        None, description="films at a time; null: all of a process's share; auto: the most that fits its GPU"
    )
    optimizer: Literal["adamw", "adamw_8bit"] = "adamw"
    learning_rate: float = 1e-4
    conditioner_learning_rate: float | None = Field(None, description="of the conditioner; null: the same")
    weight_decay: float = 1e-2
    warmup: int = 50
    schedule: ScheduleName = "constant_with_warmup"
    min_snr: float | None = 5.0
    noise_offset: float = Field(0.0, ge=0.0)
    input_perturbation: float = Field(
        0.0, ge=0.0, description="extra noise on the noised latent; the target stays (Ning et al. 2023)"
    )
    prior: PriorPreservation | None = None
    caption_dropout: float = Field(0.1, ge=0.0, lt=1.0)
    ema: float = Field(
        0.0, ge=0.0, lt=1.0, description="decay of the averaged weights, which are the ones kept; 0: none"
    )
    precision: TrainingPrecision = "fp32"
    gradient_checkpointing: bool = False
    attention: Literal["sdpa", "xformers", "sliced"] = "sdpa"
    compile: bool = False
    checkpoint_every: int = 100
    validate_every: int = Field(0, ge=0, description="steps between validation losses and grids; 0: at the end alone")
    seed: int = 0


class MethodPreset(BaseModel):
    """One way to teach the generator; a YAML file in ``presets/methods``."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    title: str
    source: str = ""
    wording: Wording = Wording()
    conditioner: ConditionerConfig = ConditionerConfig()
    weighing: Weighing = UniformWeighing()
    tune: Literal["lora", "full"] = Field("lora", description="of the U-Net: low-rank adapters, or all its weights")
    text_encoder: Literal["frozen", "lora", "full"] = "frozen"
    lora: LoraSettings = LoraSettings()
    text_lora: LoraSettings = LoraSettings(rank=8, alpha=8, targets=["q_proj", "k_proj", "v_proj", "out_proj"])
    train: AdapterTraining = AdapterTraining()
    demographic_guidance: float | None = Field(
        None, description="scale of the conditioner in guidance with two scales; null: one scale for text and tokens"
    )
    few_step: bool = Field(False, description="distilled for the few-step sampler lcm")

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        if self.demographic_guidance is not None and self.conditioner.kind == "none":
            raise ValueError("demographic_guidance needs a conditioner: with kind none, guidance has one scale.")
        if self.train.compile and self.conditioner.kind != "none" and self.conditioner.route != "token":
            raise ValueError(
                "compile: the time route changes the U-Net at each step. Choose route: token, or leave compile out."
            )
        for part, unread in (("lora", self.tune == "full"), ("text_lora", self.text_encoder != "lora")):
            if unread and getattr(self, part) != type(self).model_fields[part].default:
                raise ValueError(
                    f"{part}: there are no such adapters with tune: {self.tune}, text_encoder: {self.text_encoder}."
                )
        if self.conditioner.kind != "none" and self.train.caption_dropout != AdapterTraining().caption_dropout:
            raise ValueError(
                "caption_dropout is for methods without a conditioner: set conditioner.drop_text and drop_both."
            )
        if self.demographic_guidance is not None and self.few_step:
            raise ValueError("few_step adapters are guided by one scale: leave demographic_guidance out.")
        return self

    @property
    def caption_attributes(self) -> tuple[str, ...]:
        """Attributes that stand in training captions."""
        return self.wording.in_captions(self.conditioner.carries)

    def prompt(
        self,
        labels: Sequence[str],
        *,
        age: float | None,
        sex: str | None,
        race: str | None,
        impression: str | None = None,
    ) -> str:
        """Prompt for a film of these findings and this person, without what the conditioner carries.

        Args:
            impression: the text of a report to put in place of the findings.
        """
        person: dict[str, Any] = {"age": age, "sex": sex, "race": race}
        written = {name: person[name] for name in self.wording.in_prompts(self.conditioner.carries)}
        template = PromptTemplate()
        return (
            template.render(labels, **written) if impression is None else f"{template.header(**written)}. {impression}"
        )
