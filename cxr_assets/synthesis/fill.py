"""Which strata are missing or stale, as runs that a schedule or sensor may ask for."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from cxr_assets.keys import contiguous_ranges
from cxr_assets.project import Project
from cxr_assets.synthesis.draw import due_strata


@dataclass(frozen=True)
class FillRequest:
    """One run: contiguous strata of one method. ``adapter`` identifies what they will be drawn with."""

    method: str
    first: str
    last: str
    adapter: str


def fill_requests(
    project: Project,
    *,
    busy: Collection[tuple[str, str]] = (),
    budget: int | None = None,
    findings: Collection[str] | None = None,
) -> list[FillRequest]:
    """Runs that would make every stratum of every trained method current.

    A run stays inside one finding, because a range across methods is a product and a whole finding loads the model once.

    Args:
        busy: (method, stratum) that a queued or running run is already making.
        budget: most runs to return; the configured ``synthesis.runs_per_tick`` by default.
        findings: ask for these alone; None for all.
    """
    limit = project.settings.synthesis.runs_per_tick if budget is None else budget
    requests: list[FillRequest] = []
    for method in project.methods:
        adapter = project.store.digest("adapter", {"method": method})
        due = {s for s in due_strata(project, method) if (method, s) not in busy}
        for finding in (f for f in project.grid.findings if findings is None or f in findings):
            order = [str(s) for s in project.grid.of_finding(finding)]
            ranges = contiguous_ranges(order, [s for s in order if s in due], project.grid.cells)
            requests += [FillRequest(method, first, last, adapter or "") for first, last in ranges]
    return requests[:limit]
