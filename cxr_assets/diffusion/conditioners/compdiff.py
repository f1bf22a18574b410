"""CompDiff-2: continuous age, a token for each attribute in context and one for the whole (generation.md §1.2)."""

from __future__ import annotations

from collections.abc import Sequence

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
    Null,
    block,
    token_layer,
)
from cxr_assets.diffusion.conditioners.config import ConditionerConfig
from cxr_assets.diffusion.conditioners.hcn import PairComposer
from cxr_assets.diffusion.conditioners.losses import age_loss, age_sinusoid, joint_index
from cxr_assets.diffusion.conditioners.schema import DemographicBatch, DemographicSchema

SINUSOID = 128
FLAT_HIDDEN = 664
JOINT_WEIGHT = 0.5


class AgeEncoder(nn.Module):
    """Age in years, by a sinusoid and two layers, to an embedding; a learned null for unknown."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(SINUSOID, width), nn.SiLU(), nn.Linear(width, width))
        self.null = Null(width, learned=True)

    def forward(self, years: Tensor, known: Tensor) -> Tensor:
        """Embeddings ``(B, d)`` of years, float ``(B,)``."""
        return self.null(self.layers(age_sinusoid(years, SINUSOID)), known)


class HierarchicalComposer(nn.Module):
    """Pairs, then their child, then each attribute again in the child's context."""

    def __init__(self, width: int, *, dropout: float) -> None:
        super().__init__()
        self.pairs = PairComposer(ATTRIBUTES, width, dropout=dropout)
        self.contexts = nn.ModuleDict({name: block(2 * width, width, dropout=dropout) for name in ATTRIBUTES})

    def forward(self, parts: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Child and contextualised attributes, ``(B, d)`` each, of embeddings ``(B, d)`` by attribute name."""
        child = self.pairs(parts)
        return child, {name: self.contexts[name](torch.cat([parts[name], child], dim=-1)) for name in ATTRIBUTES}


class FlatComposer(nn.Module):
    """Control of the same size in which every attribute meets all others at once.

    Of the published control only the hidden width and the number of parameters are known. Three blocks have both: one
    for the child, one for the three attributes given the child, one to refine them.
    """

    def __init__(self, width: int, *, dropout: float) -> None:
        super().__init__()
        self.child, self.attributes, self.refined = (
            block(inputs * width, outputs * width, hidden=FLAT_HIDDEN, dropout=dropout)
            for inputs, outputs in ((3, 1), (4, 3), (3, 3))
        )

    def forward(self, parts: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """As ``HierarchicalComposer``."""
        singles = [parts[name] for name in ATTRIBUTES]
        child = self.child(torch.cat(singles, dim=-1))
        refined = self.refined(self.attributes(torch.cat([*singles, child], dim=-1)))
        return child, dict(zip(ATTRIBUTES, refined.chunk(3, dim=-1), strict=True))


class CompDiff(Conditioner):
    """Four tokens: age, sex and race in context, and the whole, which alone has a latent.

    The heads, whose places are our choice, sit on the token of their attribute; the joint one on that of the whole.
    """

    def __init__(self, config: ConditionerConfig, schema: DemographicSchema) -> None:
        super().__init__(config, schema, tokens=4, summary=config.width)
        width, context, classes = config.width, config.context_width, self.classes
        self.age = AgeEncoder(width)
        self.sex = AttributeTable(classes["sex"], width, learned_null=True)
        self.race = AttributeTable(classes["race"], width, learned_null=True)
        composer = HierarchicalComposer if config.composer == "hierarchical" else FlatComposer
        self.composer: nn.Module = composer(width, dropout=config.dropout)
        self.gaussian = GaussianHead(width) if config.latent else None
        self.token_layers = nn.ModuleList([token_layer(width, context) for _ in range(4)])
        outputs = {
            "age": 1,
            "sex": classes["sex"],
            "race": classes["race"],
            "joint": classes["age"] * classes["sex"] * classes["race"],
        }
        self.predictors = nn.ModuleDict(
            {n: block(context, size, dropout=config.dropout) for n, size in outputs.items()}
        )

    def compose(self, batch: DemographicBatch, generator: torch.Generator | None) -> Composed:
        known = dict(zip(ATTRIBUTES, batch.known.unbind(dim=1), strict=True))
        parts = {
            "age": self.age(batch.years, known["age"]),
            "sex": self.sex(batch.sex, known["sex"]),
            "race": self.race(batch.race, known["race"]),
        }
        child, contextual = self.composer(parts)
        z, latent = child, None
        if self.gaussian is not None:
            latent = self.gaussian(child)
            z = self.gaussian.draw(latent, batch.known.any(dim=1), generator)
        inputs = [*(contextual[name] for name in ATTRIBUTES), z]
        tokens = [layer(each) for layer, each in zip(self.token_layers, inputs, strict=True)]
        heads = {n: self.predictors[n](token) for n, token in zip((*ATTRIBUTES, "joint"), tokens, strict=True)}
        return Composed(torch.stack(tokens, dim=1), z, latent, heads, child, parts)

    def auxiliary_terms(self, conditioned: Conditioned, batch: DemographicBatch) -> list[tuple[float, Tensor, Tensor]]:
        """Age as a share of the greatest, sex and race at weight 1, the cell at one half."""
        heads, known = conditioned.heads, conditioned.known
        share = heads["age"].squeeze(-1).float().sigmoid()
        cell = joint_index(batch.age_bin, batch.sex, batch.race, self.classes["sex"], self.classes["race"])
        targets = {"sex": batch.sex, "race": batch.race, "joint": cell}
        rows = {n: F.cross_entropy(heads[n].float(), target, reduction="none") for n, target in targets.items()}
        return [
            (1.0, age_loss(share, batch.years / self.config.max_age), known[:, 0]),
            (1.0, rows["sex"], known[:, 1]),
            (1.0, rows["race"], known[:, 2]),
            (JOINT_WEIGHT, rows["joint"], known.all(dim=1)),
        ]

    def projections(self) -> Sequence[nn.Linear]:
        return [layer for each in self.token_layers for layer in each.modules() if isinstance(layer, nn.Linear)]
