from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cxr_assets.diffusion import pretrain as pretrain_module
from cxr_assets.diffusion.bundle import load_bundle, save_bundle
from cxr_assets.diffusion.config import PretrainSettings
from cxr_assets.diffusion.latents import Posteriors, encode_films
from cxr_assets.diffusion.pretrain import Pretrained, pretrain, set_latent_scale
from cxr_assets.diffusion.sampling import SamplerSettings, sample_prompts
from cxr_assets.progress import Progress
from tests.helpers import CAPTIONS, CPU, QUIET, SPEC, noise_films, tiny_bundle, weights_digest

FILMS = noise_films(12, size=32)
TEXTS = [CAPTIONS[i % 3] for i in range(12)]
SETTINGS = PretrainSettings(
    architecture=SPEC.model_copy(update={"resolution": 32}),
    precision="fp32",
    vae_steps=40,
    vae_batch=4,
    unet_steps=40,
    unet_batch=4,
    vae_ema=0.5,
    unet_ema=0.5,
    checkpoint_every=8,
)


class Killed(RuntimeError):
    """Stands for the end of the process."""


def run(folder: Path, settings: PretrainSettings = SETTINGS, data: str = "d", progress: Progress = QUIET) -> Pretrained:
    return pretrain(FILMS, TEXTS, settings, device=CPU, folder=folder, data_digest=data, progress=progress)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Pretrained:
    """A base model trained without a stop."""
    return run(tmp_path_factory.mktemp("whole"))


def digests(trained: Pretrained) -> list[str]:
    return [weights_digest(getattr(trained.bundle, name)) for name in ("vae", "unet", "text_encoder")]


def test_pretraining_lowers_both_losses(whole: Pretrained) -> None:
    for name in ("vae_losses", "unet_losses"):
        losses = [value for _, value in whole.record[name]]
        assert len(losses) == 2 and losses[1] < 0.95 * losses[0], name


@pytest.mark.parametrize(("network", "stop_at"), [("vae_loss", 21), ("denoising_loss", 21)])
def test_a_stopped_pretraining_goes_on_to_the_same_weights(
    whole: Pretrained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, network: str, stop_at: int
) -> None:
    real, calls = getattr(pretrain_module, network), iter(range(1000))

    def killed(*args: Any, **kwargs: Any) -> Any:
        if next(calls) == stop_at:
            raise Killed
        return real(*args, **kwargs)

    monkeypatch.setattr(pretrain_module, network, killed)
    with pytest.raises(Killed):
        run(tmp_path)
    monkeypatch.undo()
    said: list[str] = []
    resumed = run(tmp_path, progress=Progress(log=said.append))
    assert any("resumed at step 16 of 40" in line for line in said)
    assert digests(resumed) == digests(whole)
    assert resumed.record == whole.record


def test_checkpoints_of_other_data_or_settings_are_not_taken_up(tmp_path: Path) -> None:
    short = SETTINGS.model_copy(update={"vae_steps": 4, "unet_steps": 4, "checkpoint_every": 1})
    first = digests(run(tmp_path, short))
    said: list[str] = []
    told = Progress(log=said.append)
    assert digests(run(tmp_path, short.model_copy(update={"unet_learning_rate": 1e-4}), progress=told))[0] == first[0]
    assert [line for line in said if "resumed" in line] == ["VAE: resumed at step 4 of 4"]
    said.clear()
    run(tmp_path, short, data="other", progress=told)
    assert not [line for line in said if "resumed" in line]


def test_latents_have_unit_variance_after_scaling(whole: Pretrained) -> None:
    posteriors = encode_films(whole.bundle.vae, FILMS, device=CPU)
    drawn = posteriors.draw(np.arange(12).repeat(20), torch.Generator().manual_seed(0))
    assert float((drawn * whole.bundle.vae.config.scaling_factor).std()) == pytest.approx(1.0, abs=0.1)


def test_the_scale_is_one_over_the_spread_of_mean_and_draw_together() -> None:
    rng = np.random.default_rng(0)
    mean = (3.0 * rng.standard_normal((500, 4, 8, 8))).astype(np.float16)
    scale = set_latent_scale(tiny_bundle().vae, Posteriors(mean, np.full_like(mean, 4.0)))
    assert scale == pytest.approx(1 / 5.0, rel=0.01)


def test_a_pretrained_model_saves_loads_and_draws(whole: Pretrained, tmp_path: Path) -> None:
    save_bundle(whole.bundle, tmp_path / "model")
    loaded = load_bundle(str(tmp_path / "model"))
    assert loaded.vae.config.scaling_factor == whole.bundle.vae.config.scaling_factor
    films = sample_prompts(loaded, TEXTS[:2], [1, 2], SamplerSettings(steps=2, batch=2, resolution=32), device=CPU)
    assert films.shape == (2, 32, 32) and films.dtype == np.uint8 and films.std() > 0


def test_training_goes_on_from_a_saved_model(whole: Pretrained, tmp_path: Path) -> None:
    base_id = save_bundle(whole.bundle, tmp_path / "base", half=False)
    more = run(tmp_path / "more", SETTINGS.model_copy(update={"start": str(tmp_path / "base")}))
    assert more.record["started_from"] == base_id
    for name in ("vae_losses", "unet_losses"):
        assert more.record[name][0][1] < whole.record[name][0][1], f"{name} begin where a trained model stands"
    assert digests(more) != digests(whole)
