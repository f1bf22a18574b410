from __future__ import annotations

from collections.abc import Callable

import polars as pl
import pytest

from cxr_assets.captions.templates import PromptTemplate
from cxr_assets.cohorts.film_reader import filmed
from cxr_assets.keys import Grid
from cxr_assets.project import Project
from cxr_assets.synthesis.label_counts import cofinding_probabilities, label_sets, real_counts

GRID = Grid(("edema", "fibrosis", "no_finding"), ("00-39", "40-up"), ("female", "male"), ("black", "white"))


def studies() -> pl.DataFrame:
    rows = [
        ("a", "train", "00-39", "female", "black", "a.png"),
        ("b", "train", "00-39", "female", "black", "b.png"),
        ("c", "train", "40-up", "male", "white", None),
        ("d", "test", "00-39", "female", "black", "d.png"),
        ("e", "train", None, "male", "white", "e.png"),
    ]
    return pl.DataFrame(rows, schema=["study_id", "split", "age_bin", "sex", "race", "image_file"], orient="row")


def findings() -> pl.DataFrame:
    values = {
        "a": {"edema": 1, "fibrosis": 1},
        "b": {"edema": 1, "fibrosis": -1},
        "c": {"edema": 1, "fibrosis": 0},
        "d": {"edema": 1, "fibrosis": 1},
        "e": {"edema": 1, "fibrosis": None},
    }
    rows = [(s, f, v) for s, named in values.items() for f, v in named.items()]
    return pl.DataFrame(rows, schema={"study_id": pl.String, "finding": pl.String, "value": pl.Int8}, orient="row")


def test_only_positive_training_studies_of_known_people_count() -> None:
    plan = real_counts(GRID, studies(), findings())
    assert plan["stratum"].to_list() == [str(s) for s in GRID]
    seen = {row["stratum"]: row["real"] for row in plan.iter_rows(named=True) if row["real"]}
    assert seen == {"edema.00-39.female.black": 2, "edema.40-up.male.white": 1, "fibrosis.00-39.female.black": 1}
    assert filmed(studies(), "train").height == 3


def test_cofindings_are_shares_of_training_positives() -> None:
    shares = cofinding_probabilities(GRID, studies(), findings())
    assert {(r["finding"], r["other"]): r["probability"] for r in shares.iter_rows(named=True)} == {
        ("edema", "fibrosis"): 0.25,
        ("fibrosis", "edema"): 1.0,
    }


def shown(values: dict[str, int | None], grid: Grid = GRID, **person: str | None) -> list[tuple[str, ...]]:
    """Age, sex, race and labels of one study, if it is told at all."""
    who = {"age_bin": "00-39", "sex": "male", "race": "white"} | person
    films = pl.DataFrame([{"study_id": "s", **who}], schema=dict.fromkeys(("study_id", *who), pl.String))
    long = pl.DataFrame(
        [("s", f, v) for f, v in values.items()],
        schema={"study_id": pl.String, "finding": pl.String, "value": pl.Int8},
        orient="row",
    )
    return [row[1:] for row in label_sets(grid, films, long).iter_rows()]


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        ({"fibrosis": 1, "edema": 1, "no_finding": 0}, "edema|fibrosis"),
        ({"no_finding": 1, "edema": 0}, "no_finding"),
        ({"no_finding": 1, "edema": 1}, "edema"),
        ({"no_finding": None, "edema": 0, "hernia": 0}, "no_finding"),
        ({"no_finding": None, "edema": 0, "hernia": None}, None),
        ({"no_finding": None, "edema": 0, "hernia": -1}, None),
        ({"no_finding": 0, "edema": 0, "fibrosis": 0}, None),
        ({"edema": 0, "fibrosis": 0}, "no_finding"),
        ({"no_finding": None}, None),
        ({"hernia": 1, "edema": 0, "no_finding": None}, None),
        ({"hernia": 1, "edema": 1, "no_finding": 1}, "edema"),
        ({"support_devices": 1, "no_finding": 1, "edema": 0}, "no_finding"),
    ],
)
def test_a_study_shows_what_is_positive_and_nothing_only_where_that_is_known(
    values: dict[str, int | None], labels: str | None
) -> None:
    assert shown(values) == ([] if labels is None else [("00-39", "male", "white", labels)])


def test_who_is_unknown_stands_in_no_cell_unless_the_cohort_has_one_for_them() -> None:
    assert shown({"edema": 1}, race=None) == []
    nobody = Grid(("edema",), ("00-39",), ("male",), ("unknown",))
    assert shown({"edema": 1}, nobody, race=None) == [("00-39", "male", "unknown", "edema")]


def test_label_sets_are_those_that_captions_tell(ready: Callable[..., Project]) -> None:
    project = ready()
    sets = label_sets(project.grid, project.studies(), project.findings())
    captions = dict(project.store.table("captions").select("study_id", "caption").iter_rows())
    told = {study: PromptTemplate().parse(text).findings for study, text in captions.items()}
    assert {s: tuple(t.split("|")) for s, t in sets.select("study_id", "labels").iter_rows()} == {
        study: found for study, found in told.items() if found
    }
    assert sets.height > 0
