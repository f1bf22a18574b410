"""How the page writes: sections, figures with their intervals, and why there is no figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cxr_assets.evaluation.words import ids

SMALL = 5
"""Groups of fewer patients are printed as '< 5': a page may be handed on."""
_NAMES = {
    "tpr": "TPR",
    "fpr": "FPR",
    "fnr": "FNR",
    "ppv": "PPV",
    "npv": "NPV",
    "auroc": "AUROC",
    "flag_rate": "share flagged",
    "underdiagnosis": "underdiagnosis",
    "underdiagnosis_any": "share of ill films with no finding flagged",
}
_REASONS = {
    "no_pos": "no positives",
    "no_neg": "no negatives",
    "suppressed": "too few, not shown",
    "unstable": "too few to give an interval",
    "no_threshold": "no threshold",
    "fewer_than_two_groups": "fewer than two groups are large enough",
    "one_class": "its validate rows hold one class",
    "no_validate_rows": "no validate rows",
}


@dataclass(frozen=True)
class Section:
    """A heading, sentences, one table and pictures; every cell is plain text."""

    title: str
    text: Sequence[str] = ()
    head: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    figures: Sequence[tuple[str, str]] = ()
    items: Sequence[str] = ()


def metric_name(metric: str) -> str:
    """A metric as the field writes it."""
    return _NAMES.get(metric, metric.replace("_", " "))


def number(value: float | None, digits: int = 3) -> str:
    """A figure, or a dash where there is none."""
    return "–" if value is None else f"{value:z.{digits}f}"


def probability(p: float | None) -> str:
    """A p value; one that rounds to 0 is told as less than the last digit."""
    return "< 0.001" if p is not None and p < 0.0005 else number(p)


def span(row: dict[str, Any] | None, name: str = "estimate") -> str:
    """A figure with its interval, or a dash and why there is none."""
    if row is None or row.get(name) is None:
        why = (row or {}).get("null_reason")
        return f"– ({reason(why)})" if why else "–"
    if row["ci_lo"] is None:
        return f"{number(row[name])} (no interval)"
    return f"{number(row[name])} ({number(row['ci_lo'])} to {number(row['ci_hi'])})"


def reason(code: str) -> str:
    """Why there is no figure, in words."""
    return _REASONS.get(code, code.replace("_", " "))


def people(kind: str) -> str:
    """What was drawn for the intervals, in the plural."""
    return ids(kind) if kind == "patient" else f"{ids(kind)} (patients are not known)"
