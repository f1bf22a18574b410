from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxr_assets.captions.templates import PromptTemplate
from cxr_assets.captions.wording import Wording
from cxr_assets.diffusion.config import MethodPreset
from cxr_assets.errors import InputError
from cxr_assets.keys import Stratum
from cxr_assets.synthesis import requests as requests_module
from cxr_assets.synthesis.composers import image_request
from cxr_assets.synthesis.requests import (
    REQUESTS,
    ImageRequest,
    age_range,
    drawn_age,
    image_seed,
    partition_rows,
    prompt_id_of,
    request_rows,
    requests_in,
    template_version,
    worded_after,
)

STRATUM = Stratum("edema", "40-59", "female", "black")
PLAIN = MethodPreset(title="says everything")
REQUEST = ImageRequest(
    "natural.edema.40-59.female.black.4",
    STRATUM,
    4,
    ("edema", "fibrosis"),
    47,
    "female",
    "black",
    7,
    "natural.edema.40-59.female.black.4",
    "natural",
    "study-9",
)


@pytest.mark.parametrize(
    ("run", "k", "seed"), [(0, 0, 1033212538082371732), (0, 1, 3984297313833933717), (7, 0, 619345963786939675)]
)
def test_seeds_are_the_published_ones(run: int, k: int, seed: int) -> None:
    """generation.md §7.10, known answer 22."""
    assert image_seed(run, "p000001", k) == seed


def test_each_attempt_has_the_seed_of_its_number() -> None:
    seeds = [REQUEST.attempt(k).seed for k in range(4)]
    assert seeds == [image_seed(7, REQUEST.prompt_id, k) for k in range(4)] and len(set(seeds)) == 4
    assert REQUEST.attempt(0) == REQUEST
    shared = replace(REQUEST, seed_id="counterfactual.study-9.0")
    assert shared.seed == image_seed(7, "counterfactual.study-9.0", 0) != REQUEST.seed


def test_names_of_planned_images_hang_on_composer_stratum_and_index() -> None:
    other = replace(STRATUM, race="white")
    names = [prompt_id_of(c, s, i) for c in ("natural", "targeted") for s in (STRATUM, other) for i in (0, 1, 10)]
    assert len(set(names)) == 12 and names[0] == "natural.edema.40-59.female.black.0"


def test_ten_rows_are_dealt_to_three_workers() -> None:
    """generation.md §7.10, known answer 23."""
    assert [partition_rows(10, 3, worker) for worker in range(3)] == [[0, 3, 6, 9], [1, 4, 7], [2, 5, 8]]


@pytest.mark.parametrize("workers", range(1, 8))
@pytest.mark.parametrize("n", [0, 1, 10, 23])
def test_every_row_has_exactly_one_worker(n: int, workers: int) -> None:
    dealt = [row for worker in range(workers) for row in partition_rows(n, workers, worker)]
    assert sorted(dealt) == list(range(n))


@pytest.mark.parametrize(("workers", "worker"), [(3, 3), (3, -1), (0, 0)])
def test_a_worker_that_there_is_not_is_refused(workers: int, worker: int) -> None:
    with pytest.raises(InputError, match="give a number below"):
        partition_rows(10, workers, worker)


@pytest.mark.parametrize(("name", "years"), [("00-39", (18, 39)), ("40-59", (40, 59)), ("80-up", (80, 95))])
def test_age_bins_give_whole_years_of_adults(name: str, years: tuple[int, int]) -> None:
    assert age_range(name) == years
    ages = [drawn_age(name, 0, f"p{i}") for i in range(600)]
    assert (min(filter(None, ages)), max(filter(None, ages))) == years


def test_ages_are_uniform_within_their_bin() -> None:
    ages = pl.Series([drawn_age("40-59", 0, f"p{i}") for i in range(4000)])
    counts = ages.value_counts()["count"]
    assert len(counts) == 20 and counts.min() > 130 and counts.max() < 270, "200 of each year, give or take five errors"  # type: ignore[operator]


def test_the_largest_draw_is_still_within_its_bin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests_module, "derive_seed", lambda *_: 2**63 - 1)
    assert drawn_age("40-59", 0, "p") == 59
    assert drawn_age("unknown", 0, "p") is None


labels = st.lists(st.sampled_from(["edema", "fibrosis", "hernia"]), min_size=1, max_size=3, unique=True).map(tuple)
persons = st.tuples(
    st.none() | st.integers(40, 59), st.sampled_from(["female", None]), st.sampled_from(["black", None])
)


@given(labels, persons, st.integers(0, 2**62), st.none() | st.text("ab1-", min_size=1), st.integers(0, 3))
def test_a_row_of_the_plan_gives_the_request_back(
    shown: tuple[str, ...],
    person: tuple[int | None, str | None, str | None],
    run: int,
    source: str | None,
    k: int,
) -> None:
    age, sex, race = person
    request = replace(
        REQUEST, labels=shown, age_years=age, sex=sex, race=race, run=run, source_study=source, k=k, seed_id="other"
    )
    rows = request_rows([request])
    assert rows.schema == pl.Schema(REQUESTS) and requests_in(rows) == [request]
    told = rows.row(0, named=True)
    assert told["seed"] == request.seed and told["stratum"] == str(STRATUM) and told["finding"] == "edema"
    assert told["age"] == ("unknown" if age is None else "40-59")


def test_requests_of_a_table_come_by_stratum_and_index() -> None:
    requests = [image_request(s, i, {}, seed=0) for s in (STRATUM, replace(STRATUM, race="white")) for i in range(12)]
    assert requests_in(request_rows(requests[::-1])) == requests


def test_each_method_words_a_request_in_its_own_way() -> None:
    read = PromptTemplate().parse(REQUEST.prompt(PLAIN))
    assert (read.findings, read.age, read.sex, read.race) == (("edema", "fibrosis"), 47, "female", "black")
    silent = MethodPreset(title="says findings", wording=Wording(trained_with=()))
    ask = REQUEST.ask(silent)
    assert ask.prompt == "chest x-ray, edema and fibrosis"
    assert (ask.seed, ask.age, ask.sex, ask.race) == (REQUEST.seed, 47, "female", "black"), "a conditioner is told"


def test_another_wording_is_another_version_of_the_template(monkeypatch: pytest.MonkeyPatch) -> None:
    before = template_version()
    template_version.cache_clear()
    assert template_version() == before and len(before) == 8
    body: Callable[..., str] = PromptTemplate.body
    monkeypatch.setattr(PromptTemplate, "body", lambda self, findings: body(self, findings).replace("edema", "oedema"))
    template_version.cache_clear()
    changed = template_version()
    template_version.cache_clear()
    assert changed != before


def test_findings_outside_the_vocabulary_are_refused() -> None:
    with pytest.raises(InputError, match="none of"):
        image_request(Stratum("gout", "40-59", "female", "black"), 0, {}, seed=0).prompt(PLAIN)


def test_a_request_is_worded_after_a_study_of_the_same_labels_alone() -> None:
    speakers = {frozenset({"edema", "fibrosis"}): ["s1", "s2", "s3"], frozenset({"edema"}): ["s4"]}
    anew = replace(REQUEST, source_study=None)
    found = worded_after(anew, speakers)
    assert found.source_study in {"s1", "s2", "s3"} and replace(found, source_study=None) == anew
    assert worded_after(anew, dict(reversed(speakers.items()))) == found
    assert worded_after(replace(REQUEST, source_study="s2"), speakers).source_study == "s2", "it speaks for itself"
    assert len({worded_after(replace(anew, prompt_id=str(i)), speakers).source_study for i in range(30)}) == 3
    lonely = replace(anew, labels=("hernia",))
    assert worded_after(lonely, speakers) is lonely
