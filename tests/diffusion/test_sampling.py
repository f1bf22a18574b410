from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from cxr_assets.diffusion import sampling
from cxr_assets.diffusion.bundle import load_bundle
from cxr_assets.diffusion.sampling import EXACT, Ask, Sampler, SamplerSettings, initial_noise, make_scheduler, to_grey
from cxr_assets.errors import InputError
from tests.helpers import CAPTIONS, CPU, tiny_bundle

PROMPTS = [CAPTIONS[i % 3] for i in range(7)]
SEEDS = [100 + i for i in range(7)]
SETTINGS = SamplerSettings(steps=2, batch=4, resolution=64)


@pytest.fixture(scope="module")
def base(tiny_base: Path) -> Path:
    return tiny_base


def asks(prompts: Sequence[str], seeds: Sequence[int]) -> list[Ask]:
    return [Ask(prompt, seed) for prompt, seed in zip(prompts, seeds, strict=True)]


def sampler(base: Path, **changed: object) -> Sampler:
    return Sampler(load_bundle(str(base)), SETTINGS.model_copy(update=changed), device=CPU)


def drawn(one: Sampler) -> np.ndarray:
    requests = list(enumerate(asks(PROMPTS, SEEDS)))
    tags, films = zip(*one.draw_all(requests), strict=True)
    assert list(tags) == list(range(7))
    return np.stack(films)


def test_the_same_seed_draws_the_same_bytes_and_another_another_film(base: Path) -> None:
    first, second = sampler(base), sampler(base)
    films = first.draw(asks(PROMPTS[:2], SEEDS[:2]))
    assert films.tobytes() == second.draw(asks(PROMPTS[:2], SEEDS[:2])).tobytes()
    assert films.tobytes() != second.draw(asks(PROMPTS[:2], [1, 2])).tobytes()
    assert films.tobytes() != second.draw(asks(PROMPTS[1:3], SEEDS[:2])).tobytes(), "the prompt shows"


def test_a_film_hangs_on_no_neighbour_and_no_place_in_its_batch(base: Path) -> None:
    one = sampler(base)
    alone = one.draw(asks([PROMPTS[0]], [SEEDS[0]]))[0]
    for place in range(4):
        prompts, seeds = [CAPTIONS[1]] * 4, [7, 8, 9, 10]
        prompts[place], seeds[place] = PROMPTS[0], SEEDS[0]
        assert np.array_equal(one.draw(asks(prompts, seeds))[place], alone)


@pytest.mark.parametrize("batch", [1, 2, 3, 7, 12])
def test_a_film_does_not_depend_on_the_size_of_the_batch(base: Path, batch: int) -> None:
    assert np.array_equal(drawn(sampler(base, batch=batch)), drawn(sampler(base)))


def test_a_film_of_the_shipped_base_does_not_depend_on_the_size_of_the_batch() -> None:
    def films(batch: int) -> np.ndarray:
        one = Sampler(load_bundle("phantom"), SamplerSettings(steps=4, batch=batch), device=CPU)
        return np.stack([film for _, film in one.draw_all((None, ask) for ask in asks(PROMPTS, SEEDS))])

    assert np.array_equal(films(3), films(7)), "these kernels do round otherwise in another shape"


def test_a_batch_that_is_not_full_returns_only_what_was_asked(base: Path) -> None:
    one = sampler(base)
    assert one.draw(asks(PROMPTS[:1], SEEDS[:1])).shape == (1, 64, 64)
    assert list(one.draw_all([])) == []
    with pytest.raises(InputError, match="nothing to draw"):
        one.draw([])


def test_more_than_a_pass_is_drawn_in_several(base: Path) -> None:
    one, many = sampler(base), 2 * EXACT + 1
    films = one.draw(asks([PROMPTS[i % 7] for i in range(many)], list(range(many))))
    assert films.shape == (many, 64, 64) and len(np.unique(films, axis=0)) == many
    assert np.array_equal(films[-1], one.draw(asks([PROMPTS[(many - 1) % 7]], [many - 1]))[0])


@pytest.mark.parametrize("name", ["dpmpp_2m", "ddim", "pndm", "unipc"])
def test_every_sampler_draws(base: Path, name: str) -> None:
    films = sampler(base, sampler=name).draw(asks(PROMPTS[:2], SEEDS[:2]))
    assert films.shape == (2, 64, 64) and films.dtype == np.uint8 and films.std() > 0
    assert films.tobytes() == sampler(base, sampler=name).draw(asks(PROMPTS[:2], SEEDS[:2])).tobytes()


def test_an_unknown_sampler_is_refused() -> None:
    with pytest.raises(InputError, match="none of dpmpp_2m"):
        make_scheduler(tiny_bundle(), "euler")


def test_samplers_keep_the_noise_schedule_of_the_base_model() -> None:
    bundle = tiny_bundle()
    for name in ("dpmpp_2m", "ddim", "pndm", "unipc"):
        assert torch.allclose(make_scheduler(bundle, name).alphas_cumprod, bundle.scheduler.alphas_cumprod)


def test_films_decoded_a_few_at_a_time_are_those_of_the_whole_batch(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def with_chunks_of(many: int) -> np.ndarray:
        monkeypatch.setitem(sampling.DECODED_AT_ONCE, "cpu", many)
        return sampler(base).draw(asks(PROMPTS[:4], SEEDS[:4])).astype(int)

    whole = with_chunks_of(4)
    assert whole.shape == (4, 64, 64) and len(np.unique(whole, axis=0)) == 4
    for many in (1, 3, 9):  # 3 leaves a rest, 9 is more than a batch holds
        difference = np.abs(with_chunks_of(many) - whole)
        assert difference.max() <= 1 and (difference > 0).mean() < 0.01


def test_guidance_one_needs_no_empty_prompt_and_more_of_it_changes_the_film(base: Path) -> None:
    plain, guided = (sampler(base, guidance=g).draw(asks(PROMPTS[:1], SEEDS[:1])) for g in (1.0, 3.0))
    assert not np.array_equal(plain, guided)
    negative = sampler(base, guidance=3.0, negative_prompt="edema").draw(asks(PROMPTS[:1], SEEDS[:1]))
    assert not np.array_equal(negative, guided)


def test_states_are_those_of_the_caption_cache(base: Path) -> None:
    from cxr_assets.diffusion.latents import encode_captions

    bundle = load_bundle(str(base))
    cached = encode_captions(bundle.tokenizer, bundle.text_encoder, [CAPTIONS[0]], device=CPU)[0]
    assert np.array_equal(Sampler(bundle, SETTINGS, device=CPU).states(CAPTIONS[0]).numpy().astype(np.float16), cached)


def test_noise_of_an_image_comes_from_its_seed_alone() -> None:
    torch.manual_seed(0)
    noise = initial_noise([5, 6, 5], (4, 8, 8))
    assert torch.equal(noise[0], noise[2]) and not torch.equal(noise[0], noise[1])
    assert torch.equal(initial_noise([6], (4, 8, 8))[0], noise[1])


def test_grey_is_the_rounded_mean_of_the_channels() -> None:
    images = np.array([[[[0.0, 0.0, 0.33], [1.0, 1.0, 1.0], [0.5, 0.5, 0.5], [1.2, 1.2, 1.2]]]])
    assert to_grey(images).tolist() == [[[28, 255, 128, 255]]]


def test_the_batch_decides_bytes_in_half_precision_alone() -> None:
    assert "batch" not in SETTINGS.decisive() and SETTINGS.decisive()["steps"] == 2
    assert SETTINGS.model_copy(update={"precision": "bf16"}).decisive()["batch"] == 4
