"""The page: what a reader is told, in which order, and that no name can reach into it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from cxr_assets.evaluation.words import tell
from cxr_assets.scoring import Scored, pictures, score
from cxr_assets.scoring.report import lead, markdown, pages
from cxr_assets.scoring.sections import sections
from cxr_assets.scoring.text import number, probability, span
from tests.evaluation.simulate import WORST
from tests.scoring.received import FEW, ODD, Page, cells, received, section


@pytest.fixture(autouse=True)
def unpainted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures take seconds; what they show is tested beside."""
    for name in ("forest_of_groups", "intersection_map", "reliability_curves", "gap_against_auroc"):
        monkeypatch.setattr(pictures, name, lambda *_, **__: b"")


def test_the_page_says_who_how_well_and_what_may_not_be_concluded(written: Path) -> None:
    page = Page((written / "report.html").read_text())
    for title in (
        "What was scored",
        "How well each model does",
        "In words: a",
        "By group",
        "Which intersections are served worst",
        "Gaps between groups",
        "Groups side by side",
        "Intersections",
        "Calibration",
        "Models against each other",
        "Accuracy and fairness",
        "Thresholds",
        "What may not be concluded",
        "How to cite these figures",
    ):
        assert title in page.text, title
    assert "B = 40" in page.text and "300 test studies of 300 patients" in page.text and WORST in page.text


def test_names_of_models_cannot_reach_into_the_pages_or_the_disk(written: Path) -> None:
    page = Page((written / "report.html").read_text())
    assert "script" not in page.tags and ODD in page.text
    assert page.sources and all(source.startswith("data:image/png;base64,") for source in page.sources)
    text = (written / "report.md").read_text()
    assert "<script" not in text and "b/../../c\\|&lt;script&gt;" in text
    assert [path.name for path in written.parent.iterdir()] == ["card"]


def test_every_row_of_a_markdown_table_has_as_many_cells_as_its_head(written: Path) -> None:
    width, tables = 0, 0
    for line in (written / "report.md").read_text().splitlines():
        if not line.startswith("|"):
            width = 0
            continue
        cells = line.replace("\\|", "").count("|")
        tables += not width
        width = width or cells
        assert cells == width, line
    assert tables >= 7


def test_both_forms_of_the_page_say_the_same_but_for_pictures(scored: Scored) -> None:
    both = pages(scored)
    for part in sections(scored):
        assert part.title in Page(both["report.html"]).text
        assert (f"## {markdown(part.title)}" in both["report.md"]) == (not part.figures)
        assert not part.figures or not (part.rows or part.items), "a section with pictures has nothing to lose"


def test_the_baseline_stands_first_on_the_page(table: pl.DataFrame, scored: Scored) -> None:
    assert [row[0] for row in section(scored, "How well each model does").rows] == ["a", ODD]  # type: ignore[union-attr]
    other = score(table, baseline=ODD, **FEW)
    assert [row[0] for row in section(other, "How well each model does").rows] == [ODD, "a"]  # type: ignore[union-attr]


# In words


def test_few_models_are_each_told_in_words(scored: Scored) -> None:
    for model in ("a", ODD):
        own = pl.col("arm") == model
        told = section(scored, f"In words: {model}")
        assert told is not None and list(told.items) == tell(scored.estimates.filter(own), scored.gaps.filter(own))


def test_of_many_models_the_baseline_alone_is_told_in_words() -> None:
    table = pl.concat([received(("edema",), model) for model in "abcd"])
    card = score(table, attributes=("sex",), baseline="b", **FEW)
    assert [part.title for part in sections(card) if part.title.startswith("In words")] == ["In words: b"]


def test_reported_gaps_beyond_the_first_five_are_counted(scored: Scored) -> None:
    row = scored.gaps.filter(pl.col("reported") & (pl.col("arm") == "a")).head(1)
    many = pl.concat([row] * 8)
    facts = scored.facts | {"models": ["a"]}
    told = lead(replace(scored, gaps=many, facts=facts))
    assert len(told) == 6 and told[-1] == "a: 3 more, reported below."


def test_an_empty_hand_is_not_called_fairness() -> None:
    card = score(received().with_columns(score=pl.col("truth") * 0.5 + 0.25), **FEW)
    assert lead(card) == [
        "model: no gap is shown to be larger than chance gives (3 tested, Holm-adjusted, 5 %). That does not show that there"
        " is none."
    ]


# Tables


def test_gaps_are_told_declared_ones_first_and_none_twice(scored: Scored) -> None:
    rows = cells(section(scored, "Gaps between groups"))
    order = [row["reported"] == "not declared" for row in rows]
    assert order == sorted(order) and order[0] is False and order[-1] is True
    assert len({(r["model"], r["finding"], r["by"], r["metric"]) for r in rows}) == len(rows)
    assert "FNR" not in {row["metric"] for row in rows}
    (found,) = cells(section(scored, "Gaps between groups"), model="a", finding="all", by="race×sex", metric="TPR")
    assert found["worst group"] == WORST and found["reported"] == "yes"


def test_without_thresholds_pooled_ranking_is_what_groups_are_told_by() -> None:
    card = score(received().filter(split="test").drop("split"), **FEW)
    (head,) = cells(section(card, "How well each model does"))
    assert set(head) == {"model", "AUROC"} and "to" in head["AUROC"]
    assert {row["finding"] for row in cells(section(card, "By group"))} == {"all"}
    (worst,) = cells(section(card, "Which intersections are served worst"))
    assert worst["group"] == WORST
    metrics = {row["metric"] for row in cells(section(card, "Gaps between groups"))}
    assert metrics == {"AUROC"}
    assert section(card, "Thresholds") is None
    assert any("without a threshold" in item for item in section(card, "What may not be concluded").items)  # type: ignore[union-attr]


def test_with_no_finding_alone_the_worst_are_those_called_healthy_most_often() -> None:
    table = received(("no_finding",))
    called = (pl.col("race") == "white") & (pl.col("sex") == "male") & (pl.col("truth") == 0)
    card = score(table.with_columns(score=pl.when(called).then(0.95).otherwise("score")), **FEW)
    (row,) = cells(section(card, "Which intersections are served worst"))
    assert row["group"] == "white×male" and row["FPR"].startswith("1.000")
    assert section(card, "How well each model does") is None


def test_models_are_compared_with_delong_s_p_and_whether_they_level_down(scored: Scored) -> None:
    part = section(scored, "Models against each other")
    for finding in ("edema", "fibrosis"):
        (row,) = cells(part, finding=finding, what="AUROC")
        known = scored.contrasts.filter(finding=finding, metric="auroc", quantity="overall")
        assert row["DeLong p"] == probability(known["delong_p"].item()) and row["non-inferior"] == "not shown"
    (gap,) = cells(part, what="TPR gap by sex")
    known = scored.contrasts.filter(finding="all", attribute="sex", metric="tpr", quantity="max_min")
    assert gap["levelled down"] == ("yes" if known["levelling_down"].item() else "no") and gap["DeLong p"] == ""


def test_a_model_that_fails_the_best_group_on_purpose_is_shown_to_level_down() -> None:
    table = received(("edema",))
    best = (pl.col("sex") == "male") & (pl.col("study_id").hash(1) % 8 == 0) & (pl.col("split") == "test")
    worse = table.with_columns(score=pl.when(best).then(0.01).otherwise("score"), model=pl.lit("levelled"))
    card = score(pl.concat([table, worse]), attributes=("sex",), baseline="model", **FEW)
    (row,) = cells(section(card, "Models against each other"), what="TPR gap by sex")
    assert row["levelled down"] == "yes" and row["change"].startswith("-")


def test_small_groups_are_listed_and_not_judged() -> None:
    rare = pl.when(pl.col("study_id").is_in(["s00150", "s00151", "s00152"])).then(pl.lit("other")).otherwise("race")
    card = score(received().with_columns(race=rare), **FEW)
    assert not card.estimates.filter(attribute="race", group="other")["eligible"].any()
    (row,) = cells(section(card, "Groups too small to judge"), by="race", group="other")
    assert row["patients"] == "< 5" and row["positives"] == "< 10"
    (group,) = cells(section(card, "By group"), group="other")
    assert group["patients"] == "< 5" and group["TPR"].startswith("– (")


def test_where_patients_are_not_known_the_page_says_what_its_intervals_are_not() -> None:
    card = score(received(("edema",)).drop("patient_id"), patient_id_kind="image", attributes=("sex",), **FEW)
    limits = section(card, "What may not be concluded")
    assert limits is not None and any("patients are not known" in item for item in limits.items)


# Figures


@pytest.mark.parametrize(("value", "told"), [(None, "–"), (0.25, "0.250"), (-0.0001, "0.000"), (-0.2, "-0.200")])
def test_a_figure_is_told_with_three_digits_and_never_as_minus_nothing(value: float | None, told: str) -> None:
    assert number(value) == told


def test_a_small_p_is_told_as_smaller_than_its_last_digit() -> None:
    assert [probability(p) for p in (None, 1e-9, 0.0006, 0.04)] == ["–", "< 0.001", "0.001", "0.040"]


def test_no_figure_stands_without_its_interval_or_its_reason() -> None:
    row = {"estimate": 0.5, "ci_lo": 0.4, "ci_hi": 0.6, "null_reason": None}
    assert span(row) == "0.500 (0.400 to 0.600)" and span(row | {"ci_lo": None}) == "0.500 (no interval)"
    assert span(row | {"estimate": None, "null_reason": "no_pos"}) == "– (no positives)" and span(None) == "–"
