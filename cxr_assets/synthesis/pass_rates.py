"""How much quality control lets pass, of whom: a filter that is harder on one group brings a bias back."""

from __future__ import annotations

import polars as pl

from cxr_assets.cohorts.demographics import UNKNOWN

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
PASS_RATE, PASS_RATE_GAP = "pass_rate", "pass_rate_gap"
FIRST, FINAL = "first_attempt", "final"
"""Features of pass rates: of the first attempts alone, and of what came out after all of them."""
ATTRIBUTES = ("age", "sex", "race", "cell")
TOO_FEW = "fewer_than_two_groups"
_ASKED = pl.Struct({"age": pl.String, "sex": pl.String, "race": pl.String})


def asked_people(images: pl.DataFrame) -> pl.DataFrame:
    """Age bin, sex and race that each image was asked to be, ``unknown`` where nothing was asked: one row an image."""
    return images.select(asked=pl.col("demographics_json").str.json_decode(_ASKED)).unnest("asked")


def pass_rates(method: str, images: pl.DataFrame) -> pl.DataFrame:
    """Share of images that passed, of first attempts and in the end, and the largest gap between groups.

    Rates are those of each stratum (quantity: its key), of each age, sex, race and cell of the three that was asked for
    (``sex female``, ``cell 40-59.female.black``). A gap is the highest rate less the lowest over the groups of one
    attribute; images that were asked to be nobody in particular are no group.

    Args:
        images: rows of ``synthetic_images``.

    Returns:
        The columns of ``QUALITY``; a gap is null, with the reason, where there are fewer than two groups.
    """
    seen = images.select("stratum", final="passed_quality", first_attempt=pl.col("passed_quality") & (pl.col("k") == 0))
    seen = pl.concat([seen, asked_people(images)], how="horizontal")
    unknown = pl.any_horizontal(pl.col("age", "sex", "race") == UNKNOWN)
    cell = pl.concat_str("age", "sex", "race", separator=".")
    seen = seen.with_columns(cell=pl.when(unknown).then(pl.lit(UNKNOWN)).otherwise(cell))
    parts = [_rates(seen, "stratum")]
    for attribute in ATTRIBUTES:
        rates = _rates(seen, attribute)
        parts += [rates.with_columns(quantity=pl.format(attribute + " {}", "quantity")), _gaps(rates, attribute)]
    constant = {"method": method, "floor": None}
    rows = pl.concat(parts, how="diagonal").with_columns(*(pl.lit(v).alias(k) for k, v in constant.items()))
    return rows.select(pl.col(name).cast(dtype) for name, dtype in QUALITY.items())


def _rates(seen: pl.DataFrame, group: str) -> pl.DataFrame:
    """Both rates of each group: quantity, metric, features, value, n."""
    means = seen.group_by(pl.col(group).alias("quantity")).agg(pl.col(FINAL, FIRST).mean(), n=pl.len().cast(pl.Int64))
    long = means.unpivot(on=[FINAL, FIRST], index=["quantity", "n"], variable_name="features", value_name="value")
    return long.select("quantity", pl.lit(PASS_RATE).alias("metric"), "features", "value", "n").sort(
        "quantity", "features"
    )


def _gaps(rates: pl.DataFrame, attribute: str) -> pl.DataFrame:
    """Largest difference between the groups of an attribute, a row for each of both rates."""
    rows = []
    for features in (FINAL, FIRST):
        told = rates.filter((pl.col("features") == features) & (pl.col("quantity") != UNKNOWN))
        values = told["value"].to_list()
        enough = len(values) > 1
        rows.append(
            {
                "quantity": attribute,
                "metric": PASS_RATE_GAP,
                "features": features,
                "value": max(values) - min(values) if enough else None,
                "n": int(told["n"].sum()),
                "null_reason": None if enough else TOO_FEW,
            }
        )
    return pl.DataFrame(rows, schema={name: QUALITY[name] for name in rows[0]})
