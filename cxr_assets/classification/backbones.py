"""Classifier architectures by name: all read grey films, shape ``(n, 1, size, size)``, values in [-1, 1]."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn

from cxr_assets.errors import SettingsError


class SmallCnn(nn.Module):
    """A small residual network that a CPU trains in seconds.

    Args:
        outputs: logits.
        widths: channels of the stages; each stage halves the side.
        dropout: before the last layer.
    """

    def __init__(self, outputs: int, widths: tuple[int, ...] = (16, 32, 64, 96), dropout: float = 0.2) -> None:
        super().__init__()
        layers: list[nn.Module] = [
            nn.Conv2d(1, widths[0], 5, stride=2, padding=2, bias=False),
            nn.BatchNorm2d(widths[0]),
            nn.ReLU(inplace=True),
        ]
        for before, after in pairwise(widths):
            layers += [
                Residual(before),
                nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(after),
                nn.ReLU(inplace=True),
            ]
        self.features = nn.Sequential(*layers, Residual(widths[-1]))
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(2 * widths[-1], outputs))

    def forward(self, films: Tensor) -> Tensor:
        """Logits, shape ``(n, outputs)``."""
        return self.head(self.embed(films))

    def embed(self, films: Tensor) -> Tensor:
        """Pooled features, shape ``(n, 2 × last width)``: mean and maximum, since a sign may be large or small."""
        maps = self.features(films)
        return torch.cat([maps.mean(dim=(2, 3)), maps.amax(dim=(2, 3))], dim=1)


class Residual(nn.Module):
    """Two 3×3 convolutions around a skip connection."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
        )

    def forward(self, maps: Tensor) -> Tensor:
        """Same shape as given."""
        return torch.relu(maps + self.body(maps))


class XrvDenseNet(nn.Module):
    """torchxrayvision's DenseNet-121 architecture, which reads grey films in [-1024, 1024]."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        from torchxrayvision.models import DenseNet

        self.network = DenseNet(num_classes=outputs, in_channels=1)
        # Without weights the package leaves op_norm unset; its forward then returns plain logits.
        self.network.op_threshs = None

    def forward(self, films: Tensor) -> Tensor:
        """Logits, shape ``(n, outputs)``."""
        features = self.network.features2(films * 1024.0)
        return self.network.classifier(features)


def resnet50(outputs: int) -> nn.Module:
    """torchvision's ResNet-50 with a one-channel first convolution."""
    from torchvision.models import resnet50 as build

    network = build(weights=None, num_classes=outputs)
    network.conv1 = nn.Conv2d(1, 64, kernel_size=7, stride=2, padding=3, bias=False)
    return network


BACKBONES: dict[str, Callable[[int], nn.Module]] = {
    "small_cnn": SmallCnn,
    "resnet50": resnet50,
    "densenet121": XrvDenseNet,
}


def build_backbone(name: str, outputs: int) -> nn.Module:
    """A randomly initialised backbone. Raises SettingsError for a name nobody knows."""
    if name not in BACKBONES:
        raise SettingsError(f"backbone {name!r} is none of {', '.join(BACKBONES)}.")
    return BACKBONES[name](outputs)
