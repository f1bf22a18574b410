"""A generator: a base model as one method has taught it."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from cxr_assets.diffusion.bundle import Bundle
from cxr_assets.diffusion.conditioners.blocks import Conditioner
from cxr_assets.diffusion.config import MethodPreset
from cxr_assets.diffusion.sampling import Sampler, SamplerSettings
from cxr_assets.errors import InputError


@dataclass
class Generator:
    """What draws films: networks, the conditioner where the method has one, and the method's preset."""

    bundle: Bundle
    preset: MethodPreset
    conditioner: Conditioner | None = None

    def sampler(self, settings: SamplerSettings, *, device: torch.device) -> Sampler:
        """A sampler over these networks. Raises InputError for the few-step sampler with a method not made for it."""
        if settings.sampler == "lcm" and not self.preset.few_step:
            raise InputError(
                f"synthesis.sampler: lcm draws noise with {self.preset.title!r}, which was not distilled for few steps."
                " Choose dpmpp_2m, or set few_step: true in the preset of a distilled adapter."
            )
        return Sampler(
            self.bundle,
            settings,
            device=device,
            conditioner=self.conditioner,
            demographic_guidance=self.preset.demographic_guidance,
        )
