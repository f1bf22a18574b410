"""Distances of synthetic to real films in equal numbers, beside the floor that real films have among themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cxr_assets.evaluation.leaderboard.films import Seen
from cxr_assets.evaluation.leaderboard.groups import members
from cxr_assets.evaluation.leaderboard.metrics import score
from cxr_assets.evaluation.quality import MIN_PER_DIMENSION, frechet

NEIGHBOURS = 5
FIDELITY = ("kernel_distance", "frechet_distance", "coverage", "density")


def kernel_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Squared maximum mean discrepancy with the cubic kernel ``(x·y / d + 1)³``, unbiased (Bińkowski et al. 2018, eq. 4).

    It is taken over all pairs at once, so two methods differ by their films alone and not by a draw of subsets. It may be
    negative: near 0 the sets cannot be told apart.

    Args:
        first, second: features, float64, shape ``(n, d)`` and ``(m, d)``, n and m at least 2.
    """
    from sklearn.metrics.pairwise import polynomial_kernel

    n, m = len(first), len(second)
    own, other = polynomial_kernel(first, degree=3, coef0=1), polynomial_kernel(second, degree=3, coef0=1)
    within = (own.sum() - np.trace(own)) / (n * (n - 1)) + (other.sum() - np.trace(other)) / (m * (m - 1))
    return float(within - 2 * polynomial_kernel(first, second, degree=3, coef0=1).mean())


def coverage_and_density(
    synthetic: np.ndarray, real: np.ndarray, *, neighbours: int = NEIGHBOURS
) -> tuple[float, float]:
    """Share of real films with a synthetic one nearer than their k-th real neighbour, and how many there are of it
    against how many there should be (Naeem et al. 2020, k = 5).

    Args:
        synthetic, real: features, float64 ``(n, d)``, more than ``neighbours`` real ones.
    """
    from sklearn.metrics import pairwise_distances
    from sklearn.neighbors import NearestNeighbors

    radius = (
        NearestNeighbors(n_neighbors=neighbours).fit(real).kneighbors()[0][:, -1]
    )  # a film is not its own neighbour
    inside = pairwise_distances(real, synthetic) < radius[:, None]
    return float(inside.any(axis=1).mean()), float(inside.sum(axis=0).mean() / neighbours)


@dataclass(frozen=True)
class EqualCounts:
    """How many films stand on each side of every distance of one group.

    ``n`` is 0 where no distance is taken; ``reasons`` says why, for all methods or for those that lack films.
    """

    n: int
    reasons: Mapping[str, str]


def equal_counts(synthetic: Mapping[str, int], halves: tuple[int, int], *, least: int) -> EqualCounts:
    """The largest count that every method and both halves of the real films have (evaluation.md §2.3).

    Both distances depend on the number of films, so one number holds for all. A method with fewer than ``least`` films
    gets no figure and does not lower the number of the others.
    """
    if min(halves) < least:
        reason = f"{halves[0]} and {halves[1]} real films in the two halves; a distance needs {least} in each"
        return EqualCounts(0, dict.fromkeys(synthetic, reason))
    reasons = {
        m: f"{count} synthetic films; a distance needs {least}" for m, count in synthetic.items() if count < least
    }
    enough = [count for method, count in synthetic.items() if method not in reasons]
    return EqualCounts(min(*enough, *halves) if enough else 0, reasons)


def fidelity(
    methods: Mapping[str, Seen],
    real: Seen,
    half: np.ndarray,
    spaces: Sequence[str],
    groups: Sequence[tuple[str, str]],
    *,
    least: int,
) -> list[dict[str, Any]]:
    """Rows of the scores: distances, coverage and density of every method in every space, overall and by group.

    Args:
        methods, real: films in a random order that hangs on nothing measured: the first n of a group are its sample.
        half: which half each real film is in, bool; synthetic films and the first half are held against the second.
        least: films that a group needs on each side.
    """
    rows = []
    for attribute, group in groups:
        inside = members(real.rows, attribute, group)
        sides = [np.flatnonzero(inside & half), np.flatnonzero(inside & ~half)]
        own = {m: np.flatnonzero(members(seen.rows, attribute, group)) for m, seen in methods.items()}
        counts = equal_counts({m: len(v) for m, v in own.items()}, (len(sides[0]), len(sides[1])), least=least)
        for space in spaces:
            reference = real.features[space][sides[1][: counts.n]]
            floor = _measured(real.features[space][sides[0][: counts.n]], reference) if counts.n else {}
            for method, seen in methods.items():
                reason = counts.reasons.get(method)
                found = {} if reason else _measured(seen.features[space][own[method][: counts.n]], reference)
                for metric in FIDELITY:
                    value, why = found.get(metric, (None, reason))
                    beside = floor.get(metric, (None, None))[0]
                    distance = metric.endswith("distance")
                    rows.append(
                        score(
                            method,
                            metric,
                            value,
                            n=len(own[method]) if reason else counts.n,
                            features=space,
                            attribute=attribute,
                            group=group,
                            floor=beside if distance else None,
                            ceiling=None if distance else beside,
                            null_reason=why,
                        )
                    )
    return rows


def _measured(films: np.ndarray, reference: np.ndarray) -> dict[str, tuple[float | None, str | None]]:
    n, width = films.shape
    coverage, density = coverage_and_density(films, reference)
    found: dict[str, tuple[float | None, str | None]] = {
        "kernel_distance": (kernel_distance(films, reference), None),
        "coverage": (coverage, None),
        "density": (density, None),
    }
    if n < MIN_PER_DIMENSION * width:
        reason = f"{n} films a side; a Fréchet distance of {width} features needs {MIN_PER_DIMENSION * width}"
        return found | {"frechet_distance": (None, reason)}
    return found | {"frechet_distance": (frechet(films, reference), None)}
