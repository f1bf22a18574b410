"""Controllers: they give every example of a batch its loss weight and learn from the losses they are shown."""

from __future__ import annotations

from typing import Any, ClassVar, Protocol

import numpy as np

from cxr_assets.diffusion.weighing.config import (
    FairDiffusionWeighing,
    GroupDroWeighing,
    InverseFrequencyWeighing,
    Weighing,
)
from cxr_assets.diffusion.weighing.groups import Groups, group_means
from cxr_assets.errors import InputError


class WeightController(Protocol):
    """What a training loop asks for weights and tells its losses.

    With several processes: ``tally`` on each, add the two arrays up over all, ``observe_sums`` on each.
    """

    def weights(self, groups: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Loss weights, float64, shape ``(batch,)``.

        Args:
            groups: index of each attribute's value, int64, shape ``(batch, attributes)``; -1 is unknown.
            rng: generator of this process and step.
        """

    def tally(self, groups: np.ndarray, losses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Sums of losses and numbers of examples, on the axis that ``observe_sums`` reads: values, or cells."""

    def observe(self, groups: np.ndarray, losses: np.ndarray, step: int) -> None:
        """Learn from the unweighted losses of a batch, float64, shape ``(batch,)``, at a global step."""

    def observe_sums(self, sums: np.ndarray, counts: np.ndarray, step: int) -> None:
        """Learn from what ``tally`` gave, added up over processes."""

    def state_dict(self) -> dict[str, Any]:
        """All that changes with training, as plain JSON values."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a ``state_dict`` exactly; InputError if it is of another kind or of other groups."""

    def log(self) -> dict[str, float]:
        """Figures for people: gap of the losses last seen per attribute, and what the controller itself keeps."""


class UniformWeights:
    """Every example weighs one; the losses are watched for their gaps."""

    kind: ClassVar[str] = "uniform"

    def __init__(self, groups: Groups) -> None:
        self.groups = groups
        self._gaps = np.zeros(len(groups.values))

    def weights(self, groups: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return np.ones(len(self.groups.check(groups)))

    def tally(self, groups: np.ndarray, losses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self.groups.value_sums(groups, losses)

    def observe(self, groups: np.ndarray, losses: np.ndarray, step: int) -> None:
        self.observe_sums(*self.tally(groups, losses), step)

    def observe_sums(self, sums: np.ndarray, counts: np.ndarray, step: int) -> None:
        self._gaps = self.groups.gaps(sums, counts)

    def state_dict(self) -> dict[str, Any]:
        return {"kind": self.kind, "labels": self.groups.labels, "gaps": self._gaps.tolist()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        found, own = (state.get("kind"), state.get("labels")), (self.kind, self.groups.labels)
        if found != own:
            raise InputError(
                f"the saved weighing is {found[0]!r} over {found[1]}, this one is {own[0]!r} over {own[1]}. "
                "Go on with the settings it was saved under, or start anew."
            )
        self._gaps = np.array(state["gaps"], dtype=np.float64)

    def log(self) -> dict[str, float]:
        return {f"gap/{name}": float(gap) for name, gap in zip(self.groups.names, self._gaps, strict=True)}


class InverseFrequencyWeights(UniformWeights):
    """Weighs each example by ``N / (K · n_cell)``: K cells of equal total weight, mean one over the training set.

    Examples of unknown cell, and of cells that training does not have, weigh one.

    Args:
        cell_counts: training examples of each cell, int64, shape ``(cells,)``; of known cells there are N.
    """

    kind: ClassVar[str] = "inverse_frequency"

    def __init__(self, groups: Groups, cell_counts: np.ndarray) -> None:
        super().__init__(groups)
        shares = _cell_shares(groups, cell_counts)
        self._present = shares > 0
        self._shares = np.where(self._present, shares, 1.0)

    def _masses(self) -> np.ndarray:
        """Total weight of each cell, summing to one; shape ``(cells,)``."""
        return self._present / max(1, self._present.sum())

    def weights(self, groups: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        cells = self.groups.cell_of(groups)
        table = np.where(self._present, self._masses() / self._shares, 1.0)
        return np.where(cells >= 0, table[cells], 1.0)


class GroupDroWeights(InverseFrequencyWeights):
    """Group DRO (Sagawa et al. 2020, algorithm 1) over the cells of all attributes.

    ``q_g ∝ q_g exp(eta · loss_g)`` from equal ``q_g``, at each step for the cells that it shows. An example weighs
    ``q_g / share_g`` with its cell's share of the training set, which has mean one in expectation and makes the
    expected loss ``sum_g q_g loss_g``. Rare cells therefore weigh much; examples of unknown cell weigh one.
    """

    kind: ClassVar[str] = "group_dro"

    def __init__(self, groups: Groups, cell_counts: np.ndarray, *, eta: float) -> None:
        super().__init__(groups, cell_counts)
        self.eta = eta
        self._log_q = np.zeros(groups.cells)  # up to a constant

    def _masses(self) -> np.ndarray:
        if not self._present.any():
            return super()._masses()
        q = np.exp(self._log_q - self._log_q[self._present].max(), where=self._present, out=np.zeros(self.groups.cells))
        return q / q.sum()

    def tally(self, groups: np.ndarray, losses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self.groups.cell_sums(groups, losses)

    def observe_sums(self, sums: np.ndarray, counts: np.ndarray, step: int) -> None:
        self._log_q += self.eta * np.nan_to_num(group_means(sums, counts))
        super().observe_sums(self.groups.marginals(sums), self.groups.marginals(counts), step)

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "log_q": self._log_q.tolist()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self._log_q = np.array(state["log_q"], dtype=np.float64)

    def log(self) -> dict[str, float]:
        return {**super().log(), "largest_q": float(self._masses().max())}


def _cell_shares(groups: Groups, cell_counts: np.ndarray) -> np.ndarray:
    """Share of each cell among training examples of known cell, float64, shape ``(cells,)``."""
    if cell_counts.shape != (groups.cells,) or (cell_counts < 0).any():
        raise InputError(
            f"{' x '.join(groups.names)} has {groups.cells} cells and needs a count of training examples for each, "
            f"0 or more; got an array of shape {cell_counts.shape}."
        )
    return cell_counts / max(1, cell_counts.sum())


def make_controller(config: Weighing, groups: Groups, cell_counts: np.ndarray, *, seed: int) -> WeightController:
    """Controller of the configured kind; ``tempered`` changes the order of rows, not their weight, and weighs all alike.

    Args:
        cell_counts: training examples of each cell, int64, shape ``(cells,)``, see ``Groups.cell_counts``.
        seed: the same in every process.
    """
    from cxr_assets.diffusion.weighing.fair import FairDiffusionWeights

    if isinstance(config, InverseFrequencyWeighing):
        return InverseFrequencyWeights(groups, cell_counts)
    if isinstance(config, GroupDroWeighing):
        return GroupDroWeights(groups, cell_counts, eta=config.eta)
    if isinstance(config, FairDiffusionWeighing):
        return FairDiffusionWeights(groups, config, seed=seed)
    return UniformWeights(groups)
