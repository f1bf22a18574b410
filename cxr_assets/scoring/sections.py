"""The page in order, as a reader asks: who was scored, how well, for whom less well, and what is not known."""

from __future__ import annotations

from itertools import product
from typing import Any

import polars as pl

from cxr_assets.evaluation.cells import OVERALL, POOLED
from cxr_assets.evaluation.metrics import NO_FINDING
from cxr_assets.scoring.caveats import citation, limits
from cxr_assets.scoring.comparisons import contrasts, gaps, in_words, worst_intersections
from cxr_assets.scoring.pictures import accuracy_and_fairness, calibration, forests, intersections
from cxr_assets.scoring.score import Scored
from cxr_assets.scoring.text import SMALL, Section, number, people, reason
from cxr_assets.scoring.view import HEADLINE, View

_MOST_ROWS = 40


def sections(scored: Scored) -> list[Section]:
    """Everything between the lead and the end of the page."""
    view = View(scored)
    parts = [
        _scored_what(view),
        Section("Know before reading", items=view.facts["notes"]) if view.facts["notes"] else None,
        _headline(view),
        *in_words(view),
        _by_finding(view),
        _groups(view),
        forests(view),
        worst_intersections(view),
        intersections(view),
        gaps(view),
        calibration(view),
        contrasts(view),
        accuracy_and_fairness(view),
        _too_small(view),
        _thresholds(view),
        Section("What may not be concluded", items=limits(view.facts)),
        Section("How to cite these figures", text=citation(view.facts)),
    ]
    return [part for part in parts if part is not None]


def _scored_what(view: View) -> Section:
    facts = view.facts
    who = people(facts["settings"]["patient_id_kind"])
    rows = [
        *(
            [f"{i['role']} table", f"{i['file']}: {i['rows']} rows, SHA-256 {i['sha256'] or '–'}"]
            for i in facts["inputs"]
        ),
        ["scored (test)", f"{facts['studies']['test']} studies of {facts['patients']['test']} {who}"],
        ["validate", f"{facts['studies']['validate']} studies of {facts['patients']['validate']} {who}"],
        ["models", "; ".join(_seeds(model, facts) for model in view.models)],
        ["findings", ", ".join(facts["findings"])],
        ["groups by", ", ".join(facts["attributes"]) or "nothing"],
    ]
    return Section("What was scored", head=("", ""), rows=rows)


def _seeds(model: str, facts: dict[str, Any]) -> str:
    seeds = len(facts["seeds"][model])
    return f"{model} ({seeds} training seeds)" if seeds > 1 else model


def _headline(view: View) -> Section | None:
    if POOLED not in view.findings:
        return None
    pooled = view.estimates.filter((pl.col("attribute") == OVERALL) & (pl.col("finding") == POOLED))
    rows = [[model, *view.figures(pooled.filter(pl.col("arm") == model))] for model in view.models]
    at = (
        f"TPR and FPR over films of all findings of disease at the thresholds of rule {view.rule!r}"
        if view.rule
        else "No threshold, so no TPR and no FPR"
    )
    text = [f"AUROC: mean over findings of disease. {at}. In brackets: 95 % intervals."]
    names = {"TPR": "TPR (sensitivity)", "FPR": "FPR (1 - specificity)"}
    head = ("model", *(names.get(name, name) for name in view.figures_head))
    return Section("How well each model does", text, head, rows)


def _by_finding(view: View) -> Section:
    rows = []
    overall = view.estimates.filter(pl.col("attribute") == OVERALL)
    for model, finding in product(view.models, view.facts["findings"]):
        own = overall.filter((pl.col("arm") == model) & (pl.col("finding") == finding))
        sizes = [str(own[name].max() or 0) if own.height else "0" for name in ("n_pos", "n_neg")]
        rows.append([model, finding, *sizes, *view.figures(own)])
    head = ("model", "finding", "positives", "negatives", *view.figures_head)
    ill = f"FPR of {NO_FINDING} is the share of ill films called healthy (underdiagnosis)."
    return Section("By finding", [ill] if NO_FINDING in view.facts["findings"] else [], head, rows)


def _groups(view: View) -> Section | None:
    if view.scored.groups.is_empty():
        return None
    rows = []
    for attribute, group, studies, patients in view.scored.groups.iter_rows():
        sizes = [f"< {SMALL}" if patients < SMALL else str(n) for n in (studies, patients)]
        if group is None or attribute not in view.facts["attributes"]:
            rows.append([attribute, group or "unknown (in no group)", *sizes, *[""] * (3 + len(view.metrics))])
            continue
        own = view.estimates.filter((pl.col("attribute") == attribute) & (pl.col("group") == group))
        for model, finding in product(view.models, view.findings):
            part = own.filter((pl.col("arm") == model) & (pl.col("finding") == finding))
            enters = "yes" if part["eligible"].any() else "no"
            rows.append([attribute, group, *sizes, model, finding, *view.figures(part), enters])
    head = ("attribute", "group", "studies", view.ids, "model", "finding", *view.figures_head, "large enough")
    both = "Read TPR and FPR together: a group may gain in one what it loses in the other."
    all_of = f"Finding {POOLED!r}: findings of disease pooled (AUROC: their mean)."
    text = " ".join([*([both] if view.rule else []), *([all_of] if POOLED in view.findings else [])])
    return Section("By group", [text] if text else [], head, rows)


def _too_small(view: View) -> Section | None:
    least = view.facts["settings"]
    told = view.estimates.filter(
        (pl.col("attribute") != OVERALL) & pl.col("finding").is_in(view.findings) & pl.col("metric").is_in(HEADLINE)
    )
    keys = ["finding", "attribute", "group"]
    cells = told.group_by(keys).agg(pl.col("n_patients", "n_pos", "n_neg").max(), pl.col("eligible").any())
    small = cells.filter(~pl.col("eligible")).sort("n_patients", *keys, descending=[True, False, False, False])
    if small.is_empty():
        return None
    rows = []
    for row in small.head(_MOST_ROWS).iter_rows(named=True):
        few = f"< {least['suppress_below']}"
        patients = str(row["n_patients"]) if row["n_patients"] >= SMALL else f"< {SMALL}"
        sizes = (few if row[name] is None else str(row[name]) for name in ("n_pos", "n_neg"))
        rows.append([*(row[name] for name in keys), patients, *sizes])
    text = [
        f"Fewer than {least['min_positives']} positives, {least['min_negatives']} negatives or {least['min_patients']}"
        f" {people(least['patient_id_kind'])} of either: these groups and intersections enter no gap, and nothing here says"
        f" how they are served. With fewer than {least['suppress_below']} {people(least['patient_id_kind'])} of either their"
        " figures are not shown."
        f"{f' The {_MOST_ROWS} largest of {small.height}:' if small.height > _MOST_ROWS else ''}"
    ]
    head = ("finding", "by", "group", view.ids, "positives", "negatives")
    return Section("Groups too small to judge", text, head, rows)


def _thresholds(view: View) -> Section | None:
    if view.rule is None:
        return None
    cuts = view.scored.thresholds  # the first rule stands first
    rows = [
        [
            row["model"],
            row["seed"],
            row["finding"],
            row["rule"],
            number(row["threshold"], 4) if row["threshold"] is not None else f"– ({reason(row['null_reason'])})",
            (row["fitted_on"] or "–")[:16],
        ]
        for row in cuts.filter(pl.col("rule") == cuts["rule"][0]).iter_rows(named=True)
    ]
    text = [
        "A film is flagged if its score is at least the threshold. Fitted on: digest of the validate studies, none of which is"
        " a test study. All rules: thresholds.parquet."
    ]
    return Section("Thresholds", text, ("model", "seed", "finding", "rule", "threshold", "fitted on"), rows)
