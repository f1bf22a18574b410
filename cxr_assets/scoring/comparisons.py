"""Groups and models against each other, in words and in tables."""

from __future__ import annotations

import polars as pl

from cxr_assets.evaluation.cells import OVERALL, POOLED
from cxr_assets.evaluation.contrasts import NI_MARGIN
from cxr_assets.evaluation.family import ALPHA
from cxr_assets.evaluation.metrics import NO_FINDING, WORSE_WHEN_HIGHER
from cxr_assets.evaluation.words import tell
from cxr_assets.scoring.text import Section, metric_name, number, probability, span
from cxr_assets.scoring.view import HEADLINE, View, as_in, declared

_FEW_MODELS = 3
_MOST_OTHERS = 10


def in_words(view: View) -> list[Section]:
    """Sentences about the baseline, and about the others where there are few."""
    models = view.models if len(view.models) <= _FEW_MODELS else view.models[:1]
    told = []
    for model in models:
        own = pl.col("arm") == model
        sentences = tell(view.scored.estimates.filter(own), view.scored.gaps.filter(own))
        told.append(Section("In words" if len(view.models) == 1 else f"In words: {model}", items=sentences))
    return told if view.facts["attributes"] else []


def worst_intersections(view: View) -> Section | None:
    """The eligible group of every intersection with the worst figure, the worst of all first."""
    known = view.estimates.filter(
        pl.col("attribute").str.contains("×", literal=True)
        & pl.col("finding").is_in(view.findings)
        & pl.col("eligible")
        & pl.col("estimate").is_not_null()
    )
    keys = ["arm", "finding", "attribute"]
    falling = view.metric in WORSE_WHEN_HIGHER
    ranked = known.filter(pl.col("metric") == view.metric).sort(
        as_in(view.models),
        "finding",
        "estimate",
        "attribute",
        "group",
        descending=[False, False, falling, False, False],
    )
    worst = ranked.unique(keys, keep="first", maintain_order=True)
    if worst.is_empty():
        return None
    rows = []
    for row in worst.select(*keys, "group", "n_patients").iter_rows(named=True):
        own = known.filter(pl.col(name) == row[name] for name in (*keys, "group"))
        rows.append([*(row[name] for name in (*keys, "group")), str(row["n_patients"]), *view.figures(own)])
    text = [
        f"The {'highest' if falling else 'lowest'} {metric_name(view.metric)} among the large enough groups of each intersection."
        " Somebody is always last: the gaps below say whether it is more than chance."
    ]
    head = ("model", "finding", "by", "group", view.ids, *view.figures_head)
    return Section("Which intersections are served worst", text, head, rows)


def gaps(view: View) -> Section | None:
    """Declared gaps, the gap in ranking, and which of all others stand out."""
    if not view.facts["attributes"]:
        return None
    every = view.gaps()
    single = ~pl.col("attribute").str.contains("×", literal=True)
    ranking = (pl.col("metric") == "auroc") & pl.col("finding").is_in(view.findings)
    others = every.filter(pl.col("family") != "confirmatory")
    # FNR gaps are TPR gaps over again, and rates of No Finding have rows by their own names.
    again = (pl.col("metric") == "fnr") | (pl.col("metric").is_in(["tpr", "fpr"]) & (pl.col("finding") == NO_FINDING))
    outstanding = others.filter((pl.col("p_adj") <= ALPHA) & ~again & ~ranking)
    first = outstanding.sort(
        "p_adj", "excess", "arm", "finding", "attribute", "metric", descending=[False, True, *4 * [False]]
    )
    parts = [
        declared(every).with_columns(order=0),
        others.filter(ranking & single if view.rule else ranking).with_columns(order=1),
        first.head(_MOST_OTHERS).with_columns(order=2),
    ]
    shown = pl.concat(parts).sort("order", as_in(view.models), "finding", "attribute", "metric")
    rows = [
        [
            *(row[name] for name in ("arm", "finding", "attribute")),
            metric_name(row["metric"]),
            span(row, "observed"),
            *(number(row[name]) for name in ("null_mean", "excess")),
            probability(row["p_adj"]),
            *(row[name] or "–" for name in ("worst_group", "best_group")),
            "not declared" if row["order"] else "yes" if row["reported"] else "no",
        ]
        for row in shown.iter_rows(named=True)
    ]
    names = ("model", "finding", "by", "metric", "gap", "by chance", "excess", "p adj.", "worst group", "best group")
    many = f" Shown are the {_MOST_OTHERS} of smallest p."
    more = many if outstanding.height > _MOST_OTHERS else ""
    text = [
        "Gap: largest less smallest figure of the groups that are large enough. Some gap always comes by chance, the more"
        " groups the larger; the excess is what remains. Its interval hardly ever reaches 0, so it says how large the gap may"
        f" be and not whether there is one: that is for the p. A declared gap is reported where Holm's p is at most {ALPHA}.",
        "Not declared: the gap in AUROC, and any other gap that stands out at a false-discovery rate of 5 %: to be confirmed"
        f" on other films.{more} All gaps are in fairness_gaps.parquet.",
    ]
    if POOLED in view.findings:
        text.append(
            "The AUROC averaged over findings has no gap by chance to be held against: read it with its interval."
        )
    return Section("Gaps between groups", text, (*names, "reported"), rows)


def contrasts(view: View) -> Section | None:
    """Every model less the baseline."""
    if view.scored.contrasts.is_empty():
        return None
    told = (pl.col("finding") == POOLED) & pl.col("metric").is_in(HEADLINE) | (pl.col("metric") == "underdiagnosis")
    overall = (pl.col("quantity") == "overall") & (told | (pl.col("metric") == "auroc"))
    single = ~pl.col("attribute").str.contains("×", literal=True)
    spread = (pl.col("quantity") == "max_min") & told & (single | (pl.col("metric") == view.metric))
    kept = view.scored.contrasts.filter(overall | spread).sort(
        as_in(view.models, "arm_a"),
        pl.col("quantity") != "overall",
        pl.col("finding") != POOLED,
        "finding",
        "attribute",
        "metric",
    )
    rows = [
        [
            row["arm_a"],
            row["finding"],
            metric_name(row["metric"]) + ("" if row["attribute"] == OVERALL else f" gap by {row['attribute']}"),
            number(row["value_b"]),
            number(row["value_a"]),
            span(row, "delta"),
            probability(row["p_adj"]),
            probability(row["delong_p"]) if row["delong_p"] is not None else "",
            "" if row["ni_pass"] is None else "yes" if row["ni_pass"] else "not shown",
            "" if row["levelling_down"] is None else "yes" if row["levelling_down"] else "no",
        ]
        for row in kept.iter_rows(named=True)
    ]
    baseline = view.facts["baseline"]
    names = ("model", "finding", "what", f"{baseline} (baseline)", "this model", "change", "p adj.")
    text = [
        f"Each model less {baseline}, draw by draw of the same {view.ids}; p by false-discovery rate over every row of"
        " fairness_contrasts.parquet. A gap that falls is fairer."
        f" Non-inferior: the interval of the AUROC excludes a loss of {NI_MARGIN} or more.",
        f"DeLong p: a second test of the AUROC of one finding, clustered by {view.ids}, not adjusted; it takes the training seeds"
        " as given, where the intervals draw them too. Levelled down: the group that the baseline serves best fell by more than"
        " the one that it serves worst rose, whatever became of the gap.",
    ]
    return Section("Models against each other", text, (*names, "DeLong p", "non-inferior", "levelled down"), rows)
