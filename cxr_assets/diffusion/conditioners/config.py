"""Settings of demographic conditioners; plain pydantic, so that reading a configuration loads no torch."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from cxr_assets.captions.wording import ATTRIBUTES
from cxr_assets.cohorts.demographics import OLDEST

Kind = Literal["none", "demographic_encoder", "hcn", "compdiff"]
Route = Literal["token", "time", "both"]


_LATENT = ("hcn", "compdiff")
_ANY = ("demographic_encoder", *_LATENT)
_READ_BY: dict[str, tuple[str, ...]] = {
    "latent": _LATENT,
    "kl_weight": _LATENT,
    "kl_anneal_steps": _LATENT,
    "composition_weight": _LATENT,
    "encode_age": ("hcn",),
    "soft_age": ("hcn",),
    "separate_tokens": ("demographic_encoder",),
    "deep_heads": ("demographic_encoder",),
    "composer": ("compdiff",),
    "max_age": ("compdiff",),
    **dict.fromkeys(
        ("route", "dropout", "auxiliary_weight", "drop_text", "drop_demographics", "drop_both", "parity"), _ANY
    ),
}
"""Kinds that look at an option; one that is changed and not looked at is refused."""


class ConditionerConfig(BaseModel):
    """How demographics reach the U-Net; the defaults are published values, except for the drops.

    ``parity`` leaves out what we add (learned nulls of the flat encoder and of the HCN, generation.md §1.6), so that
    parameter counts are the published ones.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    kind: Kind = "none"
    width: int = Field(256, ge=1)
    context_width: int = Field(768, ge=1, description="width of the text states: 768 in SD 1.5, 1024 in SD 2.1")
    time_width: int = Field(1280, ge=1, description="width of the U-Net's time embedding")
    route: Route = "token"
    dropout: float = Field(0.1, ge=0.0, lt=1.0)
    encode_age: bool = Field(True, description="hcn only: off leaves age in the prompt, and nothing hierarchical")
    latent: bool = Field(True, description="Gaussian head on the child; hcn and compdiff")
    composer: Literal["hierarchical", "flat"] = Field("hierarchical", description="compdiff; flat is its control")
    separate_tokens: bool = Field(False, description="demographic_encoder: a token for each attribute")
    deep_heads: bool = Field(False, description="demographic_encoder: two-layer classifiers on its tokens")
    kl_weight: float = Field(0.005, ge=0.0)
    kl_anneal_steps: int = Field(5000, ge=0)
    composition_weight: float = Field(0.1, ge=0.0)
    auxiliary_weight: float = Field(1.0, ge=0.0)
    soft_age: float | None = Field(None, gt=0.0, description="hcn: spread of soft age targets, in bins; None is hard")
    max_age: float = Field(OLDEST, gt=0.0, description="compdiff: years that its age head calls 1")
    drop_text: float = Field(0.10, ge=0.0, lt=1.0)
    drop_demographics: float = Field(0.10, ge=0.0, lt=1.0)
    drop_both: float = Field(0.05, ge=0.0, lt=1.0)
    parity: bool = False

    @property
    def carries(self) -> tuple[str, ...]:
        """Attributes that reach the U-Net through the conditioner, and are therefore left out of the prompt."""
        if self.kind == "none":
            return ()
        return ATTRIBUTES if self.encode_age else ATTRIBUTES[1:]

    @model_validator(mode="after")
    def _options_fit_the_kind(self) -> Self:
        for name, kinds in _READ_BY.items():
            if self.kind not in kinds and getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name} is an option of {' and '.join(kinds)}, not of {self.kind}. Leave it out.")
        return self
