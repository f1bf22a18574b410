"""Settings of how examples are weighed, told apart by ``kind``; plain pydantic, so that reading them loads no torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class UniformWeighing(BaseModel):
    """Every example counts one."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    kind: Literal["uniform"] = "uniform"


class InverseFrequencyWeighing(BaseModel):
    """Every cell (combination of group values) counts the same in total, however many examples it has."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    kind: Literal["inverse_frequency"] = "inverse_frequency"


class GroupDroWeighing(BaseModel):
    """Cells with the greater loss count more (Sagawa et al. 2020): ``q_g ∝ q_g exp(eta · loss_g)`` at every step."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    kind: Literal["group_dro"] = "group_dro"
    eta: float = Field(0.01, ge=0.0, description="step size of the cells' weights")


class FairDiffusionWeighing(BaseModel):
    """Noise on the loss weights whose spread per group value is tuned by Bayesian optimisation (FairDiffusion).

    The noise has mean zero: the expected gradient is the unweighted one, no group counts more on average
    (generation.md §2.1–2.2). For that, take ``inverse_frequency`` or ``group_dro``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    kind: Literal["fairdiffusion"] = "fairdiffusion"
    mode: Literal["paper", "safe"] = Field(
        "safe", description="safe: floored weights of mean one, losses over a window"
    )
    window: int = Field(30, ge=2, description="global steps between two suggestions of the optimiser")
    exploit: float = Field(0.95, ge=0.0, le=1.0, description="share of the spreads kept at a step; the rest is random")
    beta: float = Field(0.1, ge=0.0, description="exploration of the upper confidence bound, mean + sqrt(beta) · sd")
    floor: float = Field(0.1, gt=0.0, lt=1.0, description="least weight before the division by the mean (mode safe)")
    candidates: int = Field(1024, ge=1, description="Sobol points at which the bound is compared")
    tie: bool = Field(False, description="one spread per attribute rather than one per value")


class TemperedSampling(BaseModel):
    """Visits cells in proportion to ``n_cell ** tau``: 1 as they come, 0 all alike. Loss weights stay one."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    kind: Literal["tempered"] = "tempered"
    tau: float = Field(0.5, ge=0.0, le=1.0)


Weighing = Annotated[
    UniformWeighing | InverseFrequencyWeighing | GroupDroWeighing | FairDiffusionWeighing | TemperedSampling,
    Field(discriminator="kind"),
]
