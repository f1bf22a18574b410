"""Two methods compared cell by cell, as for demographic cells that the generators never saw."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from cxr_assets.errors import InputError


@dataclass(frozen=True)
class CellComparison:
    """Method a against method b over cells that both have a score in.

    ``p`` in [0, 1] is of the exact two-sided sign test, ties left out; ``mean_difference`` is of a less b, with a paired
    bootstrap interval over cells. All None, with a reason, where they are undefined.
    """

    cells: int
    a_better: int
    b_better: int
    ties: int
    p: float | None
    mean_difference: float | None
    ci_lo: float | None
    ci_hi: float | None
    null_reason: str | None = None


def compare_cells(
    scores_by_cell: Mapping[str, Mapping[str, float | None]],
    a: str,
    b: str,
    *,
    higher_is_better: bool = True,
    replicates: int = 5000,
    seed: int = 0,
) -> CellComparison:
    """Whether method ``a`` is better than ``b`` in more cells than a coin would give, and by how much on average.

    The sign test asks nothing of how scores are spread over cells (scipy's binomial test at one half). The interval is
    the 95 % percentile interval over cells drawn with replacement, both scores of a cell together.

    Args:
        scores_by_cell: by cell, then by method; cells where either is None or missing are left out.

    Raises:
        InputError: the same method twice.
    """
    from scipy.stats import binomtest, bootstrap

    if a == b:
        raise InputError(f"method {a!r} cannot be compared with itself; give two methods.")
    pairs = [(cell.get(a), cell.get(b)) for cell in scores_by_cell.values()]
    differences = np.array([x - y for x, y in pairs if x is not None and y is not None], dtype=np.float64)
    signs = np.sign(differences if higher_is_better else -differences)
    better, worse = int((signs > 0).sum()), int((signs < 0).sum())
    counts = len(differences), better, worse, len(differences) - better - worse
    if not len(differences):
        return CellComparison(*counts, None, None, None, None, f"no cell has a score of both {a} and {b}")
    p = float(binomtest(better, better + worse).pvalue) if better + worse else 1.0
    mean = float(differences.mean())
    if len(differences) < 2:
        return CellComparison(*counts, p, mean, None, None, "one cell has no spread")
    drawn = bootstrap(
        (differences,), np.mean, n_resamples=replicates, method="percentile", rng=np.random.default_rng(seed)
    ).confidence_interval
    return CellComparison(*counts, p, mean, float(drawn.low), float(drawn.high))
