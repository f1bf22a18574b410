"""A cohort in a few hundred numbers: what drift is measured on, and what the datasheet and its plots show."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from cxr_assets.cohorts.demographics import UNKNOWN

ATTRIBUTES = ("age_bin", "sex", "race", "view", "split")
MOVED_SHARE = 0.02
"""Change of a share (composition, prevalence, missingness) that is worth a warning."""
MOVED_ROWS = 0.05
"""Relative change of a number of rows that is worth a warning."""
_MISSING = ("age_years", "sex", "race", "view", "image_file")


def profile_of(studies: pl.DataFrame, values: pl.DataFrame, findings: tuple[str, ...]) -> dict[str, float]:
    """Counts and shares by name, such as ``share sex=female`` or ``prevalence edema``.

    Args:
        studies: studies with ``age_bin`` and ``race`` as chosen.
        values: ``finding_values``.
        findings: the cohort's vocabulary.
    """
    rows = max(1, studies.height)
    told: dict[str, float] = {"rows studies": studies.height, "rows patients": studies["patient_id"].n_unique()}
    for attribute in ATTRIBUTES:
        counts = studies[attribute].fill_null(UNKNOWN).value_counts().sort(attribute)
        told |= {f"share {attribute}={value}": float(count) / rows for value, count in counts.iter_rows()}
    told |= {f"missing {name}": float(studies[name].null_count()) / rows for name in _MISSING}
    for finding in findings:
        column = values[finding]
        positive, negative, uncertain = (int((column == number).sum()) for number in (1, 0, -1))
        if positive + negative:
            told[f"prevalence {finding}"] = positive / (positive + negative)
        told[f"uncertain {finding}"] = uncertain / rows
        told[f"unmentioned {finding}"] = column.null_count() / rows
    return {name: round(float(value), 6) for name, value in told.items()}


def moved(before: Mapping[str, float], now: Mapping[str, float]) -> dict[str, str]:
    """Numbers that changed by more than they should between two profiles, in words."""
    changes = {}
    for name in sorted(before.keys() | now.keys()):
        old, new = before.get(name, 0.0), now.get(name, 0.0)
        limit = MOVED_ROWS * max(old, 1.0) if name.startswith("rows ") else MOVED_SHARE
        if abs(new - old) > limit:
            changes[name] = f"{old:g} before, {new:g} now"
    return changes


def prevalence_by_group(studies: pl.DataFrame, values: pl.DataFrame, findings: tuple[str, ...]) -> pl.DataFrame:
    """Positive share of the stated labels, by finding and subgroup.

    Returns:
        Columns finding, attribute, group, studies, positives, stated, prevalence (null where nothing is stated).
    """
    parts = []
    for attribute in ("age_bin", "sex", "race"):
        rows = studies.select("study_id", group=pl.col(attribute).fill_null(UNKNOWN)).join(values, on="study_id")
        for finding in findings:
            value = pl.col(finding)
            parts.append(
                rows.group_by("group").agg(
                    finding=pl.lit(finding),
                    attribute=pl.lit(attribute),
                    studies=pl.len().cast(pl.Int64),
                    positives=(value == 1).sum().cast(pl.Int64),
                    stated=((value == 1).sum() + (value == 0).sum()).cast(pl.Int64),
                )
            )
    frame = pl.concat(parts).with_columns(
        pl.when(pl.col("stated") > 0).then(pl.col("positives") / pl.col("stated")).alias("prevalence")
    )
    order = ["finding", "attribute", "group", "studies", "positives", "stated", "prevalence"]
    return frame.select(order).sort("finding", "attribute", "group")


def missingness_by_group(studies: pl.DataFrame) -> pl.DataFrame:
    """Share of studies without an age, sex, race, view or film, in each subgroup: attribute, group, what, missing."""
    parts = []
    for attribute in ("age_bin", "sex", "race", "split"):
        rows = studies.with_columns(group=pl.col(attribute).fill_null(UNKNOWN))
        shares = rows.group_by("group").agg(*(pl.col(name).is_null().mean().alias(name) for name in _MISSING))
        long = shares.unpivot(index="group", variable_name="what", value_name="missing")
        parts.append(long.select(pl.lit(attribute).alias("attribute"), "group", "what", "missing"))
    return pl.concat(parts).sort("attribute", "group", "what")
