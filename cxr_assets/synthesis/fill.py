"""Which strata are missing or stale, as runs that a schedule or sensor may ask for."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from itertools import chain

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
    methods: Collection[str] | None = None,
    per_finding: bool = True,
) -> list[FillRequest]:
    """Runs that would make every stratum of every trained method current.

    A run stays inside one method, because a range across methods is a product.

    Args:
        busy: (method, stratum) that a queued or running run is already making.
        budget: most runs to return; the configured ``synthesis.runs_per_tick`` by default.
        findings: ask for these alone; None for all. So with ``methods``.
        per_finding: a run ends with its finding, so that a server's runs stay short; else it goes on to the next, loads
            the model once and pads the last batch once.
    """
    limit = project.settings.synthesis.runs_per_tick if budget is None else budget
    asked = [f for f in project.grid.findings if findings is None or f in findings]
    by_finding = {f: [str(s) for s in project.grid.of_finding(f)] for f in project.grid.findings}
    stretches = [by_finding[f] for f in asked] if per_finding else [list(chain(*by_finding.values()))]
    wanted = {s for f in asked for s in by_finding[f]}
    requests: list[FillRequest] = []
    for method in (m for m in project.methods if methods is None or m in methods):
        adapter = project.store.digest("adapter", {"method": method})
        due = {s for s in due_strata(project, method) if s in wanted and (method, s) not in busy}
        for stretch in stretches:
            ranges = contiguous_ranges(stretch, [s for s in stretch if s in due], len(stretch))
            requests += [FillRequest(method, first, last, adapter or "") for first, last in ranges]
    return requests[:limit]
