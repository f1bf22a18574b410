"""Scorecards, the report, and generators side by side."""

import dagster as dg

from cxr_assets.evaluation import report as reporting
from cxr_assets.evaluation import scorecards
from cxr_assets.evaluation.leaderboard import board
from cxr_assets.evaluation.leaderboard.judges import BASELINE, judge_learner
from cxr_assets.keys import Arm
from cxr_assets.project import Project
from dagster_project.assets.classification import classifier, predictions
from dagster_project.assets.cohort import studies
from dagster_project.assets.generators import held_out_cells
from dagster_project.assets.synthesis import synthetic_set
from dagster_project.emit import OWNER, check_specs, result
from dagster_project.partitions import PROJECT, arms
from dagster_project.resources import ProjectResource


@dg.asset(
    group_name="evaluation",
    kinds={"parquet", "duckdb"},
    owners=[OWNER],
    code_version=scorecards.CODE_VERSION,
    partitions_def=arms,
    deps=[predictions, studies],
    check_specs=check_specs("fairness_scorecard", arms),
)
def fairness_scorecard(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Performance and fairness of one arm, every figure with a patient-clustered interval, gaps beside what chance gives."""
    opened = project.open(context)
    return result(opened, scorecards.score_predictions(opened, Arm.parse(context.partition_key)))


@dg.asset(
    group_name="evaluation",
    kinds={"html"},
    owners=[OWNER],
    code_version=reporting.CODE_VERSION,
    deps=[fairness_scorecard],
    check_specs=check_specs("report"),
)
def report(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """One self-contained HTML page: scorecards, gaps before and after, film grids, lineage."""
    opened = project.open(context)
    return result(opened, reporting.write_report(opened))


def judged_by(project: Project) -> list[dg.AssetDep]:
    """The classifier that reads findings off synthetic films, where no other judge does."""
    learner = judge_learner(project)
    if learner is None:
        return []
    return [dg.AssetDep(classifier, partition_mapping=dg.SpecificPartitionsPartitionMapping([f"{BASELINE}|{learner}"]))]


@dg.asset(
    group_name="evaluation",
    kinds={"parquet", "png"},
    owners=[OWNER],
    code_version=board.CODE_VERSION,
    deps=[synthetic_set, studies, held_out_cells, *judged_by(PROJECT)],
    check_specs=check_specs("generator_leaderboard"),
)
def generator_leaderboard(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Generators side by side: fidelity, what can be read off their images, variety and speed of every method and seed."""
    opened = project.open(context)
    return result(opened, board.make_leaderboard(opened))
