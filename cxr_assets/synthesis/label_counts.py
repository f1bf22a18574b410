"""What training studies show: positives of a stratum, findings that stand together, the label set of each study."""

from __future__ import annotations

import polars as pl

from cxr_assets.cohorts.demographics import UNKNOWN
from cxr_assets.cohorts.labels import FINDINGS, NO_FINDING, SUPPORT_DEVICES
from cxr_assets.keys import Grid

PLAN = {
    "stratum": pl.String,
    "finding": pl.String,
    "age": pl.String,
    "sex": pl.String,
    "race": pl.String,
    "real": pl.Int64,
    "planned": pl.Int64,
}
LABEL_SETS = {"study_id": pl.String, "age": pl.String, "sex": pl.String, "race": pl.String, "labels": pl.String}


def real_counts(grid: Grid, studies: pl.DataFrame, findings: pl.DataFrame) -> pl.DataFrame:
    """Training studies labelled positive in each stratum, in grid order: the plan's columns but ``planned``."""
    people = studies.filter(pl.col("split") == "train").select(
        "study_id", pl.col("age_bin", "sex", "race").fill_null(UNKNOWN)
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


def label_sets(grid: Grid, films: pl.DataFrame, findings: pl.DataFrame) -> pl.DataFrame:
    """What each study shows, in the words of captions: ``study_id, age, sex, race, labels``, by study.

    Labels are the positive findings of the grid in canonical order, joined by ``|``. No Finding is one of them where it
    is known: it is 1 and no pathology is, or it has no label and every other finding is 0. A study that shows nothing
    in the grid, or is of nobody in it, is left out.

    Args:
        films: studies to look at, with ``age_bin``, ``sex`` and ``race``.
        findings: one row a study and finding, over the cohort's whole vocabulary.
    """
    value, finding = pl.col("value"), pl.col("finding")
    normal, positive = finding == NO_FINDING, (value == 1).fill_null(value=False)
    pathology = positive & ~finding.is_in([NO_FINDING, SUPPORT_DEVICES])
    unlabelled = (normal & value.is_not_null()).any().not_()
    negative = (value == 0).fill_null(value=False)
    shown = (
        findings.join(films.select("study_id"), on="study_id", how="semi")
        .group_by("study_id")
        .agg(
            positive=finding.filter(positive & ~(normal & pathology.any())),
            by_exclusion=unlabelled & (~normal).any() & (negative | normal).all(),
        )
        .with_columns(labels=pl.when(pl.col("by_exclusion")).then(pl.lit([NO_FINDING])).otherwise(pl.col("positive")))
        .explode("labels")
        .filter(pl.col("labels").is_in(grid.findings))
        .with_columns(order=pl.col("labels").replace_strict({f: i for i, f in enumerate(FINDINGS)}))
        .group_by("study_id")
        .agg(pl.col("labels").sort_by("order").str.join("|"))
    )
    cells = pl.DataFrame(
        [{"age": s.age, "sex": s.sex, "race": s.race} for s in grid.of_finding(grid.findings[0])],
        schema=dict.fromkeys(("age", "sex", "race"), pl.String),
    )
    people = films.select("study_id", pl.col("age_bin").alias("age"), "sex", "race").with_columns(
        pl.col("age", "sex", "race").fill_null(UNKNOWN)
    )
    found = people.join(shown, on="study_id").join(cells, on=["age", "sex", "race"], how="semi")
    return found.select(*LABEL_SETS).sort("study_id")
