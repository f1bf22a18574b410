"""Arms against each other: paired differences, because every arm was resampled with the same patients."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from cxr_assets.evaluation.bootstrap import interval

NI_MARGIN = 0.01
CONTRASTS = {
    "arm_a": pl.String,
    "arm_b": pl.String,
    "finding": pl.String,
    "attribute": pl.String,
    "group": pl.String,
    "metric": pl.String,
    "quantity": pl.String,
    "value_a": pl.Float64,
    "value_b": pl.Float64,
    "delta": pl.Float64,
    "ci_lo": pl.Float64,
    "ci_hi": pl.Float64,
    "p": pl.Float64,
    "p_adj": pl.Float64,
    "ni_margin": pl.Float64,
    "ni_pass": pl.Boolean,
}
_KEY = ["finding", "attribute", "group", "metric", "quantity"]


def contrast_arms(replicates: Sequence[pl.DataFrame], baseline: str) -> pl.DataFrame:
    """Every quantity of every arm less that of the baseline arm.

    Replicate *i* of all arms is the same draw of patients, so the difference is taken replicate by replicate. For the
    overall AUROC the contrast also says whether the arm is non-inferior: lower end of the interval above -0.01.

    Args:
        replicates: one frame an arm: arm, finding, attribute, group, metric, quantity, replicate (0 is the sample), value.

    Returns:
        One row for each arm but the baseline and each quantity that both have; ``p`` is two-sided, from the share of
        replicates on the other side of 0; ``p_adj`` is Benjamini and Hochberg's over all rows.
    """
    everything = pl.concat(list(replicates))
    base = everything.filter(pl.col("arm") == baseline).drop("arm").rename({"value": "value_b"})
    rows: list[dict[str, object]] = []
    others = everything.filter(pl.col("arm") != baseline).join(base, on=[*_KEY, "replicate"], how="inner")
    for key, part in others.sort("replicate").group_by(["arm", *_KEY], maintain_order=True):
        a, b = part["value"].to_numpy(), part["value_b"].to_numpy()
        delta = a - b
        low, high = interval(delta[1:])
        finite = delta[1:][np.isfinite(delta[1:])]
        tail = min((finite <= 0).mean(), (finite >= 0).mean()) if len(finite) else np.nan
        named = dict(zip(["arm_a", *_KEY], key, strict=True))
        ni = (
            low is not None and low > -NI_MARGIN
            if named["quantity"] == "overall" and named["metric"] == "auroc"
            else None
        )
        rows.append(
            {
                **named,
                "arm_b": baseline,
                "value_a": _number(a[0]),
                "value_b": _number(b[0]),
                "delta": _number(delta[0]),
                "ci_lo": low,
                "ci_hi": high,
                "p": min(1.0, max(2 * float(tail), 1 / (len(finite) + 1))) if len(finite) else None,
                "p_adj": None,
                "ni_margin": NI_MARGIN if ni is not None else None,
                "ni_pass": ni,
            }
        )
    frame = pl.DataFrame(rows, schema=CONTRASTS).sort("arm_a", *_KEY)
    return frame.with_columns(
        p_adj=pl.Series(benjamini_hochberg(frame["p"].to_numpy()), dtype=pl.Float64).fill_nan(None)
    )


def benjamini_hochberg(p: np.ndarray) -> np.ndarray:
    """Adjusted p values of the false-discovery rate (Benjamini and Hochberg 1995); NaN stays NaN."""
    from scipy.stats import false_discovery_control

    p = p.astype(np.float64)
    known = np.isfinite(p)
    out = np.full(len(p), np.nan)
    if known.any():
        out[known] = false_discovery_control(p[known])
    return out


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
