"""What is to be synthesised: how many images of every stratum, and what each of them is asked to show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from cxr_assets.captions.templates import PromptTemplate
from cxr_assets.diffusion.config import MethodPreset
from cxr_assets.diffusion.sampling import Ask
from cxr_assets.keys import Grid, Stratum
from cxr_assets.project import Made, Parent, Project
from cxr_assets.training import derive_seed
from cxr_assets.warehouse.manifest import digest_json

CODE_VERSION = "1"
NO_FINDING = "no_finding"
PLAN = {
    "stratum": pl.String,
    "finding": pl.String,
    "age": pl.String,
    "sex": pl.String,
    "race": pl.String,
    "real": pl.Int64,
    "planned": pl.Int64,
}
TEMPLATE = PromptTemplate()
_GOLDEN = (5**0.5 - 1) / 2  # its multiples modulo 1 fill the unit interval evenly, however many there are


def water_fill(counts: np.ndarray, budget: int) -> np.ndarray:
    """Share out ``budget`` among strata so that the smallest are raised to one common level first.

    Args:
        counts: real studies of each stratum, int64, shape ``(strata,)``.

    Returns:
        Images for each stratum, int64, sum ``budget``. A larger budget never gives a stratum fewer, so the images of a
        small mix are among those of a larger one.
    """
    if budget <= 0 or not len(counts):
        return np.zeros(len(counts), dtype=np.int64)
    order = np.argsort(counts, kind="stable")
    heights = counts[order].astype(np.int64)
    below = np.arange(1, len(heights) + 1)
    # Water needed to raise the first k strata to the height of stratum k.
    need = heights * below - np.cumsum(heights)
    k = int(np.searchsorted(need, budget, side="right"))
    level, rest = divmod(budget + int(heights[:k].sum()), k)
    added = np.zeros(len(counts), dtype=np.int64)
    added[order[:k]] = level - heights[:k]
    added[order[:rest]] += 1
    return added


def even_fill(strata: int, budget: int) -> np.ndarray:
    """Share out ``budget`` evenly, the remainder to strata spread over the grid; int64, shape ``(strata,)``.

    The order in which strata get one of the remainder is fixed, so a larger budget never gives a stratum fewer.
    """
    if budget <= 0 or not strata:
        return np.zeros(strata, dtype=np.int64)
    share, rest = divmod(budget, strata)
    added = np.full(strata, share, dtype=np.int64)
    added[np.argsort(np.arange(strata) * _GOLDEN % 1.0, kind="stable")[:rest]] += 1
    return added


def real_counts(grid: Grid, studies: pl.DataFrame, findings: pl.DataFrame) -> pl.DataFrame:
    """Training studies labelled positive in each stratum, in grid order: the plan's columns but ``planned``."""
    people = studies.filter(pl.col("split") == "train").select(
        "study_id", pl.col("age_bin", "sex", "race").fill_null("unknown")
    )
    positives = (
        findings.filter(pl.col("value") == 1)
        .join(people, on="study_id")
        .group_by("finding", age="age_bin", sex="sex", race="race")
        .agg(real=pl.len().cast(pl.Int64))
    )
    frame = pl.DataFrame(
        [{"stratum": str(s), "finding": s.finding, "age": s.age, "sex": s.sex, "race": s.race} for s in grid],
        schema={k: v for k, v in PLAN.items() if v == pl.String},
    )
    joined = frame.join(positives, on=["finding", "age", "sex", "race"], how="left", maintain_order="left")
    return joined.with_columns(pl.col("real").fill_null(0))


def cofinding_probabilities(grid: Grid, studies: pl.DataFrame, findings: pl.DataFrame) -> pl.DataFrame:
    """How often each other finding stands beside a finding in training studies: finding, other, probability.

    A film rarely shows one thing alone, and a synthetic set that did would be told apart by that. The shares are those of
    all groups together: those of a small or under-labelled group would copy its gaps.
    """
    train = studies.filter(pl.col("split") == "train").select("study_id")
    positive = findings.filter(pl.col("value") == 1).join(train, on="study_id").select("study_id", "finding")
    positive = positive.filter(pl.col("finding").is_in(grid.findings))
    totals = positive.group_by("finding").agg(n=pl.len())
    pairs = positive.join(positive, on="study_id", suffix="_other").filter(pl.col("finding") != pl.col("finding_other"))
    shares = pairs.group_by("finding", other="finding_other").agg(both=pl.len()).join(totals, on="finding")
    return shares.select("finding", "other", probability=pl.col("both") / pl.col("n")).sort("finding", "other")


def plan_synthesis(project: Project) -> Made:
    """Plan as many images as the largest configured mix needs, targeted or even, and a minimum for every stratum."""
    s = project.settings.synthesis
    step = project.step(
        "synthesis_plan",
        parents=[Parent("studies", "drawn_from")],
        code_version=CODE_VERSION,
        config={
            "per_stratum": s.per_stratum,
            "max_ratio": s.max_ratio,
            "seed": s.seed,
            "strata": digest_json([str(stratum) for stratum in project.grid]),
        }
        | project.settings.choices.demographics
        | {"views": project.settings.choices.views},
    )
    if made := step.claim():
        return made
    studies, findings = project.studies(), project.findings()
    plan = real_counts(project.grid, studies, findings)
    budget = round(s.max_ratio * train_size(project))
    real = plan["real"].to_numpy()
    planned = np.maximum(np.maximum(water_fill(real, budget), even_fill(len(real), budget)), s.per_stratum)
    with step.writing() as writer:
        writer.table("synthesis_plan", plan.with_columns(planned=pl.Series(planned)))
        writer.table("synthesis_cofindings", cofinding_probabilities(project.grid, studies, findings))
        writer.facts |= {
            "images": int(planned.sum()),
            "empty_strata": int((real == 0).sum()),
            "train": train_size(project),
        }
    return step.made()


def train_size(project: Project) -> int:
    """Training studies that have a film: what mix ratios are relative to."""
    return project.filmed("train").height


@dataclass(frozen=True)
class ImageRequest:
    """One planned image of a stratum. ``labels`` are the findings that it is asked to show, its stratum's first."""

    stratum: Stratum
    index: int
    age_years: int
    labels: tuple[str, ...]
    prompt: str
    seed: int

    @property
    def person(self) -> dict[str, Any]:
        """Age, sex and race as a prompt or a conditioner takes them; None is unknown."""
        known = self.stratum.age != "unknown"
        return {
            "age": self.age_years if known else None,
            "sex": _or_none(self.stratum.sex),
            "race": _or_none(self.stratum.race),
        }

    def ask(self, preset: MethodPreset) -> Ask:
        """What a method's generator is asked for."""
        return Ask(preset.prompt(self.labels, **self.person), self.seed, **self.person)


def age_range(bin_slug: str) -> tuple[int, int]:
    """Whole years of an age bin such as ``40-59`` or ``80-up``, both ends included, 95 at most.

    A bin that is mostly of adults begins at 18; one of children only keeps its own.
    """
    low, _, high = bin_slug.partition("-")
    last = 95 if high == "up" else int(high)
    return (max(int(low), 18) if last >= 20 else int(low)), last


def image_request(stratum: Stratum, index: int, others: Mapping[str, float], *, seed: int) -> ImageRequest:
    """What image ``index`` of a stratum shows; hangs on plan seed, stratum, index and ``others`` alone.

    Args:
        others: probability of each other finding beside the stratum's own.
    """
    rng = np.random.default_rng(derive_seed("request", seed, stratum, index))
    draws = rng.random(len(others))
    beside = (
        []
        if stratum.finding == NO_FINDING
        else [f for f, u in zip(sorted(others), draws, strict=True) if u < others[f] and f != NO_FINDING]
    )
    known_age = stratum.age != "unknown"
    low, high = age_range(stratum.age) if known_age else (0, 0)
    age = int(rng.integers(low, high + 1))
    labels = (stratum.finding, *beside)
    person: dict[str, object] = {
        "age": age if known_age else None,
        "sex": _or_none(stratum.sex),
        "race": _or_none(stratum.race),
    }
    return ImageRequest(
        stratum,
        index,
        age,
        labels,
        TEMPLATE.render(labels, **person),  # type: ignore[arg-type]
        derive_seed("image", seed, stratum, index),
    )


def _or_none(value: str) -> str | None:
    return None if value == "unknown" else value


def requests_of(stratum: Stratum, planned: int, cofindings: pl.DataFrame, *, seed: int) -> list[ImageRequest]:
    """All planned images of a stratum, in index order."""
    rows = cofindings.filter(pl.col("finding") == stratum.finding)
    others = dict(zip(rows["other"], rows["probability"], strict=True))
    return [image_request(stratum, i, others, seed=seed) for i in range(planned)]
