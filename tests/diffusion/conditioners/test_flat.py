from __future__ import annotations

import pytest
import torch

from cxr_assets.diffusion.conditioners.config import ConditionerConfig
from cxr_assets.diffusion.conditioners.flat import DemographicEncoder
from cxr_assets.diffusion.conditioners.schema import DemographicSchema

SCHEMA = DemographicSchema(races=("white", "black", "asian", "hispanic"))


def test_parity_has_the_published_size() -> None:
    config = ConditionerConfig(kind="demographic_encoder", context_width=1024, parity=True)
    assert sum(p.numel() for p in DemographicEncoder(config, SCHEMA).parameters()) == 934_155
    ours = DemographicEncoder(config.model_copy(update={"parity": False}), SCHEMA)
    assert sum(p.numel() for p in ours.parameters()) == 934_155 + 3 * 256


@pytest.mark.parametrize("separate", [False, True])
def test_zero_classifiers_cost_the_logarithm_of_their_classes(separate: bool) -> None:
    config = ConditionerConfig(kind="demographic_encoder", width=8, context_width=16, separate_tokens=separate)
    encoder = DemographicEncoder(config, SCHEMA)
    for parameter in encoder.classifiers.parameters():
        torch.nn.init.zeros_(parameter)
    batch = SCHEMA.encode([30, 70], ["male", "female"], ["white", "asian"])
    assert encoder.losses(encoder(batch), batch, 0)["auxiliary"].item() == pytest.approx(1.229626, abs=1e-6)


def test_a_separate_token_hangs_on_its_attribute_alone() -> None:
    config = ConditionerConfig(kind="demographic_encoder", width=8, context_width=16, separate_tokens=True)
    encoder = DemographicEncoder(config, SCHEMA).eval()
    first, *others = encoder(
        SCHEMA.encode([30, 50, 30, 30], ["male", "male", "female", "male"], ["white", "white", "white", "asian"])
    ).tokens
    for changed, other in enumerate(others):
        assert [i for i in range(3) if not torch.equal(first[i], other[i])] == [changed]
