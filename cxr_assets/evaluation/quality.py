"""Distances between sets of films on named features, by clean-fid's own functions."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn

from cxr_assets.errors import SettingsError

MIN_PER_DIMENSION = 2


@dataclass(frozen=True)
class FeatureSpace:
    """An extractor with a name that goes into every figure made with it."""

    name: str
    network: nn.Module
    size: int

    @torch.no_grad()
    def embed(self, films: np.ndarray, *, batch: int = 128) -> np.ndarray:
        """Features of films, uint8 ``(n, h, w)``: float64, shape ``(n, width)``."""
        self.network.eval()
        parts = []
        for start in range(0, len(films), batch):
            tensor = torch.from_numpy(np.ascontiguousarray(films[start : start + batch]))[:, None].float() / 127.5 - 1.0
            if tensor.shape[-1] != self.size:
                tensor = nn.functional.interpolate(tensor, size=(self.size, self.size), mode="bilinear", antialias=True)
            parts.append(self.network(tensor).double().numpy())
        return np.concatenate(parts) if parts else np.empty((0, 0))


class _RandomFeatures(nn.Module):
    """Fixed random convolutions: weak, but free of any training set, so that no cohort is favoured."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(20_240_607)
            self.layers = nn.Sequential(
                nn.Conv2d(1, 16, 5, stride=2),
                nn.ReLU(),
                nn.Conv2d(16, 32, 3, stride=2),
                nn.ReLU(),
                nn.Conv2d(32, width, 3, stride=2),
                nn.ReLU(),
            )

    def forward(self, films: torch.Tensor) -> torch.Tensor:
        """Mean activations, shape ``(n, width)``."""
        return self.layers(films).mean(dim=(2, 3))


class _Embed(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, films: torch.Tensor) -> torch.Tensor:
        return self.network.embed(films)  # type: ignore[operator]


class _XrvFeatures(nn.Module):
    def __init__(self, weights: str) -> None:
        super().__init__()
        from torchxrayvision.models import DenseNet

        path = Path(weights).expanduser()
        if path.suffix != ".safetensors" or not path.is_file():
            raise SettingsError(
                f"xrv:{weights}: no safetensors file there. torchxrayvision's own files are pickles, which run code when"
                " opened; save the state dict of DenseNet with safetensors.torch.save_file on a machine you trust."
            )
        state = load_file(path)
        self.network = DenseNet(num_classes=len(state["classifier.bias"]), in_channels=1)
        self.network.load_state_dict(state, strict=False)  # its operating points are of no use to features

    def forward(self, films: torch.Tensor) -> torch.Tensor:
        return self.network.features2(films * 1024.0)


def feature_space(name: str) -> FeatureSpace:
    """An extractor by name.

    ``oracle``: the phantom oracle's pooled features. ``random``: fixed random convolutions. ``xrv:<file>``:
    torchxrayvision's DenseNet-121 with the weights of a safetensors file.
    """
    if name == "oracle":
        from cxr_assets.evaluation.oracle import Oracle

        oracle = Oracle.load()
        return FeatureSpace(name, _Embed(oracle.network), oracle.size)
    if name == "random":
        return FeatureSpace(name, _RandomFeatures(), 128)
    if name.startswith("xrv:"):
        return FeatureSpace(name, _XrvFeatures(name.removeprefix("xrv:")), 224)
    raise SettingsError(f"feature space {name!r} is none of oracle, random, xrv:<file>.safetensors.")


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    # clean-fid draws its subsets from NumPy's global generator: lend it a seeded one and give the old state back.
    state = np.random.get_state()
    np.random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(state)


def frechet(first: np.ndarray, second: np.ndarray) -> float:
    """Fréchet distance of two feature sets, float64 ``(n, d)`` each (Heusel et al. 2017; clean-fid's function)."""
    from cleanfid.fid import frechet_distance

    with warnings.catch_warnings():
        # clean-fid asks SciPy for an argument that goes, and a rank-deficient product is what few films give.
        warnings.filterwarnings("ignore", message=".*disp.*", category=DeprecationWarning)
        warnings.filterwarnings("ignore", message="Matrix is singular")
        moments = [(x.mean(axis=0), np.cov(x, rowvar=False)) for x in (first, second)]
        return float(frechet_distance(moments[0][0], moments[0][1], moments[1][0], moments[1][1]))


def kernel(first: np.ndarray, second: np.ndarray, *, seed: int = 0, subsets: int = 100) -> float:
    """Kernel distance, unbiased cubic polynomial (Bińkowski et al. 2018; clean-fid's function, seeded)."""
    from cleanfid.fid import kernel_distance

    with _seeded(seed):
        return kernel_distance(
            first, second, num_subsets=subsets, max_subset_size=min(1000, len(first) // 2, len(second) // 2)
        )


@dataclass(frozen=True)
class Distances:
    """Figures of one feature space. Null where there are too few films for it, with the reason."""

    features: str
    n: int
    frechet: float | None
    frechet_floor: float | None
    kernel: float | None
    kernel_floor: float | None
    null_reason: str | None


def distances(
    space: FeatureSpace, synthetic: np.ndarray, real: np.ndarray, halves: np.ndarray, *, seed: int = 0
) -> Distances:
    """Distance of synthetic films to real ones, beside the floor between two halves of the real ones.

    Args:
        synthetic, real: uint8 films ``(n, h, w)``.
        halves: bool, shape ``(len(real),)``: which half each real film is in; a patient must be in one half only.

    All four figures use the same number of films on each side, because both distances depend on it.
    """
    a, b = real[halves], real[~halves]
    n = min(len(synthetic), len(a), len(b))
    features = [space.embed(x[:n]) for x in (synthetic, a, b)]
    width = features[0].shape[1] if n else 0
    if n < 20:
        return Distances(space.name, n, None, None, None, None, f"{n} films a side; a distance needs 20 or more")
    kid, kid_floor = kernel(features[0], features[1], seed=seed), kernel(features[2], features[1], seed=seed)
    if n < MIN_PER_DIMENSION * width:
        reason = f"{n} films a side; a Fréchet distance of {width} features needs {MIN_PER_DIMENSION * width}"
        return Distances(space.name, n, None, None, kid, kid_floor, reason)
    return Distances(
        space.name, n, frechet(features[0], features[1]), frechet(features[2], features[1]), kid, kid_floor, None
    )
