"""Pictures of the page: what is drawn, of whom, and that odd names do not end in formulas."""

from __future__ import annotations

import warnings

import polars as pl

from cxr_assets.scoring import Scored, score
from cxr_assets.scoring.report import pages
from cxr_assets.scoring.sections import sections
from tests.scoring.received import FEW, ODD, Page, noisy, received, section


def test_pictures_show_intersections_calibration_and_models_by_gap(scored: Scored) -> None:
    shown = {part.title: [title for title, _ in part.figures] for part in sections(scored) if part.figures}
    assert shown["Intersections"] == [f"TPR by race×sex: {model}, findings of disease pooled" for model in ("a", ODD)]
    assert {"Calibration by sex: a", "Calibration by race: a", f"Calibration by sex: {ODD}"} <= set(
        shown["Calibration"]
    )
    assert len(shown["Accuracy and fairness"]) == 1 and "race×sex" in section(scored, "Accuracy and fairness").text[0]  # type: ignore[union-attr]


def test_one_model_and_models_of_other_films_are_not_drawn_against_each_other() -> None:
    assert section(score(received(("edema",)), **FEW), "Accuracy and fairness") is None
    short = noisy(received(("edema",)), "b").filter(pl.col("study_id") != "s00399")
    assert section(score(pl.concat([received(("edema",)), short]), **FEW), "Accuracy and fairness") is None


def test_without_groups_calibration_of_all_films_is_drawn() -> None:
    card = score(received(("edema",)), attributes=(), **FEW)
    assert [part.title for part in sections(card) if part.figures] == ["Calibration"]


def test_names_with_dollar_signs_and_underscores_are_drawn_as_they_are() -> None:
    odd = {"race": pl.concat_str(pl.lit("$white^{"), "race"), "_s$": "sex", "finding": pl.lit("$f$")}
    table = pl.concat([received(("edema",), model).with_columns(**odd) for model in ("_m", "$n$")])
    card = score(table, attributes=("_s$", "race"), **FEW)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        page = Page(pages(card)["report.html"])
    assert page.tags.count("img") > 5
