from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from cxr_assets.cohorts.film_reader import read_films
from cxr_assets.diffusion import cache, teaching, training_run
from cxr_assets.diffusion.adapters import method_preset, open_generator, train_adapter
from cxr_assets.diffusion.base import make_base_model, open_base_model
from cxr_assets.diffusion.bundle import save_bundle
from cxr_assets.diffusion.cache import cache_latents, open_cache
from cxr_assets.diffusion.held_out import hold_out_cells
from cxr_assets.diffusion.latents import film_tensor
from cxr_assets.diffusion.lessons import method_captions, people_of, prepare_lesson, schema_of
from cxr_assets.errors import InputError, StorageError
from cxr_assets.project import Made, Project
from tests.helpers import CPU, tiny_bundle, weights_digest

Open = Callable[..., Project]


def folder_of(project: Project, made: Made) -> Path:
    return project.store.path(made.manifest.facts["folder"])


def own_preset(project: Project, name: str, text: str) -> None:
    path = project.store.root / "presets" / "methods" / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def captions_of(project: Project, method: str) -> dict[str, str]:
    preset = method_preset(project, method)
    made = method_captions(project, preset, open_base_model(project), project.studies())
    return dict(made.iter_rows())


def test_each_method_words_its_captions_in_its_own_way(ready: Open) -> None:
    project = ready()
    study = project.filmed("train").sort("study_id").row(0, named=True)
    written = {
        m: captions_of(project, m)[study["study_id"]] for m in ("demographic_text", "label_lora", "hcn", "hcn_age_text")
    }
    full, age = written["demographic_text"], f"{int(study['age_years'])} year old"
    assert age in full and study["sex"] in full and study["race"] in full
    assert written["label_lora"] == written["hcn"] and not any(w in written["hcn"] for w in ("year old", study["sex"]))
    assert age in written["hcn_age_text"] and study["sex"] not in written["hcn_age_text"]
    assert full.split(", ")[-1].split(" and ")[-1] in written["hcn"], "the findings stay"


def test_impressions_are_the_reports_own_words(ready: Open) -> None:
    project = ready()
    written = captions_of(project, "impression_lora")
    reports = project.store.table("reports").filter(pl.col("section") == "impression")
    for study, text in reports.select("study_id", "text").head(20).iter_rows():
        assert text.split()[0] in written[study] and written[study].startswith("chest x-ray, ")


def test_unknown_people_are_unknown_and_never_a_default(ready: Open) -> None:
    schema = schema_of(ready())
    frame = pl.DataFrame(
        {"age_years": [30.0, None, 130.0], "sex": ["male", None, "unknown"], "race": ["white", "martian", None]}
    )
    assert people_of(frame, schema).known.tolist() == [[True] * 3, [False] * 3, [False] * 3]


def test_a_wording_is_encoded_once_for_all_methods_that_share_it(ready: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    from cxr_assets.diffusion import cache

    project, encoded = ready(), []
    shutil.rmtree(project.store.root / "work" / "text_states", ignore_errors=True)
    real = cache.encode_captions
    monkeypatch.setattr(cache, "encode_captions", lambda *a, **k: encoded.append(len(a[2])) or real(*a, **k))
    for method in ("demographic_text", "fairdiffusion", "demographic_encoder", "hcn"):
        train_adapter(project, method)
    assert len(encoded) == 1, "the cohort's own wording is cached with the latents; two conditioners share another"


def test_cached_posteriors_are_those_of_the_films(ready: Open) -> None:
    project = ready()
    cache, base = open_cache(project.store), open_base_model(project)
    files = cache.index["image_file"].to_list()[:5]
    films = read_films(project.store, files, project.settings.diffusion.resolution)
    with torch.no_grad():
        posterior = base.vae.encode(film_tensor(films, CPU)).latent_dist
    for cached, fresh in ((cache.posteriors.mean, posterior.mean), (cache.posteriors.std, posterior.std)):
        assert np.allclose(cached[np.arange(5)].astype(np.float32), fresh.numpy(), atol=5e-3)


def test_films_without_a_caption_of_the_kind_stay_out(ready: Open) -> None:
    project = ready()
    preset = method_preset(project, "impression_lora")
    reports = project.store.table("reports")
    gone = set(project.filmed("train").sort("study_id")["study_id"].to_list()[:5])
    kept = reports.filter(~pl.col("study_id").is_in(list(gone)))
    real = project.store.table
    project.store.table = lambda name, keys=None: kept if name == "reports" else real(name, keys)  # type: ignore[method-assign]
    prepared = prepare_lesson(project, preset, open_base_model(project), folder=project.store.root)
    project.store.table = lambda name, keys=None: kept.clear() if name == "reports" else real(name, keys)  # type: ignore[method-assign]
    assert gone.isdisjoint(prepared.rows["study_id"]) and len(prepared.lesson.films) == prepared.rows.height
    with pytest.raises(InputError, match="no training film with a caption of its kind"):
        prepare_lesson(project, preset, open_base_model(project), folder=project.store.root)


@pytest.mark.parametrize("method", ["hcn_fairdiffusion", "balanced_sampler"])
def test_the_record_says_what_was_learned_from_and_how(ready: Open, method: str) -> None:
    project = ready(adapter_training__steps=9, adapter_training__batch=8)
    made = train_adapter(project, method)
    folder, facts = folder_of(project, made), made.manifest.facts
    record = json.loads((folder / "training.json").read_text())
    assert record["base_id"] == facts["base_id"] and record["settings"]["train"]["steps"] == 9
    assert facts["validation_loss"] > 0 and record["weighed_by"] == ["age", "sex", "race"]
    assert record["weighing"][-1][0] == 9
    pictures = project.store.path(facts["pictures"])
    assert (pictures / "films.png").stat().st_size > 5000 and (pictures / "loss.png").is_file()
    assert not list(folder.glob("*.png")), "how films are drawn is no part of what was learned"
    assert facts["images_per_second"] > 0 and facts["peak_memory_mib"] > 100 and facts["processes"] == 1
    rows = project.store.table("adapter_training_rows", {"method": method})
    assert rows["times_seen"].sum() == 9 * 8 and set(rows["split"]) == {"train"}
    captions = captions_of(project, method)
    assert all(
        r["caption_sha256"] == hashlib.sha256(captions[r["study_id"]].encode()).hexdigest()
        for r in rows.iter_rows(named=True)
    )
    work = project.store.work("adapter", {"method": method})
    assert list((work / "tensorboard").glob("events*")), "TensorBoard can be pointed at the work folder"


def test_a_seed_ending_is_the_same_preset_with_another_seed(ready: Open) -> None:
    project = ready()
    first, second = train_adapter(project, "hcn"), train_adapter(project, "hcn-s1")
    assert method_preset(project, "hcn-s1").train.seed == 1 and method_preset(project, "hcn-s1").title == "HCN"
    assert first.manifest.facts["adapter_id"] != second.manifest.facts["adapter_id"]
    generator = open_generator(project, "hcn-s1")
    assert generator.conditioner is not None and generator.preset.train.seed == 1


def test_a_killed_training_goes_on_and_ends_in_the_same_adapter(ready: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    training = {"adapter_training__steps": 10, "adapter_training__checkpoint_every": 4, "adapter_training__batch": 4}
    whole = train_adapter(ready("a", **training), "hcn_fairdiffusion")
    project = ready("b", **training)
    real, calls = teaching.denoising_errors, iter(range(100))

    def killed(*args: Any, **kwargs: Any) -> torch.Tensor:
        if next(calls) == 6:
            raise KeyboardInterrupt
        return real(*args, **kwargs)

    monkeypatch.setattr(teaching, "denoising_errors", killed)
    with pytest.raises(KeyboardInterrupt):
        train_adapter(project, "hcn_fairdiffusion")
    monkeypatch.undo()
    project.store.release("adapter", {"method": "hcn_fairdiffusion"})
    resumed = train_adapter(project, "hcn_fairdiffusion")
    assert resumed.manifest.digest == whole.manifest.digest
    assert not train_adapter(project, "hcn_fairdiffusion").fresh


def test_another_setting_of_a_preset_stales_the_adapter_and_its_title_does_not(ready: Open) -> None:
    project = ready()
    own_preset(project, "mine", "title: One\n")
    train_adapter(project, "mine")
    own_preset(project, "mine", "title: Two\n")
    assert not train_adapter(project, "mine").fresh
    own_preset(project, "mine", "title: Two\nconditioner: {kind: hcn, drop_text: 0.2}\n")
    assert train_adapter(project, "mine").fresh


def test_prior_preservation_draws_with_the_base_model_and_keeps_it_for_a_resume(ready: Open) -> None:
    project = ready()
    own_preset(project, "kept", "title: Kept\ntrain: {prior: {films: 3, steps: 2}}\n")
    train_adapter(project, "kept")
    (prior,) = project.store.work("adapter", {"method": "kept"}).glob("prior-*.safetensors")
    before = prior.stat().st_mtime_ns
    preset = method_preset(project, "kept")
    base = open_base_model(project)
    prepared = prepare_lesson(project, preset, base, folder=prior.parent)
    assert prepared.lesson.prior is not None and prepared.lesson.prior[0].shape == (3, 4, 32, 32)
    assert prior.stat().st_mtime_ns == before and weights_digest(base.unet) == weights_digest(
        open_base_model(project).unet
    )


def test_a_preset_that_has_changed_since_is_not_drawn_with(ready: Open) -> None:
    project = ready()
    own_preset(project, "mine", "title: Mine\nconditioner: {kind: hcn}\n")
    train_adapter(project, "mine")
    own_preset(project, "mine", "title: Mine\nconditioner: {kind: hcn}\ndemographic_guidance: 2.0\n")
    assert open_generator(project, "mine").preset.demographic_guidance == 2.0, "how it is drawn may change"
    own_preset(project, "mine", "title: Mine\n")
    with pytest.raises(StorageError, match="another conditioner or wording"):
        open_generator(project, "mine")


def test_other_age_bins_stale_what_looks_at_them(ready: Open) -> None:
    for method in ("hcn", "inverse_frequency", "demographic_text"):
        train_adapter(ready(), method)
    other = ready(choices__age_scheme="adult3")
    assert train_adapter(other, "hcn").fresh and train_adapter(other, "inverse_frequency").fresh
    assert open_generator(other, "hcn").conditioner is not None
    assert not train_adapter(other, "demographic_text").fresh, "its words say years"


def test_how_a_method_is_drawn_is_no_reason_to_train_it_again(ready: Open) -> None:
    project = ready()
    own_preset(project, "mine", "title: Mine\nconditioner: {kind: hcn}\n")
    train_adapter(project, "mine")
    drawn = "demographic_guidance: 2.0\nwording: {asked_with: [sex]}\ntrain: {validate_every: 1, checkpoint_every: 7}\n"
    own_preset(project, "mine", f"title: Mine\nconditioner: {{kind: hcn}}\n{drawn}")
    assert not train_adapter(project, "mine").fresh


def test_an_adapter_of_another_base_model_is_not_drawn_with(ready: Open, tmp_path: Path) -> None:
    train_adapter(ready(), "hcn")
    save_bundle(tiny_bundle(seed=9), tmp_path / "other")
    project = ready(diffusion__base_model=[str(tmp_path / "other")])
    make_base_model(project)
    with pytest.raises(StorageError, match="was trained on base model"):
        open_generator(project, "hcn")


def test_nothing_heavy_stays_in_the_work_folder(ready: Open) -> None:
    project = ready()
    train_adapter(project, "hcn")
    work = project.store.work("adapter", {"method": "hcn"})
    assert not list(work.rglob("*.safetensors")) and not list(work.rglob("*.pt"))
    assert not list(project.store.work("latents", {}).rglob("*.safetensors"))


def test_an_adapter_that_is_not_there_is_asked_for(ready: Open) -> None:
    with pytest.raises(StorageError, match="Materialise adapter first"):
        open_generator(ready(), "compdiff")


def test_the_grid_shows_findings_in_two_people(ready: Open) -> None:
    project = ready()
    asks = training_run.watched_asks(project, method_preset(project, "hcn"))
    assert len(asks) == 8 and len({ask.seed for ask in asks}) == 4
    assert {(ask.age, ask.sex) for ask in asks} == {(30.0, project.grid.sexes[0]), (70.0, project.grid.sexes[-1])}
    assert all("year" not in ask.prompt for ask in asks)


def test_other_captions_encode_no_film_again(ready: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    encoded: list[int] = []
    real = cache.encode_films
    monkeypatch.setattr(
        cache, "encode_films", lambda vae, films, **k: encoded.append(len(films)) or real(vae, films, **k)
    )
    project = ready()
    before = open_cache(project.store)
    known = dict(zip(before.index["study_id"], before.posteriors.mean[np.arange(len(before.posteriors))], strict=True))
    held = {"diffusion__holdout__cells": 1, "diffusion__holdout__least_pair": 1, "diffusion__holdout__least_single": 1}
    project = ready(**held)
    hold_out_cells(project)
    assert cache_latents(project).fresh and encoded == []
    after = open_cache(project.store)
    assert 0 < after.index.height < before.index.height
    for row, study in after.index.select("row", "study_id").iter_rows():
        assert np.array_equal(after.posteriors.mean[np.array([row])][0], known[study])
    project = ready()
    assert cache_latents(project).fresh and sum(encoded) == before.index.height - after.index.height, (
        "those that had gone"
    )
    whole = open_cache(project.store)
    assert all(
        np.array_equal(whole.posteriors.mean[np.array([row])][0], known[study])
        for row, study in whole.index.select("row", "study_id").iter_rows()
    )


def test_a_published_warm_up_ends_before_a_short_training_does(ready: Open) -> None:
    assert method_preset(ready(), "compdiff").train.warmup == method_preset(ready(), "compdiff").train.steps // 2
    assert method_preset(ready(adapter_training__steps=5000), "compdiff").train.warmup == 500


def test_the_grid_of_a_method_of_impressions_is_asked_for_in_their_words(ready: Open) -> None:
    project = ready()
    asks = training_run.watched_asks(project, method_preset(project, "impression_lora"))
    reports = project.store.table("reports").filter(pl.col("section") == "impression")
    said = {" ".join(text.split()) for text in reports["text"]}
    assert len(asks) == 8 and all(" ".join(ask.prompt.partition(". ")[2].split()) in said for ask in asks)
