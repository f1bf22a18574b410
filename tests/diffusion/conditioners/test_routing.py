from __future__ import annotations

from typing import Any

import pytest
import torch

from cxr_assets.diffusion.bundle import Bundle
from cxr_assets.diffusion.conditioners.blocks import Conditioned, Conditioner
from cxr_assets.diffusion.conditioners.build import build_conditioner
from cxr_assets.diffusion.conditioners.config import ConditionerConfig
from cxr_assets.diffusion.conditioners.routing import added_to_time, with_tokens
from cxr_assets.diffusion.conditioners.schema import DemographicSchema
from tests.helpers import SPEC, tiny_bundle

SCHEMA = DemographicSchema()
TWINS = SCHEMA.encode([50, 50], ["female", "female"], ["asian", "white"])
TIME_WIDTH = 4 * SPEC.unet_widths[0]


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return tiny_bundle()


def made(kind: str, route: str, **options: Any) -> Conditioner:
    config = {"kind": kind, "route": route, "width": 16, "context_width": SPEC.text_width, "time_width": TIME_WIDTH}
    conditioner = build_conditioner(ConditionerConfig.model_validate(config | options), SCHEMA, seed=0)
    assert conditioner is not None
    return conditioner.eval()


def drawn(bundle: Bundle, out: Conditioned | None) -> torch.Tensor:
    latents = torch.randn((1, 4, 32, 32), generator=torch.Generator().manual_seed(0)).expand(2, -1, -1, -1)
    text = torch.randn((1, 77, SPEC.text_width), generator=torch.Generator().manual_seed(1)).expand(2, -1, -1)
    context = text if out is None else with_tokens(text, out.tokens)
    with torch.no_grad(), added_to_time(bundle.unet, None if out is None else out.time):
        return bundle.unet.eval()(latents, torch.tensor([3, 3]), encoder_hidden_states=context).sample


@pytest.mark.parametrize(
    ("kind", "options", "length"),
    [
        ("demographic_encoder", {}, 78),
        ("hcn", {}, 78),
        ("demographic_encoder", {"separate_tokens": True}, 80),
        ("compdiff", {}, 81),
    ],
)
def test_tokens_stand_after_the_text_in_both_halves_of_guidance(
    kind: str, options: dict[str, Any], length: int
) -> None:
    conditioner = made(kind, "token", **options)
    text = torch.ones(2, 77, SPEC.text_width, dtype=torch.float16)
    for tokens in (conditioner(TWINS).tokens, conditioner.unconditional(2)):
        context = with_tokens(text, tokens)
        assert context.shape == (2, length, SPEC.text_width) and context.dtype == torch.float16
        assert torch.equal(context[:, :77], text) and torch.equal(context[:, 77:], tokens.half())


@pytest.mark.parametrize("kind", ["demographic_encoder", "hcn", "compdiff"])
def test_a_fresh_time_route_leaves_the_base_as_it_is(bundle: Bundle, kind: str) -> None:
    assert torch.equal(drawn(bundle, made(kind, "time")(TWINS)), drawn(bundle, None))


@pytest.mark.parametrize("kind", ["demographic_encoder", "hcn", "compdiff"])
def test_a_trained_time_route_shows_and_leaves_no_hook_behind(bundle: Bundle, kind: str) -> None:
    before = drawn(bundle, None)
    conditioner = made(kind, "time")
    assert conditioner.time_route is not None
    torch.nn.init.normal_(conditioner.time_route.weight)
    changed = drawn(bundle, conditioner(TWINS))
    assert not torch.allclose(changed[0], changed[1])
    dropped = conditioner(TWINS, torch.tensor([True, True]))
    assert torch.equal(drawn(bundle, dropped), before)
    assert torch.equal(drawn(bundle, None), before) and not bundle.unet.time_embedding._forward_hooks


@pytest.mark.parametrize("kind", ["demographic_encoder", "hcn", "compdiff"])
def test_race_alone_changes_what_the_unet_predicts(bundle: Bundle, kind: str) -> None:
    conditioner = made(kind, "token")
    conditioner.match_scale(1.0)
    changed = drawn(bundle, conditioner(TWINS))
    assert not torch.equal(changed[0], changed[1])
