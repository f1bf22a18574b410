from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import torch

from cxr_assets.classification.backbones import BACKBONES, build_backbone
from cxr_assets.classification.data import LabelledFilms
from cxr_assets.classification.source_probe import (
    MOST,
    PROBE,
    penultimate_features,
    probe_classifier,
    probe_source,
    shortcuts,
)

RNG = np.random.default_rng(0)
CPU = torch.device("cpu")


def made_up(
    telling: float, *, n: int = 600, tied: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Features, source, one finding's labels and owners; ``tied``: synthetic films show the finding far more often."""
    synthetic = RNG.random(n) < 0.5
    features = RNG.normal(size=(n, 6))
    features[:, 0] += telling * synthetic
    share = np.where(synthetic, 0.8, 0.2) if tied else np.full(n, 0.4)
    labels = (RNG.random(n) < share).astype(np.float32)[:, None]
    return features, synthetic, labels, np.array([f"p{i // 2}" for i in range(n)], dtype=object)


def test_a_source_that_shows_is_told_and_one_that_does_not_is_not() -> None:
    told, blind = (probe_source(*made_up(t), ["edema"]) for t in (2.0, 0.0))
    assert told.schema == pl.Schema(PROBE) and told["label"].to_list() == [None, 0, 1]
    assert told["auroc"][0] > 0.85 and told["ci_lo"][0] < told["auroc"][0] < told["ci_hi"][0]
    assert abs(blind["auroc"][0] - 0.5) < 0.08
    assert (told["n_real"][1] + told["n_real"][2], told["n_synthetic"][1] + told["n_synthetic"][2]) == (
        told["n_real"][0],
        told["n_synthetic"][0],
    )


def test_a_shortcut_needs_both_a_source_that_shows_and_an_uneven_share() -> None:
    found = {
        (telling, tied): shortcuts(probe_source(*made_up(telling, tied=tied), ["edema"]))
        for telling in (0.0, 2.0)
        for tied in (False, True)
    }
    assert found == {(0.0, False): [], (0.0, True): [], (2.0, False): [], (2.0, True): ["edema"]}


def test_nobody_is_learned_from_and_scored() -> None:
    """Each patient's films are one vector with one source: a probe that saw it would tell it perfectly."""
    people = 60
    vectors, sources = RNG.normal(size=(people, 400)), np.arange(people) % 2 == 0
    owner = np.repeat(np.arange(people), 10)
    labels = np.zeros((len(owner), 1), np.float32)
    found = probe_source(vectors[owner], sources[owner], labels, owner.astype(object), ["edema"])
    assert found["auroc"][0] < 0.7


def test_too_few_films_give_a_reason_instead_of_a_figure() -> None:
    features, synthetic, labels, owner = made_up(2.0, n=24)
    found = probe_source(features, synthetic, labels, owner, ["edema"])
    assert set(found["null_reason"]) == {"too_few"} and found["auroc"].is_null().all()


@pytest.mark.parametrize("name", sorted(BACKBONES))
def test_features_are_those_before_the_last_layer_of_every_backbone(name: str) -> None:
    network = build_backbone(name, 3).eval()
    films = RNG.integers(0, 256, (2, 64, 64), dtype=np.uint8)
    features = penultimate_features(network, films, device=CPU, batch=1)
    last = [m for m in network.modules() if isinstance(m, torch.nn.Linear)][-1]
    with torch.no_grad():
        logits = network(torch.from_numpy(films)[:, None].float() / 127.5 - 1)
        expected = last(torch.from_numpy(features))
    torch.testing.assert_close(expected, logits, atol=1e-4, rtol=1e-4)
    assert not last._forward_pre_hooks, "the hook is taken off again"


def test_one_source_alone_is_not_probed_and_large_sets_are_cut() -> None:
    network = build_backbone("small_cnn", 1)
    films = RNG.integers(0, 256, (MOST + 60, 16, 16), dtype=np.uint8)
    origin = ["real"] * (MOST + 30) + ["synthetic"] * 30
    rows = pl.DataFrame(
        {
            "origin": origin,
            "patient_id": [f"p{i}" if o == "real" else None for i, o in enumerate(origin)],
            "image_id": [None if o == "real" else f"i{i}" for i, o in enumerate(origin)],
        }
    )
    labels = np.zeros((len(origin), 1), np.float32)
    whole = LabelledFilms(films, labels, np.ones(len(origin), np.float32), rows)
    found = probe_classifier(network, whole, ["edema"], device=CPU)
    assert found is not None and found.schema == pl.Schema(PROBE)
    assert found["n_real"][0] == MOST + 30 and found["n_synthetic"][0] == 30, "shares are those of the whole set"
    assert found["share_synthetic"][1] == pytest.approx(30 / (MOST + 60)) and found["share_synthetic"][2] is None
    read: list[int] = []
    network.register_forward_pre_hook(lambda _, inputs: read.append(len(inputs[0])))
    probe_classifier(network, whole, ["edema"], device=CPU)
    assert sum(read) == MOST + 30, "no more than so many real films are looked at"
    alone = LabelledFilms(films[:50], labels[:50], whole.weights[:50], rows.head(50))
    assert probe_classifier(network, alone, ["edema"], device=CPU) is None
