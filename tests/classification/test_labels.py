from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import torch

from cxr_assets.classification.classifiers import masked_bce, mean_auroc, predict
from cxr_assets.classification.data import augment, film_batch, label_matrix
from cxr_assets.cohorts.choices import label_policy
from tests.helpers import CPU, noise_films

NAN = float("nan")
NAMES = ("edema", "fibrosis", "hernia")
VALUES = pl.DataFrame(
    {"study_id": ["b", "a"], "edema": [-1, 1], "fibrosis": [0, None], "gout": [None, 1]},
    schema_overrides=dict.fromkeys(("edema", "fibrosis", "gout"), pl.Int8),
)


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("u_ignore", [[1, 0, NAN], [NAN, 0, NAN]]),
        ("u_ones", [[1, 0, NAN], [1, 0, NAN]]),
        ("u_zeros", [[1, 0, NAN], [0, 0, NAN]]),
        ("stated", [[1, NAN, NAN], [NAN, 0, NAN]]),
        ("u_mixed", [[1, 0, NAN], [1, 0, NAN]]),
    ],
)
def test_labels_follow_the_policy(policy: str, expected: list[list[float]]) -> None:
    labels = label_matrix(["a", "b"], VALUES, NAMES, label_policy(policy))
    np.testing.assert_array_equal(labels, np.array(expected, dtype=np.float32))
    assert labels.dtype == np.float32


def test_labels_follow_the_order_of_the_studies() -> None:
    policy = label_policy("u_ones")
    labels = label_matrix(["b", "a", "nobody"], VALUES, NAMES[:2], policy)
    np.testing.assert_array_equal(labels, np.array([[1, 0], [1, 0], [NAN, NAN]], dtype=np.float32))
    assert label_matrix([], VALUES, NAMES, policy).shape == (0, 3)


def test_the_loss_is_the_weighted_mean_over_labels_that_count() -> None:
    logits = torch.tensor([[0.0, 2.0], [-1.0, 50.0]], requires_grad=True)
    labels = torch.tensor([[1.0, 0.0], [1.0, NAN]])
    weights = torch.tensor([1.0, 3.0])
    each = [np.log(2.0), np.log1p(np.exp(2.0)), np.log1p(np.exp(1.0))]
    loss = masked_bce(logits, labels, weights)
    assert float(loss.detach()) == pytest.approx((each[0] + each[1] + 3 * each[2]) / 5, rel=1e-6)
    loss.backward()
    assert logits.grad is not None and logits.grad[1, 1] == 0 and logits.grad.isfinite().all()


def test_a_batch_without_a_label_costs_nothing() -> None:
    logits = torch.zeros(2, 2, requires_grad=True)
    loss = masked_bce(logits, torch.full((2, 2), NAN), torch.ones(2))
    loss.backward()
    assert float(loss.detach()) == 0.0 and logits.grad is not None and (logits.grad == 0).all()


def test_the_mean_auroc_leaves_out_what_has_one_class() -> None:
    scores = np.array([[0.1, 0.9, 0.5], [0.8, 0.8, 0.5], [0.3, 0.1, 0.5]])
    labels = np.array([[0, 1, 1], [1, 0, 1], [NAN, 0, NAN]])
    assert mean_auroc(scores, labels) == pytest.approx(1.0)
    assert mean_auroc(1 - scores, labels) == pytest.approx(0.0)
    assert mean_auroc(scores[:, 2:], labels[:, 2:]) == 0.0


def test_films_enter_a_classifier_between_minus_one_and_one() -> None:
    batch = film_batch(np.array([[[0, 255]]], dtype=np.uint8), CPU)
    assert batch.shape == (1, 1, 1, 2) and batch.flatten().tolist() == [-1.0, 1.0]


def test_augmentation_is_seeded_small_and_never_a_flip() -> None:
    films = torch.zeros(64, 1, 64, 64)
    films[:, :, 20:44, 8:20] = 1.0  # a mark on one side
    seeded = [augment(films, torch.Generator().manual_seed(s)) for s in (1, 1, 2)]
    assert torch.equal(seeded[0], seeded[1]) and not torch.equal(seeded[0], seeded[2])
    assert seeded[0].shape == films.shape and seeded[0].abs().max() <= 1.0
    left, right = seeded[0][..., :32].mean(dim=(1, 2, 3)), seeded[0][..., 32:].mean(dim=(1, 2, 3))
    assert (left > right).all()


def test_predictions_are_probabilities_and_depend_on_no_batch() -> None:
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(32 * 32, 3), torch.nn.Dropout(0.5))
    films = noise_films(5, size=32)
    scores = predict(network, films, device=CPU)
    assert scores.shape == (5, 3) and ((scores > 0) & (scores < 1)).all()
    np.testing.assert_allclose(predict(network, films, device=CPU, batch=2), scores, atol=1e-6)
