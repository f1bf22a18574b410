"""Plan, synthetic images by stratum, their catalogue and the set of a method."""

from collections.abc import Iterator

import dagster as dg

from cxr_assets.checks import check_partition
from cxr_assets.keys import Stratum
from cxr_assets.synthesis import catalogue, draw, plan, quality_report
from cxr_assets.warehouse.connect import keep_published
from dagster_project.assets.cohort import studies
from dagster_project.assets.generators import adapter
from dagster_project.emit import GPU_TAGS, OWNER, check_specs, full_metadata, result, version_tags
from dagster_project.partitions import GRID, finding_by_method, method_by_stratum, methods, stratum_to_finding
from dagster_project.resources import ProjectResource


@dg.asset(
    group_name="synthesis",
    kinds={"parquet", "duckdb"},
    owners=[OWNER],
    code_version=plan.CODE_VERSION,
    deps=[studies],
    check_specs=check_specs("synthesis_plan"),
)
def synthesis_plan(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """How many images every finding × age × sex × race is to get, most where real positives are fewest."""
    opened = project.open(context)
    return result(opened, plan.plan_synthesis(opened))


@dg.asset(
    group_name="synthesis",
    kinds={"pytorch", "png"},
    owners=[OWNER],
    code_version=draw.CODE_VERSION,
    pool="gpu",
    op_tags=GPU_TAGS,
    partitions_def=method_by_stratum,
    deps=[adapter, synthesis_plan],
    output_required=False,
    backfill_policy=dg.BackfillPolicy.multi_run(GRID.cells),
    check_specs=check_specs("synthetic_images", method_by_stratum),
)
def synthetic_images(
    context: dg.AssetExecutionContext, project: ProjectResource
) -> Iterator[dg.AssetMaterialization | dg.AssetCheckResult]:
    """Synthetic films of one method and stratum. A run draws a whole finding: the model is loaded once, every stratum is
    committed and reported as it ends, and what is current is found, not drawn again."""
    opened = project.open(context)
    keys = [key.keys_by_dimension for key in context.partition_keys]  # type: ignore[attr-defined]
    (method,) = {key["method"] for key in keys}
    outcomes = []
    for stratum, made in draw.draw_strata(opened, method, [Stratum.parse(key["stratum"]) for key in keys]):
        partition = f"{method}|{stratum}"
        yield dg.AssetMaterialization(
            context.asset_key,
            partition=partition,
            metadata=full_metadata(opened, made),
            tags=version_tags(
                context, {"adapter": method, "synthesis_plan": None}, draw.CODE_VERSION, made.manifest.digest
            ),
        )
        (outcome,) = check_partition(opened, made.manifest)
        outcomes.append(outcome)
        context.log_event(
            dg.AssetCheckEvaluation(
                asset_key=context.asset_key,
                check_name=outcome.name,
                passed=outcome.passed,
                partition=partition,
                severity=dg.AssetCheckSeverity.WARN,
                metadata=outcome.facts,
            )
        )
    keep_published(opened.store.root)
    yield dg.AssetCheckResult(
        check_name="quality",
        passed=all(o.passed for o in outcomes),
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"strata": len(outcomes)},
    )


@dg.asset(
    group_name="synthesis",
    kinds={"parquet", "duckdb"},
    owners=[OWNER],
    code_version=catalogue.CODE_VERSION,
    partitions_def=finding_by_method,
    deps=[dg.AssetDep(synthetic_images, partition_mapping=stratum_to_finding)],
    check_specs=check_specs("synthetic_catalogue", finding_by_method),
)
def synthetic_catalogue(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """What exists of one finding and method, stratum by stratum, with a film of each."""
    opened = project.open(context)
    key = context.partition_key.keys_by_dimension  # type: ignore[attr-defined]
    return result(opened, catalogue.catalogue_finding(opened, key["finding"], key["method"]))


@dg.asset(
    group_name="synthesis",
    kinds={"parquet", "duckdb"},
    owners=[OWNER],
    code_version=quality_report.CODE_VERSION,
    partitions_def=methods,
    deps=[synthetic_catalogue],
    check_specs=check_specs("synthetic_set", methods),
)
def synthetic_set(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """All images of a method in one table, with their distances to real films and what can be recovered from them."""
    opened = project.open(context)
    return result(opened, quality_report.assemble_set(opened, context.partition_key))
