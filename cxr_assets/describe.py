"""What people see of a partition in the UI: numbers, small tables, pictures. Plain values; Dagster is not known here."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
from PIL import Image

from cxr_assets.cohorts.film_reader import read_films
from cxr_assets.plots import data_uri, film_grid, loss_curve, thumbnail
from cxr_assets.project import Made, Project
from cxr_assets.warehouse.manifest import Manifest

LARGEST_PICTURE = 180_000


@dataclass
class Description:
    """Facts by name, tables by name (first rows), pictures by name (PNG bytes), short Markdown shown inline."""

    facts: dict[str, Any] = field(default_factory=dict)
    tables: dict[str, pl.DataFrame] = field(default_factory=dict)
    pictures: dict[str, bytes] = field(default_factory=dict)
    inline: dict[str, str] = field(default_factory=dict)

    def markdown(self) -> dict[str, str]:
        """Pictures as Markdown with the image inside; those too large for an event are left out."""
        return {n: f"![{n}]({data_uri(p)})" for n, p in self.pictures.items() if len(p) < LARGEST_PICTURE}


def describe(project: Project, made: Made) -> Description:
    """Everything worth showing of a partition."""
    manifest = made.manifest
    told = Description(facts={k: v for k, v in manifest.facts.items() if not isinstance(v, dict | list)})
    told.facts |= {
        "fresh": made.fresh,
        "terms": manifest.terms,
        "files": len(manifest.files),
        "megabytes": round(sum(f.bytes for f in manifest.files) / 1e6, 3),
        "manifest": project.store.relative(project.store.manifest_path(manifest.asset, manifest.partition)),
    }
    painter = _PAINTERS.get(manifest.asset)
    if painter:
        painter(project, manifest, told)
    return told


def _grid(project: Project, files: list[str], captions: list[str] | None, told: Description, name: str) -> None:
    if not files:
        return
    films = read_films(project.store, files, 96)
    told.pictures[name] = film_grid(films, columns=8, captions=captions, cell=96)
    told.inline["a_few_films"] = thumbnail(films)


def _studies(project: Project, manifest: Manifest, told: Description) -> None:
    studies, findings = project.studies(), project.findings()
    told.tables["composition"] = studies.group_by("split", "sex", "race").agg(
        studies=pl.len(), patients=pl.n_unique("patient_id")
    )
    told.tables["composition"] = told.tables["composition"].sort("split", "sex", "race", nulls_last=True)
    counts = findings.group_by("finding").agg(
        positive=(pl.col("value") == 1).sum(),
        negative=(pl.col("value") == 0).sum(),
        uncertain=(pl.col("value") == -1).sum(),
        unmentioned=pl.col("value").null_count(),
    )
    told.tables["findings"] = counts.sort("positive", descending=True)
    told.tables["quarantine"] = project.store.table("quarantine").head(20)
    shown = studies.filter(pl.col("image_file").is_not_null()).sort("study_id").head(24)
    _grid(project, shown["image_file"].to_list(), None, told, "film_grid")


def _datasheet(project: Project, manifest: Manifest, told: Description) -> None:
    folder = project.store.path(manifest.facts["page"]).parent
    for name in ("prevalence", "missingness", "films"):
        if (folder / f"{name}.png").is_file():
            told.pictures[name] = (folder / f"{name}.png").read_bytes()


def _captions(project: Project, manifest: Manifest, told: Description) -> None:
    told.tables["examples"] = (
        project.store.table("captions").select("study_id", "caption", "tokens", "truncated").head(12)
    )
    told.tables["fates"] = project.store.table("caption_fates")["fate"].value_counts(sort=True)


def _regions(project: Project, manifest: Manifest, told: Description) -> None:
    told.tables["recall"] = project.store.table("region_recall")
    found = project.store.table("regions").sort("confidence", descending=True)
    studies = project.store.table("studies").select("study_id", "image_file", film_width="width")
    best = found.unique("study_id", maintain_order=True).head(16).join(studies, on="study_id")
    if best.height:
        films = read_films(project.store, best["image_file"].to_list(), 128)
        scale = 128 / best["film_width"].to_numpy()
        for film, row, s in zip(films, best.iter_rows(named=True), scale, strict=True):
            _outline(film, [row[c] * s for c in ("x", "y", "width", "height")])
        told.pictures["regions"] = film_grid(films, columns=8, captions=best["finding"].to_list(), cell=112)


def _outline(film: np.ndarray, box: list[float]) -> None:
    left, top, right, bottom = (int(v) for v in (box[0], box[1], box[0] + box[2] - 1, box[1] + box[3] - 1))
    left, top = max(left, 0), max(top, 0)
    right, bottom = min(right, film.shape[1] - 1), min(bottom, film.shape[0] - 1)
    film[top, left : right + 1] = film[bottom, left : right + 1] = 255
    film[top : bottom + 1, left] = film[top : bottom + 1, right] = 255


def _adapter(project: Project, manifest: Manifest, told: Description) -> None:
    folder = project.store.path(manifest.facts["pictures"])
    for name in ("films", "loss", "weighing"):
        if (folder / f"{name}.png").is_file():
            told.pictures[name] = (folder / f"{name}.png").read_bytes()


def _held_out(project: Project, manifest: Manifest, told: Description) -> None:
    told.tables["cells"] = project.store.table("held_out_cells")


def _base_model(project: Project, manifest: Manifest, told: Description) -> None:
    if manifest.facts["folder"]:
        told.pictures["loss"] = (project.store.path(manifest.facts["folder"]) / "record" / "loss.png").read_bytes()


def _plan(project: Project, manifest: Manifest, told: Description) -> None:
    plan = project.store.table("synthesis_plan")
    told.tables["largest_deficits"] = plan.sort("real", "stratum").head(20)


def _images(project: Project, manifest: Manifest, told: Description) -> None:
    rows = project.store.table("synthetic_images", manifest.partition)
    told.tables["images"] = rows.select("image_id", "prompt", "seed", "passed_quality", "reject_reason").head(8)
    _grid(project, rows["file"].to_list()[:8], rows["prompt"].to_list()[:8], told, "film_grid")


def _catalogue(project: Project, manifest: Manifest, told: Description) -> None:
    coverage = project.store.table("synthetic_catalogue", manifest.partition)
    told.tables["coverage"] = coverage.select("age", "sex", "race", "real", "planned", "images", "quarantined", "state")
    from cxr_assets.synthesis.draw import stratum_keys

    files, captions = [], []
    for stratum in project.grid.of_finding(manifest.partition["finding"]):
        rows = project.store.table("synthetic_images", stratum_keys(manifest.partition["method"], stratum))
        if rows.height:
            files.append(rows["file"][0])
            captions.append(f"{stratum.race} {stratum.sex} {stratum.age}")
    _grid(project, files, captions, told, "one_film_of_every_stratum")


def _set(project: Project, manifest: Manifest, told: Description) -> None:
    told.tables["quality"] = project.store.table("synthetic_quality", manifest.partition)


def _classifier(project: Project, manifest: Manifest, told: Description) -> None:
    import json

    folder = project.store.path(manifest.facts["folder"])
    record = json.loads((folder / "training.json").read_text())
    told.pictures["loss"] = loss_curve({"loss": record["losses"]})
    told.tables["thresholds"] = project.store.table("thresholds", manifest.partition).select(
        "finding", "threshold", "rule"
    )


def _scorecard(project: Project, manifest: Manifest, told: Description) -> None:
    from cxr_assets.evaluation.curves import reliability_curves
    from cxr_assets.evaluation.figures import forest_of_groups, intersection_map

    gaps = project.store.table("fairness_gaps", manifest.partition)
    columns = ["attribute", "observed", "null_mean", "excess", "p_perm", "p_adj", "worst_group", "reported"]
    told.tables["gaps"] = gaps.filter(pl.col("family") == "confirmatory").select(columns).sort("p_adj")
    estimates = project.store.table("fairness_estimates", manifest.partition)
    told.pictures["true_positive_rate_by_group"] = forest_of_groups(estimates, metric="tpr")
    reliability = project.store.table("fairness_reliability", manifest.partition)
    for attribute in project.settings.evaluation.attributes:
        if (reliability["attribute"] == attribute).any():
            told.pictures[f"reliability_by_{attribute}"] = reliability_curves(reliability, attribute=attribute)
    pairs = estimates.filter(pl.col("attribute").str.count_matches("×") == 1)["attribute"].unique().sort()
    for pair in pairs:
        told.pictures[f"true_positive_rate_by_{pair.replace('×', '_and_')}"] = intersection_map(
            estimates, attribute=pair
        )


def _report(project: Project, manifest: Manifest, told: Description) -> None:
    if "fairness_contrasts" in manifest.rows:
        columns = [
            "arm_a",
            "quantity",
            "attribute",
            "group",
            "metric",
            "delta",
            "ci_lo",
            "ci_hi",
            "p_adj",
            "levelling_down",
        ]
        told.tables["contrasts"] = (
            project.store.table("fairness_contrasts").select(columns).sort("p_adj", nulls_last=True)
        )
    for name in manifest.facts.get("pictures", ()):
        told.pictures[name] = project.store.path(f"reports/{name}.png").read_bytes()


def shrunk(png: bytes, limit: int) -> bytes:
    """A picture at half its size, and half of that, until it is below ``limit`` bytes or 16 pixels wide."""
    while len(png) >= limit and Image.open(io.BytesIO(png)).width > 16:
        with Image.open(io.BytesIO(png)) as image:
            smaller, out = image.resize((max(1, image.width // 2), max(1, image.height // 2))), io.BytesIO()
        smaller.save(out, "PNG", optimize=True)
        png = out.getvalue()
    return png


def _leaderboard(project: Project, manifest: Manifest, told: Description) -> None:
    from cxr_assets.evaluation.leaderboard.tables import terminal

    told.tables["standings"] = terminal(project.store.table("generator_leaderboard"))
    folder = project.store.path(manifest.facts["page"]).parent
    for name in ("chart", "films"):
        told.pictures[name] = shrunk((folder / f"{name}.png").read_bytes(), LARGEST_PICTURE)
    told.inline["by_preset"] = (folder / "leaderboard.md").read_text()


_PAINTERS: Mapping[str, Any] = {
    "studies": _studies,
    "datasheet": _datasheet,
    "captions": _captions,
    "disease_regions": _regions,
    "adapter": _adapter,
    "held_out_cells": _held_out,
    "base_model": _base_model,
    "synthesis_plan": _plan,
    "synthetic_images": _images,
    "synthetic_catalogue": _catalogue,
    "synthetic_set": _set,
    "classifier": _classifier,
    "fairness_scorecard": _scorecard,
    "report": _report,
    "generator_leaderboard": _leaderboard,
}
