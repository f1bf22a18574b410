from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cxr_assets.errors import SettingsError
from cxr_assets.evaluation import quality
from cxr_assets.evaluation.quality import distances, feature_space, frechet, kernel
from tests.helpers import noise_films

RNG = np.random.default_rng(0)
HALVES = np.arange(400) % 2 == 0


def test_frechet_distance_of_two_gaussians_is_known() -> None:
    n = 40_000
    same = RNG.standard_normal((n, 1))
    first = np.concatenate([RNG.standard_normal((n, 1)), same], axis=1)
    second = np.concatenate([3 + 2 * RNG.standard_normal((n, 1)), same], axis=1)
    assert frechet(first, second) == pytest.approx(3**2 + (2 - 1) ** 2, rel=0.02)
    assert frechet(first, first) == pytest.approx(0.0, abs=1e-6)
    assert frechet(first, second) == pytest.approx(frechet(second, first), rel=1e-6)


def test_kernel_distance_of_one_distribution_is_about_zero_and_grows_with_the_shift() -> None:
    first, second = RNG.standard_normal((2, 600, 16))
    assert kernel(first, second) == pytest.approx(0.0, abs=0.02)
    assert kernel(first, second + 0.5) > 10 * abs(kernel(first, second))


def test_kernel_distance_is_seeded_and_gives_the_global_random_state_back() -> None:
    first, second = RNG.standard_normal((2, 100, 8))
    np.random.seed(7)
    expected = np.random.random(3)
    np.random.seed(7)
    values = [kernel(first, second, seed=seed) for seed in (1, 1, 2)]
    assert np.array_equal(np.random.random(3), expected)
    assert values[0] == values[1] != values[2]


def test_the_random_state_comes_back_even_after_a_failure() -> None:
    state = np.random.get_state()[1].tolist()  # type: ignore[union-attr]
    with pytest.raises(ZeroDivisionError), quality._seeded(3):
        np.random.random()
        raise ZeroDivisionError
    assert np.random.get_state()[1].tolist() == state  # type: ignore[union-attr]


def test_random_features_are_the_same_in_every_process() -> None:
    films = noise_films(3)
    first, second = (feature_space("random").embed(films) for _ in range(2))
    assert first.shape == (3, 64) and first.dtype == np.float64 and np.array_equal(first, second)
    assert np.allclose(feature_space("random").embed(films[1:2]), first[1:2])
    assert float(first.sum()) == pytest.approx(float(feature_space("random").embed(films).sum()))


def test_films_like_the_real_ones_are_near_and_others_far() -> None:
    real, like, unlike = noise_films(400, seed=1), noise_films(200, seed=2), noise_films(200, seed=3) // 4
    space = feature_space("random")
    near, far = (distances(space, films, real, HALVES) for films in (like, unlike))
    assert near.n == far.n == 200 and near.null_reason is None
    assert near.frechet is not None and far.frechet is not None and near.frechet_floor is not None
    assert far.frechet > 10 * near.frechet and near.frechet < 3 * near.frechet_floor
    assert near.kernel is not None and far.kernel is not None and far.kernel > 10 * abs(near.kernel)
    assert distances(space, like, real, HALVES) == near


def test_all_figures_use_the_same_number_of_films() -> None:
    real = noise_films(400, seed=1)
    assert distances(feature_space("random"), noise_films(300), real, np.arange(400) < 150).n == 150


@pytest.mark.parametrize(
    ("films", "kernel_known", "reason"),
    [(0, False, "needs 20 or more"), (19, False, "needs 20 or more"), (40, True, "64 features needs 128")],
)
def test_too_few_films_give_a_reason_instead_of_a_figure(films: int, kernel_known: bool, reason: str) -> None:
    made = distances(feature_space("random"), noise_films(films, seed=2), noise_films(400, seed=1), HALVES)
    assert made.frechet is None and made.frechet_floor is None and made.n == films
    assert (made.kernel is not None) == kernel_known and reason in (made.null_reason or "")


def test_an_unknown_feature_space_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="none of oracle, random"):
        feature_space("inception")


def test_xrv_features_are_read_from_safetensors_alone(tmp_path: Path) -> None:
    from safetensors.torch import save_file
    from torchxrayvision.models import DenseNet

    with pytest.raises(SettingsError, match="pickles"):
        feature_space(f"xrv:{tmp_path / 'weights.pt'}")
    save_file(DenseNet(num_classes=3, in_channels=1).state_dict(), tmp_path / "weights.safetensors")
    films = np.random.default_rng(0).integers(0, 255, (2, 64, 64), dtype=np.uint8)
    assert feature_space(f"xrv:{tmp_path / 'weights.safetensors'}").embed(films).shape == (2, 1024)
