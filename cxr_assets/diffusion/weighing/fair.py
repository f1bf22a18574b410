"""FairDiffusion: noise on loss weights, with spreads per group that Bayesian optimisation tunes."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from cxr_assets.diffusion.weighing.config import FairDiffusionWeighing
from cxr_assets.diffusion.weighing.controllers import UniformWeights
from cxr_assets.diffusion.weighing.gaussian_process import suggest
from cxr_assets.diffusion.weighing.groups import Groups
from cxr_assets.errors import InputError


class FairDiffusionWeights(UniformWeights):
    """Weighs an example by ``1 + sum_a sigma[a, g_a] · eps_a`` with standard normal ``eps`` (generation.md §2.1, §7.3).

    Every ``sigma`` begins at one. At each step the pair (sigma, minus the gaps' sum) is noted; at the global steps
    window, 2 · window … a Gaussian process on the pairs suggests the next sigma and the pairs are dropped; then
    ``sigma <- exploit · sigma + (1 - exploit) · u`` with uniform ``u``. Where the process cannot be fitted, as when
    all gaps were equal, sigma stays and ``failures`` rises.

    Mode ``paper`` leaves weights as they fall, also below zero, and takes the gaps of each batch by itself. Mode
    ``safe`` raises weights to the floor, divides by their batch mean, and takes the gaps of all losses since the
    window began, so that a group which one batch lacks is still counted.

    ``sigma`` hangs on the seed and the observed sums alone: processes that are fed equal sums hold equal sigma.
    """

    kind: ClassVar[str] = "fairdiffusion"

    def __init__(self, groups: Groups, config: FairDiffusionWeighing, *, seed: int) -> None:
        super().__init__(groups)
        self.config = config
        length = int(groups.sizes.sum())
        self.sigma = np.ones(len(groups.values) if config.tie else length)
        self.failures = 0
        self._rng = np.random.default_rng(seed)
        self._pairs: list[tuple[list[float], float]] = []
        self._sums, self._counts = np.zeros(length), np.zeros(length, dtype=np.int64)
        self._clamped, self._weighed = 0, 0

    def weights(self, groups: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        groups = self.groups.check(groups)
        at = np.arange(groups.shape[1]) if self.config.tie else np.maximum(groups, 0) + self.groups.offsets
        spreads = np.where(groups >= 0, self.sigma[at], 0.0)
        weights = 1.0 + (spreads * rng.standard_normal(groups.shape)).sum(axis=1)
        if self.config.mode == "paper":
            return weights
        self._clamped += int((weights < self.config.floor).sum())
        self._weighed += len(weights)
        return floored(weights, self.config.floor)

    def observe_sums(self, sums: np.ndarray, counts: np.ndarray, step: int) -> None:
        if self.config.mode == "safe":
            self._sums, self._counts = self._sums + sums, self._counts + counts
            sums, counts = self._sums, self._counts
        super().observe_sums(sums, counts, step)
        self._pairs.append((self.sigma.tolist(), -float(self._gaps.sum())))
        if step > 0 and step % self.config.window == 0:
            self._suggest()
        self.sigma = drifted(self.sigma, self._rng.random(self.sigma.shape), self.config.exploit)

    def _suggest(self) -> None:
        seed = int(self._rng.integers(2**32))
        tried, values = np.array([p[0] for p in self._pairs]), np.array([p[1] for p in self._pairs])
        try:
            self.sigma = suggest(tried, values, beta=self.config.beta, candidates=self.config.candidates, seed=seed)
        except (InputError, ValueError, np.linalg.LinAlgError):
            self.failures += 1
        self._pairs = []
        self._sums, self._counts = np.zeros_like(self._sums), np.zeros_like(self._counts)

    def state_dict(self) -> dict[str, Any]:
        return {
            **super().state_dict(),
            "sigma": self.sigma.tolist(),
            "pairs": [[list(sigma), value] for sigma, value in self._pairs],
            "sums": self._sums.tolist(),
            "counts": self._counts.tolist(),
            "rng": self._rng.bit_generator.state,
            "failures": self.failures,
            "clamped": self._clamped,
            "weighed": self._weighed,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        if len(state["sigma"]) != len(self.sigma):
            raise InputError(
                f"the saved weighing has {len(state['sigma'])} spreads, this one {len(self.sigma)}: 'tie' was changed. "
                "Set it back, or start anew."
            )
        self.sigma = np.array(state["sigma"], dtype=np.float64)
        self._pairs = [(list(sigma), float(value)) for sigma, value in state["pairs"]]
        self._sums = np.array(state["sums"], dtype=np.float64)
        self._counts = np.array(state["counts"], dtype=np.int64)
        self._rng.bit_generator.state = state["rng"]
        self.failures, self._clamped, self._weighed = state["failures"], state["clamped"], state["weighed"]

    def log(self) -> dict[str, float]:
        """Also every sigma, the share of weights raised to the floor since the start, and the failures."""
        names = self.groups.names if self.config.tie else self.groups.labels
        return {
            **super().log(),
            **{f"sigma/{name}": float(value) for name, value in zip(names, self.sigma, strict=True)},
            "clamped": self._clamped / max(1, self._weighed),
            "failures": float(self.failures),
        }


def floored(weights: np.ndarray, floor: float) -> np.ndarray:
    """Weights raised to the floor, then divided by their mean: flooring alone would add weight (generation.md §2.2)."""
    raised = np.maximum(weights, floor)
    return raised / raised.mean() if len(raised) else raised


def drifted(sigma: np.ndarray, u: np.ndarray, exploit: float) -> np.ndarray:
    """``exploit · sigma + (1 - exploit) · u``, shape of ``sigma``."""
    return exploit * sigma + (1 - exploit) * u
