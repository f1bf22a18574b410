"""Curated studies, captions and disease regions of a cohort."""

import dagster as dg

from cxr_assets.captions import caption_studies as captioning
from cxr_assets.cohorts import curation
from cxr_assets.cohorts import datasheet as sheets
from cxr_assets.diffusion.base import base_identity, tokenizer_of
from cxr_assets.regions import disease_regions as regions
from dagster_project.emit import GPU_TAGS, OWNER, check_specs, result
from dagster_project.resources import ProjectResource


@dg.asset(
    group_name="cohort",
    kinds={"parquet", "duckdb"},
    owners=[OWNER],
    code_version=curation.CODE_VERSION,
    check_specs=check_specs("studies"),
)
def studies(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Curated studies of the cohort with patients, findings, boxes, reports, quarantine and films at working resolution."""
    opened = project.open(context)
    return result(opened, curation.curate_studies(opened))


@dg.asset(
    group_name="cohort",
    kinds={"html", "markdown"},
    owners=[OWNER],
    code_version=sheets.CODE_VERSION,
    deps=[studies],
    check_specs=check_specs("datasheet"),
)
def datasheet(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Who is in the cohort, what is missing, where it came from, its terms and its checks, on one page (HTML, Markdown)."""
    opened = project.open(context)
    return result(opened, sheets.write_datasheet(opened))


@dg.asset(
    group_name="cohort",
    kinds={"parquet", "duckdb"},
    owners=[OWNER],
    code_version=captioning.CODE_VERSION,
    deps=[studies],
    check_specs=check_specs("captions"),
)
def captions(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """What the generator is told about each study, within 77 tokens, and what became of every report."""
    opened = project.open(context)
    made = captioning.caption_studies(opened, tokenizer_of(opened), tokenizer_id=base_identity(opened))
    return result(opened, made)


@dg.asset(
    group_name="cohort",
    kinds={"pytorch", "yolo"},
    owners=[OWNER],
    code_version=regions.CODE_VERSION,
    pool="gpu",
    op_tags=GPU_TAGS,
    deps=[studies],
    check_specs=check_specs("disease_regions"),
)
def disease_regions(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Boxes and masks of findings from a YOLOv8 detector trained on the cohort's boxes, with its recall."""
    opened = project.open(context)
    return result(opened, regions.find_regions(opened))
