from __future__ import annotations

import pytest
import torch

from cxr_assets.diffusion.conditioners.config import ConditionerConfig
from cxr_assets.diffusion.conditioners.guidance import drop_masks, guided

CONFIG = ConditionerConfig()
UNCOND, TEXT, BOTH = torch.randn((3, 2, 4, 8, 8), generator=torch.Generator().manual_seed(0))


def test_drops_come_at_their_rates() -> None:
    n = 200_000
    text, demographics = drop_masks(n, CONFIG, torch.Generator().manual_seed(0))
    either = 1 - 0.9 * 0.95
    assert text.float().mean().item() == pytest.approx(either, abs=0.004)
    assert demographics.float().mean().item() == pytest.approx(either, abs=0.004)
    assert (text & demographics).float().mean().item() == pytest.approx(0.05 + 0.95 * 0.01, abs=0.003)


def test_drops_hang_on_the_generator_alone_and_on_their_own_rate() -> None:
    first, again, other = (drop_masks(500, CONFIG, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first[0], again[0]) and torch.equal(first[1], again[1])
    assert not torch.equal(first[0], other[0])
    text_only = CONFIG.model_copy(update={"drop_demographics": 0.0, "drop_both": 0.0})
    text, demographics = drop_masks(500, text_only, torch.Generator().manual_seed(1))
    assert text.any() and not demographics.any()


def test_scales_of_one_are_the_conditional_prediction_and_of_zero_the_unconditional() -> None:
    torch.testing.assert_close(guided(UNCOND, TEXT, BOTH, 1.0, 1.0), BOTH)
    torch.testing.assert_close(guided(UNCOND, TEXT, BOTH, 1.0, 0.0), TEXT)
    assert torch.equal(guided(UNCOND, TEXT, BOTH, 0.0, 0.0), UNCOND)


def test_two_equal_scales_are_a_single_one() -> None:
    torch.testing.assert_close(guided(UNCOND, TEXT, BOTH, 7.5, 7.5), UNCOND + 7.5 * (BOTH - UNCOND))


def test_each_scale_moves_along_its_own_axis() -> None:
    base = guided(UNCOND, TEXT, BOTH, 3.0, 2.0)
    torch.testing.assert_close(guided(UNCOND, TEXT, BOTH, 4.0, 2.0) - base, TEXT - UNCOND)
    torch.testing.assert_close(guided(UNCOND, TEXT, BOTH, 3.0, 3.0) - base, BOTH - TEXT)
