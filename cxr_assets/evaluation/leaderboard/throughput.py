"""How fast a method trained and drew, and what memory that took, as its manifests say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cxr_assets.evaluation.leaderboard.metrics import score
from cxr_assets.project import Project
from cxr_assets.synthesis.draw import stratum_keys

SPEED = "images_per_second"
NOT_RECORDED = "not recorded when it was made"
_OF_ADAPTER = {
    "trained_per_second": SPEED,
    "training_seconds": "training_seconds",
    "peak_memory_mib": "peak_memory_mib",
}


def measured_facts(project: Project, method: str) -> dict[str, float | None]:
    """Figures by metric, None where a manifest does not hold them.

    Images drawn a second are those of all strata that recorded it: their images over the seconds that these took.
    """
    adapter = project.store.manifest("adapter", {"method": method})
    facts: Mapping[str, Any] = adapter.facts if adapter else {}
    found: dict[str, float | None] = {metric: _number(facts.get(name)) for metric, name in _OF_ADAPTER.items()}
    drawn = [project.store.manifest("synthetic_images", stratum_keys(method, s)) for s in project.grid]
    return found | {"drawn_per_second": overall_speed([m.facts for m in drawn if m])}


def overall_speed(parts: Sequence[Mapping[str, Any]]) -> float | None:
    """Images a second over parts drawn one after the other, each with ``images`` and ``images_per_second``."""
    speeds = [(int(p["images"]), v) for p in parts if p.get("images") and (v := _number(p.get(SPEED)))]
    return sum(n for n, _ in speeds) / sum(n / v for n, v in speeds) if speeds else None


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and value > 0 else None


def throughput(facts: Mapping[str, Mapping[str, float | None]]) -> list[dict[str, Any]]:
    """Rows of the scores, of every method."""
    return [
        score(method, metric, value, n=None, null_reason=NOT_RECORDED)
        for method, figures in facts.items()
        for metric, value in figures.items()
    ]
