from __future__ import annotations

import numpy as np
import pytest

from cxr_assets.diffusion.weighing.gaussian_process import suggest
from cxr_assets.errors import InputError


@pytest.mark.parametrize(("d", "least"), [(3, 10), (5, 8)])
def test_the_suggestion_is_nearer_the_optimum_than_the_best_of_thirty_points(d: int, least: int) -> None:
    nearer = 0
    for seed in range(10):
        rng = np.random.default_rng(seed)
        optimum, tried = rng.random(d), rng.random((30, d))
        distances = np.linalg.norm(tried - optimum, axis=1)
        found = suggest(tried, -(distances**2), beta=0.1, candidates=1024, seed=seed)
        nearer += bool(np.linalg.norm(found - optimum) < distances.min())
    assert nearer >= least


def test_the_seed_decides_and_the_point_lies_in_the_cube() -> None:
    rng = np.random.default_rng(1)
    tried = rng.random((12, 4))
    values = tried.sum(axis=1)
    one, again, other = (suggest(tried, values, beta=0.1, candidates=100, seed=seed) for seed in (5, 5, 6))
    assert np.array_equal(one, again) and not np.array_equal(one, other)
    assert one.shape == (4,) and (one >= 0).all() and (one <= 1).all() and one.sum() > values.max()


def test_the_neighbourhood_of_the_best_point_is_searched() -> None:
    rng = np.random.default_rng(3)
    optimum, tried = np.full(5, 0.5), rng.random((30, 5))
    distances = np.linalg.norm(tried - optimum, axis=1)
    found = suggest(tried, -(distances**2), beta=0.1, candidates=1, seed=3)
    assert np.linalg.norm(found - optimum) < distances.min()


def test_more_exploration_goes_farther_from_what_was_tried() -> None:
    tried = np.linspace(0.0, 0.4, 9)[:, None]
    values = -((tried[:, 0] - 0.2) ** 2)
    near, far = (suggest(tried, values, beta=beta, candidates=256, seed=0)[0] for beta in (0.0, 1e6))
    assert near == pytest.approx(0.2, abs=0.02) and far > 0.9


@pytest.mark.parametrize("values", [[0.5], [0.5, 0.5, 0.5], [0.5, np.nan, 0.1]])
def test_values_without_a_slope_are_refused(values: list[float]) -> None:
    tried = np.random.default_rng(0).random((len(values), 2))
    with pytest.raises(InputError, match="finite values that differ"):
        suggest(tried, np.array(values), beta=0.1, candidates=16, seed=0)
