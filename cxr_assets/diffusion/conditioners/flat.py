"""Flat encoder: the attributes side by side, nothing composed (generation.md §1.3)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cxr_assets.captions.wording import ATTRIBUTES
from cxr_assets.diffusion.conditioners.blocks import (
    HIDDEN,
    INIT_STD,
    AttributeTable,
    Composed,
    Conditioned,
    Conditioner,
    block,
)
from cxr_assets.diffusion.conditioners.config import ConditionerConfig
from cxr_assets.diffusion.conditioners.schema import DemographicBatch, DemographicSchema


class DemographicEncoder(Conditioner):
    """Three tables, then one token from their concatenation or a token from each; classifiers on the tokens."""

    def __init__(self, config: ConditionerConfig, schema: DemographicSchema) -> None:
        super().__init__(config, schema, tokens=3 if config.separate_tokens else 1, summary=3 * config.width)
        self.learned_nulls = not config.parity
        width, context = config.width, config.context_width
        self.tables = nn.ModuleDict(
            {name: AttributeTable(n, width, learned_null=self.learned_nulls) for name, n in self.classes.items()}
        )
        self.token_layers = nn.ModuleList(
            [nn.Linear(width, context) for _ in ATTRIBUTES]
            if config.separate_tokens
            else [
                nn.Sequential(nn.Linear(3 * width, HIDDEN), nn.LayerNorm(HIDDEN), nn.GELU(), nn.Linear(HIDDEN, context))
            ]
        )
        self.classifiers = nn.ModuleDict(
            {
                name: block(context, n, dropout=config.dropout) if config.deep_heads else nn.Linear(context, n)
                for name, n in self.classes.items()
            }
        )
        for layer in [*self.token_layers.modules(), *self.classifiers.modules()]:
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, std=INIT_STD)
                nn.init.zeros_(layer.bias)

    def compose(self, batch: DemographicBatch, generator: torch.Generator | None) -> Composed:
        indices = {"age": batch.age_bin, "sex": batch.sex, "race": batch.race}
        embedded = [self.tables[name](indices[name], batch.known[:, i]) for i, name in enumerate(ATTRIBUTES)]
        joined = torch.cat(embedded, dim=-1)
        inputs = embedded if self.config.separate_tokens else [joined]
        tokens = [layer(each) for layer, each in zip(self.token_layers, inputs, strict=True)]
        heads = {name: self.classifiers[name](tokens[i % len(tokens)]) for i, name in enumerate(ATTRIBUTES)}
        return Composed(torch.stack(tokens, dim=1), joined, heads=heads)

    def auxiliary_terms(self, conditioned: Conditioned, batch: DemographicBatch) -> list[tuple[float, Tensor, Tensor]]:
        """Cross-entropy of age bin, sex and race, alike in weight."""
        targets = {"age": batch.age_bin, "sex": batch.sex, "race": batch.race}
        return [
            (
                1.0,
                F.cross_entropy(conditioned.heads[name].float(), targets[name], reduction="none"),
                conditioned.known[:, i],
            )
            for i, name in enumerate(ATTRIBUTES)
        ]

    def projections(self) -> Sequence[nn.Linear]:
        return [layer for each in self.token_layers for layer in [*each.modules()][-1:] if isinstance(layer, nn.Linear)]
