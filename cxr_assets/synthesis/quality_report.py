"""The ``synthetic_set`` asset: all accepted images of a method in one table, and how good they are."""

from __future__ import annotations

import numpy as np
import polars as pl

from cxr_assets.cohorts.film_reader import read_films
from cxr_assets.evaluation.oracle import ORACLE, Oracle, recoverability
from cxr_assets.evaluation.quality import distances, feature_space
from cxr_assets.project import Made, Parent, Project
from cxr_assets.synthesis.draw import stratum_keys
from cxr_assets.training import derive_seed
from cxr_assets.warehouse.manifest import folder_digest

CODE_VERSION = "2"
QUALITY = {
    "method": pl.String,
    "quantity": pl.String,
    "metric": pl.String,
    "features": pl.String,
    "value": pl.Float64,
    "floor": pl.Float64,
    "n": pl.Int64,
    "null_reason": pl.String,
}
LARGEST_SAMPLE = 2000
PASS_RATE = "pass_rate"


def assemble_set(project: Project, method: str) -> Made:
    """Compact a method's images into one table and measure them."""
    findings = project.grid.findings
    step = project.step(
        "synthetic_set",
        {"method": method},
        code_version=CODE_VERSION,
        config={
            "features": project.settings.evaluation.features,
            "seed": project.settings.evaluation.seed,
            "views": project.settings.choices.views,
            "oracle": folder_digest(ORACLE) if project.resolved.cohort == "phantom" else None,
        },
        parents=[Parent("synthetic_catalogue", "summarised_from", {"finding": f, "method": method}) for f in findings],
    )
    if made := step.claim():
        return made
    images = pl.concat([project.store.table("synthetic_images", stratum_keys(method, s)) for s in project.grid])
    rates = pass_rates(method, images)
    quality = pl.concat([measure(project, method, images), rates])
    with step.writing() as writer:
        writer.table("synthetic_set", images)
        writer.table("synthetic_quality", quality)
        shown = quality.filter(pl.col("value").is_not_null())
        writer.facts |= {
            "images": images.height,
            "passed": int(images["passed_quality"].sum()),
            "lowest_pass_rate": min(rates["value"].to_list(), default=None),
            "figures": {
                f"{r['quantity']} {r['metric']}": r["value"]
                for r in shown.filter(pl.col("metric") != PASS_RATE).iter_rows(named=True)
            },
        }
    return step.made()


def pass_rates(method: str, images: pl.DataFrame) -> pl.DataFrame:
    """Share of each stratum's images that passed, one row a stratum: the columns of QUALITY."""
    rates = images.group_by("stratum").agg(value=pl.col("passed_quality").mean(), n=pl.len()).sort("stratum")
    constant = {"method": method, "metric": PASS_RATE, "features": "contrast", "floor": None, "null_reason": None}
    return rates.select(
        pl.col("stratum").alias("quantity"), "value", "n", *(pl.lit(v).alias(k) for k, v in constant.items())
    ).select(pl.col(name).cast(dtype) for name, dtype in QUALITY.items())


def measure(project: Project, method: str, images: pl.DataFrame) -> pl.DataFrame:
    """Fréchet and kernel distances to real training films, and on the phantom what the oracle recovers."""
    size = project.settings.diffusion.resolution
    seed = project.settings.evaluation.seed
    passed = images.filter(pl.col("passed_quality"))
    order = [derive_seed("quality", seed, i) for i in passed["image_id"]]
    sample = passed.with_columns(order=pl.Series(order, dtype=pl.Int64)).sort("order").head(LARGEST_SAMPLE)
    films = read_films(project.store, sample["file"].to_list(), size)
    real = project.filmed("train")
    real = real.with_columns(
        order=pl.Series([derive_seed("half", seed, p) for p in real["patient_id"]], dtype=pl.Int64)
    )
    real = real.sort("order", "study_id").head(2 * LARGEST_SAMPLE)
    real_films = read_films(project.store, real["image_file"].to_list(), size)
    halves = (real["order"] % 2 == 0).to_numpy()
    rows: list[dict[str, object]] = []
    for name in project.settings.evaluation.features:
        d = distances(feature_space(name), films, real_films, halves, seed=seed)
        for metric, value, floor in (("frechet", d.frechet, d.frechet_floor), ("kernel", d.kernel, d.kernel_floor)):
            rows.append(
                {
                    "method": method,
                    "quantity": "distance",
                    "metric": metric,
                    "features": name,
                    "value": value,
                    "floor": floor,
                    "n": d.n,
                    "null_reason": d.null_reason if value is None else None,
                }
            )
    if project.resolved.cohort == "phantom" and len(films):
        oracle = Oracle.load()
        seen = recoverability(oracle.judge(films), asked_for(sample, oracle.findings), oracle.ages)
        rows += [
            {
                "method": method,
                "features": "oracle",
                "floor": None,
                "null_reason": None,
                "quantity": r["quantity"],
                "metric": r["metric"],
                "value": r["value"],
                "n": r["n"],
            }
            for r in seen.iter_rows(named=True)
        ]
    return pl.DataFrame(rows, schema=QUALITY)


def asked_for(images: pl.DataFrame, findings: tuple[str, ...]) -> pl.DataFrame:
    """What images were asked to show: one 0/1 column a finding, ``sex`` and ``age_bin``."""
    labels = images["labels"].str.split("|")
    return images.select("sex", pl.col("age").alias("age_bin")).with_columns(
        pl.Series(f, np.array([f in shown for shown in labels], dtype=np.int64)) for f in findings
    )
