from __future__ import annotations

import pytest
import torch

from cxr_assets.classification.backbones import BACKBONES, SmallCnn, build_backbone
from cxr_assets.errors import SettingsError


@pytest.mark.parametrize("name", sorted(BACKBONES))
@pytest.mark.parametrize("size", [64])
def test_every_backbone_reads_grey_films_and_gives_a_logit_a_finding(name: str, size: int) -> None:
    torch.manual_seed(0)
    network = build_backbone(name, 9)
    films = torch.rand(2, 1, size, size) * 2 - 1
    logits = network(films)
    assert logits.shape == (2, 9) and logits.isfinite().all()
    logits.square().mean().backward()
    grads = [p.grad for p in network.parameters() if p.requires_grad]
    assert all(g is not None for g in grads), "every weight learns"
    network.eval()
    with torch.no_grad():
        logits = network(films)
    assert not torch.allclose(logits[0], logits[1]), "the film shows in the logits"
    assert (logits < 0).any() or (logits > 1).any(), "logits, not probabilities"


def test_features_of_the_small_network_are_pooled_means_and_maxima() -> None:
    network = SmallCnn(3, widths=(8, 16)).eval()
    films = torch.rand(2, 1, 32, 32)
    features = network.embed(films)
    maps = network.features(films)
    assert torch.equal(features[:, :16], maps.mean(dim=(2, 3))) and torch.equal(features[:, 16:], maps.amax(dim=(2, 3)))


def test_an_unknown_backbone_is_refused() -> None:
    with pytest.raises(SettingsError, match="none of small_cnn"):
        build_backbone("vit", 3)
