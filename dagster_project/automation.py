"""A schedule and a sensor that fill what is missing or stale; both are off until somebody turns them on."""

import dagster as dg

from cxr_assets.project import Project
from cxr_assets.synthesis.fill import FillRequest, fill_requests
from dagster_project.assets.synthesis import synthetic_images
from dagster_project.partitions import GRID
from dagster_project.resources import ProjectResource

START, END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
ACTIVE = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
]

synthesis_job = dg.define_asset_job("fill_synthetic_images", selection=dg.AssetSelection.assets(synthetic_images))


def busy_strata(instance: dg.DagsterInstance) -> set[tuple[str, str]]:
    """(method, stratum) of every run of the images that is queued or running."""
    order = {str(s): number for number, s in enumerate(GRID)}
    busy: set[tuple[str, str]] = set()
    for run in instance.get_runs(dg.RunsFilter(statuses=ACTIVE)):
        single = run.tags.get("dagster/partition", "")
        first, last = run.tags.get(START, single), run.tags.get(END, single)
        if "|" in first and "|" in last:
            (method, a), (_, b) = first.split("|"), last.split("|")
            if a in order and b in order:  # else a run of another time's grid, or of the catalogue
                busy |= {(method, s) for s, number in order.items() if order[a] <= number <= order[b]}
    return busy


def _run_request(request: FillRequest, suffix: str) -> dg.RunRequest:
    first, last = f"{request.method}|{request.first}", f"{request.method}|{request.last}"
    return dg.RunRequest(run_key=f"{first}...{last}@{suffix}", tags={START: first, END: last})


def _requests(project: Project, instance: dg.DagsterInstance) -> list[FillRequest]:
    return fill_requests(project, busy=busy_strata(instance))


@dg.schedule(cron_schedule="0 1 * * *", job=synthesis_job, default_status=dg.DefaultScheduleStatus.STOPPED)
def fill_nightly(
    context: dg.ScheduleEvaluationContext, project: ProjectResource
) -> list[dg.RunRequest] | dg.SkipReason:
    """Ask every night for the strata that are missing or stale, a capped number of runs at a time."""
    when = f"{context.scheduled_execution_time:%Y%m%dT%H%M}"
    found = [_run_request(r, when) for r in _requests(project.open(), context.instance)]
    return found or dg.SkipReason("every stratum of every trained method is current")


@dg.sensor(job=synthesis_job, minimum_interval_seconds=60, default_status=dg.DefaultSensorStatus.STOPPED)
def fill_after_training(
    context: dg.SensorEvaluationContext, project: ProjectResource
) -> list[dg.RunRequest] | dg.SkipReason:
    """Ask for a method's strata as soon as it has a new adapter; the run key holds the adapter, so each is asked for once."""
    found = [_run_request(r, r.adapter[:16]) for r in _requests(project.open(), context.instance)]
    return found or dg.SkipReason("every stratum of every trained method is current")
