from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from cxr_assets.diffusion.conditioners.config import ConditionerConfig


@pytest.mark.parametrize(
    "options",
    [
        {"kind": "compdiff", "encode_age": False},
        {"kind": "hcn", "separate_tokens": True},
        {"kind": "compdiff", "deep_heads": True},
        {"kind": "hcn", "composer": "flat"},
        {"kind": "demographic_encoder", "soft_age": 1.0},
        {"kind": "hcn", "width_of_tokens": 3},
        {"kind": "hcn", "drop_text": 1.0},
        {"kind": "none", "drop_text": 0.2},
        {"kind": "none", "kl_weight": 1.0},
        {"kind": "demographic_encoder", "latent": False},
        {"kind": "none", "parity": True},
        {"kind": "hcn", "max_age": 90.0},
    ],
)
def test_options_that_a_kind_does_not_have_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ConditionerConfig(**options)


def test_a_configuration_survives_json() -> None:
    config = ConditionerConfig(kind="hcn", soft_age=0.75, route="both", parity=True)
    assert ConditionerConfig.model_validate_json(config.model_dump_json()) == config
