"""What is dropped in training so that guidance has something to leave out, and guidance with two scales."""

from __future__ import annotations

import torch
from torch import Tensor

from cxr_assets.diffusion.conditioners.config import ConditionerConfig


def drop_masks(n: int, config: ConditionerConfig, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Rows whose text and whose demographics are dropped (Ho & Salimans 2022; generation.md §1.6).

    Three independent draws a row: text alone, demographics alone, both together.

    Returns:
        Two CPU masks, bool, shape ``(n,)``.
    """
    rates = torch.tensor([config.drop_text, config.drop_demographics, config.drop_both])
    text, demographics, both = (torch.rand((n, 3), generator=generator) < rates).T
    return text | both, demographics | both


def guided(uncond: Tensor, text_only: Tensor, both: Tensor, text_scale: float, demo_scale: float) -> Tensor:
    """``e(∅,∅) + s_t·[e(t,∅) - e(∅,∅)] + s_d·[e(t,d) - e(t,∅)]`` (generation.md §1.6).

    Args:
        uncond: predicted noise without text and demographics, any shape.
        text_only: with text alone, same shape.
        both: with text and demographics, same shape.
    """
    return uncond + text_scale * (text_only - uncond) + demo_scale * (both - text_only)
