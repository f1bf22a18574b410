"""Figures of ranking, which need no threshold: AUROC and average precision of every group, and the gaps between them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from cxr_assets.evaluation import gaps
from cxr_assets.evaluation.card import Card, Present, Sizes
from cxr_assets.evaluation.cells import OVERALL, POOLED, Grouping
from cxr_assets.evaluation.counted import by_group
from cxr_assets.evaluation.delong import structural_components
from cxr_assets.evaluation.label_noise import NoiseToExplain, noise_to_explain
from cxr_assets.evaluation.metrics import NO_FINDING
from cxr_assets.evaluation.ranked import Ranked


def score_ranking(card: Card, finding: str, one: Ranked, present: Present, pooled: Pooled) -> None:
    """Rows of one finding for every grouping; cells too small to show are left out early."""
    nulls = _permuted(card, one, present)
    cell, cells = card.lattice.cell[one.rows], card.pairs.cells
    classes = card.draws.sums(one.patient, cell * 2 + one.truth, cells * 2).reshape(-1, cells, 2)
    overall: np.ndarray | None = None
    for grouping in card.lattice.groupings:
        size = present.sizes[grouping.attribute]
        least = 1 if grouping.attribute == OVERALL else card.rule.suppress_below
        shown = size.smaller >= least
        member = one.member(grouping, shown)
        auroc, precision = one.ranks(card.draws, member, len(grouping.groups))
        card.figures(grouping, finding, "auroc", auroc, size)
        card.figures(grouping, finding, "auprc", precision, size)
        card.figures(grouping, finding, "auprc_lift", precision - _prevalence(by_group(classes, grouping)), size)
        if finding != NO_FINDING:
            pooled.add(grouping, auroc)
        if grouping.attribute == OVERALL:
            overall = auroc[:, 0]
            card.keep(grouping, finding, OVERALL, "auroc", "overall", overall)
            continue
        card.max_min(
            grouping,
            finding,
            "auroc",
            auroc,
            size,
            null=nulls.get(grouping.attribute),
            influence=_influence(card, one, member),
            noise=_noise(auroc[0]),
        )
        if overall is not None:
            _scaled(card, grouping, finding, auroc, overall, size)


def _prevalence(classes: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return classes[..., 1] / classes.sum(axis=-1)  # type: ignore[no-any-return]


def _permuted(card: Card, one: Ranked, present: Present) -> dict[str, np.ndarray]:
    """AUROC of the groups of every grouping when groups are exchanged between patients, the sample first."""
    compared = [
        g
        for g in card.lattice.groupings
        if g.attribute != OVERALL and card.eligible(present.sizes[g.attribute]).sum() >= 2
    ]
    if not compared or not card.permutations:
        return {}
    exchange = card.exchange(present)
    found = [exchange.aurocs(one.patient, s, one.truth, compared) for s in one.scores]
    return {g.attribute: np.mean([f[at] for f in found], axis=0) for at, g in enumerate(compared)}


def _influence(card: Card, one: Ranked, member: np.ndarray) -> Callable[[int], np.ndarray]:
    """Influence of each patient on a group's AUROC from its structural components (DeLong et al. 1988)."""

    def of(group: int) -> np.ndarray:
        inside = member == group
        truth, patient = one.truth[inside], one.patient[inside]
        total = np.zeros(card.films.patients)
        for scores in one.scores[:, inside]:
            parts = structural_components(scores, truth.astype(np.float64))
            for each, who in ((parts.positive, patient[truth]), (parts.negative, patient[~truth])):
                total += np.bincount(who, (each - parts.auroc) / len(each), minlength=len(total))
        return total / len(one.scores)

    return of


def _noise(auroc: np.ndarray) -> Callable[[int, int], NoiseToExplain]:
    def share(worst: int, best: int) -> NoiseToExplain:
        return noise_to_explain("auroc", float(auroc[worst]), float(auroc[best]))

    return share


def _scaled(card: Card, grouping: Grouping, finding: str, auroc: np.ndarray, overall: np.ndarray, sizes: Sizes) -> None:
    shown = gaps.usable(auroc, card.eligible(sizes))
    if shown.sum() < 2:
        return
    for kind, formula in (("es_auc", gaps.equity_scaled), ("mean_deviation", gaps.deviation)):
        card.gap(grouping, finding, "auroc", kind, formula(auroc, overall, shown), groups=int(shown.sum()))


@dataclass
class Pooled:
    """AUROC averaged over the pathologies that all groups compared have enough films of: some are easier than others."""

    card: Card
    each: dict[str, list[np.ndarray]] = field(default_factory=dict)

    def add(self, grouping: Grouping, auroc: np.ndarray) -> None:
        """Take in one pathology."""
        self.each.setdefault(grouping.attribute, []).append(auroc)

    def extend(self, other: Pooled) -> None:
        """Take in what another has taken in."""
        for attribute, values in other.each.items():
            self.each.setdefault(attribute, []).extend(values)

    def mean(self, grouping: Grouping, compared: np.ndarray) -> np.ndarray:
        """``(replicates + 1, groups)``; NaN where there is no pathology in common."""
        values = np.stack(self.each[grouping.attribute])
        shared = np.isfinite(values[:, 0, compared]).all(axis=1)
        known = np.isfinite(values) & np.isfinite(values[:, :1]) & shared[:, None, None]
        with np.errstate(invalid="ignore"):
            return np.where(known, values, 0.0).sum(axis=0) / known.sum(axis=0)  # type: ignore[no-any-return]

    def write(self, present: Present | None) -> None:
        """Rows of the mean, and its gap."""
        if present is None:
            return
        for grouping in self.card.lattice.groupings:
            if grouping.attribute not in self.each:
                continue
            sizes = present.sizes[grouping.attribute]
            values = self.mean(grouping, self.card.eligible(sizes))
            why = np.where(np.isnan(values[0]), "no_shared_finding", "")
            self.card.figures(grouping, POOLED, "auroc", values, sizes, reasons=why)
            if grouping.attribute == OVERALL:
                self.card.keep(grouping, POOLED, OVERALL, "auroc", "overall", values[:, 0])
                continue
            spread = self.card.max_min(grouping, POOLED, "auroc", values, sizes)
            if spread is not None:
                self.card.keep(grouping, POOLED, OVERALL, "auroc", "max_min", spread)
            if "×" not in grouping.attribute:
                for g in np.flatnonzero(self.card.eligible(sizes)):
                    self.card.keep(grouping, POOLED, grouping.groups[g], "auroc", "group", values[:, g])
