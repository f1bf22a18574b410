"""What holds for every conditioner."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from cxr_assets.captions.wording import ATTRIBUTES
from cxr_assets.diffusion.conditioners.blocks import Conditioner, GaussianHead
from cxr_assets.diffusion.conditioners.build import build_conditioner
from cxr_assets.diffusion.conditioners.config import ConditionerConfig
from cxr_assets.diffusion.conditioners.losses import composition_loss
from cxr_assets.diffusion.conditioners.schema import DemographicSchema
from cxr_assets.errors import InputError

SCHEMA = DemographicSchema(races=("white", "black", "asian", "hispanic"))
KINDS: dict[str, tuple[dict[str, Any], int]] = {
    "flat": ({"kind": "demographic_encoder"}, 1),
    "separate": ({"kind": "demographic_encoder", "separate_tokens": True, "deep_heads": True}, 3),
    "hcn": ({"kind": "hcn"}, 1),
    "hcn_without_age": ({"kind": "hcn", "encode_age": False}, 1),
    "compdiff": ({"kind": "compdiff"}, 4),
    "compdiff_flat": ({"kind": "compdiff", "composer": "flat"}, 4),
}
each_kind = pytest.mark.parametrize("kind", KINDS)
BATCH = SCHEMA.encode(
    [5, 33, None, 71, 90], ["male", "female", "male", None, "female"], ["white", None, "asian", "black", "hispanic"]
)
DROP = torch.tensor([False, True, False, False, True])


def made(kind: str, **changed: Any) -> Conditioner:
    if KINDS[kind][0]["kind"] == "demographic_encoder":  # it has no latent, composes nothing, and would refuse these
        unread = ("latent", "kl_weight", "kl_anneal_steps", "composition_weight")
        changed = {name: value for name, value in changed.items() if name not in unread}
    options = {"width": 16, "context_width": 32, "time_width": 24} | KINDS[kind][0] | changed
    conditioner = build_conditioner(ConditionerConfig(**options), SCHEMA, seed=0)
    assert conditioner is not None
    return conditioner


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def tables_of(conditioner: Conditioner, attribute: str) -> list[Tensor]:
    """Weights that only a known value of the attribute may move."""
    homes = tuple(f"{home}.weight" for home in (f"tables.{attribute}.table", f"{attribute}.table"))
    layers = f"{attribute}.layers."
    return [p for name, p in conditioner.named_parameters() if name in homes or name.startswith(layers)]


def test_kind_none_is_no_conditioner() -> None:
    assert build_conditioner(ConditionerConfig(), SCHEMA, seed=0) is None


@each_kind
def test_weights_hang_on_the_seed_alone(kind: str) -> None:
    torch.manual_seed(1)
    expected = torch.rand(2)
    torch.manual_seed(1)
    first, again = made(kind).state_dict(), made(kind).state_dict()
    assert torch.equal(torch.rand(2), expected)
    assert all(torch.equal(first[name], again[name]) for name in first)


@each_kind
def test_shapes_are_those_that_the_kind_promises(kind: str) -> None:
    conditioner = made(kind, route="both").eval()
    out = conditioner(BATCH)
    assert conditioner.n_tokens == KINDS[kind][1]
    assert out.tokens.shape == (5, conditioner.n_tokens, 32) == conditioner.unconditional(5).shape
    assert out.time is not None and out.time.shape == (5, 24)
    assert out.known.shape == (5, 3)
    alone = made(kind, route="time").eval()(BATCH)
    assert alone.tokens.shape == (5, 0, 32) and alone.time is not None
    assert made(kind).eval()(BATCH).time is None


@each_kind
@pytest.mark.parametrize("parity", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_a_dropped_batch_is_the_unconditional_one(kind: str, parity: bool, training: bool) -> None:
    conditioner = made(kind, parity=parity, dropout=0.0, route="both").train(training)
    assert conditioner.time_route is not None
    torch.nn.init.normal_(conditioner.time_route.bias)
    dropped = conditioner(BATCH, torch.ones(5, dtype=torch.bool), seeded())
    assert torch.equal(dropped.tokens, conditioner.unconditional(5))
    assert not dropped.time.any()
    assert bool(dropped.tokens.any()) == (not parity or "compdiff" in kind), "without learned nulls they are zeros"
    assert conditioner.training == training


@each_kind
def test_a_drop_changes_its_own_rows_alone(kind: str) -> None:
    conditioner = made(kind).eval()
    whole, some = conditioner(BATCH), conditioner(BATCH, DROP)
    torch.testing.assert_close(some.tokens[~DROP], whole.tokens[~DROP])
    torch.testing.assert_close(some.tokens[DROP], conditioner.unconditional(2))
    assert not some.known[DROP].any()


@each_kind
def test_each_carried_attribute_shows_in_the_tokens(kind: str) -> None:
    conditioner = made(kind).eval()
    rows = SCHEMA.encode([30, 50, 30, 30], ["male", "male", "female", "male"], ["white", "white", "white", "black"])
    tokens = conditioner(rows).tokens
    changed = [not torch.allclose(tokens[0], tokens[i + 1], atol=1e-7) for i in range(3)]
    assert changed == [name in conditioner.carries for name in ATTRIBUTES]


@pytest.mark.parametrize("kind", ["hcn", "hcn_without_age", "compdiff"])
def test_the_latent_is_noise_in_training_and_its_mean_in_evaluation(kind: str) -> None:
    conditioner = made(kind, dropout=0.0)
    first, again, other = (conditioner(BATCH, None, seeded(i)).tokens for i in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)
    conditioner.eval()
    assert torch.equal(conditioner(BATCH, None, seeded(0)).tokens, conditioner(BATCH).tokens)
    with pytest.raises(InputError, match="Generator"):
        conditioner.train()(BATCH)


@pytest.mark.parametrize("kind", ["hcn", "compdiff"])
def test_without_a_latent_there_is_no_divergence(kind: str) -> None:
    plain, latent = made(kind, latent=False, dropout=0.0), made(kind)
    assert set(plain.losses(plain(BATCH), BATCH, 10)) == {"composition", "auxiliary"}
    assert set(latent.losses(latent(BATCH, None, seeded()), BATCH, 10)) == {"kl", "composition", "auxiliary"}
    flat = made("flat")
    assert set(flat.losses(flat(BATCH), BATCH, 10)) == {"auxiliary"}


def test_the_log_deviation_is_clamped() -> None:
    head = GaussianHead(2)
    with torch.no_grad():
        head.log_sigma.weight.zero_()
        head.log_sigma.bias.copy_(torch.tensor([-9.0, 3.0]))
    assert head(torch.zeros(1, 2))[1].tolist() == [[-5.0, 1.0]]


@each_kind
@pytest.mark.parametrize("column", range(3))
def test_an_unknown_attribute_leaves_its_table_and_its_loss_alone(kind: str, column: int) -> None:
    attribute = ATTRIBUTES[column]
    full = SCHEMA.encode([5, 90], ["male", "female"], ["white", "black"])
    masked = full.known.clone()
    masked[:, column] = False
    unknown = replace(full, known=masked)
    conditioner = made(kind, kl_anneal_steps=0)
    for batch, moved in ((unknown, False), (full, True)):
        conditioner.zero_grad()
        out = conditioner(batch, None, seeded())
        (out.tokens.square().sum() + sum(conditioner.losses(out, batch, 1).values())).backward()
        tables = tables_of(conditioner, attribute)
        assert bool(tables) == (attribute in conditioner.carries)
        for table in tables:
            assert table.grad is not None and bool(table.grad.any()) == moved
    fields = ("age_bin", "years") if attribute == "age" else (attribute,)
    other = replace(unknown, **{name: getattr(full, name).flip(0) for name in fields})
    conditioner.eval()
    losses = [conditioner.losses(conditioner(batch), batch, 1) for batch in (unknown, other)]
    assert losses[0] == losses[1], "what stands in for the unknown is read by nobody"


@each_kind
def test_a_batch_of_which_nothing_is_known_costs_nothing(kind: str) -> None:
    conditioner = made(kind, kl_anneal_steps=0)
    out = conditioner(BATCH, torch.ones(5, dtype=torch.bool), seeded())
    assert {value.item() for value in conditioner.losses(out, BATCH, 1).values()} == {0.0}


@each_kind
def test_mixed_precision_trains(kind: str) -> None:
    conditioner = made(kind, kl_anneal_steps=0)
    with torch.autocast("cpu", torch.bfloat16):
        out = conditioner(BATCH, DROP, seeded())
    losses = conditioner.losses(out, BATCH, 1)
    assert all(value.dtype == torch.float32 and value.isfinite() and value > 0 for value in losses.values())


@pytest.mark.parametrize("kind", ["hcn", "compdiff"])
def test_composition_is_taken_on_the_child_of_the_forward_pass(kind: str) -> None:
    conditioner = made(kind, dropout=0.5)
    full = SCHEMA.encode([5, 90], ["male", "female"], ["white", "black"])
    out = conditioner(full, None, seeded())
    assert out.child is not None
    expected = 0.1 * composition_loss(out.child, torch.stack(list(out.parts.values())).sum(dim=0)).mean()
    torch.testing.assert_close(conditioner.losses(out, full, 0)["composition"], expected)


@pytest.mark.parametrize("kind", ["hcn", "compdiff"])
def test_composition_sums_what_is_known(kind: str) -> None:
    conditioner = made(kind).eval()
    batch = SCHEMA.encode([30, None], [None, None], [None, "black"])
    out = conditioner(batch)
    assert out.child is not None
    expected = 0.1 * composition_loss(out.child, torch.stack([out.parts["age"][0], out.parts["race"][1]])).mean()
    torch.testing.assert_close(conditioner.losses(out, batch, 0)["composition"], expected)


@each_kind
@pytest.mark.parametrize("parity", [False, True])
def test_learned_nulls_are_absent_in_parity(kind: str, parity: bool) -> None:
    nulls = [name for name, _ in made(kind, parity=parity).named_parameters() if "null" in name]
    carried = len(made(kind).carries)
    assert len(nulls) == (0 if parity and "compdiff" not in kind else carried)


@each_kind
def test_tokens_take_the_scale_of_the_text(kind: str) -> None:
    conditioner = made(kind)
    conditioner.match_scale(2.5)
    assert conditioner.training
    tokens = conditioner.eval()(SCHEMA.every_cell()).tokens
    assert tokens.square().mean(dim=(0, 2)).sqrt().tolist() == pytest.approx([2.5] * conditioner.n_tokens, rel=1e-4)
    with pytest.raises(InputError, match="route 'time'"):
        made(kind, route="time").match_scale(1.0)
