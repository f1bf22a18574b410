from __future__ import annotations

import io
from typing import Any

import numpy as np
import polars as pl
from PIL import Image

from cxr_assets.evaluation.leaderboard.board import score_frame
from cxr_assets.evaluation.leaderboard.metrics import score
from cxr_assets.evaluation.leaderboard.plots import chart, film_sheet, headline_figures, shared_requests
from cxr_assets.evaluation.leaderboard.ranking import standings
from cxr_assets.evaluation.leaderboard.tables import cell, markdown, terminal

FACTS: dict[str, Any] = {"cohort": "phantom", "judge": "oracle", "missing": ["flat"], "sets": {"hcn": "abc"}}


def scored(seeds: int = 3) -> pl.DataFrame:
    rows = []
    for preset, base in (("hcn", 0.9), ("text", 0.5)):
        for seed in range(seeds):
            method, step = f"{preset}-s{seed}" if seed else preset, 0.01 * seed
            rows += [
                score(method, "label_auroc", base + step, n=60, features="oracle", ceiling=0.95),
                score(method, "kernel_distance", 1 - base + step, n=40, features="random", floor=0.01),
                score(method, "kernel_distance", 1 - base, n=20, features="random", attribute="sex", group="male"),
                score(method, "sex_auroc", 0.8, n=60, features="oracle"),
                score(method, "frechet_distance", None, n=9, features="random", null_reason="9 films a side"),
            ]
    return score_frame(rows)


def opened(png: bytes) -> Image.Image:
    return Image.open(io.BytesIO(png))


def images(keys: list[tuple[str, int]]) -> pl.DataFrame:
    return pl.DataFrame(keys, schema=["stratum", "index"], orient="row")


def test_headline_figures_that_have_values_stand_in_declared_order() -> None:
    assert headline_figures(standings(scored())) == [("kernel_distance", "random"), ("label_auroc", "oracle")]


def test_the_chart_is_the_same_picture_every_time_and_grows_with_its_panels() -> None:
    scores = scored()
    png = chart(scores, standings(scores))
    assert png == chart(scores, standings(scores))
    one = scores.filter(pl.col("metric") == "label_auroc")
    assert opened(png).width > opened(chart(one, standings(one))).width


def test_the_chart_shows_the_floor_as_a_line() -> None:
    scores = scored()
    bare = scores.with_columns(floor=pl.lit(None, pl.Float64), ceiling=pl.lit(None, pl.Float64))
    with_line, without = (np.asarray(opened(chart(s, standings(s))).convert("L")) for s in (scores, bare))
    assert with_line.shape == without.shape and (with_line != without).any()


def test_a_board_without_a_figure_is_still_a_picture() -> None:
    scores = scored().filter(pl.col("metric") == "frechet_distance")
    assert opened(chart(scores, standings(scores))).width > 10


def test_only_requests_that_every_method_answered_are_shown() -> None:
    keys = [(f"{f}.40-59.{s}.white", i) for f in ("edema", "fibrosis") for s in ("female", "male") for i in (0, 1)]
    found = shared_requests({"a": images(keys), "b": images(keys[1:])}, most=5)
    assert len(found) == 5 == len(set(found)) and keys[0] not in found and set(found) <= set(keys)
    assert {stratum.split(".")[0] for stratum, _ in found[:2]} == {"edema", "fibrosis"}, "findings take turns"
    assert shared_requests({"a": images(keys[:2]), "b": images(keys[2:])}, most=5) == []


def test_few_requests_are_all_shown() -> None:
    keys = [("edema.40-59.female.white", 0), ("fibrosis.40-59.female.white", 0), ("fibrosis.40-59.male.white", 0)]
    assert set(shared_requests({"a": images(keys)}, most=8)) == set(keys)


def test_a_sheet_has_a_row_a_method_and_a_column_a_request() -> None:
    dark, bright = np.full((80, 80), 3, np.uint8), np.full((80, 80), 250, np.uint8)
    sheet = np.asarray(
        opened(film_sheet({"real": [None, dark], "hcn": [bright, dark]}, ["edema", "fibrosis"])).convert("L")
    )
    assert (sheet == 3).sum() > 1.5 * (sheet == 250).sum() > 0, "two dark films, one bright one"
    assert (sheet == 205).sum() > 1000, "grey where there is none"


def test_the_markdown_names_the_best_in_bold_and_what_is_missing() -> None:
    page = markdown(standings(scored()), FACTS)
    lines = page.splitlines()
    (hcn,) = [line for line in lines if line.startswith("| hcn ")]
    assert "| **0.91 ± 0.01** |" in hcn and hcn.startswith("| hcn | 3 |")
    assert "| real films |  | 0.01 | 0.95 |" in lines
    assert "| sex: male | **0.1 ± 0** | 0.5 ± 0 | – |" in lines
    assert "Not compared, as their images are not made: flat." in lines and "- hcn: synthetic set abc" in lines
    header = next(line for line in lines if line.startswith("| preset"))
    assert header.count("|") == hcn.count("|") and "kernel distance ↓ (random)" in header


def test_with_one_seed_the_markdown_says_that_nobody_is_named() -> None:
    page = markdown(standings(scored(1)), FACTS | {"missing": []})
    assert "**" not in page and "No preset is clearly better" in page and "Not compared" not in page


def test_a_figure_that_is_missing_is_a_dash() -> None:
    assert cell(None) == "–" and cell({"mean": None}) == "–"
    assert cell({"mean": 0.25, "sd": None, "verdict": "too few seeds"}) == "0.25"


def test_a_terminal_gets_headline_figures_over_all_films() -> None:
    shown = terminal(standings(scored()))
    assert shown.select("metric", "preset").rows() == [
        ("kernel_distance", "hcn"),
        ("kernel_distance", "text"),
        ("label_auroc", "hcn"),
        ("label_auroc", "text"),
    ]
    assert terminal(standings(scored().clear())).is_empty()
