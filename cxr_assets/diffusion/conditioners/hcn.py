"""Hierarchical conditioning network of the first CompDiff release (generation.md §1.1)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cxr_assets.captions.wording import ATTRIBUTES
from cxr_assets.diffusion.conditioners.blocks import (
    AttributeTable,
    Composed,
    Conditioned,
    Conditioner,
    GaussianHead,
    block,
    token_layer,
)
from cxr_assets.diffusion.conditioners.config import ConditionerConfig
from cxr_assets.diffusion.conditioners.losses import soft_age_targets
from cxr_assets.diffusion.conditioners.schema import DemographicBatch, DemographicSchema


class PairComposer(nn.Module):
    """Singles to pairs to a child, by a block on each concatenation; two attributes make the child at once."""

    def __init__(self, names: tuple[str, ...], width: int, *, dropout: float) -> None:
        super().__init__()
        self.pairs = list(combinations(names, 2)) if len(names) > 2 else []
        self.pair_blocks = nn.ModuleList([block(2 * width, width, dropout=dropout) for _ in self.pairs])
        self.child = block((len(self.pairs) or len(names)) * width, width, dropout=dropout)

    def forward(self, parts: dict[str, Tensor]) -> Tensor:
        """Child ``(B, d)`` of embeddings ``(B, d)`` by attribute name."""
        joined = [torch.cat([parts[a], parts[b]], dim=-1) for a, b in self.pairs]
        parents = [each(pair) for each, pair in zip(self.pair_blocks, joined, strict=True)] or list(parts.values())
        return self.child(torch.cat(parents, dim=-1))


class HierarchicalConditioner(Conditioner):
    """One token from the child of three pairs of attributes; from sex and race alone where age stays in the prompt."""

    def __init__(self, config: ConditionerConfig, schema: DemographicSchema) -> None:
        carries = config.carries
        super().__init__(config, schema, tokens=1, summary=config.width)
        self.learned_nulls = not config.parity
        width, context = config.width, config.context_width
        self.tables = nn.ModuleDict(
            {name: AttributeTable(self.classes[name], width, learned_null=self.learned_nulls) for name in carries}
        )
        self.composer = PairComposer(carries, width, dropout=config.dropout)
        self.gaussian = GaussianHead(width) if config.latent else None
        self.token_layer = token_layer(width, context)
        self.classifiers = nn.ModuleDict(
            {name: block(context, self.classes[name], dropout=config.dropout) for name in carries}
        )

    def compose(self, batch: DemographicBatch, generator: torch.Generator | None) -> Composed:
        indices = {"age": batch.age_bin, "sex": batch.sex, "race": batch.race}
        known = dict(zip(ATTRIBUTES, batch.known.unbind(dim=1), strict=True))
        parts = {name: self.tables[name](indices[name], known[name]) for name in self.carries}
        child = z = self.composer(parts)
        latent = None
        if self.gaussian is not None:
            latent = self.gaussian(child)
            informed = torch.stack([known[name] for name in self.carries]).any(dim=0)
            z = self.gaussian.draw(latent, informed, generator)
        token = self.token_layer(z)
        heads = {name: self.classifiers[name](token) for name in self.carries}
        return Composed(token[:, None], z, latent, heads, child, parts)

    def auxiliary_terms(self, conditioned: Conditioned, batch: DemographicBatch) -> list[tuple[float, Tensor, Tensor]]:
        """Cross-entropy of each attribute, alike in weight; ages against soft targets where the config has a spread."""
        spread = self.config.soft_age
        ages = batch.age_bin if spread is None else soft_age_targets(batch.age_bin, self.classes["age"], spread)
        targets = {"age": ages, "sex": batch.sex, "race": batch.race}
        return [
            (
                1.0,
                F.cross_entropy(conditioned.heads[name].float(), targets[name], reduction="none"),
                conditioned.known[:, ATTRIBUTES.index(name)],
            )
            for name in self.carries
        ]

    def projections(self) -> Sequence[nn.Linear]:
        return [layer for layer in self.token_layer if isinstance(layer, nn.Linear)]
