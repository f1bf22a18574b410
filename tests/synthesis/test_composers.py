from __future__ import annotations

import itertools
from collections import Counter
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxr_assets.captions.templates import PromptTemplate
from cxr_assets.diffusion.config import MethodPreset
from cxr_assets.errors import InputError
from cxr_assets.keys import Grid, Stratum
from cxr_assets.settings import SynthesisSettings
from cxr_assets.synthesis.composers import COMPOSERS, Training, compose, image_request, requests_of
from cxr_assets.synthesis.requests import ImageRequest, request_rows

STRATUM = Stratum("edema", "40-59", "female", "black")
OTHERS = {"fibrosis": 0.3, "cardiomegaly": 0.6, "no_finding": 1.0}
PLAIN = MethodPreset(title="says everything")
FINDINGS = ("no_finding", "cardiomegaly", "edema", "fibrosis")
GRID = Grid(FINDINGS, ("18-39", "40-up"), ("female", "male"), ("black", "white"))
BODIES: list[tuple[str, str, str, str, tuple[str, ...]]] = [
    *((f"a{i:02}", "18-39", "female", "black", ("edema", "fibrosis")) for i in range(8)),
    *((f"b{i:02}", "18-39", "female", "white", ("no_finding",)) for i in range(14)),
    *((f"c{i:02}", "40-up", "male", "white", ("cardiomegaly",)) for i in range(9)),
    *((f"d{i:02}", "40-up", "female", "black", ("fibrosis",)) for i in range(5)),
    *((f"e{i:02}", "40-up", "male", "black", ("cardiomegaly", "edema")) for i in range(4)),
]


def training(bodies: list[tuple[str, str, str, str, tuple[str, ...]]] = BODIES, grid: Grid = GRID) -> Training:
    """A cohort of these studies, all with a film, and one of the test split that is never looked at."""
    bodies = [*bodies, ("z", "40-up", "male", "white", ("edema",))]
    studies = pl.DataFrame(
        [(s, "test" if s == "z" else "train", age, sex, race, "PA", f"{s}.png") for s, age, sex, race, _ in bodies],
        schema=["study_id", "split", "age_bin", "sex", "race", "view", "image_file"],
        orient="row",
    )
    findings = pl.DataFrame(
        [(s, f, int(f in labels)) for s, *_, labels in bodies for f in FINDINGS],
        schema={"study_id": pl.String, "finding": pl.String, "value": pl.Int8},
        orient="row",
    )
    return Training(grid, studies, findings)


def planned(composer: str, *, given: Training | None = None, **changed: Any) -> list[ImageRequest]:
    return compose(given or training(), SynthesisSettings(composer=composer, **changed))  # type: ignore[arg-type]


def by_study(requests: list[ImageRequest]) -> dict[str, list[ImageRequest]]:
    groups: dict[str, list[ImageRequest]] = {}
    for request in requests:
        groups.setdefault(str(request.source_study), []).append(request)
    return groups


@pytest.mark.parametrize("composer", ["targeted", *COMPOSERS])
@settings(max_examples=8, deadline=None)
@given(st.randoms(use_true_random=False))
def test_the_order_of_the_studies_decides_nothing(composer: str, random: Any) -> None:
    shuffled = list(BODIES)
    random.shuffle(shuffled)
    mixed = training(shuffled)
    mixed = Training(GRID, mixed.studies, mixed.findings.sample(fraction=1.0, shuffle=True, seed=random.randrange(99)))
    assert planned(composer, given=mixed) == planned(composer)


@pytest.mark.parametrize("composer", ["targeted", *COMPOSERS])
def test_a_larger_budget_keeps_the_smaller_plan(composer: str) -> None:
    ratios = (0.5, 1.0, 2.5, 4.0)
    plans = [{r.prompt_id: r for r in planned(composer, max_ratio=ratio, per_stratum=1)} for ratio in ratios]
    for small, large in itertools.pairwise(plans):
        assert small.items() <= large.items() and len(small) < len(large)


@pytest.mark.parametrize("composer", ["targeted", *COMPOSERS])
def test_names_are_unique_and_count_from_zero_in_each_stratum(composer: str) -> None:
    requests = planned(composer, max_ratio=2.0)
    assert len({r.prompt_id for r in requests}) == len(requests)
    order = [str(s) for s in GRID]
    assert [order.index(str(r.stratum)) for r in requests] == sorted(order.index(str(r.stratum)) for r in requests)
    for stratum, n in Counter(r.stratum for r in requests).items():
        assert [r.index for r in requests if r.stratum == stratum] == list(range(n))
    for r in requests:
        assert r.prompt_id == f"{composer}.{r.stratum}.{r.index}" and r.stratum.finding == r.labels[0]
        assert r.composer == composer and r.k == 0


@pytest.mark.parametrize("composer", ["targeted", *COMPOSERS])
def test_another_seed_draws_other_noise(composer: str) -> None:
    one, other = planned(composer), planned(composer, seed=1)
    assert not {r.seed for r in one} & {r.seed for r in other}


def test_natural_copies_each_study_once_before_any_twice() -> None:
    people = {s: (age, sex, race, labels) for s, age, sex, race, labels in BODIES}
    requests = planned("natural", max_ratio=1.5)
    times = Counter(r.source_study for r in requests)
    assert len(requests) == 60 and set(times) == set(people) and sorted(times.values()) == [1] * 20 + [2] * 20
    for r in requests:
        assert (*r.asked.values(), r.labels) == people[str(r.source_study)]


def test_natural_keeps_the_shares_of_the_training_films() -> None:
    shown = Counter(r.labels for r in planned("natural", max_ratio=2.0))
    assert shown == {key: 2 * n for key, n in Counter(labels for *_, labels in BODIES).items()}


def test_labels_alone_are_asked_of_nobody_and_counted_where_their_study_stands() -> None:
    natural, silent = planned("natural"), planned("label_only")
    assert Counter(r.stratum for r in silent) == Counter(r.stratum for r in natural)
    assert {r.person["age"] or r.person["sex"] or r.person["race"] for r in silent} == {None}
    assert set(request_rows(silent).select("age", "sex", "race").unique().row(0)) == {"unknown"}
    assert {r.prompt(PLAIN) for r in silent if r.labels == ("fibrosis",)} == {"chest x-ray, fibrosis"}


@pytest.mark.parametrize("ratio", [0.3, 1.0, 3.0])
def test_balanced_gives_every_cell_as_many_images_of_each_finding(ratio: float) -> None:
    """generation.md §7.10, known answer 26."""
    requests = planned("balanced", max_ratio=ratio)
    cells = Counter(r.stratum.cell for r in requests)
    assert len(cells) == GRID.cells and set(cells.values()) == {round(ratio * 40) // 8}
    for finding in FINDINGS:
        shown = Counter(r.stratum.cell for r in requests if finding in r.labels)
        counts = [shown[cell] for cell in cells]
        assert max(counts) - min(counts) <= 1


def test_balanced_findings_are_as_frequent_as_in_all_training_studies_together() -> None:
    labels = {s: shown for s, *_, shown in BODIES}
    requests = planned("balanced", max_ratio=4.0)
    for finding in FINDINGS:
        real = sum(finding in shown for shown in labels.values()) / len(labels)
        assert sum(finding in r.labels for r in requests) / len(requests) == pytest.approx(real, abs=0.08)
    assert all(labels[str(r.source_study)] == r.labels for r in requests)
    assert len({r.source_study for r in requests}) > len(requests) / 8, "cells take different studies"


def test_counterfactuals_share_labels_source_and_noise_and_differ_in_the_person() -> None:
    """generation.md §7.10, known answer 26."""
    labels = {s: shown for s, *_, shown in BODIES}
    groups = by_study(planned("counterfactual", max_ratio=1.0))
    assert len(groups) == 40 // 8
    for study, group in groups.items():
        assert {r.stratum.cell for r in group} == {s.cell for s in GRID} and len(group) == GRID.cells
        assert {r.seed for r in group} == {group[0].seed} and {r.labels for r in group} == {labels[study]}
        for age in GRID.ages:
            assert len({r.age_years for r in group if r.stratum.age == age}) == 1, "sex and race alone differ"
    assert len({group[0].seed for group in groups.values()}) == len(groups)


def test_a_study_that_comes_again_gets_other_noise() -> None:
    one = Training(
        Grid(FINDINGS, ("18-39",), ("female",), ("black",)), training(BODIES[:1]).studies, training().findings
    )
    again = planned("counterfactual", given=one, max_ratio=3.0)
    assert {r.source_study for r in again} == {"a00"} and len({r.seed for r in again}) == 3


def test_every_supported_label_set_is_planned_evenly_in_every_cell() -> None:
    requests = planned("all_label_combinations", max_ratio=3.3, min_support=5)
    counts = Counter((r.labels, r.stratum.cell) for r in requests)
    assert {labels for labels, _ in counts} == {
        ("edema", "fibrosis"),
        ("no_finding",),
        ("cardiomegaly",),
        ("fibrosis",),
    }
    assert len(counts) == 4 * GRID.cells and max(counts.values()) - min(counts.values()) == 1
    assert len(requests) == round(3.3 * 40) and {r.source_study for r in requests} == {None}
    few = planned("all_label_combinations", max_ratio=0.2, min_support=5)
    assert len(few) == 8 and len({r.labels for r in few}) == 4, "a small budget is spread over the sets"
    rare = {r.labels for r in planned("all_label_combinations", min_support=4)}
    assert ("cardiomegaly", "edema") in rare, "four studies show it"


def test_a_composer_that_finds_nothing_says_why() -> None:
    with pytest.raises(InputError, match=r"balanced plans no image .* 8 demographic cells .* budget of 4"):
        planned("balanced", max_ratio=0.1)
    with pytest.raises(InputError, match="0 training studies"):
        planned("natural", given=training([]))
    with pytest.raises(InputError, match="Raise"):
        planned("all_label_combinations", min_support=99)
    with pytest.raises(InputError, match="budget of 0"):
        planned("natural", max_ratio=0.0)


def test_targeted_plans_what_the_mixes_need_and_a_minimum_everywhere() -> None:
    few = Counter(str(r.stratum) for r in planned("targeted", max_ratio=0.0, per_stratum=2))
    assert few == dict.fromkeys(map(str, GRID), 2)
    more = Counter(str(r.stratum) for r in planned("targeted", max_ratio=4.0, per_stratum=1))
    assert more["no_finding.18-39.female.white"] == 160 // 32, "14 real ones: no more than an even mix needs"
    assert more["edema.40-up.male.black"] < more["fibrosis.40-up.male.white"], "the emptier gets more"
    assert {r.source_study for r in planned("targeted")} == {None}


def test_what_a_cohort_does_not_know_is_asked_of_nobody() -> None:
    grid = Grid(FINDINGS, ("unknown",), ("unknown",), ("unknown",))
    bodies = [(s, "unknown", "unknown", "unknown", labels) for s, *_, labels in BODIES]
    for composer in ("targeted", *COMPOSERS):
        requests = planned(composer, given=training(bodies, grid))
        assert {tuple(r.person.values()) for r in requests} == {(None, None, None)}
        assert {r.stratum.cell for r in requests} == {"unknown.unknown.unknown"}


def test_lateral_films_are_no_source_where_frontal_ones_were_chosen() -> None:
    whole = training()
    side = whole.studies.with_columns(view=pl.when(pl.col("study_id") < "b").then(pl.lit("LATERAL")).otherwise("view"))
    requests = planned("natural", given=Training(GRID, side, whole.findings, "frontal"))
    assert len(requests) == 32 and not any(str(r.source_study).startswith("a") for r in requests)


def test_a_request_is_the_same_every_time_and_its_prompt_says_what_it_asks() -> None:
    request = image_request(STRATUM, 7, OTHERS, seed=3)
    assert request == image_request(STRATUM, 7, dict(reversed(OTHERS.items())), seed=3)
    read = PromptTemplate().parse(request.prompt(PLAIN))
    assert (read.findings, read.age, read.sex, read.race) == (request.labels, request.age_years, "female", "black")
    assert request.labels[0] == "edema" and 0 <= request.seed < 2**63


def test_seed_stratum_and_index_each_make_another_image() -> None:
    other = Stratum("edema", "40-59", "female", "white")
    requests = [image_request(s, i, OTHERS, seed=seed) for s in (STRATUM, other) for i in range(5) for seed in (0, 1)]
    assert len({r.seed for r in requests}) == len(requests)


def test_strata_do_not_copy_each_others_people() -> None:
    other = Stratum("edema", "40-59", "female", "white")
    people = [[image_request(s, i, OTHERS, seed=0) for i in range(30)] for s in (STRATUM, other)]
    assert [r.age_years for r in people[0]] != [r.age_years for r in people[1]]
    assert [r.labels for r in people[0]] != [r.labels for r in people[1]]


def test_planning_more_images_keeps_the_earlier_ones() -> None:
    table = pl.DataFrame({"finding": ["edema"], "other": ["fibrosis"], "probability": [0.5]})
    few, many = (requests_of(STRATUM, n, table, seed=0) for n in (5, 50))
    assert many[:5] == few and [r.index for r in many] == list(range(50))
    assert requests_of(STRATUM, 0, table, seed=0) == []


def test_other_findings_stand_beside_as_often_as_they_do_in_reality() -> None:
    n = 4000
    seen = Counter(label for i in range(n) for label in image_request(STRATUM, i, OTHERS, seed=0).labels)
    assert seen["edema"] == n and seen["no_finding"] == 0, "no finding never stands beside one"
    assert seen["cardiomegaly"] / n == pytest.approx(0.6, abs=0.03)
    assert seen["fibrosis"] / n == pytest.approx(0.3, abs=0.03)


def test_a_normal_film_shows_nothing_else() -> None:
    normal = Stratum("no_finding", "40-59", "female", "black")
    assert all(image_request(normal, i, {"edema": 1.0}, seed=0).labels == ("no_finding",) for i in range(20))


def test_what_a_cohort_does_not_know_stays_out_of_the_prompt() -> None:
    request = image_request(Stratum("edema", "unknown", "unknown", "unknown"), 0, {}, seed=0)
    assert request.prompt(PLAIN) == "chest x-ray, edema"
