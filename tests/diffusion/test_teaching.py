from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from cxr_assets.diffusion import teaching as teaching_module
from cxr_assets.diffusion import tuning
from cxr_assets.diffusion.conditioners.routing import added_to_time, with_tokens
from cxr_assets.diffusion.config import MethodPreset, PriorPreservation
from cxr_assets.diffusion.generator import Generator
from cxr_assets.diffusion.losses import draw_noising
from cxr_assets.diffusion.tuning import load_generator, save_generator
from cxr_assets.errors import SettingsError
from cxr_assets.processes import Processes
from cxr_assets.resolve import PRESETS, load_preset
from tests.diffusion.lessons import FILMS, SCHEMA, SIDE, lesson, teaching
from tests.helpers import CPU, tiny_bundle, weights_digest

METHODS = sorted(path.stem for path in (PRESETS / "methods").glob("*.yaml"))


def preset_of(method: str) -> MethodPreset:
    return load_preset("methods", method, MethodPreset)


def files(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def saved(generator: Generator, folder: Path) -> dict[str, bytes]:
    save_generator(generator, folder)
    return files(folder)


def stop_at(monkeypatch: pytest.MonkeyPatch, call: int) -> None:
    """The process dies at one call of the loss."""
    real, calls = teaching_module.denoising_errors, iter(range(1000))

    def killed(*args: Any, **kwargs: Any) -> Tensor:
        if next(calls) == call:
            raise KeyboardInterrupt
        return real(*args, **kwargs)

    monkeypatch.setattr(teaching_module, "denoising_errors", killed)


@pytest.mark.parametrize("method", METHODS)
def test_a_stopped_training_ends_in_the_same_bytes(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = {"steps": 10, "checkpoint_every": 5, "ema": 0.9}
    whole = saved(teaching(tmp_path / "whole", preset_of(method), train=train).run(), tmp_path / "a")
    stop_at(monkeypatch, 7)
    with pytest.raises(KeyboardInterrupt):
        teaching(tmp_path / "stopped", preset_of(method), train=train).run()
    monkeypatch.undo()
    again = teaching(tmp_path / "stopped", preset_of(method), train=train)
    resumed = saved(again.run(), tmp_path / "b")
    assert again.loop.resumed_at == 5 and resumed == whole
    fresh = teaching(tmp_path / "short", preset_of(method), train=train | {"steps": 5})
    assert saved(fresh.run(), tmp_path / "c") != whole, "the last five steps show"


def test_weights_of_a_controller_are_resumed_and_not_begun_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weighing = {"kind": "fairdiffusion", "window": 3}
    whole = teaching(tmp_path / "whole", weighing=weighing, train={"steps": 10})
    whole.run()
    stop_at(monkeypatch, 7)
    with pytest.raises(KeyboardInterrupt):
        teaching(tmp_path / "stopped", weighing=weighing, train={"steps": 10}).run()
    monkeypatch.undo()
    again = teaching(tmp_path / "stopped", weighing=weighing, train={"steps": 10})
    again.run()
    assert again.controller.state_dict() == whole.controller.state_dict() and again.history == whole.history
    assert len(whole.history) == 10 and {"sigma/sex=female", "gap/race"} <= set(whole.history[0][1])


@pytest.mark.parametrize("kind", ["none", "demographic_encoder", "hcn", "compdiff"])
def test_only_what_is_opened_learns(kind: str) -> None:
    untouched = weights_digest(tiny_bundle().unet)
    run = teaching(conditioner={"kind": kind})
    before = {k: v.clone() for k, v in run.conditioner.state_dict().items()} if run.conditioner else {}
    generator = run.run()
    assert weights_digest(generator.bundle.unet, without=["lora_"]) == untouched
    assert weights_digest(generator.bundle.text_encoder) == weights_digest(tiny_bundle().text_encoder)
    assert any(float(p.abs().max()) > 0 for n, p in generator.bundle.unet.named_parameters() if "lora_B" in n)
    if generator.conditioner is not None:
        changed = [k for k, v in generator.conditioner.state_dict().items() if not torch.equal(v, before[k])]
        assert any("table" in name for name in changed) and len(changed) > len(before) // 2
    assert not any(p.requires_grad for p in generator.bundle.unet.parameters())


def test_full_tuning_changes_the_networks_themselves(tmp_path: Path) -> None:
    generator = teaching(tune="full", text_encoder="full").run()
    assert weights_digest(generator.bundle.unet) != weights_digest(tiny_bundle().unet)
    assert weights_digest(generator.bundle.text_encoder) != weights_digest(tiny_bundle().text_encoder)
    save_generator(generator, tmp_path)
    loaded = load_generator(tiny_bundle(), generator.preset, SCHEMA, tmp_path)
    assert weights_digest(loaded.bundle.unet) == weights_digest(generator.bundle.unet)
    assert weights_digest(loaded.bundle.text_encoder) == weights_digest(generator.bundle.text_encoder)
    assert not list(tmp_path.glob("*.bin"))


def test_a_loaded_generator_has_the_conditioner_that_was_trained(tmp_path: Path) -> None:
    generator = teaching(conditioner={"kind": "hcn"}).run()
    save_generator(generator, tmp_path)
    loaded = load_generator(tiny_bundle(), generator.preset, SCHEMA, tmp_path)
    cells = SCHEMA.every_cell()
    assert loaded.conditioner is not None and generator.conditioner is not None
    assert torch.equal(loaded.conditioner(cells).tokens, generator.conditioner(cells).tokens)


@pytest.mark.parametrize("kind", ["none", "hcn", "compdiff"])
def test_micro_batches_make_the_step_of_the_whole_batch(kind: str) -> None:
    changed = {"conditioner": {"kind": kind, "route": "both"} if kind == "compdiff" else {"kind": kind}}
    whole = teaching(**changed, train={"steps": 3, "batch": 6}).run()
    parts = teaching(**changed, train={"steps": 3, "batch": 6, "micro_batch": 2}).run()
    # AdamW divides by the size of a gradient, so that the last bits of a tiny one may show.
    for name, value in whole.bundle.unet.state_dict().items():
        assert torch.allclose(value, parts.bundle.unet.state_dict()[name], atol=5e-4), name
    if whole.conditioner is not None and parts.conditioner is not None:
        for name, value in whole.conditioner.state_dict().items():
            assert torch.allclose(value, parts.conditioner.state_dict()[name], atol=5e-4), name


def test_one_batch_is_learned_by_heart() -> None:
    run = teaching(
        tune="full", train={"steps": 60, "batch": 4, "learning_rate": 2e-3, "caption_dropout": 0.0, "min_snr": None}
    )
    fixed = torch.Generator()
    step, losses = run._step, []

    def same_noise(rows: np.ndarray, generator: torch.Generator) -> Tensor:
        losses.append(step(np.arange(4), fixed.manual_seed(3)))
        return losses[-1]

    run.loop.run(same_noise)
    assert float(losses[-1]) < 0.8 * float(losses[0])


def test_prior_preservation_enters_the_loss_and_the_weights() -> None:
    prior = {"weight": 1.0, "films": 3, "steps": 2, "prompt": "chest x-ray"}
    without = teaching(train={"steps": 4})
    runs = [without]
    for weight in (1.0, 3.0):
        preset = without.preset.model_copy(
            update={
                "train": type(without.preset.train).model_validate(
                    without.preset.train.model_dump() | {"prior": prior | {"weight": weight}}
                )
            }
        )
        run = teaching(preset=preset, train={"steps": 4})
        assert run.lesson.prior is not None and run.lesson.prior[0].shape == (3, 4, SIDE, SIDE)
        runs.append(run)
    for run in runs:
        run.run()
    first = [run.loop.losses[0][1] for run in runs]
    assert first[0] < first[1] < first[2] and first[2] - first[0] == pytest.approx(3 * (first[1] - first[0]), rel=0.15)
    digests = {weights_digest(run.bundle.unet) for run in runs}
    assert len(digests) == 3


def test_a_process_without_a_film_has_nothing_to_do_and_does_not_fail() -> None:
    run = teaching(processes=Processes(8, 0), train={"batch": 4})
    assert run.processes.share(4) == slice(0, 0) and run.micro_batch == 1


def test_weights_scale_what_a_film_teaches() -> None:
    """A cell weighed at zero teaches nothing: with all others unknown, the loss is theirs alone."""
    run = teaching(train={"steps": 1, "batch": FILMS, "min_snr": None})
    kept = np.where(np.arange(FILMS) < 3, 4.0, 0.0)
    run.controller.weights = lambda groups, rng: kept[: len(groups)]  # type: ignore[method-assign]
    rows, chance = np.arange(FILMS), torch.Generator().manual_seed(0)
    loss = run._step(rows, chance)
    drawn = run._draw(rows, torch.Generator().manual_seed(0))[0]
    with torch.no_grad():
        context = run.lesson.captions.context(drawn.captions, run.bundle, CPU)
        errors = teaching_module.denoising_errors(
            run.bundle.unet, run.bundle.scheduler, drawn.latents, context, drawn.noising
        )
    assert float(loss) == pytest.approx(float(errors[:3].mean()), rel=1e-4)


def test_a_tempered_order_reaches_the_films() -> None:
    run = teaching(weighing={"kind": "tempered", "tau": 0.0})
    assert run.loop.order is not None
    assert run.loop.order(0).tolist() != run.loop.order(1).tolist() and len(run.loop.order(0)) == FILMS
    visited: list[int] = []
    draw = run._draw

    def seen(rows: np.ndarray, generator: torch.Generator) -> Any:
        visited.extend(rows.tolist())
        return draw(rows, generator)

    run._draw = seen  # type: ignore[method-assign]
    run.run()
    expected = np.concatenate([run.loop.order(epoch) for epoch in range(3)])[: 8 * 4]
    assert visited == expected.tolist()


def test_dropped_text_and_dropped_people_are_states_of_training(monkeypatch: pytest.MonkeyPatch) -> None:
    run = teaching(
        conditioner={"kind": "hcn", "drop_text": 0.4, "drop_demographics": 0.4, "drop_both": 0.0}, train={"batch": 200}
    )
    batch, no_people = run._draw(np.arange(200) % FILMS, torch.Generator().manual_seed(1))
    assert no_people is not None
    assert 0.3 < (batch.captions == 0).mean() < 0.5 and 0.3 < float(no_people.float().mean()) < 0.5
    assert 0.05 < ((batch.captions == 0) & no_people.numpy()).mean() < 0.3, "independent of one another"


def test_a_velocity_model_is_taught_velocities() -> None:
    bundle = tiny_bundle()
    bundle.scheduler.register_to_config(prediction_type="v_prediction")
    other = teaching(bundle=bundle, train={"steps": 3})
    other.run()
    plain = teaching(train={"steps": 3})
    plain.run()
    assert other.loop.losses[0][1] != pytest.approx(plain.loop.losses[0][1], rel=1e-3)


def test_mixed_precision_narrows_frozen_weights_only(monkeypatch: pytest.MonkeyPatch) -> None:
    from cxr_assets.diffusion import device

    monkeypatch.setattr(device, "computes_in_bf16", lambda kind: True)
    run = teaching(conditioner={"kind": "hcn"}, train={"steps": 2, "batch": 2, "precision": "bf16"})
    types = {("lora_" in n, p.dtype) for n, p in run.bundle.unet.named_parameters() if "norm" not in n}
    assert types == {(True, torch.float32), (False, torch.bfloat16)}
    read: set[torch.dtype] = set()
    run.bundle.unet.register_forward_pre_hook(
        lambda _unet, _inputs, named: read.add(named["encoder_hidden_states"].dtype), with_kwargs=True
    )
    generator = run.run()
    assert read == {torch.bfloat16}  # text and tokens are cast once, not by every layer
    assert {p.dtype for p in generator.bundle.unet.parameters()} == {torch.float32}
    assert np.isfinite(run.loop.losses[-1][1])


def test_memory_savers_do_not_change_what_is_learned() -> None:
    plain = teaching(train={"steps": 2}).run()
    for saver in ({"gradient_checkpointing": True}, {"attention": "sliced"}):
        saved_memory = teaching(train={"steps": 2} | saver).run()
        for name, value in plain.bundle.unet.state_dict().items():
            assert torch.allclose(value, saved_memory.bundle.unet.state_dict()[name], atol=5e-4), (saver, name)


def test_xformers_is_refused_where_it_cannot_run() -> None:
    with pytest.raises(SettingsError, match="attention: sdpa"):
        teaching(train={"attention": "xformers"})


def test_tokens_are_scaled_to_the_text() -> None:
    run = teaching(conditioner={"kind": "compdiff"})
    assert run.conditioner is not None
    tokens = run.conditioner.eval()(SCHEMA.every_cell()).tokens
    assert float(tokens.square().mean().sqrt()) == pytest.approx(run.lesson.captions.rms(), rel=0.01)


def test_the_time_route_begins_at_the_base_model_exactly() -> None:
    run = teaching(conditioner={"kind": "compdiff", "route": "time"})
    unet = run.bundle.unet.eval()
    assert run.conditioner is not None and run.conditioner.n_tokens == 0
    noisy, steps, context = torch.ones(3, 4, SIDE, SIDE), torch.tensor([1, 500, 999]), torch.ones(3, 77, 32)
    people = SCHEMA.encode([30.0, None, 85.0], ["female", "male", None], ["black", "white", "asian"])
    seen = run.conditioner.eval()(people)

    def predicted() -> Tensor:
        with torch.no_grad(), added_to_time(unet, seen.time):
            found: Tensor = unet(noisy, steps, encoder_hidden_states=with_tokens(context, seen.tokens)).sample
        return found

    with torch.no_grad():
        base = unet(noisy, steps, encoder_hidden_states=context).sample
    assert torch.equal(predicted(), base)
    assert run.conditioner.time_route is not None
    torch.nn.init.ones_(run.conditioner.time_route.weight)
    seen = run.conditioner(people)
    assert not torch.allclose(predicted(), base, atol=1e-4), "once it is trained, it shows"


def test_another_race_alone_draws_another_prediction() -> None:
    generator = teaching(conditioner={"kind": "hcn"}).run()
    assert generator.conditioner is not None
    people = SCHEMA.encode([50.0] * 2, ["female"] * 2, ["black", "white"])
    with torch.no_grad():
        context = with_tokens(torch.ones(2, 77, 32), generator.conditioner(people).tokens)
        noisy = torch.ones(2, 4, SIDE, SIDE)
        out = generator.bundle.unet(noisy, torch.tensor([500, 500]), encoder_hidden_states=context).sample
    assert float((out[0] - out[1]).abs().max()) > 1e-6


def test_shares_of_several_processes_are_the_batch_once() -> None:
    for count in (1, 2, 3, 5):
        rows = np.concatenate([np.arange(7)[Processes(count, i).share(7)] for i in range(count)])
        assert rows.tolist() == list(range(7))


def test_the_mean_over_spaces_of_states_is_measured_on_real_captions() -> None:
    bundle = tiny_bundle()
    made = lesson(bundle, preset_of("hcn"))
    states = np.asarray(made.captions.states, dtype=np.float64)
    assert made.captions.rms() == pytest.approx(float(np.sqrt((states**2).mean())), rel=1e-3)


def test_a_conditioner_of_another_schema_is_refused(tmp_path: Path) -> None:
    from cxr_assets.diffusion.conditioners.schema import DemographicSchema
    from cxr_assets.errors import InputError

    generator = teaching(conditioner={"kind": "hcn"}, train={"steps": 1}).run()
    save_generator(generator, tmp_path)
    with pytest.raises(InputError, match="another schema"):
        load_generator(tiny_bundle(), generator.preset, DemographicSchema((0, 20, 40)), tmp_path)
    assert tuning.CONDITIONER in files(tmp_path)


def test_a_text_encoder_that_learns_sees_the_prior_too() -> None:
    train = {"prior": PriorPreservation(films=2, steps=1), "caption_dropout": 0.0}
    for text_encoder, learns in (("frozen", False), ("lora", True)):
        made = teaching(train=train, text_encoder=text_encoder)
        noising = draw_noising((2, 4, SIDE, SIDE), 1000, torch.Generator().manual_seed(0)).of(slice(None), CPU)
        loss = made._prior_loss(torch.tensor([0, 1]), noising, 0)
        loss.backward()
        seen = [p.grad for p in made.bundle.text_encoder.parameters() if p.grad is not None]
        assert bool(seen) == learns
