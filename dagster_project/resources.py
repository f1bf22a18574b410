"""The one resource: a cohort's project."""

from __future__ import annotations

import os

import dagster as dg

from cxr_assets.progress import Progress
from cxr_assets.project import Project
from cxr_assets.warehouse.runinfo import RunInfo


class ProjectResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Opens the project that ``CXR_COHORT`` and ``CXR_STORAGE`` name, with its progress in the run's log."""

    def open(self, context: dg.AssetExecutionContext | None = None) -> Project:
        """Project for a step; without a context (schedules, sensors) it is quiet."""
        if context is None:
            return Project.open(progress=Progress(quiet=True))
        terminal = os.environ.get("CXR_PROGRESS") == "terminal"
        progress = Progress() if terminal else Progress(log=context.log.info, every=15.0)
        tags = context.run.tags
        run = RunInfo(
            run_id=context.run.run_id,
            kind="dagster",
            parent_run_id=context.run.parent_run_id or "",
            retry_number=int(tags.get("dagster/retry_number", 0)),
        )
        return Project.open(progress=progress, run=run)
