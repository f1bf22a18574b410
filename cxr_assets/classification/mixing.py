"""The ``training_set`` asset: which real and synthetic films one arm is trained on."""

from __future__ import annotations

import numpy as np
import polars as pl

from cxr_assets.errors import InputError
from cxr_assets.keys import SYNTHETIC_ONLY, Arm
from cxr_assets.project import Made, Parent, Project
from cxr_assets.synthesis.plan import train_size
from cxr_assets.synthesis.shares import even_fill, proportional_fill, water_fill

CODE_VERSION = "1"
ROWS = {
    "arm": pl.String,
    "study_id": pl.String,
    "image_id": pl.String,
    "origin": pl.String,
    "patient_id": pl.String,
    "weight": pl.Float64,
    "labels_source": pl.String,
    "stratum": pl.String,
    "labels": pl.String,
    "file": pl.String,
}


def mix_training_set(project: Project, arm: Arm) -> Made:
    """Choose the rows of an arm; nothing is copied."""
    parents = [Parent("studies", "mixed_from")]
    composer = project.settings.synthesis.composer
    if not arm.is_real:
        parents.append(Parent("synthetic_set", "mixed_from", {"method": arm.method}))
    if not arm.is_real and arm.mix != SYNTHETIC_ONLY and arm.ratio > project.settings.synthesis.max_ratio:
        raise InputError(
            f"arm {arm} needs {arm.ratio:g} synthetic images a real study, but the plan holds"
            f" {project.settings.synthesis.max_ratio:g}. Raise synthesis.max_ratio and draw the missing images."
        )
    step = project.step(
        "training_set",
        {"arm": str(arm)},
        parents=parents,
        code_version=CODE_VERSION,
        config={
            "arm": str(arm),
            "weight": project.settings.classification.synthetic_weight,
            "views": project.settings.choices.views,
        }
        | ({} if composer == "targeted" else {"composer": composer}),
    )
    if made := step.claim():
        return made
    real = real_rows(project, arm)
    parts = [] if arm.mix == SYNTHETIC_ONLY else [real]
    wanted = 0
    if not arm.is_real:
        synthetic = project.store.table("synthetic_set", {"method": arm.method}).filter(pl.col("passed_quality"))
        plan = project.store.table("synthesis_plan")
        planned = None if composer == "targeted" else plan["planned"].to_numpy()
        counts = allocation(arm, plan["real"].to_numpy(), train_size(project), len(synthetic), planned)
        wanted = int(counts.sum())
        chosen = choose(synthetic, dict(zip(plan["stratum"], counts.tolist(), strict=True)))
        parts.append(synthetic_rows(chosen, arm, project.settings.classification.synthetic_weight))
    rows = pl.concat(parts)
    if rows.is_empty():
        raise InputError(f"arm {arm} has no film to train on.")
    origins = dict(rows["origin"].value_counts().iter_rows())
    with step.writing() as writer:
        writer.table("training_set_rows", rows)
        writer.facts |= {
            "real": origins.get("real", 0),
            "synthetic": origins.get("synthetic", 0),
            "synthetic_wanted": wanted,
            "films": rows.height,
        }
    return step.made()


def allocation(arm: Arm, real: np.ndarray, train: int, available: int, planned: np.ndarray | None = None) -> np.ndarray:
    """Images wanted of each stratum, int64, shape ``(strata,)``.

    Targeted mixes raise the strata with the fewest real positives first; even ones treat all strata alike; synthetic only
    takes whatever there is. Where a composer has decided who is asked for, every mix keeps its proportions.

    Args:
        planned: images that such a composer planned of each stratum; None for the targeted one.
    """
    if arm.mix == SYNTHETIC_ONLY:
        return np.full(len(real), available, dtype=np.int64)
    budget = round(arm.ratio * train)
    if planned is not None:
        return proportional_fill(planned, budget)
    return water_fill(real, budget) if arm.targeted else even_fill(len(real), budget)


def choose(images: pl.DataFrame, wanted: dict[str, int]) -> pl.DataFrame:
    """The first images of each stratum by index, as many as wanted or as there are; a small mix is part of a larger one."""
    limit = pl.DataFrame(
        {"stratum": list(wanted), "wanted": list(wanted.values())}, schema_overrides={"wanted": pl.Int64}
    )
    ranked = images.sort("stratum", "index").with_columns(rank=pl.int_range(pl.len()).over("stratum"))
    return ranked.join(limit, on="stratum").filter(pl.col("rank") < pl.col("wanted")).drop("rank", "wanted")


def real_rows(project: Project, arm: Arm) -> pl.DataFrame:
    """Training studies with a film, one row each."""
    studies = project.filmed("train")
    return studies.sort("study_id").select(
        pl.lit(str(arm)).alias("arm"),
        "study_id",
        pl.lit(None, pl.String).alias("image_id"),
        pl.lit("real").alias("origin"),
        "patient_id",
        pl.lit(1.0).alias("weight"),
        pl.col("label_source").alias("labels_source"),
        pl.lit(None, pl.String).alias("stratum"),
        pl.lit(None, pl.String).alias("labels"),
        pl.col("image_file").alias("file"),
    )


def synthetic_rows(images: pl.DataFrame, arm: Arm, weight: float) -> pl.DataFrame:
    """Chosen images, one row each; their labels are those that they were asked to show."""
    return images.select(
        pl.lit(str(arm)).alias("arm"),
        pl.lit(None, pl.String).alias("study_id"),
        "image_id",
        pl.lit("synthetic").alias("origin"),
        pl.lit(None, pl.String).alias("patient_id"),
        pl.lit(weight).alias("weight"),
        pl.lit("prompt").alias("labels_source"),
        "stratum",
        "labels",
        "file",
    )
