"""Formulas of the conditioners, each on its own; one value a row, so that masks decide what counts."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import functional as F


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of ``values``, float ``(B,)``, where ``mask``, bool ``(B,)``, is true; 0 where it never is."""
    return torch.where(mask, values, 0.0).sum() / mask.sum().clamp(min=1)


def kl_divergence(mu: Tensor, log_sigma: Tensor) -> Tensor:
    """Divergence of N(mu, sigma²) from N(0, 1), in nats, float32 ``(B,)``.

    ``-1/2 · sum_d (1 + 2·log sigma - mu² - exp(2·log sigma))`` (Kingma & Welling 2014; generation.md §1.1).
    """
    mu, log_sigma = mu.float(), log_sigma.float()
    return -0.5 * (1 + 2 * log_sigma - mu.square() - (2 * log_sigma).exp()).sum(dim=-1)


def annealed(weight: float, step: int, steps: int) -> float:
    """Weight that rises linearly from 0 at step 0 to ``weight`` at ``steps`` (generation.md §1.1)."""
    return weight * min(1.0, step / steps) if steps else weight


def composition_loss(child: Tensor, parts: Tensor) -> Tensor:
    """``1 - cos(child, sum of the parts' embeddings)``, in [0, 2], float32 ``(B,)`` (generation.md §1.1).

    Args:
        child: composed embedding, shape ``(B, d)``.
        parts: sum of the embeddings of the known attributes, shape ``(B, d)``.
    """
    return 1 - F.cosine_similarity(child.float(), parts.float(), dim=-1)


def weighted_auxiliary(terms: Iterable[tuple[float, Tensor, Tensor]]) -> Tensor:
    """``sum_a w_a · L_a / sum_a w_a`` over the attributes that a batch knows (generation.md §1.1, §1.2); 0 without any.

    Args:
        terms: weight, loss of each row ``(B,)`` and mask of the rows that know the attribute, bool ``(B,)``.
    """
    kept = list(terms)
    total = torch.stack([weight * masked_mean(values, mask) for weight, values, mask in kept]).sum()
    weights = torch.stack([weight * mask.any() for weight, _, mask in kept]).sum()
    return total / weights.clamp(min=1e-12)


def soft_age_targets(bins: Tensor, n_bins: int, spread: float) -> Tensor:
    """Gaussian of ``spread`` bins around each true bin, over all bins and summing to 1 (generation.md §1.1).

    Args:
        bins: int64, shape ``(B,)``.

    Returns:
        float32, shape ``(B, n_bins)``.
    """
    distance = torch.arange(n_bins, device=bins.device) - bins[:, None]
    return torch.softmax(-0.5 * (distance.float() / spread).square(), dim=-1)


def age_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """``10 · SmoothL1`` between ages as shares of the greatest age, float32 ``(B,)`` (generation.md §1.2)."""
    return 10 * F.smooth_l1_loss(predicted.float(), target.float(), reduction="none")


def age_sinusoid(years: Tensor, dim: int, max_period: float = 10_000.0) -> Tensor:
    """Cosines, then sines, of an age at ``dim / 2`` frequencies from 1 down to almost ``1 / max_period`` a year.

    ``[cos(y·f_0) … cos(y·f_k), sin(y·f_0) … sin(y·f_k)]`` with ``f_i = max_period^(-i / (dim / 2))``
    (Vaswani et al. 2017; generation.md §1.2).

    Args:
        years: float, shape ``(B,)``.
        dim: an even number.

    Returns:
        float32, shape ``(B, dim)``.
    """
    half = dim // 2
    steps = torch.arange(half, dtype=torch.float32, device=years.device)
    angles = years.float()[:, None] * torch.exp(-math.log(max_period) * steps / half)
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def joint_index(age_bin: Tensor, sex: Tensor, race: Tensor, n_sexes: int, n_races: int) -> Tensor:
    """Index of a demographic cell, ``age_bin · S · R + sex · R + race``, int64 ``(B,)`` (generation.md §1.2)."""
    return (age_bin * n_sexes + sex) * n_races + race
