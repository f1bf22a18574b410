"""The ``synthesis_plan`` asset: how many images of every stratum, and a row for each image that says what it is to show."""

from __future__ import annotations

from collections import Counter

import polars as pl

from cxr_assets.project import Made, Parent, Project
from cxr_assets.synthesis.composers import Training, compose, image_request, requests_of
from cxr_assets.synthesis.label_counts import cofinding_probabilities, real_counts
from cxr_assets.synthesis.requests import ImageRequest, request_rows
from cxr_assets.synthesis.shares import even_fill, water_fill
from cxr_assets.warehouse.manifest import digest_json

__all__ = [
    "CODE_VERSION",
    "ImageRequest",
    "even_fill",
    "image_request",
    "plan_synthesis",
    "requests_of",
    "train_size",
    "water_fill",
]
CODE_VERSION = "2"


def plan_synthesis(project: Project) -> Made:
    """Write the plan: real and planned images of each stratum, findings that stand together, a row for each image.

    Raises:
        InputError: the composer has nothing to plan; see :func:`cxr_assets.synthesis.composers.compose`.
    """
    s = project.settings.synthesis
    config = {
        "composer": s.composer,
        "max_ratio": s.max_ratio,
        "seed": s.seed,
        "strata": digest_json([str(stratum) for stratum in project.grid]),
        "views": project.settings.choices.views,
    } | project.settings.choices.demographics
    # A setting that the composer does not look at must not stale the plan.
    config |= {"per_stratum": s.per_stratum} if s.composer == "targeted" else {}
    config |= {"min_support": s.min_support} if s.composer == "all_label_combinations" else {}
    step = project.step(
        "synthesis_plan", parents=[Parent("studies", "drawn_from")], code_version=CODE_VERSION, config=config
    )
    if made := step.claim():
        return made
    training = Training(project.grid, project.studies(), project.findings(), project.settings.choices.views)
    requests = compose(training, s)
    planned = Counter(str(request.stratum) for request in requests)
    plan = real_counts(project.grid, training.studies, training.findings)
    plan = plan.with_columns(planned=pl.Series([planned[name] for name in plan["stratum"]], dtype=pl.Int64))
    with step.writing() as writer:
        writer.table("synthesis_plan", plan)
        writer.table("synthesis_requests", request_rows(requests))
        writer.table("synthesis_cofindings", cofinding_probabilities(project.grid, training.studies, training.findings))
        writer.facts |= {
            "composer": s.composer,
            "images": len(requests),
            "empty_strata": int((plan["real"] == 0).sum()),
            "unplanned_strata": int((plan["planned"] == 0).sum()),
            "train": training.films.height,
        }
    return step.made()


def train_size(project: Project) -> int:
    """Training studies that have a film: what mix ratios are relative to."""
    return project.filmed("train").height
