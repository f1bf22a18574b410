"""Quality control with retries and a quarantine, from drawing to training sets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
import pytest

from cxr_assets.classification.mixing import mix_training_set
from cxr_assets.diffusion.sampling import Ask, Sampler
from cxr_assets.keys import Arm
from cxr_assets.synthesis.catalogue import catalogue_finding
from cxr_assets.synthesis.draw import due_strata
from cxr_assets.synthesis.plan import plan_synthesis
from cxr_assets.synthesis.quality_report import assemble_set
from cxr_assets.synthesis.requests import image_seed, partition_rows
from tests.helpers import METHOD
from tests.synthesis.drawing import Open, attempts, drawn, files, films, first, refuse, rows


def test_what_is_refused_is_drawn_with_the_next_seeds_and_every_attempt_is_logged(
    ready: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """generation.md §7.10, known answer 25."""
    project = ready()
    strata = first(project, 3)
    second = str(strata[1])
    refuse(monkeypatch, lambda _, r: "too early" if str(r.stratum) == second and r.k < 2 else None)
    drawn(project, strata)
    log = attempts(project, strata[1:2])
    name = f"targeted.{second}.0"
    assert log.select("prompt_id", "k", "seed", "accepted", "reason").rows() == [
        (name, 0, image_seed(0, name, 0), False, "too early"),
        (name, 1, image_seed(0, name, 1), False, "too early"),
        (name, 2, image_seed(0, name, 2), True, None),
    ]
    table = rows(project, strata)
    assert table["k"].to_list() == [0, 2, 0] and table["passed_quality"].all()
    assert table["image_id"][1] == log["image_id"][2] and log["image_id"].n_unique() == 3
    assert len(files(project)) == 3, "what was refused and drawn anew leaves no file"
    assert attempts(project, strata).height == 5


def test_the_film_of_a_retry_is_that_of_its_seed(ready: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """A film drawn at the second attempt is what another plan gives that starts with the seed."""
    project = ready("retried")
    strata = first(project, 1)
    refuse(monkeypatch, lambda _, r: "too early" if r.k < 1 else None)
    drawn(project, strata)
    monkeypatch.undo()
    other = ready("begun")
    plan = other.store.table("synthesis_requests").with_columns(k=pl.lit(1, pl.Int64))
    other.store.put_frame("tables/synthesis_requests/part-0.parquet", plan)
    drawn(other, strata)
    assert files(project) == files(other)


def test_what_never_passes_is_quarantined_and_never_mixed_in(ready: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """generation.md §7.10, known answer 25, through to a training set."""
    project = ready(findings=["edema", "fibrosis"], synthesis__batch=16, synthesis__retries=1, synthesis__max_ratio=1.0)
    plan_synthesis(project)
    refuse(monkeypatch, lambda _, r: "a woman" if r.sex == "female" else None)
    strata = list(project.grid)
    drawn(project, strata)
    table = rows(project, strata)
    women = table.filter(pl.col("sex") == "female")
    assert not women["passed_quality"].any() and set(women["reject_reason"]) == {"a woman"} and set(women["k"]) == {1}
    assert table.filter(pl.col("sex") == "male")["passed_quality"].all()
    assert set(women["file"]) <= set(files(project)), "what is set aside is kept"
    for finding in project.grid.findings:
        made = catalogue_finding(project, finding, METHOD)
        assert made.manifest.facts["quarantined"] == women.filter(pl.col("finding") == finding).height
    made = assemble_set(project, METHOD)
    assert made.manifest.facts["lowest_pass_rate"] == 0.0 and made.manifest.facts["passed"] == len(table) - len(women)
    assert made.manifest.facts["pass_rate_gaps"]["sex, final"] == 1.0
    quality = project.store.table("synthetic_quality", {"method": METHOD})
    rate = {(q, f): v for q, f, v in quality.select("quantity", "features", "value").iter_rows()}
    assert (rate["sex female", "final"], rate["sex male", "first_attempt"]) == (0.0, 1.0)
    for mix in ("only", "r100", "e025"):
        mix_training_set(project, Arm(METHOD, mix))
        mixed = project.store.table("training_set_rows", {"arm": f"{METHOD}.{mix}"})["image_id"].drop_nulls()
        assert len(mixed) and not set(mixed) & set(women["image_id"])


def test_retries_keep_films_and_their_order_whatever_the_batch(ready: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """Odd seeds are refused, so about half of all films are drawn again, some of them to the end."""
    refuse(monkeypatch, lambda _, r: "odd" if r.seed % 2 else None)
    found = []
    for batch in (1, 4, 7):
        project = ready(
            f"batch{batch}",
            synthesis__batch=batch,
            synthesis__per_stratum=3,
            synthesis__retries=2,
            synthesis__precision="fp32",
        )
        plan_synthesis(project)
        strata = first(project, 5)
        drawn(project, strata)
        found.append((rows(project, strata), attempts(project, strata), films(project)))
    assert 15 < found[0][1].height < 45 and found[0][0]["k"].sum() > 0
    for table, log, drawn_films in found[1:]:
        assert table.equals(found[0][0]) and log.equals(found[0][1])
        assert drawn_films.keys() == found[0][2].keys()
        assert all(np.array_equal(drawn_films[f], film) for f, film in found[0][2].items())


def test_three_workers_draw_what_one_draws(ready: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """generation.md §7.10, known answer 23; some films are drawn again, so that batches differ."""
    refuse(monkeypatch, lambda _, r: "odd" if r.seed % 2 and r.k < 2 else None)
    one, three = ready("one"), ready("three")
    strata = first(one, 10)
    drawn(one, strata)
    for worker in range(3):
        drawn(three, [strata[i] for i in partition_rows(len(strata), 3, worker)])
    assert files(one) == files(three)
    assert rows(one, strata).equals(rows(three, strata))
    assert attempts(one, strata).equals(attempts(three, strata))


def test_retries_fill_batches_together_and_strata_are_committed_as_they_become_whole(
    ready: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = ready()
    strata = first(project, 8)
    refuse(monkeypatch, lambda _, r: "too early" if str(r.stratum) == str(strata[1]) and r.k < 1 else None)
    real, sizes = Sampler.draw, []

    def counts(self: Sampler, asks: Sequence[Ask]) -> np.ndarray:
        sizes.append(len(asks))
        return real(self, asks)

    monkeypatch.setattr(Sampler, "draw", counts)
    order = [strata.index(s) for s, _ in drawn(project, strata)]
    assert sizes == [4, 4, 1], "the retry stands in the second batch"
    assert order == [0, 2, 3, 1, 4, 5, 6, 7], "it goes before what was not drawn yet"


@pytest.mark.parametrize("changed", [{"synthesis__retries": 1}, {"synthesis__max_saturation": 0.9}])
def test_another_quality_control_makes_strata_due(ready: Open, changed: dict[str, object]) -> None:
    project = ready()
    strata = first(project, 1)
    drawn(project, strata)
    assert str(strata[0]) not in due_strata(project, METHOD)
    assert str(strata[0]) in due_strata(ready(**changed), METHOD)


def test_the_oracle_is_asked_where_it_is_the_judge(ready: Open) -> None:
    """A tiny model draws noise, in which nobody sees an edema at a threshold of one."""
    project = ready(synthesis__judge="oracle", synthesis__judge_threshold=1.0, synthesis__retries=1)
    strata = project.grid.of_finding("edema")[:1] + project.grid.of_finding("no_finding")[:1]
    drawn(project, strata)
    table = rows(project, strata)
    assert table["passed_quality"].to_list() == [False, True], "of a normal film the oracle has no opinion"
    assert table["reject_reason"][0].startswith("edema seen at ")
