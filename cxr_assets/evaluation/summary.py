"""The scorecard in a terminal: what ``cxr demo`` and ``cxr run`` end with."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import polars as pl
from rich.console import Console
from rich.table import Table

from cxr_assets.evaluation.report import BASELINE, headline, subject_of
from cxr_assets.warehouse import Store


def print_summary(root: Path) -> None:
    """Print one line an arm, the reported gaps of real only, the contrasts, and where to look next."""
    store, console = Store(root), Console(width=None if sys.stdout.isatty() else 200)
    report = store.manifest("report")
    cards = {m.partition["arm"]: m for m in store.manifests("fairness_scorecard")}
    if report:  # it leaves out what no longer holds
        cards = {arm: card for arm, card in cards.items() if arm in report.facts["arms"]}
    for limit in report.facts.get("limits", ()) if report else ():
        console.print(f"not here   {limit}")
    if not cards:
        console.print(f"\nno scorecard; report     {root / 'reports' / 'index.html'}" if report else "no scorecard yet")
        return
    gaps = {a: store.table("fairness_gaps", {"arm": a}) for a in cards}
    subject = subject_of(gaps.get(BASELINE, next(iter(gaps.values()))))
    table = Table(title="Scorecard: mean over seeds, 95 % intervals", title_justify="left")
    name = f"{subject[1]} less others (TPR)" if subject else "group less others"
    for column in ("arm", "seeds", "AUROC", "TPR", "FPR", name, "gaps reported"):
        table.add_column(column)
    for arm, card in sorted(cards.items(), key=lambda item: (item[0] != BASELINE, item[0])):
        head = headline(store.table("fairness_estimates", {"arm": arm}), gaps[arm], subject)
        table.add_row(
            arm,
            str(card.facts["learners"]),
            _span(head["auroc"]),
            _span(head["tpr"]),
            _span(head["fpr"]),
            _span(head["subject"], "observed"),
            ", ".join(r["attribute"] for r in head["reported"]) or "none",
        )
    console.print(table)
    if report and "fairness_contrasts" in report.rows and subject:
        changes = store.table("fairness_contrasts").filter(
            (pl.col("quantity") == "group_vs_rest")
            & (pl.col("attribute") == subject[0])
            & (pl.col("group") == subject[1])
        )
        for row in changes.iter_rows(named=True):
            console.print(
                f"  {row['arm_a']}: gap of {subject[1]} changes by {_span(row, 'delta')} against {row['arm_b']}"
            )
    console.print(f"\nreport     {root / 'reports' / 'index.html'}")
    console.print("next       cxr query worst_subgroup · cxr query gap_by_arm · cxr audit image ID · make ui")


def _span(row: dict[str, Any] | None, name: str = "estimate") -> str:
    if row is None or row.get(name) is None:
        return "–"
    if row["ci_lo"] is None:
        return "– (no interval)"
    return (
        f"{row[name]:+.3f} ({row['ci_lo']:+.3f}, {row['ci_hi']:+.3f})"
        if name != "estimate"
        else (f"{row[name]:.3f} ({row['ci_lo']:.3f}, {row['ci_hi']:.3f})")
    )
