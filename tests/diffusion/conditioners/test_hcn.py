from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from cxr_assets.diffusion.conditioners.config import ConditionerConfig
from cxr_assets.diffusion.conditioners.hcn import HierarchicalConditioner, PairComposer
from cxr_assets.diffusion.conditioners.losses import soft_age_targets
from cxr_assets.diffusion.conditioners.schema import DemographicSchema

SCHEMA = DemographicSchema(races=("white", "black", "asian", "hispanic"))
BATCH = SCHEMA.encode([30, 70], ["male", "female"], ["white", "asian"])
SMALL = ConditionerConfig(kind="hcn", width=8, context_width=16)


@pytest.mark.parametrize(("encode_age", "expected"), [(False, 1_848_582), (True, 3_695_883)])
def test_parity_has_the_published_size(encode_age: bool, expected: int) -> None:
    config = ConditionerConfig(kind="hcn", context_width=1024, encode_age=encode_age, parity=True)
    assert sum(p.numel() for p in HierarchicalConditioner(config, SCHEMA).parameters()) == expected


def test_without_age_there_is_no_hierarchy_and_age_stays_in_the_prompt() -> None:
    conditioner = HierarchicalConditioner(SMALL.model_copy(update={"encode_age": False}), SCHEMA)
    assert conditioner.carries == ("sex", "race") and not conditioner.composer.pair_blocks
    assert set(conditioner.tables) == set(conditioner.classifiers) == {"sex", "race"}
    assert len(HierarchicalConditioner(SMALL, SCHEMA).composer.pair_blocks) == 3


@pytest.mark.parametrize(("encode_age", "expected"), [(False, 1.039721), (True, 1.229626)])
def test_zero_classifiers_cost_the_logarithm_of_their_classes(encode_age: bool, expected: float) -> None:
    conditioner = HierarchicalConditioner(SMALL.model_copy(update={"encode_age": encode_age}), SCHEMA).eval()
    for parameter in conditioner.classifiers.parameters():
        torch.nn.init.zeros_(parameter)
    assert conditioner.losses(conditioner(BATCH), BATCH, 0)["auxiliary"].item() == pytest.approx(expected, abs=1e-6)


def test_soft_ages_are_scored_against_soft_targets() -> None:
    conditioner = HierarchicalConditioner(SMALL.model_copy(update={"soft_age": 0.75}), SCHEMA).eval()
    out = conditioner(BATCH)
    terms = conditioner.auxiliary_terms(out, BATCH)
    expected = -(soft_age_targets(BATCH.age_bin, 5, 0.75) * F.log_softmax(out.heads["age"], dim=-1)).sum(dim=-1)
    torch.testing.assert_close(terms[0][1], expected)


def test_heads_start_near_the_published_latent() -> None:
    mu, log_sigma = HierarchicalConditioner(SMALL, SCHEMA).eval()(BATCH).latent
    assert mu.abs().max() < 0.1 and (log_sigma + 1).abs().max() < 0.1


def test_the_hierarchy_fills_in_a_cell_that_it_never_saw() -> None:
    """Singles and a pair term on a 4×4×4 cube, whose last corner is left out of the fit."""
    torch.manual_seed(0)
    names = ("age", "sex", "race")
    cells = torch.cartesian_prod(*[torch.arange(4)] * 3)
    a, s, r = cells.float().T / 3
    target = a + 0.7 * s - 0.5 * r + 0.1 * a * s
    tables = torch.nn.ModuleList([torch.nn.Embedding(4, 16) for _ in names])
    composer, readout = PairComposer(names, 16, dropout=0.0), torch.nn.Linear(16, 1)
    weights = [*tables.parameters(), *composer.parameters(), *readout.parameters()]
    optimiser = torch.optim.AdamW(weights, lr=1e-3)
    for _ in range(200):
        optimiser.zero_grad()
        parts = {name: table(cells[:, i]) for i, (name, table) in enumerate(zip(names, tables, strict=True))}
        error = readout(composer(parts)).squeeze(-1) - target
        error[:-1].square().mean().backward()
        optimiser.step()
    assert error[:-1].abs().max() < 0.05
    assert error[-1].abs() < 0.15
    assert (target[:-1].mean() - target[-1]).abs() > 0.6, "what a constant would be off by"
