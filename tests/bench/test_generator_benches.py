from __future__ import annotations

import importlib
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cxr_assets.diffusion.config import LoraSettings, MethodPreset
from cxr_assets.diffusion.sampling import Ask, Sampler, SamplerSettings
from tests.helpers import CAPTIONS, CPU, tiny_bundle

FOLDER = Path(__file__).parents[2] / "bench"
LORA = LoraSettings(rank=2, alpha=2)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Imports a bench script as it is run: from its own folder."""
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module


@pytest.fixture
def material(bench: Any) -> Any:
    """The shared module, tiny films, a tiny base model and its lesson."""
    shared = bench("sd15")
    made = shared.make_films(4, 64)
    base = tiny_bundle()
    base.unet.requires_grad_(False)
    return shared, made, base, shared.lesson_of(base, made, CPU)


def moved(parameters: list[torch.Tensor], before: list[torch.Tensor]) -> bool:
    return any(not torch.equal(now, was) for now, was in zip(parameters, before, strict=True))


def test_stable_diffusion_has_its_published_size(bench: Any) -> None:
    with torch.device("meta"):
        bundle = bench("sd15").sd15_bundle(list(CAPTIONS))
    sizes = [sum(p.numel() for p in n.parameters()) for n in (bundle.unet, bundle.vae, bundle.text_encoder)]
    assert sizes == [859_520_964, 83_653_863, 123_060_480]
    assert bundle.vae_factor == 8


def test_every_rung_learns_and_changes_one_thing(bench: Any, material: Any) -> None:
    training = bench("generator_training")
    _, made, base, lesson = material
    rungs = training.ladder(training.Rung(), batch=2, compiled=False)
    for (_, below), (_, above) in pairwise(rungs):
        changed = {name for name in vars(below) if vars(below)[name] != vars(above)[name]}
        assert len(changed) == 1 or changed == {"batch", "accumulate"}
    for _, rung in rungs:
        loop = training.PlainLoop(training.own_unet(base), made, lesson, LORA, rung, CPU)
        before = [p.detach().clone() for p in loop.parameters]
        assert loop.run(1) == rung.batch * rung.accumulate
        assert moved(loop.parameters, before)
        assert all(p.grad is None for p in (*base.vae.parameters(), *base.text_encoder.parameters()))


def test_cached_inputs_are_those_of_the_loop_that_encodes_anew(bench: Any, material: Any) -> None:
    training = bench("generator_training")
    _, made, base, lesson = material
    rungs = (training.Rung(), training.Rung(cached_latents=True, cached_text=True))
    anew, cached = (training.PlainLoop(training.own_unet(base), made, lesson, LORA, rung, CPU) for rung in rungs)
    rows = np.arange(4)
    with torch.no_grad():
        assert torch.allclose(anew.latents(rows), cached.latents(rows), atol=1e-2)  # posteriors are kept in float16
        assert torch.allclose(anew.context(rows), cached.context(rows), atol=1e-2)


def test_a_training_is_taken_on_from_where_it_was_left(material: Any) -> None:
    shared, _, base, lesson = material
    preset = MethodPreset.model_validate({"title": "Test", "lora": {"rank": 2, "alpha": 2}})
    teaching = shared.open_teaching(base, lesson, preset, CPU, batch=2)
    assert [shared.go_on(teaching, 2), shared.go_on(teaching, 3)] == [4, 6]
    assert teaching.loop.step == 4 and [step for step, _ in teaching.loop.losses] == [2, 5]


def test_overheads_of_known_times(bench: Any) -> None:
    cost = bench("conditioning_cost")
    seconds = np.full((8, 2), 2.0)
    seconds[:, 1] = 2.1
    seconds[[2, 6], 1] = 2.9  # steps 4 and 8, whole windows of four
    assert np.allclose(cost.overheads(seconds, window=4), [[0.0, 0.0], [5.0, 100 * 0.8 / 4 / 2.0]])


def test_every_method_of_the_comparison_takes_steps(bench: Any, material: Any) -> None:
    cost = bench("conditioning_cost")
    _, _, base, lesson = material
    opened = cost.teachings(base, lesson, CPU, batch=2, precision="fp32")
    seconds = cost.seconds_of_steps(opened, 1, CPU)
    assert list(opened) == [cost.PLAIN, *cost.METHODS]
    assert seconds.shape == (1, len(opened)) and (seconds > 0).all()
    assert all(teaching.loop.step == 2 for teaching in opened.values())


def test_a_seed_style_film_is_the_samplers_with_the_same_settings(bench: Any) -> None:
    sampling = bench("generator_sampling")
    asks = [Ask(CAPTIONS[0], 3), Ask(CAPTIONS[1], 4)]
    films = sampling.seed_style(tiny_bundle(), asks, guidance=3.0, resolution=64, device=CPU, precision="fp32")
    settings = SamplerSettings(sampler="pndm", steps=sampling.PNDM_STEPS, guidance=3.0, batch=1, resolution=64)
    ours = np.concatenate([Sampler(tiny_bundle(), settings, device=CPU).draw([ask]) for ask in asks])
    assert np.array_equal(films, ours)


def test_turns_are_counted_without_the_first_and_goals_are_named(bench: Any) -> None:
    shared = bench("sd15")
    turns: list[str] = []

    def way(name: str) -> Any:
        return lambda: turns.append(name) or 5

    rates = shared.by_turns({"a": way("a"), "b": way("b")}, rounds=3, device=CPU)
    assert turns == ["a", "b"] * 4 and len(rates["a"].values) == 3
    assert shared.verdict("x", 8.0, 8).startswith("met") and shared.verdict("x", 7.9, 8).startswith("MISSED")
    assert shared.verdict("x", 6.1, 6, least=False).startswith("MISSED")


def test_what_others_take_of_the_processors_is_said(bench: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with bench("sd15").watched():
        sum(range(300_000))
    assert re.fullmatch(r"other programs took \d+% of the processors(: measure again)?\n", capsys.readouterr().out)
