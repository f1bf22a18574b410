"""Pictures of the page: groups side by side, intersections, calibration, and models by accuracy and fairness."""

from __future__ import annotations

from itertools import product

import polars as pl

from cxr_assets.evaluation.cells import OVERALL, POOLED
from cxr_assets.evaluation.curves import gap_against_auroc, reliability_curves
from cxr_assets.evaluation.figures import forest_of_groups, intersection_map
from cxr_assets.plots import data_uri
from cxr_assets.scoring.text import Section, metric_name
from cxr_assets.scoring.view import View, declared

_MOST_FIGURES = 6
_MOST_PANELS = 16
_LEAST_FILMS = 20


def forests(view: View) -> Section | None:
    """Groups of attributes and pairs, the lowest first."""
    if not view.facts["attributes"]:
        return None
    wanted = list(product(view.models, view.findings))
    figures = []
    for model, finding in wanted[:_MOST_FIGURES]:
        own = _plain(view.estimates.filter(pl.col("arm") == model))
        picture = forest_of_groups(own, metric=view.metric, finding=_word(finding))
        figures.append((f"{metric_name(view.metric)} by group: {model}, {_of(finding)}", data_uri(picture)))
    text = f"The lowest at the foot. Hollow: too few to enter a gap; smaller groups are not drawn.{_first(len(wanted))}"
    return Section("Groups side by side", [text], figures=figures)


def intersections(view: View) -> Section | None:
    """Every pair of attributes as a map."""
    known = view.estimates.filter(
        pl.col("estimate").is_not_null()
        & (pl.col("metric") == view.metric)
        & (pl.col("attribute").str.count_matches("×", literal=True) == 1)
    )
    there = set(known.select("arm", "finding", "attribute").unique().iter_rows())
    pairs = known["attribute"].unique().sort()
    wanted = [key for key in product(view.models, view.findings, pairs) if key in there]
    if not wanted:
        return None
    figures = []
    for model, finding, pair in wanted[:_MOST_FIGURES]:
        own = _plain(view.estimates.filter(pl.col("arm") == model))
        picture = intersection_map(own, attribute=_word(pair), metric=view.metric, finding=_word(finding))
        figures.append((f"{metric_name(view.metric)} by {pair}: {model}, {_of(finding)}", data_uri(picture)))
    text = (
        "Blue is higher; colours run from the lowest to the highest cell of each map, so they do not compare maps. Hatched: too"
        f" few to enter a gap. Empty: too few to be shown, or nobody.{_first(len(wanted))}"
    )
    return Section("Intersections", [text], figures=figures)


def calibration(view: View) -> Section | None:
    """Share of positives beside the score, by attribute."""
    attributes = view.facts["attributes"] or [OVERALL]
    large = view.estimates.filter("eligible").select("attribute", "group").unique()
    rows = view.scored.reliability.filter(pl.col("attribute").is_in(attributes) & (pl.col("n") >= _LEAST_FILMS))
    if view.facts["attributes"]:
        rows = rows.join(large, on=["attribute", "group"], how="semi", maintain_order="left")
    there = set(rows.select("arm", "attribute").unique().iter_rows())
    wanted = [key for key in product(view.models, attributes) if key in there]
    if not wanted:
        return None
    findings = view.facts["findings"][:_MOST_PANELS]
    figures = []
    for model, attribute in wanted[:_MOST_FIGURES]:
        own = _plain(rows.filter((pl.col("arm") == model) & pl.col("finding").is_in(findings)))
        picture = reliability_curves(own, attribute=_word(attribute), least=_LEAST_FILMS)
        by = "of all films" if attribute == OVERALL else f"by {attribute}"
        figures.append((f"Calibration {by}: {model}", data_uri(picture)))
    some = f" The first {_MOST_PANELS} findings." if len(view.facts["findings"]) > _MOST_PANELS else ""
    text = (
        "On the dotted line a score of 0.3 means that three in ten such films are positive; below it scores are too high."
        " Where the lines of groups part, one threshold means another risk in each. Bands take films as independent, and are a"
        f" guide for the eye. Groups that are too small, and points of fewer than {_LEAST_FILMS} films, are left out."
        f"{some}{_first(len(wanted))}"
    )
    return Section("Calibration", [text], figures=figures)


def accuracy_and_fairness(view: View) -> Section | None:
    """The models that could be compared, by AUROC and by the gap that is told first."""
    paired = [m for m in view.models if m == view.facts["baseline"] or m in set(view.scored.contrasts["arm_a"])]
    told = declared(view.gaps(view.facts["baseline"])).filter(
        (pl.col("metric") == "tpr") & (pl.col("finding") == POOLED)
    )
    if len(paired) < 2 or told.is_empty():
        return None
    first = told.sort("reported", "excess", "attribute", descending=[True, True, False]).row(0, named=True)
    arms = pl.col("arm").is_in(paired)
    picture = gap_against_auroc(
        _plain(view.scored.replicates.filter(arms & (pl.col("attribute").is_in([first["attribute"], OVERALL])))),
        _plain(view.scored.gaps.filter(arms)),
        attribute=_word(first["attribute"]),
    )
    why = (
        "the largest reported gap of the baseline"
        if first["reported"]
        else "the largest gap of the baseline, not reported"
    )
    text = (
        f"TPR gap by {first['attribute']} ({why}), less what chance gives. Up is more accurate, left is fairer; a model further"
        f" left but lower has paid with accuracy. Ellipses hold 95 % of the draws of {view.ids} and seeds."
    )
    return Section("Accuracy and fairness", [text], figures=[("Models by AUROC and TPR gap", data_uri(picture))])


def _of(finding: str) -> str:
    return "findings of disease pooled" if finding == POOLED else finding


def _first(wanted: int) -> str:
    return f" The first {_MOST_FIGURES} of {wanted} pictures." if wanted > _MOST_FIGURES else ""


def _plain(frame: pl.DataFrame) -> pl.DataFrame:
    """Names as a picture may show them: a dollar sign would begin a formula, and a leading _ hide it from the legend."""
    there = [name for name in ("arm", "finding", "attribute", "group") if name in frame.columns]
    shown = pl.col(there).str.replace_all("$", r"\$", literal=True).str.replace(r"^_", " _")
    return frame.with_columns(shown)


def _word(name: str) -> str:
    return (" " if name.startswith("_") else "") + name.replace("$", r"\$")
