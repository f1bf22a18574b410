"""Figures at an operating point: rates of every group, the gaps between them, raw and matched."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np

from cxr_assets.evaluation import gaps
from cxr_assets.evaluation.card import Card, Present, Sizes
from cxr_assets.evaluation.cells import OVERALL, POOLED, Grouping
from cxr_assets.evaluation.counted import Tally, by_group, rates, weights_of_findings
from cxr_assets.evaluation.label_noise import NoiseToExplain, noise_to_explain
from cxr_assets.evaluation.metrics import COUNT_METRICS, NO_FINDING, OF_NO_FINDING

SECONDARY = ("tpr", "fpr", "ppv", "npv", "flag_rate")
_WITH_INFLUENCE = ("tpr", "fpr", "fnr")


def score_counts(
    card: Card,
    finding: str,
    rule: str,
    tallies: Sequence[Tally],
    present: Present | None,
    *,
    primary: bool,
    named: Mapping[str, str] | None = None,
    profile: np.ndarray | None = None,
) -> None:
    """Rates and gaps of one finding at one operating point, or of several, averaged (:func:`counted.rates`).

    Args:
        tallies: confusion counts of each finding; empty where there is no threshold, and the rows say so.
        present: the same films before any threshold.
        primary: secondary rules give the rates that move with them, and no permutation.
        named: other names of rates, in place of all of them: name of the metric → rate of ``metrics.COUNT_METRICS``.
        profile: what patients who exchange groups have in common besides their counts.
    """
    if present is None:
        return
    metrics: dict[str, str] = dict(named) if named else {m: m for m in (COUNT_METRICS if primary else SECONDARY)}
    if finding == NO_FINDING and primary:
        metrics |= OF_NO_FINDING
    moved = _moved(card, tallies, present, profile) if primary and tallies and card.permutations else None
    for grouping in card.lattice.groupings:
        sizes = present.sizes[grouping.attribute]
        if not tallies:
            _without_threshold(card, grouping, finding, rule, metrics, sizes)
            continue
        compared = card.eligible(sizes)
        counts = np.stack([by_group(t.drawn, grouping) for t in tallies])
        values = {name: card.draws.mean(rates(counts, rate, compared)) for name, rate in metrics.items()}
        for name, value in values.items():
            why = np.where(np.isnan(value[0]), "no_shared_finding", "") if len(tallies) > 1 else None
            card.figures(grouping, finding, name, value, sizes, threshold_id=rule, reasons=why)
        if grouping.attribute == OVERALL:
            if primary:
                for name in ("tpr", "fpr", "underdiagnosis", "underdiagnosis_any"):
                    if name in values:
                        card.keep(grouping, finding, OVERALL, name, "overall", values[name][:, 0])
            continue
        nulls = None if moved is None else by_group(moved, grouping)
        for name, value in values.items():
            rate = metrics[name]
            spread = card.max_min(
                grouping,
                finding,
                name,
                value,
                sizes,
                threshold_id=rule,
                null=None if nulls is None else rates(nulls, rate, compared).mean(axis=0),
                influence=partial(_influence, tallies, counts, grouping, metric=rate, compared=compared)
                if rate in _WITH_INFLUENCE
                else None,
                noise=_noise(rate, values, sizes),
            )
            if primary and spread is not None and (finding == POOLED or name in OF_NO_FINDING):
                card.keep(grouping, finding, OVERALL, name, "max_min", spread)
        if primary and not named:
            _other_gaps(card, grouping, finding, rule, values, counts, sizes)


def _moved(card: Card, tallies: Sequence[Tally], present: Present, profile: np.ndarray | None) -> np.ndarray:
    """Counts ``(findings, learners, permutations + 1, cells, 4)`` when groups are exchanged, the sample first."""
    exchange = card.exchange(present, profile)
    each = np.concatenate([t.counted.by_patient().reshape(card.pairs.patients, -1) for t in tallies], axis=1)
    cells = np.concatenate(exchange.sums(each, card.pairs.cells))
    split = cells.reshape(*cells.shape[:2], len(tallies), tallies[0].counted.learners, 4)
    return np.moveaxis(split, (2, 3), (0, 1))


def _influence(
    tallies: Sequence[Tally], counts: np.ndarray, grouping: Grouping, group: int, *, metric: str, compared: np.ndarray
) -> np.ndarray:
    """Influence of each patient on a group's rate, the weights of findings taken as given."""
    if len(tallies) == 1:
        return tallies[0].counted.influence(grouping, group, metric)
    weight = weights_of_findings(counts[:, :, 0], metric, compared).mean(axis=1)[:, group]
    each = [w * t.counted.influence(grouping, group, metric) for t, w in zip(tallies, weight, strict=True)]
    return np.sum(each, axis=0) / weight.sum()  # type: ignore[no-any-return]


def _without_threshold(
    card: Card, grouping: Grouping, finding: str, rule: str, metrics: Mapping[str, str], sizes: Sizes
) -> None:
    """Rows that say why there is no figure; the sizes are known all the same."""
    nothing = np.full((card.b_reps + 1, len(grouping.groups)), np.nan)
    reasons = np.full(len(grouping.groups), "no_threshold")
    for name in metrics:
        card.figures(grouping, finding, name, nothing, sizes, threshold_id=rule, reasons=reasons)


def _noise(rate: str, values: Mapping[str, np.ndarray], sizes: Sizes) -> Callable[[int, int], NoiseToExplain] | None:
    """Wrong labels in the worst group that would explain its distance to the best (label_noise)."""
    if rate not in ("tpr", "fpr") or not {"tpr", "fpr"} <= values.keys():
        return None

    def share(worst: int, best: int) -> NoiseToExplain:
        return noise_to_explain(
            rate,
            float(values[rate][0, worst]),
            float(values[rate][0, best]),
            tpr=float(values["tpr"][0, worst]),
            fpr=float(values["fpr"][0, worst]),
            n_pos=int(sizes.positives[worst]),
            n_neg=int(sizes.negatives[worst]),
        )

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
        own = counts[..., g, :]
        two = rates(np.stack([own, counts.sum(axis=-2) - own], axis=-2), "tpr", np.ones(2, dtype=bool))
        delta = card.draws.mean(two[..., 0] - two[..., 1])
        group = grouping.groups[g]
        card.gap(grouping, finding, "tpr", "group_vs_rest", delta, groups=many, threshold_id=rule, worst=group)
        card.keep(grouping, finding, group, "tpr", "group_vs_rest", delta)
        if "×" not in grouping.attribute:
            card.keep(grouping, finding, group, "tpr", "group", values["tpr"][:, g])
