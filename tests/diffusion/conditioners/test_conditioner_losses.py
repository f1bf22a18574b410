from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from cxr_assets.diffusion.conditioners.losses import (
    age_loss,
    age_sinusoid,
    annealed,
    composition_loss,
    joint_index,
    kl_divergence,
    masked_mean,
    soft_age_targets,
    weighted_auxiliary,
)


def test_divergence_has_its_known_values() -> None:
    for d, expected in ((256, 145.3229), (2, 1.135335)):
        assert kl_divergence(torch.zeros(1, d), torch.full((1, d), -1.0)).item() == pytest.approx(expected, abs=1e-4)
    assert kl_divergence(torch.tensor([[1.0, 0.0]]), torch.zeros(1, 2)).item() == pytest.approx(0.5)


def test_divergence_is_that_of_torch_distributions() -> None:
    mu, log_sigma = torch.randn((2, 5, 7), generator=torch.Generator().manual_seed(0))
    normal = torch.distributions.Normal(mu, log_sigma.exp())
    unit = torch.distributions.Normal(torch.zeros(7), torch.ones(7))
    expected = torch.distributions.kl_divergence(normal, unit).sum(dim=-1)
    torch.testing.assert_close(kl_divergence(mu, log_sigma), expected)


@pytest.mark.parametrize(("step", "expected"), [(0, 0.0), (2500, 0.0025), (5000, 0.005), (9000, 0.005)])
def test_the_weight_of_the_divergence_rises_linearly(step: int, expected: float) -> None:
    assert annealed(0.005, step, 5000) == pytest.approx(expected)
    assert annealed(0.005, step, 0) == 0.005


def test_composition_is_an_angle() -> None:
    child = torch.tensor([[1.0, 0.0]]).repeat(3, 1)
    parts = torch.tensor([[3.0, 0.0], [0.0, 2.0], [-5.0, 0.0]])
    assert composition_loss(child, parts).tolist() == pytest.approx([0.0, 1.0, 2.0])


def test_auxiliary_losses_of_zero_logits_have_their_known_values() -> None:
    everyone = torch.ones(1, dtype=torch.bool)
    sex, race, age, joint = (torch.tensor([math.log(n)]) for n in (2, 4, 5, 40))
    pair = [(1.0, sex, everyone), (1.0, race, everyone)]
    assert weighted_auxiliary(pair).item() == pytest.approx(1.039721, abs=1e-6)
    assert weighted_auxiliary([*pair, (1.0, age, everyone)]).item() == pytest.approx(1.229626, abs=1e-6)
    years = age_loss(torch.tensor([0.5]), torch.tensor([0.6]))
    assert years.item() == pytest.approx(0.05)
    compdiff = [*pair, (1.0, years, everyone), (0.5, joint, everyone)]
    assert weighted_auxiliary(compdiff).item() == pytest.approx(1.135395, abs=1e-6)


def test_an_attribute_that_nobody_knows_weighs_nothing() -> None:
    values, nobody = torch.tensor([3.0, 5.0]), torch.zeros(2, dtype=torch.bool)
    first = torch.tensor([True, False])
    assert weighted_auxiliary([(1.0, values, first), (1.0, values, nobody)]).item() == 3.0
    assert weighted_auxiliary([(1.0, values, nobody)]).item() == 0.0
    assert masked_mean(torch.tensor([2.0, float("nan")]), first).item() == 2.0


@pytest.mark.parametrize(
    ("spread", "expected"),
    [(0.75, [0.01520, 0.21875, 0.53210, 0.21875, 0.01520]), (1.0, [0.05449, 0.24420, 0.40262, 0.24420, 0.05449])],
)
def test_soft_age_targets_have_their_known_values(spread: float, expected: list[float]) -> None:
    assert soft_age_targets(torch.tensor([2]), 5, spread)[0].tolist() == pytest.approx(expected, abs=1e-5)


def test_narrow_soft_targets_are_the_hard_ones() -> None:
    bins = torch.tensor([0, 3])
    torch.testing.assert_close(soft_age_targets(bins, 5, 0.05), F.one_hot(bins, 5).float())


def test_age_sinusoid_has_its_known_values() -> None:
    expected = [-0.952413, 0.825336, -0.304811, 0.564642]
    assert age_sinusoid(torch.tensor([60.0]), 4)[0].tolist() == pytest.approx(expected, abs=1e-6)


def test_joint_index_numbers_every_cell_once() -> None:
    assert joint_index(torch.tensor([3]), torch.tensor([1]), torch.tensor([2]), 2, 4).item() == 30
    ages, sexes, races = torch.cartesian_prod(torch.arange(5), torch.arange(2), torch.arange(4)).T
    assert joint_index(ages, sexes, races, 2, 4).tolist() == list(range(40))
