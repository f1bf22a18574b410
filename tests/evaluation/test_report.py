from __future__ import annotations

from typing import Any

import pytest

from cxr_assets.evaluation.report import _verdict


def change(before: float, low: float | None, high: float | None) -> dict[str, Any]:
    return {"value_b": before, "ci_lo": low, "ci_hi": high}


@pytest.mark.parametrize(
    ("row", "now", "told"),
    [
        (change(-0.2, 0.05, 0.15), (-0.15, -0.05), "narrower, interval excludes 0"),
        (change(-0.2, 0.1, 0.3), (-0.02, 0.06), "narrower, interval excludes 0"),
        (change(-0.2, 0.2, 0.4), (0.05, 0.15), "turned round: the group is now ahead of the others"),
        (change(0.2, -0.4, -0.3), (-0.2, -0.1), "turned round: the group is now behind the others"),
        (change(-0.2, -0.2, -0.1), (-0.4, -0.3), "wider, interval excludes 0"),
        (change(0.2, 0.1, 0.2), (0.3, 0.4), "wider, interval excludes 0"),
        (change(-0.2, -0.05, 0.15), (-0.2, -0.1), "not distinguishable from no change"),
        (change(-0.2, None, None), None, "not distinguishable from no change"),
    ],
)
def test_a_gap_has_turned_round_only_where_its_own_interval_says_so(
    row: dict[str, Any], now: tuple[float, float] | None, told: str
) -> None:
    assert _verdict(row, None if now is None else {"ci_lo": now[0], "ci_hi": now[1]}) == told
