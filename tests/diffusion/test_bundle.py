from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch import Tensor

from cxr_assets.diffusion.base import base_identity, make_base_model, open_base_model
from cxr_assets.diffusion.bundle import Bundle, folder_digest, load_bundle, save_bundle, training_scheduler
from cxr_assets.diffusion.config import SamplerName
from cxr_assets.diffusion.latents import encode_captions, encode_films
from cxr_assets.diffusion.losses import Noising, denoising_errors
from cxr_assets.diffusion.sampling import Ask, Sampler, SamplerSettings, make_scheduler
from cxr_assets.errors import InputError, SettingsError
from cxr_assets.project import Project
from tests.diffusion.base_models import COMMIT, changed, copied, halved, in_cache, pickled
from tests.diffusion.lessons import teaching
from tests.helpers import (
    CAPTIONS,
    CPU,
    SPEC,
    make_ready,
    noise_films,
    tiny_bundle,
    tiny_project,
    weights_digest,
)

NETWORKS = ("text_encoder", "vae", "unet")


def digests(bundle: Bundle) -> list[str]:
    return [weights_digest(getattr(bundle, name)) for name in NETWORKS]


def test_a_seed_decides_every_weight_and_disturbs_no_other_randomness() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = digests(tiny_bundle(seed=1))
    assert torch.equal(torch.rand(3), expected)
    assert digests(tiny_bundle(seed=1)) == first
    assert digests(tiny_bundle(seed=2)) != first


def test_a_saved_base_model_loads_with_equal_output(tmp_path: Path) -> None:
    bundle = tiny_bundle()
    save_bundle(bundle, tmp_path / "model", half=False)
    loaded = load_bundle(str(tmp_path / "model"))
    assert digests(loaded) == digests(bundle)
    films = noise_films(3)
    before, after = (encode_films(b.vae, films, device=CPU) for b in (bundle, loaded))
    assert np.array_equal(before.mean, after.mean) and before.mean.shape == (3, 4, 32, 32)
    states = [encode_captions(b.tokenizer, b.text_encoder, ["", *CAPTIONS], device=CPU) for b in (bundle, loaded)]
    assert np.array_equal(*states) and states[0].shape == (4, 77, SPEC.text_width)


def test_the_identity_of_a_base_model_is_that_of_its_files(tmp_path: Path, tiny_base: Path) -> None:
    bundle = tiny_bundle()
    first = save_bundle(bundle, tmp_path / "model")
    assert first == bundle.base_id == load_bundle(str(tmp_path / "model")).base_id == folder_digest(tiny_base)
    assert save_bundle(tiny_bundle(seed=1), tmp_path / "other") != first


def test_notes_and_pictures_are_no_part_of_the_identity(tmp_path: Path, tiny_base: Path) -> None:
    folder = Path(shutil.copytree(tiny_base, tmp_path / "model"))
    before = folder_digest(folder)
    (folder / "README.md").write_text("a note")
    (folder / "record").mkdir()
    (folder / "record" / "training.json").write_text("{}")
    assert folder_digest(folder) == before
    (folder / "scheduler" / "scheduler_config.json").write_text("{}")
    assert folder_digest(folder) != before


def test_pickled_weights_are_refused_unopened(tmp_path: Path, tiny_base: Path) -> None:
    folder = Path(shutil.copytree(tiny_base, tmp_path / "model"))
    for weights in (folder / "unet").glob("*.safetensors"):
        weights.unlink()
    (folder / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"not even a pickle")
    with pytest.raises(InputError, match="holds pickled weights"):
        load_bundle(str(folder))


def test_candidates_are_tried_in_order_and_each_failure_is_told(tmp_path: Path, tiny_base: Path) -> None:
    missing = str(tmp_path / "missing")
    (tmp_path / "empty").mkdir()
    assert load_bundle([missing, str(tmp_path / "empty"), str(tiny_base)]).source == str(tiny_base)
    with pytest.raises(SettingsError, match="missing: no folder") as told:
        load_bundle([missing, str(tmp_path / "empty")])
    assert f"{tmp_path / 'empty'}: " in str(told.value)


def test_what_cannot_be_used_is_passed_over_and_told(tmp_path: Path, tiny_base: Path) -> None:
    folder = pickled(copied(tiny_base, tmp_path / "pickle"), "unet")
    bundle = load_bundle([str(folder), str(tiny_base)])
    assert bundle.source == str(tiny_base)
    assert len(bundle.passed_over) == 1 and "holds pickled weights" in bundle.passed_over[0]
    with pytest.raises(InputError, match=r"Tried: .*pickled.*no folder"):
        load_bundle([str(folder), str(tmp_path / "missing")])
    with pytest.raises(SettingsError, match="trained, not loaded"):
        load_bundle("scratch")


@pytest.mark.parametrize("parts", [NETWORKS, ("unet",)])
def test_fp16_weights_are_read_where_there_are_no_others(
    parts: tuple[str, ...], tmp_path: Path, tiny_base: Path
) -> None:
    loaded = load_bundle(str(halved(copied(tiny_base, tmp_path / "model"), *parts)))
    assert digests(loaded) == digests(load_bundle(str(tiny_base)))
    assert {p.dtype for p in loaded.unet.parameters()} == {torch.float32}


def v_base(tiny_base: Path, folder: Path) -> Path:
    """The tiny base model as one that predicts velocities, saved as SD 2.1 is."""
    return changed(copied(tiny_base, folder), "scheduler/scheduler_config.json", prediction_type="v_prediction")


@pytest.mark.parametrize("name", get_args(SamplerName))
def test_every_sampler_draws_with_velocities_where_the_base_model_predicts_them(
    name: str, tmp_path: Path, tiny_base: Path
) -> None:
    bundle = load_bundle(str(v_base(tiny_base, tmp_path / "model")))
    assert bundle.prediction_type == "v_prediction"
    scheduler = make_scheduler(bundle, name)
    assert scheduler.config.prediction_type == "v_prediction"
    truth = torch.linspace(-1.5, 1.5, 64).reshape(1, 1, 8, 8)
    latents = torch.randn(truth.shape, generator=torch.Generator().manual_seed(0)) * scheduler.init_noise_sigma
    scheduler.set_timesteps(20)
    alphas = bundle.scheduler.alphas_cumprod
    for t in scheduler.timesteps:  # a network that knows the film says the velocity that leads to it
        signal, spread = alphas[int(t)].sqrt(), (1 - alphas[int(t)]).sqrt()
        noise = (scheduler.scale_model_input(latents, t) - signal * truth) / spread
        chance = {"generator": torch.Generator().manual_seed(1)} if name == "lcm" else {}
        latents = scheduler.step(signal * noise - spread * truth, t, latents, return_dict=False, **chance)[0]
    assert (latents - truth).abs().max() < 0.1


def test_training_asks_a_velocity_model_for_velocities(tmp_path: Path, tiny_base: Path) -> None:
    bundle = load_bundle(str(v_base(tiny_base, tmp_path / "model")))
    latents, noise = (torch.randn((3, 4, 8, 8), generator=torch.Generator().manual_seed(i)) for i in (1, 2))
    at = torch.tensor([0, 500, 999])
    signal = bundle.scheduler.alphas_cumprod[at].sqrt().reshape(3, 1, 1, 1)
    velocity = signal * noise - (1 - signal.square()).sqrt() * latents

    def knows(noisy: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor]:
        return (velocity + 0.5,)

    errors = denoising_errors(knows, bundle.scheduler, latents, torch.zeros(3, 77, 32), Noising(noise, noise, at))
    assert errors.tolist() == pytest.approx([0.25] * 3, abs=1e-5)


def test_a_velocity_model_draws_and_learns_from_end_to_end(tmp_path: Path, tiny_base: Path) -> None:
    folder = v_base(tiny_base, tmp_path / "model")
    project = make_ready(tiny_project(tmp_path / "root", folder))
    assert facts_of(project)["prediction_type"] == "v_prediction"
    settings = SamplerSettings(steps=3, batch=2, resolution=64)
    asks = [Ask(CAPTIONS[0], 1), Ask(CAPTIONS[1], 2)]
    velocities, noises = (
        Sampler(load_bundle(str(path)), settings, device=CPU).draw(asks) for path in (folder, tiny_base)
    )
    assert velocities.shape == (2, 64, 64) and not np.array_equal(velocities, noises), (
        "the same weights, read otherwise"
    )
    fixed = teaching(
        bundle=load_bundle(str(folder)), tune="full", train={"steps": 40, "learning_rate": 2e-3, "min_snr": None}
    )
    fixed.run()
    losses = [loss for _, loss in fixed.loop.losses]
    assert losses[-1] < losses[0]


def facts_of(project: Project) -> dict[str, Any]:
    manifest = project.store.manifest("base_model")
    assert manifest is not None
    return manifest.facts


Open = Callable[..., Project]


def test_the_facts_of_a_base_model_say_where_it_is_from(tmp_path: Path, tiny_base: Path) -> None:
    missing = str(tmp_path / "missing")
    project = tiny_project(tmp_path / "root", tiny_base, diffusion__base_model=[missing, str(tiny_base)])
    make_base_model(project)
    facts = facts_of(project)
    assert facts["source"] == str(tiny_base) and facts["base_id"] == folder_digest(tiny_base)
    assert (facts["commit"], facts["family"], facts["prediction_type"]) == ("", "own", "epsilon")
    assert facts["passed_over"] == [f"{missing}: no folder {missing}"]


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def test_a_hub_model_that_moves_on_changes_nothing_until_it_is_made_anew(
    hub: Path, tmp_path: Path, tiny_base: Path
) -> None:
    in_cache(hub, "some/body", tiny_base)
    project = tiny_project(tmp_path / "root", tiny_base, diffusion__base_model=["some/body"], diffusion__offline=True)
    make_base_model(project)
    assert facts_of(project)["commit"] == COMMIT
    later = changed(copied(tiny_base, tmp_path / "later"), "unet/config.json", _note="later")
    in_cache(hub, "some/body", later, commit="f" * 40)
    assert load_bundle("some/body", offline=True).commit == "f" * 40
    assert open_base_model(project).base_id == facts_of(project)["base_id"] and not make_base_model(project).fresh
    shutil.rmtree(hub / "models--some--body" / "snapshots" / COMMIT)
    with pytest.raises(SettingsError, match=f"some/body@{COMMIT}: not in the local cache"):
        open_base_model(project)


def test_a_base_model_that_comes_back_does_not_take_over(tmp_path: Path, tiny_base: Path) -> None:
    first = tmp_path / "first"
    wanted = [str(first), str(tiny_base)]
    project = tiny_project(tmp_path / "root", tiny_base, diffusion__base_model=wanted)
    make_base_model(project)
    save_bundle(tiny_bundle(seed=3), first)
    assert open_base_model(project).source == str(tiny_base)
    assert make_base_model(project).fresh and facts_of(project)["source"] == str(first), "it is stale, though"


def test_another_base_model_in_the_settings_is_made_first(tmp_path: Path, tiny_base: Path) -> None:
    make_base_model(tiny_project(tmp_path / "root", tiny_base))
    other = tiny_project(tmp_path / "root", tiny_base, diffusion__base_model=["phantom"])
    with pytest.raises(
        InputError, match=r"is now phantom, and base_model was made with .*Materialise base_model again"
    ):
        open_base_model(other)


def test_weights_that_change_in_their_place_are_noticed(tmp_path: Path, tiny_base: Path) -> None:
    folder = copied(tiny_base, tmp_path / "model")
    project = tiny_project(tmp_path / "root", folder)
    make_base_model(project)
    changed(folder, "unet/config.json", _note="changed")
    with pytest.raises(InputError, match="is not the one that base_model was made with"):
        open_base_model(project)


def test_the_identity_names_each_revision(tmp_path: Path, tiny_base: Path) -> None:
    wanted = ["a/b@v1", "c/d", str(tiny_base)]
    project = tiny_project(tmp_path / "root", tiny_base, diffusion__base_model=wanted, diffusion__revision="v9")
    assert base_identity(project) == f"a/b@v1,c/d@v9,{tiny_base}:{folder_digest(tiny_base)[:16]}"


@pytest.mark.parametrize(
    "name",
    [
        "DDIMScheduler",
        "PNDMScheduler",
        "EulerDiscreteScheduler",
        "DPMSolverMultistepScheduler",
        "UniPCMultistepScheduler",
    ],
)
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_a_model_is_taught_by_one_formula_whatever_scheduler_it_came_with(name: str, prediction: str) -> None:
    import diffusers

    made = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "prediction_type": prediction}
    scheduler = training_scheduler(getattr(diffusers, name)(**made))
    alpha = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64).square().neg().add(1).cumprod(0)[900]
    latents, noise, at = torch.ones(1, 4, 8, 8), torch.zeros(1, 4, 8, 8), torch.tensor([900])
    assert float(scheduler.add_noise(latents, noise, at).mean()) == pytest.approx(float(alpha.sqrt()), rel=1e-4)
    velocity = float(scheduler.get_velocity(latents, noise + 1, at).mean())
    assert velocity == pytest.approx(float(alpha.sqrt() - (1 - alpha).sqrt()), rel=1e-3)
    assert scheduler.config.prediction_type == prediction
    assert scheduler.config.clip_sample == (name == "DDIMScheduler"), (
        "clipped where the model says so, and nowhere else"
    )
