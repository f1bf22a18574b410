"""From a configuration to a conditioner."""

from __future__ import annotations

from collections.abc import Callable

import torch

from cxr_assets.diffusion.conditioners.blocks import Conditioner
from cxr_assets.diffusion.conditioners.compdiff import CompDiff
from cxr_assets.diffusion.conditioners.config import ConditionerConfig
from cxr_assets.diffusion.conditioners.flat import DemographicEncoder
from cxr_assets.diffusion.conditioners.hcn import HierarchicalConditioner
from cxr_assets.diffusion.conditioners.schema import DemographicSchema
from cxr_assets.training import derive_seed

CLASSES: dict[str, Callable[[ConditionerConfig, DemographicSchema], Conditioner]] = {
    "demographic_encoder": DemographicEncoder,
    "hcn": HierarchicalConditioner,
    "compdiff": CompDiff,
}


def build_conditioner(config: ConditionerConfig, schema: DemographicSchema, *, seed: int) -> Conditioner | None:
    """A new conditioner whose weights hang on ``seed`` alone; None for kind ``none``."""
    if config.kind == "none":
        return None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed("conditioner", seed))
        return CLASSES[config.kind](config, schema)
