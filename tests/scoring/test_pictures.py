"""Pictures of the page: what is drawn, of whom, and that odd names do not end in formulas."""

from __future__ import annotations

import warnings
from dataclasses import replace

import polars as pl
import pytest

from cxr_assets.scoring import Scored, pictures, score
from cxr_assets.scoring.report import pages
from cxr_assets.scoring.sections import sections
from cxr_assets.scoring.view import View
from tests.scoring.received import FEW, ODD, Page, noisy, received, section


class Drawn:
    """Stands for a painter and keeps what it is given."""

    def __init__(self) -> None:
        self.frames: list[pl.DataFrame] = []

    def __call__(self, rows: pl.DataFrame, *_: pl.DataFrame, **__: object) -> bytes:
        self.frames.append(rows)
        return b""


def test_pictures_show_intersections_calibration_and_models_by_gap(
    scored: Scored, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("forest_of_groups", "intersection_map", "reliability_curves", "gap_against_auroc"):
        monkeypatch.setattr(pictures, name, Drawn())
    shown = {part.title: [title for title, _ in part.figures] for part in sections(scored) if part.figures}
    assert shown["Intersections"] == [f"TPR by race×sex: {model}, findings of disease pooled" for model in ("a", ODD)]
    assert {"Calibration by sex: a", f"Calibration by sex: {ODD}"} <= set(shown["Calibration"])
    assert len(shown["Accuracy and fairness"]) == 1 and "race×sex" in section(scored, "Accuracy and fairness").text[0]  # type: ignore[union-attr]


def test_one_model_and_models_of_other_films_are_not_drawn_against_each_other() -> None:
    assert pictures.accuracy_and_fairness(View(score(received(("edema",)), **FEW))) is None
    short = noisy(received(("edema",)), "b").filter(pl.col("study_id") != "s00399")
    card = score(pl.concat([received(("edema",)), short]), **FEW)
    assert pictures.accuracy_and_fairness(View(card)) is None


def test_calibration_is_drawn_of_groups_that_are_large_enough_at_points_that_tell_of_nobody(
    scored: Scored, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = Drawn()
    monkeypatch.setattr(pictures, "reliability_curves", drawn)
    stray = (
        scored.reliability.filter(arm="a", attribute="sex")
        .head(1)
        .with_columns(group=pl.lit("other"), n=pl.lit(50, pl.Int64))
    )
    few = stray.with_columns(group=pl.lit("male"), n=pl.lit(19, pl.Int64))
    part = pictures.calibration(View(replace(scored, reliability=pl.concat([scored.reliability, stray, few]))))
    assert part is not None and len(drawn.frames) == len(part.figures)
    shown = pl.concat(drawn.frames)
    assert set(shown["group"]) <= {"female", "male", "asian", "black", "white"} and min(shown["n"]) >= 20


def test_without_groups_calibration_of_all_films_is_drawn() -> None:
    card = score(received(("edema",)), attributes=(), **FEW)
    assert [part.title for part in sections(card) if part.figures] == ["Calibration"]


def test_names_with_dollar_signs_and_underscores_are_drawn_as_they_are() -> None:
    formula = pl.concat_str(pl.lit("$^{$"), "race")  # taken for mathematics, this cannot be drawn
    odd = received(("edema",), "_m").with_columns(pl.lit("$^{$").alias("finding"), formula.alias("race"), _s="sex")
    table = pl.concat([odd, odd.with_columns(model=pl.lit("$^{$"))])
    card = score(table, attributes=("_s", "race"), **FEW)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        page = Page(pages(card)["report.html"])
    assert page.tags.count("img") > 5


def test_a_leading_underscore_does_not_hide_a_name_from_the_legend(
    scored: Scored, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = {"a": "_a", ODD: "b"}
    tables = {t: getattr(scored, t).with_columns(pl.col("arm").replace(named)) for t in ("gaps", "replicates")}
    contrasts = scored.contrasts.with_columns(arm_a=pl.lit("b"), arm_b=pl.lit("_a"))
    facts = scored.facts | {"models": ["_a", "b"], "baseline": "_a"}
    drawn = Drawn()
    monkeypatch.setattr(pictures, "gap_against_auroc", drawn)
    pictures.accuracy_and_fairness(View(replace(scored, contrasts=contrasts, facts=facts, **tables)))
    assert set(drawn.frames[0]["arm"]) == {" _a", "b"}
