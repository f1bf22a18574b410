from __future__ import annotations

import polars as pl
import pytest

from cxr_assets.evaluation.leaderboard.board import score_frame
from cxr_assets.evaluation.leaderboard.groups import CELL, cell_group, group_names, members
from cxr_assets.evaluation.leaderboard.held_out import COMPARISONS, compare_held_out
from cxr_assets.evaluation.leaderboard.metrics import score
from cxr_assets.evaluation.leaderboard.ranking import standings
from cxr_assets.evaluation.leaderboard.tables import markdown
from cxr_assets.keys import Grid

CELLS = [cell_group(age, sex, "black") for age in ("00-39", "40-59", "60-79") for sex in ("female", "male")]


def scores(metric: str = "kernel_distance") -> pl.DataFrame:
    """hcn has two seeds and is nearer than flat in all cells but one; text has no figure in a cell."""
    rows = []
    for number, cell in enumerate(CELLS):
        flat = 0.5 + 0.01 * number
        lead = -0.1 if number else 0.1
        near, far = flat + lead - 0.02, flat + lead + 0.02
        values = {"hcn": near, "hcn-s1": far, "flat": flat, "text": None if number == 2 else flat}
        for method, value in values.items():
            rows.append(
                score(method, metric, value, n=50, features="oracle", attribute=CELL, group=cell, null_reason="too few")
            )
    rows += [score(m, metric, 0.3, n=500, features="oracle") for m in ("hcn", "hcn-s1", "flat", "text")]
    return score_frame(rows)


def row(table: pl.DataFrame, a: str, b: str) -> dict[str, object]:
    return table.row(by_predicate=(pl.col("a") == a) & (pl.col("b") == b), named=True)


def test_presets_are_compared_cell_by_cell_over_the_mean_of_their_seeds() -> None:
    table = compare_held_out(scores())
    assert table.schema == pl.Schema(COMPARISONS) and table.height == 3
    found = row(table, "hcn", "flat")
    assert (found["cells"], found["a_better"], found["b_better"], found["ties"]) == (6, 5, 1, 0)
    assert found["p"] == pytest.approx(0.21875), "five of six heads, both sides"
    assert found["mean_difference"] == pytest.approx((-0.1 * 5 + 0.1) / 6)
    assert found["ci_lo"] <= found["mean_difference"] <= found["ci_hi"]  # type: ignore[operator]
    tied = row(table, "flat", "text")
    assert (tied["cells"], tied["ties"], tied["p"]) == (5, 5, 1.0), "the cell without a figure is left out"


def test_a_figure_of_which_more_is_better_is_read_the_other_way() -> None:
    found = row(compare_held_out(scores("sex_accuracy")), "hcn", "flat")
    assert (found["a_better"], found["b_better"]) == (1, 5)


def test_a_figure_that_is_best_at_one_counts_by_its_distance_from_it() -> None:
    near = row(compare_held_out(scores("diversity")), "hcn", "flat")
    assert (near["a_better"], near["b_better"]) == (1, 5), "0.4 is farther from 1 than 0.5"


def test_without_held_out_cells_there_is_nothing_to_compare() -> None:
    assert compare_held_out(scores().filter(pl.col("attribute") != CELL)).is_empty()


def test_the_page_tells_of_held_out_cells_only_where_there_are_some() -> None:
    made = scores()
    told = {"cohort": "phantom", "judge": "oracle", "compared": ["hcn"], "missing": [], "sets": {}}
    table = standings(made)
    page = markdown(table, told, compare_held_out(made))
    assert "| hcn against flat | kernel distance" in page and "| 5 to 1 |" in page and "| 0.22 |" in page
    assert "| 0 to 0, 5 alike |" in page, "text and flat have the same figure wherever text has one"
    none = markdown(table, told, compare_held_out(made.with_columns(value=pl.lit(None, pl.Float64))))
    assert "no generator has learned" not in none
    assert "no generator has learned" not in markdown(table, told)


def test_held_out_cells_are_groups_of_their_own() -> None:
    grid = Grid(("edema",), ("00-39", "40-up"), ("female", "male"), ("black", "white"))
    names = list(group_names(grid, ["age_bin", "sex", "race"], [("40-up", "female", "black")]))
    assert names[-1] == (CELL, "40-up×black×female")
    films = pl.DataFrame({"age_bin": ["40-up", "40-up"], "sex": ["female", "male"], "race": ["black", "black"]})
    assert members(films, *names[-1]).tolist() == [True, False]
