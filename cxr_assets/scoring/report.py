"""The page of a scorecard, in HTML and in Markdown: both are filled from the same sections, so that they say the same."""

from __future__ import annotations

import html
import re
from pathlib import Path

import jinja2
import polars as pl

from cxr_assets.evaluation.cells import POOLED
from cxr_assets.scoring.score import Scored
from cxr_assets.scoring.sections import sections
from cxr_assets.scoring.text import metric_name, number, probability, span
from cxr_assets.scoring.view import declared

TEMPLATES = Path(__file__).parent
_MOST_GAPS = 5


def pages(scored: Scored) -> dict[str, str]:
    """``report.html`` (needs nothing beside it) and ``report.md`` (without pictures) as text."""
    parts = {"lead": lead(scored), "sections": sections(scored), "facts": scored.facts}
    out = {}
    for kind in ("html", "md"):
        environment = jinja2.Environment(
            autoescape=kind == "html", trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
        )
        environment.filters["cell"] = markdown
        template = (TEMPLATES / f"report.{kind}.j2").read_text(encoding="utf-8")
        out[f"report.{kind}"] = environment.from_string(template).render(**parts)
    return out


def markdown(text: object) -> str:
    """Text that is one line or cell of Markdown, whatever is in it: no line end, no markup, no tag."""
    return re.sub(r"[\\`*_\[\]|~]", r"\\\g<0>", html.escape(" ".join(str(text).split()), quote=False))


def lead(scored: Scored) -> list[str]:
    """What was found in each model, before anything else."""
    told = []
    for model in scored.facts["models"]:
        tests = declared(scored.gaps.filter(pl.col("arm") == model))
        found = tests.filter("reported").sort("p_adj", "excess", "attribute", descending=[False, True, False])
        for row in found.head(_MOST_GAPS).iter_rows(named=True):
            which = "" if row["finding"] == POOLED else f" for {row['finding']}"
            told.append(
                f"{model}: {metric_name(row['metric'])}{which} differs by {row['attribute']}: worst for {row['worst_group']},"
                f" best for {row['best_group']}; gap {span(row, 'observed')}, of which chance alone gives"
                f" {number(row['null_mean'])} (adjusted p {probability(row['p_adj'])})."
            )
        if found.height > _MOST_GAPS:
            told.append(f"{model}: {found.height - _MOST_GAPS} more, reported below.")
        if not tests.height:
            told.append(f"{model}: no gap declared beforehand could be tested ({_why_not(scored, model)}).")
        elif not found.height:
            told.append(
                f"{model}: no gap is shown to be larger than chance gives ({tests.height} tested, Holm-adjusted, 5 %). That"
                " does not show that there is none."
            )
    return told


def _why_not(scored: Scored, model: str) -> str:
    if not scored.facts["attributes"]:
        return "there are no groups to compare"
    fitted = scored.thresholds.filter(pl.col("model") == model)["threshold"].drop_nulls()
    return "no two groups are large enough" if len(fitted) else "no threshold; gaps of ranking are below"
