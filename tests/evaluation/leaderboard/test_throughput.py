from __future__ import annotations

from collections.abc import Callable

import pytest

from cxr_assets.evaluation.leaderboard.throughput import NOT_RECORDED, measured_facts, overall_speed, throughput
from cxr_assets.project import Project


def test_speed_over_parts_is_all_images_over_all_seconds() -> None:
    parts = [{"images": 10, "images_per_second": 5.0}, {"images": 30, "images_per_second": 10.0}]
    assert overall_speed(parts) == pytest.approx(40 / 5)


@pytest.mark.parametrize(
    "part", [{}, {"images": 0, "images_per_second": 5.0}, {"images": 4}, {"images": 4, "images_per_second": 0}]
)
def test_parts_that_recorded_nothing_do_not_count(part: dict[str, float]) -> None:
    assert overall_speed([part]) is None
    assert overall_speed([part, {"images": 4, "images_per_second": 2.0}]) == 2.0


def test_a_method_that_recorded_nothing_has_reasons(board: Callable[..., Project]) -> None:
    facts = measured_facts(board(), "good")
    assert set(facts.values()) == {None} and len(facts) == 4
    rows = throughput({"good": facts | {"training_seconds": 9.0}})
    told = {r["metric"]: (r["value"], r["null_reason"]) for r in rows}
    assert told["training_seconds"] == (9.0, None) and told["peak_memory_mib"] == (None, NOT_RECORDED)
