"""A scorecard in sentences, for those who read no tables: what was found, how sure it is, what could explain it."""

from __future__ import annotations

from typing import Any

import polars as pl

from cxr_assets.evaluation.cells import POOLED
from cxr_assets.evaluation.family import ALPHA, TWINS

_POOLED = (pl.col("finding") == POOLED) & pl.col("primary")
_NAMES = {
    "underdiagnosis_any": "nothing flagged on a film of somebody ill",
    "underdiagnosis": "the label No Finding given to somebody ill",
    "overdiagnosis": "the label No Finding withheld from somebody healthy",
}


def tell(estimates: pl.DataFrame, gaps: pl.DataFrame) -> list[str]:
    """Sentences about one arm, most important first."""
    return [
        *_worst(estimates, gaps),
        *_underdiagnosis(gaps),
        *_matched(gaps),
        *_noise(gaps),
        *_tests(gaps),
        *_hidden(estimates),
    ]


def ids(kind: str) -> str:
    """What ``patient_id`` stands for, in the plural: the heading of a column must not call films patients."""
    return "patients" if kind == "patient" else f"{kind} ids"


def _span(row: dict[str, Any], name: str = "estimate") -> str:
    if row["ci_lo"] is None:
        return f"{row[name]:.3f} (no interval)"
    return f"{row[name]:.3f} (95 % interval {row['ci_lo']:.3f} to {row['ci_hi']:.3f})"


def _verdict(gap: dict[str, Any]) -> str:
    if gap["p_adj"] is None:
        return "not tested"
    if gap["family"] == "confirmatory":
        return "more than chance gives" if gap["reported"] else "not shown to be more than chance gives"
    return "stands out among the gaps looked at" if gap["p_adj"] <= ALPHA else "not shown to be more than chance gives"


def _worst(estimates: pl.DataFrame, gaps: pl.DataFrame) -> list[str]:
    """The eligible group of each attribute whose ill are found least often, and whether that is more than chance."""
    tested = gaps.filter(_POOLED & (pl.col("metric") == "tpr") & (pl.col("gap_kind") == "max_min"))
    verdict = {r["attribute"]: _verdict(r) for r in tested.iter_rows(named=True)}
    rows = estimates.filter(
        _POOLED & (pl.col("metric") == "tpr") & pl.col("eligible") & pl.col("estimate").is_not_null()
    )
    singles = rows.filter(~pl.col("attribute").str.contains("×") & (pl.col("attribute") != "all"))
    told = []
    for (attribute,), part in singles.sort("estimate", "group").group_by("attribute", maintain_order=True):
        if part.height < 2:
            continue
        low, high = part.row(0, named=True), part.row(-1, named=True)
        told.append(
            f"By {attribute}, findings are seen least often in {low['group']}: true-positive rate {_span(low)}, against"
            f" {_span(high)} in {high['group']}; {verdict.get(attribute, 'not tested')}."
        )
    return told


def _underdiagnosis(gaps: pl.DataFrame) -> list[str]:
    rows = gaps.filter(
        pl.col("metric").is_in(list(_NAMES))
        & (pl.col("gap_kind") == "max_min")
        & pl.col("primary")
        & pl.col("p_adj").is_not_null()
        & ~pl.col("attribute").str.contains("×")
    ).sort("p_adj", "metric", "attribute")
    told = []
    for row in rows.filter(pl.col("p_adj") <= 0.05).iter_rows(named=True):
        name = _NAMES[row["metric"]]
        told.append(
            f"{name[0].upper()}{name[1:]}: most often in {row['worst_group']}, least in {row['best_group']}; gap"
            f" {_span(row, 'observed')}, of which chance alone would give {row['null_mean']:.3f} ({row['family']}, adjusted"
            f" p {row['p_adj']:.3f})."
        )
    if rows.height and not told:
        told.append("No attribute's gap in underdiagnosis or overdiagnosis is shown to be larger than chance gives.")
    return told


def _matched(gaps: pl.DataFrame) -> list[str]:
    """Whether the reported gaps by single attributes shrink at equal prevalence and ages."""
    rows = gaps.filter(
        (pl.col("finding") == POOLED)
        & (pl.col("metric") == "tpr")
        & (pl.col("gap_kind") == "max_min")
        & ~pl.col("attribute").str.contains("×")
    )
    matched = rows.filter(pl.col("weight_scheme") == "matched").select("attribute", after="observed")
    both = rows.filter(pl.col("primary") & pl.col("reported")).join(matched.drop_nulls(), on="attribute")
    return [
        f"At equal prevalence and ages, the gap in true-positive rate by {row['attribute']} is {row['after']:.3f}, against"
        f" {row['observed']:.3f} as it stands: "
        + (
            "who was filmed does not explain it."
            if row["after"] >= 0.8 * row["observed"]
            else "part of it is who was filmed."
        )
        for row in both.sort("attribute").iter_rows(named=True)
    ]


def _noise(gaps: pl.DataFrame) -> list[str]:
    rows = gaps.filter(
        _POOLED & (pl.col("metric") == "tpr") & pl.col("reported") & pl.col("noise_to_explain").is_not_null()
    )
    return [
        f"The gap by {r['attribute']} could be an artefact of labels alone if {100 * r['noise_to_explain']:.0f} % of the films"
        f" of {r['worst_group']} that are labelled positive were really negative, and none of those of {r['best_group']}."
        for r in rows.sort("attribute").iter_rows(named=True)
    ]


def _tests(gaps: pl.DataFrame) -> list[str]:
    tested = gaps.filter(pl.col("p_perm").is_not_null() & (pl.col("weight_scheme") == "none") & ~TWINS)
    if tested.is_empty():
        return ["No gap could be tested against chance: too few groups are large enough, or there are no thresholds."]
    declared = tested.filter(pl.col("family") == "confirmatory")
    other = tested.filter(pl.col("family") != "confirmatory")
    found = other.filter(pl.col("p_adj") <= 0.05).height
    return [
        f"{declared.height} gaps were declared beforehand and tested as a family (Holm); {int(declared['reported'].sum())}"
        f" are shown to be larger than chance gives. {other.height} more were looked at (false-discovery rate 5 %): {found}"
        " stand out, to be confirmed elsewhere."
    ]


def _hidden(estimates: pl.DataFrame) -> list[str]:
    cells = estimates.filter(_POOLED & (pl.col("metric") == "tpr") & (pl.col("attribute") != "all"))
    hidden = cells.filter(pl.col("null_reason") == "suppressed")
    pale = cells.filter(pl.col("estimate").is_not_null() & ~pl.col("eligible"))
    if hidden.is_empty() and pale.is_empty():
        return []
    named = ", ".join(hidden["group"].unique().sort().to_list()[:12])
    return [
        f"{pale.height} groups are shown as imprecise and enter no gap; {hidden.height} are too small to be shown"
        + (f" ({named}{' …' if hidden['group'].n_unique() > 12 else ''})." if named else ".")
    ]
