"""Every gap once more, at equal prevalence and ages of the groups (:mod:`matching`)."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from cxr_assets.evaluation.card import Card, Present, Sizes
from cxr_assets.evaluation.cells import OVERALL, POOLED, Grouping
from cxr_assets.evaluation.counted import rates
from cxr_assets.evaluation.matching import Matched, match_groups
from cxr_assets.evaluation.metrics import COUNT_METRICS, NO_FINDING, OF_NO_FINDING, confusion_kind
from cxr_assets.evaluation.ranked import Ranked

SCHEME = "matched"
_MOVED_BY_PREVALENCE = frozenset({"ppv", "npv", "flag_rate"})


@dataclass
class MatchedPool:
    """Weighted counts ``(learners, replicates + 1, groups, 4)`` of the pathologies, by attribute, to be averaged at last."""

    card: Card
    each: dict[str, list[tuple[np.ndarray, Matched]]] = field(default_factory=dict)

    def add(self, grouping: Grouping, counts: np.ndarray, found: Matched) -> None:
        """Take in one pathology."""
        self.each.setdefault(grouping.attribute, []).append((counts, found))

    def extend(self, other: MatchedPool) -> None:
        """Take in what another has taken in."""
        for attribute, values in other.each.items():
            self.each.setdefault(attribute, []).extend(values)

    def write(self, present: Present | None, rule: str) -> None:
        """Rows over all pathologies in which all groups compared could be matched."""
        if present is None:
            return
        for grouping in self.card.lattice.groupings:
            sizes = present.sizes[grouping.attribute]
            compared = self.card.eligible(sizes)
            if grouping.attribute == OVERALL or compared.sum() < 2:
                continue
            taken = self.each.get(grouping.attribute, [])
            shared = [(counts, found) for counts, found in taken if (found.effective[compared] > 0).all()]
            for metric in COUNT_METRICS:
                if why := _unmatched(self.card, grouping, metric, bool(shared)):
                    _without(self.card, grouping, POOLED, metric, rule, why)
                    continue
                values = self.card.draws.mean(rates(np.stack([c for c, _ in shared]), metric, compared))
                effective = np.mean([f.effective for _, f in shared], axis=0)
                _write(self.card, grouping, POOLED, metric, values, sizes, effective, rule)


def score_matched(
    card: Card,
    finding: str,
    one: Ranked,
    present: Present,
    flagged: np.ndarray | None,
    rule: str | None,
    pool: MatchedPool,
) -> None:
    """Matched figures and gaps of one finding; where a grouping is by age, prevalence alone is matched.

    The weights are those of the sample in every replicate. A gap that cannot be matched gets a row that says why.

    Args:
        flagged: bool ``(learners, films)`` at the primary rule; None where there is no threshold.
    """
    named = {"auroc": "auroc"} | ({} if flagged is None else {m: m for m in COUNT_METRICS})
    if flagged is not None and finding == NO_FINDING:
        named |= OF_NO_FINDING
    for grouping in card.lattice.groupings:
        sizes = present.sizes[grouping.attribute]
        ok = card.eligible(sizes)
        if grouping.attribute == OVERALL or ok.sum() < 2:
            continue
        member = one.member(grouping, ok)
        groups = len(grouping.groups)
        ages = None if card.ages is None or _by_age(card, grouping) else card.ages[one.rows]
        found = match_groups(member, groups, one.truth, ages, ok)
        counts = None
        if flagged is not None and found is not None:
            counts = _counts(card, one, member, groups, flagged, found)
            if finding != NO_FINDING:
                pool.add(grouping, counts, found)
        for name, metric in named.items():
            threshold = None if metric == "auroc" else rule
            if why := _unmatched(card, grouping, metric, found is not None):
                _without(card, grouping, finding, name, threshold, why)
                continue
            assert found is not None
            if metric == "auroc":
                kept = np.where(found.weight > 0, member, -1)
                values, _ = one.ranks(card.draws, kept, groups, found.weight)
            else:
                assert counts is not None
                values = card.draws.mean(COUNT_METRICS[metric](counts))
            _write(card, grouping, finding, name, values, sizes, found.effective, threshold)


def _by_age(card: Card, grouping: Grouping) -> bool:
    return card.age_name in grouping.attribute.split("×")


def _unmatched(card: Card, grouping: Grouping, metric: str, supported: bool) -> str | None:
    """Why there is no matched gap; AUROC, TPR and FPR do not move where prevalence is all that can be matched."""
    if (card.ages is None or _by_age(card, grouping)) and metric not in _MOVED_BY_PREVALENCE:
        return "unmoved_by_prevalence"
    return None if supported else "no_common_support"


def _counts(
    card: Card, one: Ranked, member: np.ndarray, groups: int, flagged: np.ndarray, found: Matched
) -> np.ndarray:
    """Weighted counts of every learner, replicate and group, ``(learners, replicates + 1, groups, 4)``."""
    inside = np.flatnonzero(found.weight > 0)
    out = []
    for flags in flagged[:, inside]:
        slot = member[inside] * 4 + confusion_kind(flags, one.truth[inside])
        out.append(card.draws.sums(one.patient[inside], slot, groups * 4, found.weight[inside]))
    return np.stack(out).reshape(len(flagged), -1, groups, 4)


def _without(card: Card, grouping: Grouping, finding: str, metric: str, threshold: str | None, why: str) -> None:
    card.gap(
        grouping,
        finding,
        metric,
        "max_min",
        None,
        groups=0,
        reason=why,
        threshold_id=threshold,
        weight_scheme=SCHEME,
    )


def _write(
    card: Card,
    grouping: Grouping,
    finding: str,
    metric: str,
    values: np.ndarray,
    sizes: Sizes,
    effective: np.ndarray,
    threshold: str | None,
) -> None:
    for write in (card.figures, card.max_min):
        write(
            grouping,
            finding,
            metric,
            values,
            sizes,
            threshold_id=threshold,
            weight_scheme=SCHEME,
            effective=effective,
        )
