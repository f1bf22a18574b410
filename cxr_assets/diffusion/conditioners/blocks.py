"""What all conditioners share: their interface, tables with a learned null, composing blocks, heads."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from cxr_assets.captions.wording import ATTRIBUTES
from cxr_assets.diffusion.conditioners.config import ConditionerConfig
from cxr_assets.diffusion.conditioners.losses import (
    annealed,
    composition_loss,
    kl_divergence,
    masked_mean,
    weighted_auxiliary,
)
from cxr_assets.diffusion.conditioners.schema import DemographicBatch, DemographicSchema
from cxr_assets.errors import InputError

HIDDEN = 512
INIT_STD = 0.02


@dataclass(frozen=True)
class Composed:
    """What one conditioner makes of a batch, before routes and drops.

    Attributes:
        tokens: shape ``(B, n, C)``.
        summary: what the time route sees, shape ``(B, s)``.
        latent: ``mu`` and ``log_sigma`` of the child, shape ``(B, d)`` each; None without a Gaussian head.
        heads: predictions by name, shape ``(B, classes)``.
        child: composed embedding, shape ``(B, d)``; None where nothing is composed.
        parts: embedding of each attribute, shape ``(B, d)``; empty where nothing is composed.
    """

    tokens: Tensor
    summary: Tensor
    latent: tuple[Tensor, Tensor] | None = None
    heads: dict[str, Tensor] = field(default_factory=dict)
    child: Tensor | None = None
    parts: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Conditioned:
    """What the U-Net is given, and what the losses need; names as in ``Composed``.

    Attributes:
        tokens: shape ``(B, n_tokens, C)``.
        time: added to the time embedding, shape ``(B, T)``, zero where nothing is known; None without that route.
        known: attributes that were seen, after drops, bool, shape ``(B, 3)``.
    """

    tokens: Tensor
    time: Tensor | None
    latent: tuple[Tensor, Tensor] | None
    heads: dict[str, Tensor]
    child: Tensor | None
    parts: dict[str, Tensor]
    known: Tensor


class Conditioner(nn.Module, ABC):
    """Demographics in, tokens and a time vector out.

    ``carries`` names the attributes that reach the model here and are left out of the prompt. A missing attribute is
    replaced by its learned null, and a dropped row is one that misses all of them: unconditional is a trained state.
    """

    learned_nulls = True

    def __init__(
        self,
        config: ConditionerConfig,
        schema: DemographicSchema,
        *,
        tokens: int,
        summary: int,
    ) -> None:
        super().__init__()
        self.config, self.schema, self.carries = config, schema, config.carries
        self.n_tokens = 0 if config.route == "time" else tokens
        self.classes = {"age": len(schema.age_edges), "sex": len(schema.sexes), "race": len(schema.races)}
        self.time_route = None if config.route == "token" else zero_linear(summary, config.time_width)

    @abstractmethod
    def compose(self, batch: DemographicBatch, generator: torch.Generator | None) -> Composed:
        """What the network makes of a batch in which drops are unknowns."""

    @abstractmethod
    def auxiliary_terms(self, conditioned: Conditioned, batch: DemographicBatch) -> list[tuple[float, Tensor, Tensor]]:
        """Weight, loss of each row and mask of the rows that count, for every head."""

    @abstractmethod
    def projections(self) -> Sequence[nn.Linear]:
        """The last layer of each token, in order."""

    def forward(
        self, batch: DemographicBatch, drop: Tensor | None = None, generator: torch.Generator | None = None
    ) -> Conditioned:
        """Condition on a batch.

        Args:
            drop: rows without demographics, bool, shape ``(B,)``.
            generator: CPU generator of the latent's noise; needed in training with a latent, unused otherwise.

        Raises:
            InputError: in training with a latent and no generator.
        """
        carried = torch.tensor([name in self.carries for name in ATTRIBUTES], device=batch.known.device)
        seen = batch.without(drop)
        known = seen.known & carried
        made = self.compose(seen, generator)
        informed = known.any(dim=1)
        tokens = made.tokens if self.learned_nulls else made.tokens * informed[:, None, None]
        time = None if self.time_route is None else self.time_route(made.summary) * informed[:, None]
        return Conditioned(tokens[:, : self.n_tokens], time, made.latent, made.heads, made.child, made.parts, known)

    def unconditional(self, n: int) -> Tensor:
        """Tokens of ``n`` rows of which nothing is known, shape ``(n, n_tokens, C)``; zeros without learned nulls.

        The same as a batch of dropped rows, dropout layers apart; the time route adds nothing to such rows.
        """
        device = next(self.parameters()).device
        nobody: DemographicBatch = self.schema.encode([None] * n, [None] * n, [None] * n).to(device)
        return self(nobody, None, torch.Generator()).tokens

    def losses(self, conditioned: Conditioned, batch: DemographicBatch, step: int) -> dict[str, Tensor]:
        """Weighted scalars to add to the denoising loss: ``kl`` and ``composition`` where they exist, ``auxiliary``.

        Rows without any known attribute and attributes that a row misses contribute nothing.

        Args:
            conditioned: what ``forward`` returned for this batch.
            step: optimiser step, for the annealing of the divergence.
        """
        config, informed = self.config, conditioned.known.any(dim=1)
        found: dict[str, Tensor] = {}
        if conditioned.latent is not None:
            weight = annealed(config.kl_weight, step, config.kl_anneal_steps)
            found["kl"] = weight * masked_mean(kl_divergence(*conditioned.latent), informed)
        if conditioned.child is not None:
            columns = {name: conditioned.known[:, i, None] for i, name in enumerate(ATTRIBUTES)}
            parts = torch.stack(
                [torch.where(columns[name], part.float(), 0.0) for name, part in conditioned.parts.items()]
            )
            rows = composition_loss(conditioned.child, parts.sum(dim=0))
            found["composition"] = config.composition_weight * masked_mean(rows, informed)
        found["auxiliary"] = config.auxiliary_weight * weighted_auxiliary(self.auxiliary_terms(conditioned, batch))
        return found

    @torch.no_grad()
    def match_scale(self, rms: float) -> None:
        """Scale the last layers so that each token has the text's root mean square over all cells (generation.md §7.2).

        Args:
            rms: root mean square of the text encoder's states. Raises InputError for the time route alone.
        """
        if not self.n_tokens:
            raise InputError("route 'time' has no tokens to scale. Choose route 'token' or 'both'.")
        was_training = self.training
        tokens = self.eval()(self.schema.every_cell().to(next(self.parameters()).device)).tokens
        self.train(was_training)
        for layer, token in zip(self.projections(), tokens.unbind(dim=1), strict=True):
            gain = rms / token.square().mean().sqrt()
            layer.weight.mul_(gain)
            layer.bias.mul_(gain)


class Null(nn.Module):
    """What stands for a missing attribute: a learned vector, N(0, 0.02²) at first, or zeros."""

    def __init__(self, width: int, *, learned: bool) -> None:
        super().__init__()
        self.vector = nn.Parameter(INIT_STD * torch.randn(width)) if learned else None

    def forward(self, embedded: Tensor, known: Tensor) -> Tensor:
        """``embedded``, ``(B, d)``, with the null in the rows where ``known``, bool ``(B,)``, is false."""
        null = torch.zeros_like(embedded) if self.vector is None else self.vector.to(embedded.dtype)
        return torch.where(known[:, None], embedded, null)


class AttributeTable(nn.Module):
    """Embeddings of one attribute's words, N(0, 0.02²) at first, with a null for unknown."""

    def __init__(self, words: int, width: int, *, learned_null: bool) -> None:
        super().__init__()
        self.table = nn.Embedding(words, width)
        nn.init.normal_(self.table.weight, std=INIT_STD)
        self.null = Null(width, learned=learned_null)

    def forward(self, index: Tensor, known: Tensor) -> Tensor:
        """Embeddings ``(B, d)`` of int64 indices ``(B,)``; the table gets no gradient from unknown rows."""
        return self.null(self.table(index), known)


class GaussianHead(nn.Module):
    """Mean and clamped log standard deviation of a latent (generation.md §1.1)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mean, self.log_sigma = nn.Linear(width, width), nn.Linear(width, width)
        for layer, bias in ((self.mean, 0.0), (self.log_sigma, -1.0)):
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.constant_(layer.bias, bias)

    def forward(self, h: Tensor) -> tuple[Tensor, Tensor]:
        """``mu`` and ``log sigma`` in [-5, 1], ``(B, d)`` each."""
        return self.mean(h), self.log_sigma(h).clamp(-5.0, 1.0)

    def draw(self, latent: tuple[Tensor, Tensor], informed: Tensor, generator: torch.Generator | None) -> Tensor:
        """``mu + sigma · noise`` in training, ``mu`` in evaluation and where ``informed``, bool ``(B,)``, is false."""
        mu, log_sigma = latent
        if not self.training:
            return mu
        if generator is None:
            raise InputError("a conditioner with a latent draws noise in training: pass a torch.Generator.")
        noise = torch.randn(mu.shape, generator=generator).to(mu)
        return mu + log_sigma.exp() * noise * informed[:, None]


def block(inputs: int, outputs: int, *, hidden: int = HIDDEN, dropout: float = 0.1) -> nn.Sequential:
    """LayerNorm, Linear, SiLU, Dropout, Linear: the block of composers and of deep heads (generation.md §1.1)."""
    return nn.Sequential(
        nn.LayerNorm(inputs),
        nn.Linear(inputs, hidden),
        nn.SiLU(),
        nn.Dropout(dropout),
        nn.Linear(hidden, outputs),
    )


def token_layer(width: int, context: int) -> nn.Sequential:
    """LayerNorm and Linear from an embedding to a token."""
    return nn.Sequential(nn.LayerNorm(width), nn.Linear(width, context))


def zero_linear(inputs: int, outputs: int) -> nn.Linear:
    """A Linear that gives zeros until it is trained."""
    layer = nn.Linear(inputs, outputs)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
