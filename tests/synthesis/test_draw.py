from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from cxr_assets.diffusion.adapters import train_adapter
from cxr_assets.diffusion.sampling import Sampler
from cxr_assets.errors import InputError, StorageError
from cxr_assets.keys import Stratum
from cxr_assets.synthesis import draw as draw_module
from cxr_assets.synthesis.catalogue import catalogue_finding
from cxr_assets.synthesis.draw import (
    draw_strata,
    due_strata,
    stratum_keys,
    stratum_step,
)
from cxr_assets.synthesis.label_counts import label_sets
from cxr_assets.synthesis.plan import plan_synthesis
from cxr_assets.synthesis.quality_report import assemble_set
from tests.helpers import METHOD, make_ready, tiny_project
from tests.synthesis.drawing import Open, attempts, drawn, files, first, rows


def test_every_row_has_its_file_its_digest_and_its_own_name(ready: Open) -> None:
    project = ready(synthesis__per_stratum=2)
    plan_synthesis(project)
    made = drawn(project, first(project, 3))
    table = rows(project, first(project, 3))
    assert table.height == 6 == table["image_id"].n_unique() and all(m.fresh for _, m in made)
    held = files(project)
    assert set(table["file"]) == set(held)
    for row in table.iter_rows(named=True):
        assert row["sha256"] == hashlib.sha256(held[row["file"]]).hexdigest()
        assert Path(row["file"]).stem == row["image_id"] and row["file"].split("/")[-2] == f"race={row['race']}"
        assert (row["width"], row["height"], row["terms"], row["cohort"]) == (64, 64, "generated", "phantom")
    adapter = project.store.manifest("adapter", {"method": METHOD})
    assert (
        adapter is not None
        and set(table["adapter_id"]) == {adapter.facts["adapter_id"]}
        and set(table["base_id"]) == {adapter.facts["base_id"]}
    )


def test_what_is_drawn_is_found_and_no_model_is_loaded_again(ready: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    project = ready()
    before = drawn(project, first(project, 2))
    monkeypatch.setattr(draw_module, "open_generator", lambda *_: pytest.fail("nothing is due, so nothing is loaded"))
    again = drawn(project, first(project, 2))
    assert [m.manifest for _, m in again] == [m.manifest for _, m in before] and not any(m.fresh for _, m in again)


def test_a_killed_run_keeps_finished_strata_and_the_next_completes_the_rest(
    ready: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, killed = ready("whole"), ready("killed")
    strata = first(whole)
    drawn(whole, strata)
    real, calls = Sampler.draw, iter(range(100))

    def dies(self: Sampler, *args: object) -> np.ndarray:
        if next(calls) == 1:
            raise KeyboardInterrupt
        return real(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(Sampler, "draw", dies)
    with pytest.raises(KeyboardInterrupt):
        drawn(killed, strata)
    monkeypatch.undo()
    assert due_strata(killed, METHOD)[:2] == [str(s) for s in strata[4:6]], "the first batch of four was kept"
    resumed = drawn(killed, strata)
    assert {str(s) for s, m in resumed if m.fresh} == {str(s) for s in strata[4:]}
    assert files(killed) == files(whole)
    assert rows(killed, strata).equals(rows(whole, strata))


def test_a_death_between_images_and_manifest_leaves_no_double(ready: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    project = ready()
    strata = first(project, 2)

    def dies(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("cxr_assets.warehouse.store.PartitionWriter.table", dies)
    with pytest.raises(KeyboardInterrupt):
        drawn(project, strata)
    monkeypatch.undo()
    assert len(files(project)) == 1 and len(due_strata(project, METHOD)) == len(project.grid), (
        "the image lies there and does not count"
    )
    drawn(project, strata)
    assert set(files(project)) == set(rows(project, strata)["file"])


def test_a_new_adapter_stales_the_images_and_a_redraw_removes_the_old_ones(ready: Open) -> None:
    project = ready()
    strata = first(project, 2)
    drawn(project, strata)
    old = set(files(project))
    changed = ready(adapter_training__learning_rate=1e-2)
    train_adapter(changed, METHOD)
    assert [str(s) for s in strata] == due_strata(changed, METHOD)[:2]
    assert all(m.fresh for _, m in drawn(changed, strata[:1]))
    new = set(files(changed))
    assert len(new) == 2 and len(new & old) == 1, "one stratum is redrawn, the other still stands"
    assert set(rows(changed, strata)["file"]) == new


def test_the_same_project_made_elsewhere_is_the_same_to_the_byte(ready: Open, tmp_path: Path, tiny_base: Path) -> None:
    one, other = ready(), make_ready(tiny_project(tmp_path / "other", tiny_base))
    for project in (one, other):
        drawn(project, first(project, 3))
    digests = [{(m.asset, *m.partition.values()): m.digest for m in p.store.manifests()} for p in (one, other)]
    assert digests[0] == digests[1] and len(digests[0]) == 9
    assert files(one) == files(other)


def test_images_do_not_depend_on_order_company_or_batch(ready: Open) -> None:
    fp32 = {"synthesis__precision": "fp32"}
    one, other = ready("one", **fp32), ready("other", **fp32, synthesis__batch=3)
    strata = first(one, 5)
    drawn(one, strata)
    drawn(other, strata[3:])
    drawn(other, strata[:3][::-1])
    assert files(one) == files(other)
    assert all(not m.fresh for _, m in drawn(ready("other", **fp32, synthesis__batch=2), strata)), (
        "the batch is no part of an image"
    )


def test_planning_more_draws_only_what_is_new_to_a_stratum(ready: Open) -> None:
    project = ready()
    strata = first(project, 1)
    drawn(project, strata)
    before = files(project)
    more = ready(synthesis__per_stratum=3)
    plan_synthesis(more)
    assert drawn(more, strata)[0][1].fresh
    after = files(more)
    assert len(after) == 3 and before.items() <= after.items(), "the first image kept its name and bytes"


@pytest.mark.parametrize("changed", [{"synthesis__steps": 3}, {"synthesis__guidance": 2.0}, {"synthesis__seed": 1}])
def test_settings_that_change_an_image_change_its_name(ready: Open, changed: dict[str, object]) -> None:
    project = ready()
    strata = first(project, 1)
    drawn(project, strata)
    old = rows(project, strata)["image_id"][0]
    other = ready(**changed)
    plan_synthesis(other)
    assert drawn(other, strata)[0][1].fresh
    assert rows(other, strata)["image_id"][0] != old


def test_a_film_without_contrast_is_set_aside_with_the_reason(ready: Open) -> None:
    project = ready(synthesis__min_contrast=0.9)
    strata = first(project, 1)
    drawn(project, strata)
    row = rows(project, strata).row(0, named=True)
    assert not row["passed_quality"] and row["reject_reason"].endswith("below 0.9")


def test_a_stratum_outside_the_plan_is_refused(ready: Open) -> None:
    project = ready()
    stray = Stratum("hernia", "00-39", "female", "black")
    with pytest.raises(InputError, match="not in the plan"):
        drawn(project, [stray])
    with pytest.raises(InputError, match="not in the plan"):
        stratum_step(project, METHOD, stray)
    step, requests = stratum_step(project, METHOD, first(project, 1)[0])
    assert step.current() is None and len(requests) == 1


def test_without_an_adapter_nothing_is_due_and_drawing_names_what_is_missing(ready: Open) -> None:
    project = ready()
    shutil.rmtree(project.store.root / "manifests" / "adapter")
    assert due_strata(project, METHOD) == []
    with pytest.raises(StorageError, match="Materialise adapter first"):
        drawn(project, first(project, 1))


def test_the_catalogue_counts_a_finding_stratum_by_stratum(ready: Open) -> None:
    project = ready(synthesis__batch=16)
    strata = project.grid.of_finding("edema")
    with pytest.raises(StorageError, match="synthetic_images"):
        catalogue_finding(project, "edema", METHOD)
    drawn(project, strata)
    made = catalogue_finding(project, "edema", METHOD)
    assert made.fresh and not catalogue_finding(project, "edema", METHOD).fresh
    table = project.store.table("synthetic_catalogue", {"finding": "edema", "method": METHOD})
    assert table["stratum"].to_list() == [str(s) for s in strata]
    assert set(table["images"]) == set(table["planned"]) == {1} and set(table["state"]) == {"complete"}
    assert made.manifest.facts["images"] == len(strata)


def test_a_stratum_with_nothing_to_draw_is_written_empty_and_the_rest_goes_on(
    ready: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = ready(synthesis__batch=16)
    strata = project.grid.of_finding("edema")
    real = draw_module.requests_in
    empty = {str(strata[3])}
    monkeypatch.setattr(draw_module, "requests_in", lambda part: [] if set(part["stratum"]) == empty else real(part))
    drawn(project, strata)
    assert rows(project, strata[3:4]).is_empty() and rows(project, strata).height == len(strata) - 1
    made = catalogue_finding(project, "edema", METHOD)
    table = project.store.table("synthetic_catalogue", {"finding": "edema", "method": METHOD})
    assert table["images"].to_list() == [0 if s == strata[3] else 1 for s in strata]
    assert made.manifest.facts["images"] == len(strata) - 1


def test_images_that_are_drawn_anew_reach_the_catalogue(ready: Open) -> None:
    project = ready("anew")
    finding = next(iter(project.grid)).finding
    strata = project.grid.of_finding(finding)
    drawn(project, strata)
    before = catalogue_finding(project, finding, METHOD).manifest
    changed = ready("anew", synthesis__guidance=1.5)
    drawn(changed, strata)
    after = catalogue_finding(changed, finding, METHOD).manifest
    assert after.rows == before.rows and after.digest != before.digest, "as many images, but others"


def test_a_plan_without_a_row_of_a_stratum_leaves_it_empty(ready: Open) -> None:
    project = ready(synthesis__composer="natural", synthesis__max_ratio=0.1)
    plan_synthesis(project)
    asked = project.store.table("synthesis_requests")
    strata = [s for s in project.grid if str(s) in set(asked["stratum"])][:2]
    bare = next(s for s in project.grid if str(s) not in set(asked["stratum"]))
    drawn(project, [*strata, bare])
    assert rows(project, [bare]).is_empty() and attempts(project, [bare]).is_empty()
    table = rows(project, strata)
    assert table["source_study"].null_count() == 0
    told = dict(asked.select("prompt_id", "source_study").iter_rows())
    assert all(told[p] == s for p, s in table.select("prompt_id", "source_study").iter_rows())


def test_labels_alone_are_drawn_for_nobody_in_particular(ready: Open) -> None:
    project = ready(
        findings=["edema", "no_finding"],
        synthesis__composer="label_only",
        synthesis__max_ratio=0.5,
        synthesis__batch=16,
    )
    plan_synthesis(project)
    drawn(project, list(project.grid))
    table = rows(project, list(project.grid))
    assert set(table["prompt"]) == {"chest x-ray, edema", "chest x-ray, no finding"}
    assert set(table["age"]) <= set(project.grid.ages) and table["age_years"].null_count() == table.height
    assert set(table["demographics_json"]) == {
        '{"age": "unknown", "age_years": null, "race": "unknown", "sex": "unknown"}'
    }
    for finding in project.grid.findings:
        catalogue_finding(project, finding, METHOD)
    assemble_set(project, METHOD)
    quality = project.store.table("synthetic_quality", {"method": METHOD})
    assert not {"sex", "age_bin"} & set(quality.filter(pl.col("features") == "oracle")["quantity"])
    assert "edema" in set(quality.filter(pl.col("features") == "oracle")["quantity"])


def test_a_plan_of_an_earlier_version_has_nothing_due(ready: Open) -> None:
    project = ready()
    assert due_strata(project, METHOD)
    path = project.store.manifest_path("synthesis_plan")
    path.write_text(path.read_text().replace("synthesis_requests", "synthesis_wishes"))
    assert due_strata(project, METHOD) == []


@pytest.mark.parametrize("composer", ["natural", "targeted"])
def test_impressions_are_asked_for_in_the_words_of_a_study_that_shows_the_same(ready: Open, composer: str) -> None:
    project = ready(synthesis__composer=composer, synthesis__max_ratio=0.5)
    plan_synthesis(project)
    train_adapter(project, "impression_lora")
    planned = project.store.table("synthesis_requests")
    shown = dict(
        label_sets(project.grid, project.filmed("train"), project.findings()).select("study_id", "labels").iter_rows()
    )
    alike = planned.filter(pl.col("labels").is_in(list(shown.values())))
    stratum = Stratum.parse(alike["stratum"][0])
    list(draw_strata(project, "impression_lora", [stratum]))
    table = project.store.table("synthetic_images", stratum_keys("impression_lora", stratum))
    table = table.filter(pl.col("source_study").is_not_null())
    reports = project.store.table("reports").filter(pl.col("section") == "impression")
    said = dict(reports.select("study_id", "text").iter_rows())
    assert table.height
    for row in table.iter_rows(named=True):
        header, _, body = row["prompt"].partition(". ")
        assert header.startswith("chest x-ray, ") and row["sex"] in header
        assert body.split() == said[row["source_study"]].split(), "as the report has it, no label in its place"
        assert set(shown[row["source_study"]].split("|")) == set(row["labels"].split("|"))


def test_the_speed_of_drawing_is_recorded(ready: Open) -> None:
    project = ready()
    (made,) = [made for _, made in drawn(project, first(project, 1))]
    assert made.manifest.facts["images_per_second"] > 0
