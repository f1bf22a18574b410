"""Calibration of every group: Brier score, calibration error with and without its bias, slope and intercept."""

from __future__ import annotations

import numpy as np

from cxr_assets.evaluation.calibration import (
    calibration_gap_at_equal_n,
    equal_mass_bins,
    null_calibration_error,
    reliability_table,
)
from cxr_assets.evaluation.calibration_lines import calibration_lines
from cxr_assets.evaluation.card import Card, Present, Sizes
from cxr_assets.evaluation.cells import OVERALL, Grouping
from cxr_assets.evaluation.counted import by_group
from cxr_assets.evaluation.ranked import Ranked

BINS = 15
_EQUAL_N_FILMS = 5_000
_EQUAL_N_DRAWS = 100


def score_calibration(card: Card, finding: str, one: Ranked, present: Present) -> None:
    """Rows of one finding for every grouping; cells too small to show are left out early."""
    cell, cells = card.lattice.cell[one.rows], card.pairs.cells
    films = card.draws.sums(one.patient, cell, cells)
    squares = [card.draws.sums(one.patient, cell, cells, (s - one.truth) ** 2) for s in one.scores]
    for grouping in card.lattice.groupings:
        sizes = present.sizes[grouping.attribute]
        least = 0 if grouping.attribute == OVERALL else card.rule.suppress_below  # needs no two classes, unlike ranking
        member = one.member(grouping, sizes.smaller >= least)
        held = by_group(films[..., None], grouping)[..., 0]
        with np.errstate(invalid="ignore"):
            brier = card.draws.mean(np.stack([by_group(q[..., None], grouping)[..., 0] / held for q in squares]))
        card.figures(grouping, finding, "brier", brier, sizes)
        _errors(card, grouping, finding, one, member, held, sizes)
        _lines(card, grouping, finding, one, member, sizes)
        if "×" not in grouping.attribute:
            _curves(card, grouping, finding, one, member, sizes)


def _errors(
    card: Card, grouping: Grouping, finding: str, one: Ranked, member: np.ndarray, films: np.ndarray, sizes: Sizes
) -> None:
    """ECE over bins of equal mass on the sample, as it is and less its mean under perfect calibration."""
    groups = len(grouping.groups)
    inside = np.flatnonzero(member >= 0)
    patient, group = one.patient[inside], member[inside]
    raw, debiased = [], []
    for scores in one.scores[:, inside]:
        bins, null = np.zeros(len(scores), dtype=np.int64), np.full(groups, np.nan)
        for g in np.unique(group):
            own = np.flatnonzero(group == g)
            bins[own] = equal_mass_bins(scores[own], BINS)
            null[g] = null_calibration_error(scores[own], bins[own])
        sums = card.draws.sums(patient, group * BINS + bins, groups * BINS, scores - one.truth[inside])
        with np.errstate(invalid="ignore"):
            error = np.abs(sums.reshape(-1, groups, BINS)).sum(axis=2) / films
            # A draw of patients adds its own noise to every bin: what it adds on average is taken off the replicates.
            drawn = np.isfinite(error[1:])  # not every draw holds a film of a small group
            error[1:] -= np.where(drawn, error[1:], 0.0).sum(axis=0) / drawn.sum(axis=0) - error[0]
        raw.append(error)
        debiased.append(error - null)
    card.figures(grouping, finding, "ece", card.draws.mean(np.stack(raw)), sizes)
    card.figures(grouping, finding, "ece_debiased", card.draws.mean(np.stack(debiased)), sizes)


def _lines(card: Card, grouping: Grouping, finding: str, one: Ranked, member: np.ndarray, sizes: Sizes) -> None:
    """Calibration slope and intercept with patient-clustered standard errors."""
    groups = len(grouping.groups)
    lines = [calibration_lines(s, one.truth, one.patient, member, groups) for s in one.scores]
    estimate = np.mean([x.estimate for x in lines], axis=0)
    error = np.mean([x.error for x in lines], axis=0)
    for at, name in enumerate(("calibration_slope", "calibration_intercept", "calibration_in_the_large")):
        why = np.full(groups, "undefined", dtype="<U24")
        for line in lines:
            why = np.where(line.null_reason != "", line.null_reason, why)
        why[np.isfinite(estimate[at])] = ""
        ends = estimate[at] - 1.96 * error[at], estimate[at] + 1.96 * error[at]
        method = f"{card.unit}_cluster_sandwich"
        card.figures(grouping, finding, name, estimate[at][None], sizes, ends=ends, method=method, reasons=why)


def _curves(card: Card, grouping: Grouping, finding: str, one: Ranked, member: np.ndarray, sizes: Sizes) -> None:
    """Reliability curves, and the gap in calibration error where every group is cut to the size of the smallest."""
    mean, truth = one.scores.mean(axis=0), one.truth.astype(np.float64)
    for row in reliability_table(mean, truth, member, grouping.groups):
        if int(row["n"]) >= card.rule.suppress_below:  # type: ignore[call-overload]  # fewer could tell of a person
            card.reliability.add(1, **card.common, finding=finding, attribute=grouping.attribute, **row)
    ok = card.eligible(sizes)
    if grouping.attribute == OVERALL or ok.sum() < 2:
        return
    kept = _thinned(one.patient, member, card.seed)
    kept = kept[np.lexsort((one.patient[kept], truth[kept], mean[kept]))]  # draws follow what films and groups hold,
    films, total = (np.bincount(member[kept], w, len(ok)) for w in (None, mean[kept]))
    by_size = np.lexsort((total, films))  # not what they are called
    draws = card.draws.by_patient[:, 1 : 1 + _EQUAL_N_DRAWS]
    found = [
        calibration_gap_at_equal_n(
            scores[kept],
            truth[kept],
            one.patient[kept],
            np.argsort(by_size)[member[kept]],
            len(ok),
            eligible=ok[by_size],
            draws=draws,
            seed=card.seed,
        )
        for scores in one.scores
    ]
    errors = np.mean([f.errors for f in found], axis=0)
    values = card.draws.mean(np.stack([np.append(f.observed, f.replicates) for f in found]))
    known = np.isfinite(errors).any()
    card.gap(
        grouping,
        finding,
        "ece_debiased",
        "max_min_equal_n",
        values if known else None,
        groups=int(ok.sum()),
        worst=grouping.groups[by_size[np.nanargmax(errors)]] if known else None,
        best=grouping.groups[by_size[np.nanargmin(errors)]] if known else None,
    )


def _thinned(patient: np.ndarray, member: np.ndarray, seed: int) -> np.ndarray:
    """Films of whole patients drawn at random, some 5,000 of each group at most: more change the third figure only."""
    luck = np.random.default_rng([seed, 0, 3]).random(int(patient.max(initial=0)) + 1)
    share = _EQUAL_N_FILMS / np.maximum(np.bincount(member[member >= 0], minlength=1), 1)
    return np.flatnonzero((member >= 0) & (luck[patient] < share[np.maximum(member, 0)]))
