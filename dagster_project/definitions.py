"""All definitions of one cohort; ``CXR_COHORT`` and ``CXR_STORAGE`` say which."""

from __future__ import annotations

import os

import dagster as dg

from dagster_project.assets import classification, cohort, evaluation, generators, synthesis
from dagster_project.automation import fill_after_training, fill_nightly, synthesis_job
from dagster_project.resources import ProjectResource


def _executor() -> dg.ExecutorDefinition:
    """One pod a step on Kubernetes, else one process a run: the run queue gives the parallelism."""
    if os.environ.get("CXR_EXECUTOR") == "k8s" or os.environ.get("KUBERNETES_SERVICE_HOST"):
        from dagster_k8s import k8s_job_executor

        return k8s_job_executor
    return dg.in_process_executor


defs = dg.Definitions(
    assets=dg.load_assets_from_modules([cohort, generators, synthesis, classification, evaluation]),
    jobs=[synthesis_job],
    schedules=[fill_nightly],
    sensors=[fill_after_training],
    resources={"project": ProjectResource()},
    executor=_executor(),
)
