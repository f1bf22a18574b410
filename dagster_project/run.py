"""Materialise the whole graph in this process: the same runs, events and lineage as from the UI, without a server.

``python -m dagster_project.run --arms real.r000,demographic_text.r025``; ``cxr run`` and ``cxr demo`` call it.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Iterable, Iterator, Sequence

import dagster as dg
from sqlalchemy.exc import SQLAlchemyError

from cxr_assets.errors import CxrError, InputError, did_you_mean
from cxr_assets.evaluation.leaderboard.board import methods_of_board
from cxr_assets.evaluation.leaderboard.judges import BASELINE, judge_learner
from cxr_assets.keys import Arm
from cxr_assets.project import Project
from cxr_assets.synthesis.fill import fill_requests
from dagster_project.automation import END, START
from dagster_project.definitions import defs
from dagster_project.partitions import PROJECT
from dagster_project.pool_slots import free_slots_of_the_dead, living

COHORT_ASSETS = ("studies", "datasheet", "captions")
SHARED_ASSETS = (
    *COHORT_ASSETS,
    "held_out_cells",
    "base_model",
    "latents",
    "disease_regions",
    "synthesis_plan",
)
STAGES = ("cohort", "adapters", "images", "report")
_TAGS: dict[str, str] = {}
"""Of every run of this process; set while it is known to be alive."""
QUIET = {"loggers": {"console": {"config": {"log_level": "ERROR"}}}}


def materialise(assets: Sequence[str], *, partition: str | None = None, tags: dict[str, str] | None = None) -> None:
    """One run over some assets on the persistent instance. Raises the step's own error where it failed."""
    job = defs.resolve_implicit_global_asset_job_def()
    done = job.execute_in_process(
        instance=dg.DagsterInstance.get(),
        asset_selection=[dg.AssetKey(a) for a in assets],
        partition_key=partition,
        tags={**(tags or {}), **_TAGS},
        run_config=QUIET,
        raise_on_error=False,
    )
    if not done.success:
        raise _cause(done)


def _cause(done: dg.ExecuteInProcessResult) -> CxrError:
    for event in done.all_events:
        if event.is_failure and event.event_specific_data is not None:
            error = getattr(event.event_specific_data, "error", None)
            while error is not None and error.cause is not None:
                error = error.cause
            if error is not None:
                said = error.message.strip().removeprefix(f"{CxrError.__module__}.{error.cls_name}: ")
                return CxrError(f"{event.step_key or 'run'}: {said}")
    failed = [str(e.check_name) for e in done.get_asset_check_evaluations() if not e.passed]
    return CxrError(f"run {done.run_id} failed; checks that did not hold: {', '.join(failed) or 'none'}")


def draw(project: Project, findings: Sequence[str] | None = None, *, methods: Sequence[str]) -> None:
    """Ranged runs over every stratum of some methods that is missing or stale, as few as can be."""
    for request in fill_requests(project, budget=10**6, findings=findings, methods=methods, per_finding=False):
        tags = {START: f"{request.method}|{request.first}", END: f"{request.method}|{request.last}"}
        materialise(["synthetic_images"], tags=tags)


def sets_of(project: Project, methods: Sequence[str]) -> Iterator[tuple[str, str | None]]:
    """Runs that gather the drawn strata of methods into their sets."""
    for method in methods:
        yield from (("synthetic_catalogue", f"{f}|{method}") for f in project.grid.findings)
        yield "synthetic_set", method


def plan_of_runs(project: Project, arms: Sequence[Arm]) -> Iterator[tuple[str, str | None]]:
    """Asset and partition of every run after drawing, in the order of the graph."""
    yield from sets_of(project, sorted({a.method for a in arms if not a.is_real}))
    for arm in arms:
        yield "training_set", str(arm)
    for arm in arms:
        for learner in project.learners:
            yield "classifier", f"{arm}|{learner}"
            yield "predictions", f"{arm}|{learner}"
        yield "fairness_scorecard", str(arm)
    yield "report", None


def run(arms: Sequence[Arm], *, until: str = "report", findings: Sequence[str] | None = None) -> None:
    """What the given arms need, as far as one of STAGES; what is current is found, not made again.

    Args:
        findings: draw these alone; for ``until="images"``.
    """
    project = PROJECT
    if until == "cohort":
        materialise(COHORT_ASSETS)
        return
    if not project.spec.findings:  # there is nothing to draw or to classify; the report says so
        materialise([*COHORT_ASSETS, "disease_regions"])
        materialise(["report"])
        return
    materialise(SHARED_ASSETS)
    methods = sorted({a.method for a in arms if not a.is_real})
    for method in methods:
        materialise(["adapter"], partition=method)
    if until == "adapters":
        return
    draw(project, findings, methods=methods)
    if until == "report":
        for asset, partition in plan_of_runs(project, arms):
            materialise([asset], partition=partition)


def run_leaderboard() -> None:
    """Train, draw and gather what is missing of the methods on the board, and compare them.

    Where a classifier judges the images, the one learner of real only that it takes is trained too.
    """
    project = PROJECT
    methods = methods_of_board(project)
    materialise(SHARED_ASSETS)
    for method in methods:
        materialise(["adapter"], partition=method)
    draw(project, methods=methods)
    judges = judge_learner(project)
    runs = list(sets_of(project, methods))
    if judges is not None:
        runs += [("training_set", str(BASELINE)), ("classifier", f"{BASELINE}|{judges}")]
    for asset, partition in [*runs, ("generator_leaderboard", None)]:
        materialise([asset], partition=partition)


def _known(name: str, kind: str, names: Iterable[object]) -> str:
    """The name itself. Raises InputError with the nearest ones if there is no such thing."""
    every = [str(n) for n in names]
    if name not in every:
        hint = did_you_mean(name, every) or f" Known: {', '.join(every)}."
        raise InputError(f"there is no {kind} {name!r}.{hint}")
    return name


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Be known to be alive, after what dead processes held has been given back."""
    folder = PROJECT.store.root / "work" / "locks"
    busy = free_slots_of_the_dead(dg.DagsterInstance.get(), folder)
    if busy:
        PROJECT.progress.say(
            f"waiting for run {', '.join(busy)}, which is in the gpu pool. If nothing runs any more, `cxr ui` ends it."
        )
    with living(folder) as tags:
        _TAGS.update(tags)
        try:
            yield
        finally:
            _TAGS.clear()


def main(argv: Sequence[str] | None = None) -> int:
    """Command line of the runner."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--arms", default="", help="arms to train and score, comma-separated; default: those of the profile"
    )
    parser.add_argument("--until", choices=STAGES, default="report", help="stop after this stage")
    parser.add_argument(
        "--findings", default="", help="draw these findings alone, comma-separated; with --until images"
    )
    parser.add_argument("--leaderboard", action="store_true", help="compare generators instead of arms")
    args = parser.parse_args(argv)
    try:
        with _alone():
            if args.leaderboard:
                run_leaderboard()
                return 0
            names = args.arms.split(",") if args.arms else PROJECT.settings.arms
            arms = [Arm.parse(_known(n, "arm", PROJECT.arms)) for n in names]
            findings = [_known(f, "finding", PROJECT.grid.findings) for f in args.findings.split(",") if f]
            run(arms, until=args.until, findings=findings or None)
    except CxrError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except (OSError, SQLAlchemyError) as error:  # Dagster's own event log cannot be written: the disk is full, or gone
        said = str(getattr(error, "orig", None) or error)
        print(f"error: Dagster's history under {os.environ['DAGSTER_HOME']} cannot be written: {said}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
