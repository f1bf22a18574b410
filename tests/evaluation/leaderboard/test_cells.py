from __future__ import annotations

import numpy as np
import pytest

from cxr_assets.errors import InputError
from cxr_assets.evaluation.leaderboard.cells import compare_cells


def cells(a: list[float | None], b: list[float | None]) -> dict[str, dict[str, float | None]]:
    return {f"cell{i}": {"hcn": x, "flat": y} for i, (x, y) in enumerate(zip(a, b, strict=True))}


def test_fifteen_of_sixteen_cells_is_no_coin() -> None:
    found = compare_cells(cells([1.0] * 15 + [0.0], [0.5] * 16), "hcn", "flat")
    assert found.p == pytest.approx(34 / 2**16, rel=1e-12) == pytest.approx(5.2e-4, rel=0.01)
    assert (found.cells, found.a_better, found.b_better, found.ties) == (16, 15, 1, 0)
    assert found.mean_difference == pytest.approx(0.4375)


def test_where_less_is_better_the_same_cells_speak_for_the_other() -> None:
    scores = cells([1.0] * 15 + [0.0], [0.5] * 16)
    found = compare_cells(scores, "hcn", "flat", higher_is_better=False)
    assert (found.a_better, found.b_better) == (1, 15)
    assert found.p == compare_cells(scores, "flat", "hcn").p
    assert found.mean_difference == pytest.approx(0.4375), "the difference keeps its sign"


def test_ties_and_missing_scores_are_no_evidence() -> None:
    found = compare_cells(cells([1.0, 1.0, 2.0, None, 3.0], [1.0, 0.0, 1.0, 1.0, None]), "hcn", "flat")
    assert (found.cells, found.a_better, found.b_better, found.ties, found.p) == (3, 2, 0, 1, 0.5)


def test_the_interval_is_that_of_cells_drawn_with_replacement() -> None:
    rng = np.random.default_rng(3)
    a, b = rng.normal(1.0, 1.0, 40), rng.normal(0.0, 1.0, 40)
    found = compare_cells(cells(list(a), list(b)), "hcn", "flat", replicates=4000)
    drawn = np.random.default_rng(9).choice(a - b, (20_000, 40)).mean(axis=1)
    assert found.ci_lo == pytest.approx(np.quantile(drawn, 0.025), abs=0.03)
    assert found.ci_hi == pytest.approx(np.quantile(drawn, 0.975), abs=0.03)
    assert found == compare_cells(cells(list(a), list(b)), "hcn", "flat", replicates=4000), "seeded"


def test_a_shift_that_all_cells_share_does_not_widen_the_interval() -> None:
    hard = [float(i * i) for i in range(12)]
    found = compare_cells(cells([x + 1.0 for x in hard], hard), "hcn", "flat")
    assert (found.ci_lo, found.ci_hi) == (pytest.approx(1.0), pytest.approx(1.0))


def test_all_ties_speak_for_nobody() -> None:
    found = compare_cells(cells([1.0, 2.0], [1.0, 2.0]), "hcn", "flat")
    assert (found.p, found.mean_difference, found.ties) == (1.0, 0.0, 2)


def test_no_common_cell_is_said_and_one_cell_has_no_interval() -> None:
    none = compare_cells(cells([1.0], [None]), "hcn", "flat")
    assert (none.p, none.ci_lo, none.null_reason) == (None, None, "no cell has a score of both hcn and flat")
    one = compare_cells(cells([1.0], [0.0]), "hcn", "flat")
    assert (one.p, one.mean_difference, one.ci_lo, one.null_reason) == (1.0, 1.0, None, "one cell has no spread")


def test_a_method_is_not_compared_with_itself() -> None:
    with pytest.raises(InputError, match="itself"):
        compare_cells({}, "hcn", "hcn")
