"""Base model, cached latents and adapters."""

import dagster as dg

from cxr_assets.diffusion import adapters, base, cache, held_out
from dagster_project.assets.cohort import captions, studies
from dagster_project.emit import GPU_TAGS, OWNER, check_specs, result
from dagster_project.partitions import methods
from dagster_project.resources import ProjectResource


@dg.asset(
    group_name="generators",
    kinds={"parquet", "duckdb"},
    owners=[OWNER],
    code_version=held_out.CODE_VERSION,
    deps=[studies],
    check_specs=check_specs("held_out_cells"),
)
def held_out_cells(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Age × sex × race cells that no generator learns from, so that one can see whether it draws them all the same."""
    opened = project.open(context)
    return result(opened, held_out.hold_out_cells(opened))


@dg.asset(
    group_name="generators",
    kinds={"pytorch", "diffusers"},
    owners=[OWNER],
    code_version=base.CODE_VERSION,
    pool="gpu",
    op_tags=GPU_TAGS,
    deps=[studies, captions, held_out_cells],
    check_specs=check_specs("base_model"),
)
def base_model(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """The Stable Diffusion that every method starts from: shipped, local, from the hub, or trained here from scratch."""
    opened = project.open(context)
    return result(opened, base.make_base_model(opened))


@dg.asset(
    group_name="generators",
    kinds={"pytorch", "safetensors"},
    owners=[OWNER],
    code_version=cache.CODE_VERSION,
    pool="gpu",
    op_tags=GPU_TAGS,
    deps=[studies, captions, held_out_cells, base_model],
    check_specs=check_specs("latents"),
)
def latents(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """VAE posteriors of all training films and text states of all captions, computed once for every method."""
    opened = project.open(context)
    return result(opened, cache.cache_latents(opened))


@dg.asset(
    group_name="generators",
    kinds={"pytorch", "lora"},
    owners=[OWNER],
    code_version=adapters.CODE_VERSION,
    pool="gpu",
    op_tags=GPU_TAGS,
    partitions_def=methods,
    deps=[studies, captions, latents],
    check_specs=check_specs("adapter", methods),
)
def adapter(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """What one method has learned, adapters or whole networks in diffusers' format and its conditioner, with its training
    record and the rows that it learned from."""
    opened = project.open(context)
    return result(opened, adapters.train_adapter(opened, context.partition_key))
