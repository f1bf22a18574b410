"""What is exported: one row an image, with everything that the forms need, and the gate that its terms keep."""

from __future__ import annotations

import json
from typing import Literal

import polars as pl

from cxr_assets.errors import CheckError, InputError
from cxr_assets.project import Project
from cxr_assets.warehouse.terms import MAY_EXPORT

What = Literal["real", "synthetic"]
ROWS = {
    "image_id": pl.String,
    "file": pl.String,
    "split": pl.String,
    "text": pl.String,
    "findings": pl.String,
    "labels": pl.String,
    "age": pl.Float64,
    "sex": pl.String,
    "race": pl.String,
    "view": pl.String,
    "patient_id": pl.String,
    "cohort": pl.String,
    "method": pl.String,
    "terms": pl.String,
}
"""``findings`` joins the positive ones by '|'; ``labels`` is JSON of all four-valued labels; ``file`` is under the root."""


def export_rows(
    project: Project, what: What, *, split: str | None = None, method: str | None = None, boxed: bool = False
) -> pl.DataFrame:
    """Rows of ``ROWS``, in order of their ids.

    Args:
        what: stored real films, or synthetic images that passed their quality check.
        split: of real films; None takes all. Synthetic images are all of the train split.
        method: of synthetic images; None takes all that are there.
        boxed: real films with a box alone.

    Raises:
        InputError: if nothing is left to export.
    """
    rows = _real(project, split) if what == "real" else _synthetic(project, method)
    if boxed:
        rows = rows.join(project.store.table("boxes"), left_on="image_id", right_on="study_id", how="semi")
    if rows.is_empty():
        chosen = f"split {split}" if what == "real" and split else f"method {method}" if method else "anything"
        image = f"{what} image with a box" if boxed else f"{what} image"
        raise InputError(f"there is no {image} of {chosen} under {project.store.root}. Nothing was written.")
    return rows.sort("image_id")


def _real(project: Project, split: str | None) -> pl.DataFrame:
    studies = project.studies().filter(pl.col("image_file").is_not_null())
    if split:
        studies = studies.filter(pl.col("split") == split)
    captions = pl.DataFrame(schema={"study_id": pl.String, "caption": pl.String})
    if project.store.manifest("captions"):
        captions = project.store.table("captions").select("study_id", "caption")
    findings = list(project.spec.findings)
    values = project.finding_values()
    packed = values.select("study_id", findings=pl.lit(""), labels=pl.lit("{}"))
    if findings:
        positive = (pl.when(pl.col(name) == 1).then(pl.lit(name)).otherwise(None) for name in findings)
        packed = values.select(
            "study_id",
            findings=pl.concat_list(positive).list.drop_nulls().list.join("|"),
            labels=pl.struct(findings).map_elements(json.dumps, return_dtype=pl.String),
        )
    rows = studies.join(packed, on="study_id", how="left").join(captions, on="study_id", how="left")
    return rows.select(
        image_id="study_id",
        file="image_file",
        split="split",
        text=pl.col("caption").fill_null(""),
        findings="findings",
        labels="labels",
        age="age_years",
        sex="sex",
        race="race",
        view="view",
        patient_id="patient_id",
        cohort="cohort",
        method=pl.lit("real"),
        terms="terms",
    ).cast(pl.Schema(ROWS))


def _synthetic(project: Project, method: str | None) -> pl.DataFrame:
    parts = []
    for name in [method] if method else project.methods:
        if project.store.manifest("synthetic_set", {"method": name}):
            parts.append(project.store.table("synthetic_set", {"method": name}))
    if not parts:
        return pl.DataFrame(schema=ROWS)
    images = pl.concat(parts, how="vertical_relaxed").filter(pl.col("passed_quality"))
    asked = pl.col("labels").str.split("|")
    every = pl.concat_list(
        pl.format('"{}": {}', pl.lit(finding), asked.list.contains(finding).cast(pl.Int8))
        for finding in project.grid.findings
    )
    known = {name: pl.when(pl.col(name) != "unknown").then(pl.col(name)) for name in ("sex", "race")}
    return images.select(
        "image_id",
        "file",
        split=pl.lit("train"),
        text="prompt",
        findings="labels",
        labels=pl.concat_str(pl.lit("{"), every.list.join(", "), pl.lit("}")),
        age=pl.col("age_years").cast(pl.Float64),
        **known,
        view=pl.lit(None, pl.String),
        patient_id=pl.lit(None, pl.String),
        cohort="cohort",
        method="method",
        terms="terms",
    ).cast(pl.Schema(ROWS))


def gate(rows: pl.DataFrame, *, despite: str | None = None) -> dict[str, int]:
    """Number of rows by terms, if all of them may leave the machine.

    Args:
        despite: why rows may leave although their terms say no: what a person with the authority has decided, in writing.

    Raises:
        CheckError: naming the terms that forbid it, where ``despite`` is not given.
    """
    counts = dict(rows["terms"].fill_null("unknown").value_counts(sort=True).iter_rows())
    refused = {tag: count for tag, count in counts.items() if tag not in MAY_EXPORT}
    if refused and not (despite or "").strip():
        told = ", ".join(f"{count} rows under '{tag}'" for tag, count in refused.items())
        raise CheckError(
            f"export refused: {told}. Their terms do not let images or what was learned from them leave this machine"
            " (docs/exports.md). If somebody with the authority has decided otherwise in writing, say so with"
            " --despite-terms 'who decided, and where it is written'; it is logged. Nothing was written."
        )
    return counts
