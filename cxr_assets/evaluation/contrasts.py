"""Arms against each other: paired differences, because every arm was resampled with the same patients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from cxr_assets.evaluation.cells import OVERALL, ScoredFilms
from cxr_assets.evaluation.delong import Components, compare, mean_components, structural_components
from cxr_assets.evaluation.family import benjamini_hochberg
from cxr_assets.evaluation.resampling import interval
from cxr_assets.warehouse.manifest import digest_json

NI_MARGIN = 0.01
CONTRASTS = {
    "arm_a": pl.String,
    "arm_b": pl.String,
    "learner": pl.String,
    "evaluation_set": pl.String,
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
    "levelling_down": pl.Boolean,
    "delong_ci_lo": pl.Float64,
    "delong_ci_hi": pl.Float64,
    "delong_p": pl.Float64,
    "null_reason": pl.String,
    "paired_key_hash": pl.String,
}
_JOINED = ("levelling_down", "delong_ci_lo", "delong_ci_hi", "delong_p")
_KEY = ["finding", "attribute", "group", "metric", "quantity"]


def contrast_arms(
    replicates: Sequence[pl.DataFrame],
    baseline: str,
    films: Mapping[str, ScoredFilms] | None = None,
    evaluation_set: str = "test",
) -> pl.DataFrame:
    """Every quantity of every arm less that of the baseline arm.

    Replicate *i* of all arms is the same draw of patients, so the difference is taken replicate by replicate. For the
    overall AUROC the contrast also says whether the arm is non-inferior: lower end of the interval above -0.01.

    Args:
        replicates: one frame an arm: arm, finding, attribute, group, metric, quantity, replicate (0 is the sample), value.
        films: predictions of each arm; with them the overall AUROC of each finding is compared by DeLong's test too, and
            arms of other films than the baseline's get values but no difference (``null_reason`` other_films).

    Returns:
        One row for each arm but the baseline and each quantity that both have; ``p`` is two-sided, from the share of
        replicates on the other side of 0; ``p_adj`` is Benjamini and Hochberg's over all rows. ``paired_key_hash`` is the
        digest of the films that both arms scored, None where no films are given. ``levelling_down`` of a max–min gap: the
        group that the baseline served best fell by more than the one it served worst rose, beyond chance.
    """
    everything = pl.concat(list(replicates))
    digests = {arm: digest_json(sorted(one.people["study_id"].to_list())) for arm, one in (films or {}).items()}
    base = everything.filter(pl.col("arm") == baseline).drop("arm").rename({"value": "value_b"})
    rows: list[dict[str, object]] = []
    others = everything.filter(pl.col("arm") != baseline).join(base, on=[*_KEY, "replicate"], how="inner")
    for key, part in others.sort("replicate").group_by(["arm", *_KEY], maintain_order=True):
        a, b = part["value"].to_numpy(), part["value_b"].to_numpy()
        named = dict(zip(["arm_a", *_KEY], key, strict=True))
        apart = digests.get(named["arm_a"]) != digests.get(baseline)
        delta = np.full(len(a), np.nan) if apart else a - b
        low, high = interval(delta[1:])
        finite = delta[1:][np.isfinite(delta[1:])]
        tail = min((finite <= 0).mean(), (finite >= 0).mean()) if len(finite) else np.nan
        ni = (
            (None if low is None else low > -NI_MARGIN)
            if named["quantity"] == "overall" and named["metric"] == "auroc"
            else None
        )
        rows.append(
            {
                **named,
                "arm_b": baseline,
                "learner": "all",
                "evaluation_set": evaluation_set,
                "value_a": _number(a[0]),
                "value_b": _number(b[0]),
                "delta": _number(delta[0]),
                "ci_lo": low,
                "ci_hi": high,
                "p": min(1.0, max(2 * float(tail), 1 / (len(finite) + 1))) if len(finite) else None,
                "p_adj": None,
                "ni_margin": NI_MARGIN if ni is not None else None,
                "ni_pass": ni,
                "null_reason": _why(apart, delta[0], low),
                "paired_key_hash": None if apart else digests.get(baseline),
            }
        )
    found = pl.DataFrame(rows, schema={k: v for k, v in CONTRASTS.items() if k not in _JOINED})
    frame = (
        found.join(
            _levelled(everything, baseline), on=["arm_a", "finding", "attribute", "metric", "quantity"], how="left"
        )
        .join(_delong(films or {}, baseline), on=["arm_a", *_KEY], how="left")
        .select(list(CONTRASTS))
        .sort("arm_a", *_KEY)
    )
    return frame.with_columns(
        levelling_down=pl.when(pl.col("null_reason").ne_missing("other_films")).then("levelling_down"),
        p_adj=pl.Series(benjamini_hochberg(frame["p"].to_numpy()), dtype=pl.Float64).fill_nan(None),
    )


def _why(apart: bool, delta: float, low: float | None) -> str | None:
    """Why there is no difference, or none with an interval."""
    if apart:
        return "other_films"
    if np.isnan(delta):
        return "undefined"
    return "unstable" if low is None else None


def _levelled(replicates: pl.DataFrame, baseline: str) -> pl.DataFrame:
    """Whether an arm narrows a gap by serving the best group worse (Zhang et al. 2022), by attribute and metric.

    The fall of the group that the baseline serves best less the rise of the one it serves worst: flagged where the lower
    end of that figure's interval lies above 0, so that training luck alone does not raise the flag.
    """
    key = ["finding", "attribute", "metric"]
    groups = replicates.filter(pl.col("quantity") == "group")
    base = groups.filter(pl.col("arm") == baseline).select(*key, "group", "replicate", before="value")
    sample = base.filter(pl.col("replicate") == 0).sort("before", "group")
    ends = sample.group_by(key, maintain_order=True).agg(
        pl.col("group").first().alias("worst"), best=pl.col("group").last()
    )
    moved = groups.filter(pl.col("arm") != baseline).join(base, on=[*key, "group", "replicate"])
    moved = moved.select("arm", *key, "group", "replicate", change=pl.col("value") - pl.col("before"))
    rows = []
    for end in ends.filter(pl.col("worst") != pl.col("best")).iter_rows(named=True):
        own = moved.filter(*(pl.col(k) == end[k] for k in key))
        for (arm,), part in own.group_by("arm", maintain_order=True):
            best, worst = (
                part.filter(pl.col("group") == end[e]).sort("replicate")["change"] for e in ("best", "worst")
            )
            if len(best) != len(worst) or not len(best):
                continue
            low, _ = interval((-best - worst).to_numpy()[1:])
            rows.append((arm, *(end[k] for k in key), "max_min", low is not None and low > 0 and best[0] < 0))
    names = ["arm_a", *key, "quantity"]
    return pl.DataFrame(rows, schema={**dict.fromkeys(names, pl.String), "levelling_down": pl.Boolean}, orient="row")


def _delong(films: Mapping[str, ScoredFilms], baseline: str) -> pl.DataFrame:
    """DeLong's paired test of the overall AUROC of each finding, clustered by patient, seeds averaged."""
    schema = {"arm_a": pl.String, **dict.fromkeys(_KEY, pl.String), **dict.fromkeys(_JOINED[1:], pl.Float64)}
    rows = []
    base = films.get(baseline)
    for arm, other in films.items():
        if base is None or arm == baseline:
            continue
        if other.people["study_id"].to_list() != base.people["study_id"].to_list():
            continue  # another evaluation set: nothing is paired
        for column, finding in enumerate(base.findings):
            if finding not in other.findings:
                continue
            there = other.findings.index(finding)
            both = np.stack([*base.scores[:, :, column], *other.scores[:, :, there]])
            known = ~np.isnan(both).any(axis=0) & ~np.isnan(base.truth[:, column])
            truth, patient = base.truth[known, column], base.patient[known]
            if not 0 < truth.sum() < len(truth):
                continue
            patients = patient[truth == 1], patient[truth == 0]
            theirs = _components(other.scores[:, known, there], truth)
            found = compare(theirs, _components(base.scores[:, known, column], truth), patients)
            rows.append((arm, finding, OVERALL, OVERALL, "auroc", "overall", found.ci_lo, found.ci_hi, found.p))
    frame = pl.DataFrame(rows, schema=schema, orient="row")
    return frame.with_columns(pl.col(pl.Float64).fill_nan(None))


def _components(scores: np.ndarray, truth: np.ndarray) -> Components:
    return mean_components([structural_components(each, truth) for each in scores])


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
