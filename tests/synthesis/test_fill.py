from __future__ import annotations

from collections.abc import Callable

import pytest

from cxr_assets.project import Project
from cxr_assets.synthesis import fill
from cxr_assets.synthesis.fill import fill_requests

Open = Callable[..., Project]


@pytest.fixture
def project(ready: Open, monkeypatch: pytest.MonkeyPatch) -> Project:
    """All strata are due but the fifth."""
    opened = ready()
    strata = [str(s) for s in opened.grid]
    monkeypatch.setattr(fill, "due_strata", lambda *_: strata[:4] + strata[5:])
    return opened


def ranges(project: Project, **asked: object) -> list[tuple[str, str]]:
    return [(r.first, r.last) for r in fill_requests(project, budget=99, **asked)]  # type: ignore[arg-type]


def test_a_run_ends_with_its_finding(project: Project) -> None:
    strata, findings = [str(s) for s in project.grid], project.grid.findings
    found = ranges(project)
    assert found[:2] == [(strata[0], strata[3]), (strata[5], str(project.grid.of_finding(findings[0])[-1]))]
    assert len(found) == len(findings) + 1
    assert all(first.split(".")[0] == last.split(".")[0] for first, last in found)


def test_or_goes_on_to_the_next(project: Project) -> None:
    strata = [str(s) for s in project.grid]
    assert ranges(project, per_finding=False) == [(strata[0], strata[3]), (strata[5], strata[-1])]


@pytest.mark.parametrize("per_finding", [True, False])
def test_findings_that_were_not_asked_for_lie_in_no_range(project: Project, per_finding: bool) -> None:
    first, _, third, *_ = project.grid.findings
    found = ranges(project, findings=[first, third], per_finding=per_finding)
    ends = [str(s) for s in (project.grid.of_finding(first)[-1], project.grid.of_finding(third)[0])]
    assert found[1][1] == ends[0] and found[2][0] == ends[1] and len(found) == 3


def test_what_is_being_made_is_not_asked_for_again(project: Project) -> None:
    method = project.methods[0]
    busy = {(method, str(s)) for s in project.grid}
    assert ranges(project, busy=busy) == []
    assert len(fill_requests(project, budget=1)) == 1
