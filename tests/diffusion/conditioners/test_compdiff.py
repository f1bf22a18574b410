from __future__ import annotations

import pytest
import torch

from cxr_assets.diffusion.conditioners.compdiff import CompDiff
from cxr_assets.diffusion.conditioners.config import ConditionerConfig
from cxr_assets.diffusion.conditioners.schema import DemographicSchema

SCHEMA = DemographicSchema(races=("white", "black", "asian", "hispanic"))
SMALL = ConditionerConfig(kind="compdiff", width=8, context_width=16)


@pytest.mark.parametrize(("composer", "expected"), [("hierarchical", 2_896_640), ("flat", 2_898_632)])
def test_sizes_are_the_published_ones(composer: str, expected: int) -> None:
    config = ConditionerConfig.model_validate(
        {"kind": "compdiff", "context_width": 1024, "parity": True, "composer": composer}
    )
    conditioner = CompDiff(config, SCHEMA)
    assert sum(p.numel() for p in conditioner.composer.parameters()) == expected
    assert sum(p.numel() for p in conditioner.parameters()) == 6_315_567 - 2_896_640 + expected


def test_zero_heads_cost_the_known_value() -> None:
    conditioner = CompDiff(SMALL, SCHEMA).eval()
    for parameter in conditioner.predictors.parameters():
        torch.nn.init.zeros_(parameter)
    batch = SCHEMA.encode([72.0], ["male"], ["asian"])  # 0.6 of the greatest age, where a zero head says 0.5
    assert conditioner.losses(conditioner(batch), batch, 0)["auxiliary"].item() == pytest.approx(1.135395, abs=1e-6)


def test_ages_of_one_bin_are_told_apart() -> None:
    tokens = CompDiff(SMALL, SCHEMA).eval()(SCHEMA.encode([61, 79], ["male"] * 2, ["white"] * 2)).tokens
    assert not torch.allclose(tokens[0], tokens[1])


def test_the_latent_sits_on_the_last_token_alone() -> None:
    conditioner = CompDiff(SMALL.model_copy(update={"dropout": 0.0}), SCHEMA)
    batch = SCHEMA.encode([61], ["male"], ["white"])
    first, second = (conditioner(batch, None, torch.Generator().manual_seed(i)).tokens[0] for i in (0, 1))
    assert [torch.equal(a, b) for a, b in zip(first, second, strict=True)] == [True, True, True, False]


@pytest.mark.parametrize("composer", ["hierarchical", "flat"])
def test_every_attribute_token_has_the_others_in_context(composer: str) -> None:
    conditioner = CompDiff(SMALL.model_copy(update={"composer": composer}), SCHEMA).eval()
    tokens = conditioner(SCHEMA.encode([61, 61], ["male", "female"], ["white", "white"])).tokens
    assert not any(torch.equal(a, b) for a, b in zip(*tokens, strict=True))


def test_the_cell_is_scored_only_where_all_of_it_is_known() -> None:
    conditioner = CompDiff(SMALL, SCHEMA).eval()
    batch = SCHEMA.encode([61, 61], ["male", "male"], ["white", None])
    *_, (weight, _, mask) = conditioner.auxiliary_terms(conditioner(batch), batch)
    assert weight == 0.5 and mask.tolist() == [True, False]
