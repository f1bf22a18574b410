"""The next point to try, by a Gaussian process on the unit cube."""

from __future__ import annotations

import warnings

import numpy as np

from cxr_assets.errors import InputError

_NEAR = (0.2, 0.1, 0.05, 0.02)
_PER_RADIUS = 64


def suggest(tried: np.ndarray, values: np.ndarray, *, beta: float, candidates: int, seed: int) -> np.ndarray:
    """Point of [0, 1]^d with the greatest upper confidence bound ``mean + sqrt(beta) · sd``.

    Matérn 5/2 covariance plus white noise on standardised values, fitted by marginal likelihood; the bound is compared
    at scrambled Sobol points and at normal perturbations of the best point tried (generation.md §7.3).

    Args:
        tried: points, float64, shape ``(n, d)``, in [0, 1].
        values: what each gave, greater is better, float64, shape ``(n,)``.
        candidates: number of Sobol points.
        seed: of the points and of the fit's restarts.

    Returns:
        float64, shape ``(d,)``.

    Raises:
        InputError: fewer than two points, or values that are not finite or all equal.
    """
    from scipy.stats import qmc
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

    if len(values) < 2 or not np.isfinite(values).all() or np.ptp(values) == 0:
        raise InputError(
            f"a Gaussian process needs two or more points with finite values that differ, got {len(values)} points. "
            "Lengthen the window, or watch groups whose losses differ."
        )
    kernel = ConstantKernel(1.0, (1e-3, 1e3)) * Matern(0.5, (1e-2, 1e2), nu=2.5) + WhiteKernel(1e-3, (1e-8, 1.0))
    process = GaussianProcessRegressor(kernel, n_restarts_optimizer=1, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a length scale at its bound is an answer
        process.fit(tried, (values - values.mean()) / values.std())

    rng, d = np.random.default_rng(seed), tried.shape[1]
    spread = qmc.Sobol(d, rng=rng).random_base2(max(0, int(np.ceil(np.log2(candidates)))))[:candidates]
    radii = np.repeat(_NEAR, _PER_RADIUS)[:, None]
    near = (tried[values.argmax()] + radii * rng.standard_normal((len(radii), d))).clip(0.0, 1.0)
    points = np.concatenate([spread, near])
    mean, sd = process.predict(points, return_std=True)
    return points[np.argmax(mean + np.sqrt(beta) * sd)]
