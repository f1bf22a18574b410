"""Predictions as a stranger might send them: a planted disparity, a worse model, names that mean harm."""

from __future__ import annotations

import html.parser
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from cxr_assets.scoring import Scored
from cxr_assets.scoring.sections import sections
from cxr_assets.scoring.text import Section
from tests.evaluation.simulate import SMALL, simulated

ODD = "b/../../c|<script>alert(1)</script>&$x$"
FEW: dict[str, Any] = {"replicates": 40, "permutations": 149, "eligibility": SMALL}
FILES = {
    *(f"fairness_{name}.parquet" for name in ("estimates", "gaps", "contrasts", "reliability")),
    *("thresholds.parquet", "report.html", "report.md", "scorecard.json"),
}


def received(findings: Sequence[str] = ("edema", "fibrosis"), model: str = "model") -> pl.DataFrame:
    """Predictions of one model in the long form, black women's positives missed; the first hundred patients validate."""
    predictions, people = simulated(patients=400, missed=0.6, learners=("s0",), prevalence=0.45)
    predictions = predictions.filter(pl.col("finding").is_in(list(findings)))
    split = pl.when(pl.col("patient_id") < "p0100").then(pl.lit("val")).otherwise(pl.lit("test"))
    table = predictions.drop("learner").join(people, on="study_id")
    return table.with_columns(split=split, model=pl.lit(model))


def noisy(table: pl.DataFrame, model: str) -> pl.DataFrame:
    """The same films scored by a worse model."""
    noise = np.random.default_rng(9).uniform(0, 1, table.height)
    return table.with_columns(score=0.7 * pl.col("score") + 0.3 * noise, model=pl.lit(model))


def same(first: Scored, second: Scored) -> None:
    """Assert that two scorecards hold the same tables."""
    for name, frame in first.tables().items():
        assert frame.equals(second.tables()[name]), name


def section(scored: Scored, title: str) -> Section | None:
    """The section of that title, if the page has it."""
    return next((part for part in sections(scored) if part.title == title), None)


def cells(part: Section | None, **wanted: str) -> list[dict[str, str]]:
    """Rows of a section's table by the names of its head, those that hold what is wanted."""
    assert part is not None
    rows = [dict(zip(part.head, row, strict=True)) for row in part.rows]
    return [row for row in rows if all(row[name] == value for name, value in wanted.items())]


class Page(html.parser.HTMLParser):
    """Tags, addresses and text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.sources: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        self.text += data
