"""From predictions to the tidy tables of a scorecard: estimates by group, gaps with their null, intervals by patient.

Rates and AUROC per group with percentile intervals of a patient-cluster bootstrap; the max–min gap of every attribute
beside the gap that chance alone would give (permutation of group labels between patients); and each group against all
others. Undefined is null with a reason. Definitions: Hardt et al. 2016 (equal opportunity), Seyyed-Kalantari et al. 2021
(underdiagnosis), evaluation of gaps after permutation as in the project's docs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from cxr_assets.evaluation.bootstrap import (
    clustered_auroc,
    confusion,
    interval,
    learner_draws,
    patient_counts,
    patient_weights,
    permuted_gaps,
    rates,
    resample_counts,
)
from cxr_assets.evaluation.cells import OVERALL, POOLED, Grouping, ScoredFilms, groupings
from cxr_assets.evaluation.scorecard_tables import ESTIMATES, GAPS, REPLICATES, Eligibility, Scorecard

NO_FINDING = "no_finding"
GAP_METRICS = ("tpr", "fpr", "auroc")
TESTED_METRIC = "tpr"
ALPHA = 0.05


@dataclass
class _Rows:
    estimates: list[dict[str, object]] = field(default_factory=list)
    gaps: list[dict[str, object]] = field(default_factory=list)
    replicates: list[pl.DataFrame] = field(default_factory=list)


def score_arm(
    films: ScoredFilms,
    thresholds: np.ndarray,
    *,
    arm: str,
    attributes: Sequence[str],
    replicates: int = 1000,
    seed: int = 0,
    eligibility: Eligibility | None = None,
    evaluation_set: str = "test",
    patient_kind: str = "patient",
) -> Scorecard:
    """Scorecard of one arm, averaged over its training seeds.

    Every replicate draws training seeds first, then patients (hierarchical), with the same patient draws for every arm.

    Args:
        thresholds: shape ``(learners, findings)``, fitted on other films; NaN where there is none.
        attributes: columns of ``films.people``; all their intersections are scored too.
        patient_kind: what ``patient_id`` stands for; an interval is called patient-clustered only for ``patient``.
    """
    rule = eligibility or Eligibility()
    weights = patient_weights(films.patients, replicates, seed)
    draws = learner_draws(len(films.learners), replicates, seed)
    indicators = confusion(films, thresholds)
    pathologies = [i for i, f in enumerate(films.findings) if f != NO_FINDING]
    pooled = indicators[:, :, pathologies].sum(axis=2, keepdims=True)
    indicators = np.concatenate([indicators, pooled], axis=2)
    names = (*films.findings, POOLED)
    method = "patient_bootstrap_percentile" if patient_kind == "patient" else f"{patient_kind}_bootstrap_percentile"
    common = {"arm": arm, "learner": "all", "evaluation_set": evaluation_set}
    rows = _Rows()
    for grouping in groupings(films, attributes):
        by_patient = patient_counts(indicators, films, grouping)
        counts = resample_counts(weights, by_patient)
        values = {k: np.einsum("rgls,rl->rgs", v, draws) for k, v in _rates(counts).items()}
        if grouping.attribute.count("×") < 2:  # cells of three attributes hold too few films to rank
            values["auroc"] = _auroc(films, grouping, weights, draws, pathologies, rule)
        sizes = _sizes(films, grouping, counts[0].mean(axis=1))
        for column, finding in enumerate(names):
            ok = _eligible(sizes, column, rule)
            for metric, value in values.items():
                _estimate_rows(
                    rows, common, grouping, finding, metric, value[:, :, column], sizes, column, ok, rule, method
                )
            if grouping.attribute == OVERALL:
                if finding == POOLED:
                    _keep(rows, arm, finding, grouping, OVERALL, "auroc", "overall", values["auroc"][:, 0, column])
                    _keep(rows, arm, finding, grouping, OVERALL, "tpr", "overall", values["tpr"][:, 0, column])
                continue
            for metric in (m for m in GAP_METRICS if m in values):
                _gap_rows(rows, common, grouping, finding, metric, values[metric][:, :, column], ok)
            if finding == POOLED:
                _versus_rest(rows, common, grouping, counts[:, :, :, column], draws, ok)
                _permutation_test(rows, grouping, by_patient[:, :, :, column], ok, films, seed)
    gaps = _adjust(pl.DataFrame(rows.gaps, schema=GAPS))
    kept = pl.concat(rows.replicates) if rows.replicates else pl.DataFrame(schema=REPLICATES)
    return Scorecard(pl.DataFrame(rows.estimates, schema=ESTIMATES), gaps, kept)


def _rates(counts: np.ndarray) -> dict[str, np.ndarray]:
    found = rates(counts)
    return {k: found[k] for k in ("tpr", "fpr", "ppv", "npv", "flag_rate")}


def _auroc(
    films: ScoredFilms,
    grouping: Grouping,
    weights: np.ndarray,
    draws: np.ndarray,
    pathologies: list[int],
    rule: Eligibility,
) -> np.ndarray:
    """AUROC of every replicate, group and finding, the mean over pathologies last: ``(replicates, groups, findings + 1)``.

    Cells under the suppression limit are left NaN: sorting them a thousand times would tell nobody anything.
    """
    out = np.full((len(weights), len(grouping.groups), len(films.findings) + 1), np.nan)
    for group in range(len(grouping.groups)):
        inside = grouping.member == group
        for column in range(len(films.findings)):
            known = inside & ~np.isnan(films.truth[:, column]) & ~np.isnan(films.scores[:, :, column]).any(axis=0)
            truth = films.truth[known, column]
            if min(truth.sum(), len(truth) - truth.sum()) < rule.suppress_below:
                continue
            scores, patient = films.scores[:, known, column], films.patient[known]
            each = [clustered_auroc(scores[k], truth, patient, weights) for k in range(len(films.learners))]
            out[:, group, column] = np.einsum("lr,rl->r", np.stack(each), draws)
    some = ~np.isnan(out[0][:, pathologies]).all(axis=1)
    for group in np.flatnonzero(some).tolist():
        shown = [c for c in pathologies if np.isfinite(out[0, group, c])]
        values = out[:, group, shown]
        finite = np.isfinite(values)
        with np.errstate(invalid="ignore"):
            out[:, group, -1] = np.where(finite, values, 0).sum(axis=1) / finite.sum(axis=1)
    return out


@dataclass(frozen=True)
class _Sizes:
    images: np.ndarray
    patients: np.ndarray
    positives: np.ndarray
    negatives: np.ndarray


def _sizes(films: ScoredFilms, grouping: Grouping, counts: np.ndarray) -> _Sizes:
    """Sizes of every group and finding, ``(groups, findings + 1)``; counts ``(groups, findings + 1, 4)``.

    A finding's positives and negatives are those of the scored films, threshold or not; the pool's are those it counts.
    """
    groups = len(grouping.groups)
    patients = np.array([len(np.unique(films.patient[grouping.member == g])) for g in range(groups)])
    positives = np.rint(counts[..., 0] + counts[..., 1]).astype(int)
    negatives = np.rint(counts[..., 2] + counts[..., 3]).astype(int)
    scored = ~np.isnan(films.scores).all(axis=0)
    for group in range(groups):
        inside = (grouping.member == group)[:, None] & scored
        positives[group, :-1] = (inside & (films.truth == 1)).sum(axis=0)
        negatives[group, :-1] = (inside & (films.truth == 0)).sum(axis=0)
    images = positives + negatives
    images[:, -1] = [(grouping.member == g).sum() for g in range(groups)]
    return _Sizes(images, patients, positives, negatives)


def _eligible(sizes: _Sizes, column: int, rule: Eligibility) -> np.ndarray:
    return (
        (sizes.positives[:, column] >= rule.min_positives)
        & (sizes.negatives[:, column] >= rule.min_negatives)
        & (sizes.patients >= rule.min_patients)
    )


def _estimate_rows(
    rows: _Rows,
    common: dict[str, str],
    grouping: Grouping,
    finding: str,
    metric: str,
    value: np.ndarray,
    sizes: _Sizes,
    column: int,
    ok: np.ndarray,
    rule: Eligibility,
    method: str,
) -> None:
    for g, group in enumerate(grouping.groups):
        n_pos, n_neg = int(sizes.positives[g, column]), int(sizes.negatives[g, column])
        reason = _null_reason(metric, n_pos, n_neg, float(value[0, g]), rule, grouping)
        low, high = (None, None) if reason else interval(value[1:, g])
        if reason is None and low is None:
            reason = "unstable"  # too many resamples leave it undefined: no figure stands without its interval
        rows.estimates.append(
            common
            | {
                "finding": finding,
                "attribute": grouping.attribute,
                "group": group,
                "metric": metric,
                "n_images": int(sizes.images[g, column]),
                "n_patients": int(sizes.patients[g]),
                "n_pos": n_pos,
                "n_neg": n_neg,
                "estimate": None if reason else float(value[0, g]),
                "ci_lo": low,
                "ci_hi": high,
                "ci_method": method,
                "b_reps": len(value) - 1,
                "null_reason": reason,
                "eligible": bool(ok[g]),
                "weight_scheme": "none",
            }  # type: ignore[arg-type]
        )


def _null_reason(
    metric: str, n_pos: int, n_neg: int, value: float, rule: Eligibility, grouping: Grouping
) -> str | None:
    if n_pos == 0 and metric in ("tpr", "auroc"):
        return "no_pos"
    if n_neg == 0 and metric in ("fpr", "auroc"):
        return "no_neg"
    if grouping.attribute != OVERALL and min(n_pos, n_neg) < rule.suppress_below:
        return "suppressed"
    return None if np.isfinite(value) else "undefined"


def _gap_rows(
    rows: _Rows,
    common: dict[str, str],
    grouping: Grouping,
    finding: str,
    metric: str,
    value: np.ndarray,
    ok: np.ndarray,
) -> None:
    """The max–min gap over eligible groups. Its interval is biased upward and says so: read ``excess`` and ``p_perm``."""
    row: dict[str, object] = common | {
        "finding": finding,
        "attribute": grouping.attribute,
        "metric": metric,  # type: ignore[assignment]
        "gap_kind": "max_min",
        "reported": False,
        "family": "exploratory",
    }
    usable = ok & np.isfinite(value[0])
    if usable.sum() >= 2:
        shown = np.where(usable, value, np.nan)
        worst = np.nanargmax(shown[0]) if metric == "fpr" else np.nanargmin(shown[0])
        best = np.nanargmin(shown[0]) if metric == "fpr" else np.nanargmax(shown[0])
        gaps = np.nanmax(shown, axis=1) - np.nanmin(shown, axis=1)
        low, high = interval(gaps[1:])
        row |= {
            "observed": float(gaps[0]),
            "ci_lo": low,
            "ci_hi": high,
            "worst_group": grouping.groups[worst],
            "best_group": grouping.groups[best],
        }
        if finding == POOLED:
            _keep(rows, common["arm"], finding, grouping, OVERALL, metric, "max_min", gaps)
    rows.gaps.append(row)


def _versus_rest(
    rows: _Rows, common: dict[str, str], grouping: Grouping, counts: np.ndarray, draws: np.ndarray, ok: np.ndarray
) -> None:
    """Each eligible group's pooled TPR less that of all other groups together; signed, so an interval may exclude 0."""
    for g in np.flatnonzero(ok):
        own = rates(counts[:, g])["tpr"]
        rest = rates(counts.sum(axis=1) - counts[:, g])["tpr"]
        delta = ((own - rest) * draws).sum(axis=1)
        low, high = interval(delta[1:])
        rows.gaps.append(
            common
            | {
                "finding": POOLED,
                "attribute": grouping.attribute,
                "metric": TESTED_METRIC,
                "gap_kind": "group_vs_rest",
                "observed": float(delta[0]),
                "ci_lo": low,
                "ci_hi": high,
                "worst_group": grouping.groups[g],
                "best_group": None,
                "family": "exploratory",
                "reported": False,
            }  # type: ignore[arg-type]
        )
        _keep(rows, common["arm"], POOLED, grouping, grouping.groups[g], TESTED_METRIC, "group_vs_rest", delta)


def _permutation_test(
    rows: _Rows, grouping: Grouping, by_patient: np.ndarray, ok: np.ndarray, films: ScoredFilms, seed: int
) -> None:
    """Fill null mean, excess and p of the pooled TPR gap, the declared confirmatory test of each attribute."""
    if ok.sum() < 2:
        return
    first: dict[int, int] = {}
    for patient, member in zip(films.patient, grouping.member, strict=True):
        first.setdefault(int(patient), int(member))
    group = np.array([first[p] for p in range(films.patients)])
    totals = by_patient.sum(axis=1)
    positives = (totals[..., 0] + totals[..., 1]).mean(axis=1)
    strata = np.minimum(np.rint(positives), 3).astype(int)
    row = next(
        r
        for r in reversed(rows.gaps)
        if r["attribute"] == grouping.attribute
        and r["gap_kind"] == "max_min"
        and r["metric"] == TESTED_METRIC
        and r["finding"] == POOLED
    )
    gaps = permuted_gaps(
        totals, group, len(grouping.groups), strata, metric=TESTED_METRIC, permutations=1000, seed=seed, eligible=ok
    )
    observed = float(row["observed"])  # type: ignore[arg-type]
    row |= {
        "null_mean": float(np.nanmean(gaps)),
        "excess": observed - float(np.nanmean(gaps)),
        "family": "confirmatory",
        "p_perm": float((1 + (gaps >= observed - 1e-12).sum()) / (1 + len(gaps))),
    }


def _adjust(gaps: pl.DataFrame) -> pl.DataFrame:
    """Holm's step-down over the confirmatory family; a gap is reported where the adjusted p is at most 0.05."""
    family = gaps.with_row_index().filter(pl.col("family") == "confirmatory").sort("p_perm")
    m = family.height
    stepped = (
        np.maximum.accumulate([min(1.0, p * (m - i)) for i, p in enumerate(family["p_perm"])]) if m else np.array([])
    )
    adjusted = pl.DataFrame({"index": family["index"], "adjusted": stepped}, schema_overrides={"adjusted": pl.Float64})
    joined = gaps.with_row_index().join(adjusted, on="index", how="left", maintain_order="left")
    return joined.with_columns(p_adj="adjusted", reported=(pl.col("adjusted") <= ALPHA).fill_null(False)).select(
        list(GAPS)
    )


def _keep(
    rows: _Rows, arm: str, finding: str, grouping: Grouping, group: str, metric: str, quantity: str, values: np.ndarray
) -> None:
    rows.replicates.append(
        pl.DataFrame(
            {
                "arm": arm,
                "finding": finding,
                "attribute": grouping.attribute,
                "group": group,
                "metric": metric,
                "quantity": quantity,
                "replicate": np.arange(len(values)),
                "value": values.astype(np.float64),
            },
            schema=REPLICATES,
        )
    )
