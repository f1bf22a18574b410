"""The ``synthetic_catalogue`` asset: what exists of one finding and method, stratum by stratum."""

from __future__ import annotations

import polars as pl

from cxr_assets.project import Made, Parent, Project
from cxr_assets.synthesis.image_rows import stratum_keys

CODE_VERSION = "2"
COVERAGE = {
    "method": pl.String,
    "finding": pl.String,
    "age": pl.String,
    "sex": pl.String,
    "race": pl.String,
    "stratum": pl.String,
    "real": pl.Int64,
    "planned": pl.Int64,
    "images": pl.Int64,
    "quarantined": pl.Int64,
    "state": pl.String,
    "images_digest": pl.String,
}


def catalogue_finding(project: Project, finding: str, method: str) -> Made:
    """Gather the strata of one finding; each must have been drawn."""
    strata = project.grid.of_finding(finding)
    step = project.step(
        "synthetic_catalogue",
        {"finding": finding, "method": method},
        config={},
        code_version=CODE_VERSION,
        parents=[Parent("synthetic_images", "summarised_from", stratum_keys(method, s)) for s in strata],
    )
    if made := step.claim():
        return made
    images = pl.concat([project.store.table("synthetic_images", stratum_keys(method, s)) for s in strata])
    # Images that are drawn anew may be as many as before: what they are must reach those who read the catalogue.
    digests = {str(s): project.store.digest("synthetic_images", stratum_keys(method, s)) for s in strata}
    plan = project.store.table("synthesis_plan").filter(pl.col("finding") == finding)
    counts = images.group_by("stratum").agg(
        images=pl.len().cast(pl.Int64), quarantined=(~pl.col("passed_quality")).sum().cast(pl.Int64)
    )
    coverage = (
        plan.join(counts, on="stratum", how="left")
        .with_columns(pl.col("images", "quarantined").fill_null(0), pl.lit(method).alias("method"))
        .with_columns(
            state=pl.when(pl.col("images") < pl.col("planned")).then(pl.lit("short")).otherwise(pl.lit("complete"))
        )
        .with_columns(images_digest=pl.col("stratum").replace_strict(digests, return_dtype=pl.String))
        .select(pl.col(name).cast(dtype) for name, dtype in COVERAGE.items())
    )
    with step.writing() as writer:
        writer.table("synthetic_catalogue", coverage)
        writer.facts |= {
            "images": images.height,
            "quarantined": int(coverage["quarantined"].sum()),
            "short": int((coverage["state"] == "short").sum()),
        }
    return step.made()
