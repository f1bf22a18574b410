from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler
from torch import Tensor

from cxr_assets.diffusion.losses import denoising_errors, denoising_loss, draw_noising, min_snr_weights

LATENTS = torch.randn((6, 4, 8, 8), generator=torch.Generator().manual_seed(3))
CONTEXT = torch.zeros(6, 77, 8)


def scheduler(prediction_type: str = "epsilon") -> DDIMScheduler:
    """The noise schedule of Stable Diffusion."""
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type=prediction_type,
        clip_sample=False,
    )


class Spy:
    """Predicts nothing and remembers what it was shown."""

    def __call__(self, noisy: Tensor, timesteps: Tensor, **_: Any) -> tuple[Tensor]:
        self.noisy, self.timesteps = noisy, timesteps
        return (torch.zeros_like(noisy),)

    def noise(self, latents: Tensor) -> Tensor:
        """The noise that must have been added."""
        alpha = scheduler().alphas_cumprod[self.timesteps][:, None, None, None]
        return (self.noisy - alpha.sqrt() * latents) / (1 - alpha).sqrt()


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_min_snr_weights_have_their_published_values() -> None:
    weights = min_snr_weights(scheduler(), torch.tensor([0, 100, 147, 999]), 5.0)
    assert weights.tolist() == pytest.approx([0.004254, 0.591443, 1.0, 1.0], abs=5e-6)
    every = min_snr_weights(scheduler(), torch.arange(1000), 5.0)
    assert (every[147:] == 1).all() and (every[:147] < 1).all()


def test_velocity_weights_divide_by_one_more() -> None:
    steps = torch.tensor([0, 100, 999])
    snr = torch.tensor([1175.47, 8.45389, 0.00468])
    expected = snr.clamp(max=5.0) / (snr + 1)
    assert min_snr_weights(scheduler("v_prediction"), steps, 5.0).tolist() == pytest.approx(expected.tolist(), rel=1e-3)


def test_without_gamma_all_timesteps_weigh_the_same() -> None:
    assert (min_snr_weights(scheduler(), torch.arange(1000), None) == 1).all()


def test_noise_offset_adds_its_square_to_the_variance_of_a_channels_mean() -> None:
    latents, offset = torch.zeros(2000, 4, 8, 8), 0.3
    spread = {}
    for k in (0.0, offset):
        spy = Spy()
        denoising_loss(spy, scheduler(), latents, CONTEXT, seeded(), min_snr=None, noise_offset=k)
        spread[k] = float(spy.noise(latents).mean(dim=(2, 3)).var())
    assert spread[0.0] == pytest.approx(1 / 64, rel=0.06)
    assert spread[offset] == pytest.approx(offset**2 + 1 / 64, rel=0.06)


def test_the_loss_hangs_on_its_generator_alone() -> None:
    values = []
    for seed, state in ((1, 10), (1, 20), (2, 10)):
        torch.manual_seed(state)
        values.append(float(denoising_loss(Spy(), scheduler(), LATENTS, CONTEXT, seeded(seed))))
    assert values[0] == values[1] != values[2]


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_a_network_that_predicts_nothing_pays_the_mean_square_of_the_target(prediction_type: str) -> None:
    spy, noise_schedule = Spy(), scheduler(prediction_type)
    loss = denoising_loss(spy, noise_schedule, LATENTS, CONTEXT, seeded(), min_snr=None)
    noise = spy.noise(LATENTS)
    target = noise if prediction_type == "epsilon" else noise_schedule.get_velocity(LATENTS, noise, spy.timesteps)
    assert float(loss) == pytest.approx(float(target.square().mean()), rel=1e-3)


def test_every_film_has_its_own_error() -> None:
    drawn = draw_noising(tuple(LATENTS.shape), 1000, seeded())
    errors = denoising_errors(Spy(), scheduler(), LATENTS, CONTEXT, drawn)
    assert errors.shape == (6,) and errors.tolist() == pytest.approx(drawn.noise.square().mean(dim=(1, 2, 3)).tolist())
    some = denoising_errors(Spy(), scheduler(), LATENTS[2:4], CONTEXT[2:4], drawn.of(slice(2, 4), torch.device("cpu")))
    assert some.tolist() == pytest.approx(errors[2:4].tolist())


def test_input_perturbation_changes_the_noised_latent_and_not_the_target() -> None:
    plain = draw_noising(tuple(LATENTS.shape), 1000, seeded())
    perturbed = draw_noising(tuple(LATENTS.shape), 1000, seeded(), input_perturbation=0.1)
    assert torch.equal(plain.noise, perturbed.noise) and torch.equal(plain.timesteps, perturbed.timesteps)
    assert plain.added is plain.noise and float((perturbed.added - perturbed.noise).std()) == pytest.approx(
        0.1, rel=0.05
    )
    shown = []
    for drawn in (plain, perturbed):
        spy = Spy()
        errors = denoising_errors(spy, scheduler(), LATENTS, CONTEXT, drawn)
        shown.append((spy.noisy, errors))
    assert not torch.allclose(shown[0][0], shown[1][0]) and torch.equal(shown[0][1], shown[1][1])


def test_the_end_of_the_schedule_is_nearly_pure_noise() -> None:
    from diffusers.training_utils import compute_snr

    assert float(compute_snr(scheduler(), torch.tensor([999]))) == pytest.approx(0.00468, abs=5e-6)
