"""Figures at an operating point: rates of every group, the gaps between them, raw and matched."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np

from cxr_assets.evaluation import gaps
from cxr_assets.evaluation.card import Card, Present, Sizes
from cxr_assets.evaluation.cells import OVERALL, POOLED, Grouping
from cxr_assets.evaluation.counted import Counted, by_group
from cxr_assets.evaluation.label_noise import noise_to_explain
from cxr_assets.evaluation.metrics import COUNT_METRICS, NO_FINDING, OF_NO_FINDING, tpr
from cxr_assets.evaluation.permutation import Exchange

SECONDARY = ("tpr", "fpr", "ppv", "npv", "flag_rate")
_WITH_INFLUENCE = ("tpr", "fpr", "fnr")


def score_counts(
    card: Card,
    finding: str,
    rule: str,
    counted: Counted | None,
    present: Present | None,
    *,
    primary: bool,
    named: Mapping[str, str] | None = None,
) -> None:
    """Rates and gaps of one finding at one operating point.

    Args:
        counted: confusion counts; None where the finding has no threshold, and the rows say so.
        present: the same films before any threshold.
        primary: secondary rules give the rates that move with them, and no permutation.
        named: other names of rates, in place of all of them: name of the metric → rate of ``metrics.COUNT_METRICS``.
    """
    if present is None:
        return
    metrics: dict[str, str] = dict(named) if named else {m: m for m in (COUNT_METRICS if primary else SECONDARY)}
    if finding == NO_FINDING and primary:
        metrics |= OF_NO_FINDING
    resampled = None if counted is None else counted.resampled(card.draws)
    exchange = totals = None
    if primary and counted is not None and card.permutations:
        counts = present.counted.by_patient().mean(axis=1)
        exchange = Exchange.make(card.lattice, card.films.patient, counts[:, [0, 2]], card.permutations, card.seed)
        totals = exchange.sums(counted.by_patient().reshape(card.pairs.patients, -1), card.pairs.cells)
    for grouping in card.lattice.groupings:
        sizes = present.sizes[grouping.attribute]
        if counted is None or resampled is None:
            _without_threshold(card, grouping, finding, rule, metrics, sizes)
            continue
        of_learner = by_group(resampled, grouping)
        values = {name: card.draws.mean(COUNT_METRICS[rate](of_learner)) for name, rate in metrics.items()}
        for name, value in values.items():
            card.figures(grouping, finding, name, value, sizes, threshold_id=rule)
        if grouping.attribute == OVERALL:
            if primary:
                for name in ("tpr", "fpr", "underdiagnosis", "underdiagnosis_any"):
                    if name in values:
                        card.keep(grouping, finding, OVERALL, name, "overall", values[name][:, 0])
            continue
        nulls = None if totals is None else _nulls(totals, grouping, len(counted.counts[0]))
        for name, value in values.items():
            rate = metrics[name]
            spread = card.max_min(
                grouping,
                finding,
                name,
                value,
                sizes,
                threshold_id=rule,
                null=None if nulls is None else COUNT_METRICS[rate](nulls).mean(axis=0),
                influence=partial(counted.influence, grouping, metric=rate) if rate in _WITH_INFLUENCE else None,
                noise=_noise(rate, values, sizes),
            )
            if primary and spread is not None and (finding == POOLED or name in OF_NO_FINDING):
                card.keep(grouping, finding, OVERALL, name, "max_min", spread)
        if primary and not named:
            _other_gaps(card, grouping, finding, rule, values, of_learner, sizes)


def _nulls(totals: tuple[np.ndarray, np.ndarray], grouping: Grouping, learners: int) -> np.ndarray:
    """Counts of every learner, permutation (the sample first) and group."""
    cells = np.concatenate(totals)
    split = cells.reshape(*cells.shape[:2], learners, 4)
    return by_group(np.moveaxis(split, 2, 0), grouping)


def _without_threshold(
    card: Card, grouping: Grouping, finding: str, rule: str, metrics: Mapping[str, str], sizes: Sizes
) -> None:
    """Rows that say why there is no figure; the sizes are known all the same."""
    nothing = np.full((card.b_reps + 1, len(grouping.groups)), np.nan)
    reasons = np.full(len(grouping.groups), "no_threshold")
    for name in metrics:
        card.figures(grouping, finding, name, nothing, sizes, threshold_id=rule, reasons=reasons)


def _noise(rate: str, values: Mapping[str, np.ndarray], sizes: Sizes) -> Callable[[int, int], float | None] | None:
    """Share of wrong labels in the worst group that would explain its distance to the best (label_noise)."""
    if rate not in ("tpr", "fpr") or not {"tpr", "fpr"} <= values.keys():
        return None

    def share(worst: int, best: int) -> float | None:
        reference = float(values[rate][0, best])
        found = noise_to_explain(
            rate,
            float(values[rate][0, worst]),
            reference,
            tpr=float(values["tpr"][0, worst]),
            fpr=float(values["fpr"][0, worst]),
            n_pos=int(sizes.positives[worst]),
            n_neg=int(sizes.negatives[worst]),
        )
        return found.share

    return share


def _other_gaps(
    card: Card,
    grouping: Grouping,
    finding: str,
    rule: str,
    values: Mapping[str, np.ndarray],
    counts: np.ndarray,
    sizes: Sizes,
) -> None:
    """Equalized odds, distance to the median, the shrunken gap, and each group against all others."""
    ok = card.eligible(sizes)
    shown = gaps.usable(values["tpr"], ok) & gaps.usable(values["fpr"], ok)
    many = int(shown.sum())
    if many < 2:
        return
    for kind, spread in gaps.equalized_odds(values["tpr"], values["fpr"], shown).items():
        card.gap(grouping, finding, "tpr_fpr", kind, spread, groups=many, threshold_id=rule)
    names = [grouping.groups[g] for g in np.flatnonzero(shown)]
    for at, name in enumerate(names):
        distance = gaps.to_median(values["tpr"], shown)[:, at]
        card.gap(grouping, finding, "tpr", "to_median", distance, groups=many, threshold_id=rule, worst=name)
    drawn = gaps.shrunken(values["tpr"][:, shown])
    spread = drawn.max(axis=1) - drawn.min(axis=1)
    card.gap(grouping, finding, "tpr", "shrunken", spread, groups=many, threshold_id=rule)
    if finding != POOLED:
        return
    for g in np.flatnonzero(ok):
        rest = tpr(counts.sum(axis=2) - counts[:, :, g])
        delta = card.draws.mean(tpr(counts[:, :, g]) - rest)
        group = grouping.groups[g]
        card.gap(grouping, finding, "tpr", "group_vs_rest", delta, groups=many, threshold_id=rule, worst=group)
        card.keep(grouping, finding, group, "tpr", "group_vs_rest", delta)
        if "×" not in grouping.attribute:
            card.keep(grouping, finding, group, "tpr", "group", values["tpr"][:, g])
