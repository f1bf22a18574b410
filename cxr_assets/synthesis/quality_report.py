"""The ``synthetic_set`` asset: all accepted images of a method in one table, and how good they are."""

from __future__ import annotations

import numpy as np
import polars as pl

from cxr_assets.cohorts.demographics import UNKNOWN
from cxr_assets.cohorts.film_reader import read_films
from cxr_assets.evaluation.oracle import ORACLE, Oracle, recoverability
from cxr_assets.evaluation.quality import distances, feature_space
from cxr_assets.project import Made, Parent, Project
from cxr_assets.synthesis.image_rows import stratum_keys
from cxr_assets.synthesis.pass_rates import PASS_RATE, PASS_RATE_GAP, QUALITY, asked_people, pass_rates
from cxr_assets.training import derive_seed
from cxr_assets.warehouse.manifest import folder_digest

__all__ = ["CODE_VERSION", "PASS_RATE", "QUALITY", "asked_for", "assemble_set", "measure"]
CODE_VERSION = "3"
LARGEST_SAMPLE = 2000


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
            "lowest_pass_rate": images.group_by("stratum").agg(pl.col("passed_quality").mean())["passed_quality"].min(),
            "pass_rate_gaps": {
                f"{r['quantity']}, {r['features']}": r["value"]
                for r in shown.filter(pl.col("metric") == PASS_RATE_GAP).iter_rows(named=True)
            },
            "figures": {
                f"{r['quantity']} {r['metric']}": r["value"]
                for r in shown.filter(~pl.col("metric").is_in([PASS_RATE, PASS_RATE_GAP])).iter_rows(named=True)
            },
        }
    return step.made()


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
        people = asked_people(sample)
        # Where a plan asked for nobody in particular, there is no sex or age that films could show.
        untold = [q for q, name in (("sex", "sex"), ("age_bin", "age")) if (people[name] == UNKNOWN).any()]
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
            if r["quantity"] not in untold
        ]
    return pl.DataFrame(rows, schema=QUALITY)


def asked_for(images: pl.DataFrame, findings: tuple[str, ...]) -> pl.DataFrame:
    """What images were asked to show: one 0/1 column a finding, ``sex`` and ``age_bin``."""
    labels = images["labels"].str.split("|")
    return images.select("sex", pl.col("age").alias("age_bin")).with_columns(
        pl.Series(f, np.array([f in shown for shown in labels], dtype=np.int64)) for f in findings
    )
