"""Every gap once more, at equal prevalence and ages of the groups (:mod:`matching`)."""

from __future__ import annotations

import numpy as np

from cxr_assets.evaluation.card import Card, Present, Sizes
from cxr_assets.evaluation.cells import OVERALL, Grouping
from cxr_assets.evaluation.matching import Matched, match_groups
from cxr_assets.evaluation.metrics import COUNT_METRICS, confusion_kind
from cxr_assets.evaluation.ranked import Ranked

SCHEME = "matched"
_RATES = ("tpr", "fpr", "ppv", "npv", "flag_rate")


def score_matched(
    card: Card, finding: str, one: Ranked, present: Present, flagged: np.ndarray | None, rule: str | None
) -> None:
    """Matched figures and gaps of one finding; where a grouping is by age, prevalence alone is matched.

    The weights are those of the sample in every replicate. A grouping without common support gets a row that says so.

    Args:
        flagged: bool ``(learners, films)`` at the primary rule; None where there is no threshold.
    """
    for grouping in card.ranked_groupings():
        if grouping.attribute == OVERALL:
            continue
        sizes = present.sizes[grouping.attribute]
        ok = card.eligible(sizes)
        if ok.sum() < 2:
            continue
        by_age = card.ages is None or card.age_name in grouping.attribute.split("×")
        member = one.member(grouping, ok)
        groups = len(grouping.groups)
        ages = None if by_age or card.ages is None else card.ages[one.rows]
        found = match_groups(member, groups, one.truth, ages, ok)
        metrics = [] if by_age else ["auroc"]
        if flagged is not None:  # matching prevalence alone moves neither AUROC nor TPR and FPR
            metrics += _RATES[2:] if by_age else _RATES
        if found is None:
            for metric in metrics:
                named = {"threshold_id": None if metric == "auroc" else rule, "weight_scheme": SCHEME}
                reason = "no_common_support"
                card.gap(grouping, finding, metric, "max_min", None, groups=0, reason=reason, **named)  # type: ignore[arg-type]
            continue
        rates = None if flagged is None else _counts(card, one, member, groups, flagged, found)
        for metric in metrics:
            if metric == "auroc":
                kept = np.where(found.weight > 0, member, -1)
                values, _ = one.ranks(card.draws, kept, groups, found.weight)
            else:
                values = card.draws.mean(COUNT_METRICS[metric](rates))  # type: ignore[arg-type]
            _write(card, grouping, finding, metric, values, sizes, found, rule)


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


def _write(
    card: Card,
    grouping: Grouping,
    finding: str,
    metric: str,
    values: np.ndarray,
    sizes: Sizes,
    found: Matched,
    rule: str | None,
) -> None:
    threshold = None if metric == "auroc" else rule
    card.figures(
        grouping,
        finding,
        metric,
        values,
        sizes,
        threshold_id=threshold,
        weight_scheme=SCHEME,
        effective=found.effective,
    )
    card.max_min(
        grouping,
        finding,
        metric,
        values,
        sizes,
        threshold_id=threshold,
        weight_scheme=SCHEME,
        effective=found.effective,
    )
