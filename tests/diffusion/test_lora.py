from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from peft.tuners.lora import LoraLayer
from safetensors import safe_open

from cxr_assets.diffusion.bundle import Bundle, load_bundle
from cxr_assets.diffusion.config import LoraSettings
from cxr_assets.diffusion.lora import WEIGHTS, add_lora, load_lora, save_lora
from cxr_assets.diffusion.sampling import Ask, Sampler, SamplerSettings, initial_noise, make_scheduler, to_grey
from cxr_assets.errors import InputError
from tests.diffusion.lessons import teaching
from tests.helpers import CAPTIONS, CPU, tiny_bundle

LORA = LoraSettings(rank=2, alpha=8, dropout=0.2)


def taught(folder: Path, **changed: object) -> Bundle:
    """A bundle whose adapters have been trained a little."""
    return teaching(folder, **changed).run().bundle


def predicted(bundle: Bundle) -> torch.Tensor:
    latents = torch.randn((2, 4, 32, 32), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return bundle.unet.eval()(latents, torch.tensor([3, 700]), encoder_hidden_states=torch.ones(2, 77, 32)).sample


def test_a_fresh_adapter_changes_nothing() -> None:
    bundle = tiny_bundle()
    before = predicted(bundle)
    add_lora(bundle.unet, LORA, seed=0)
    assert torch.equal(predicted(bundle), before)


def test_adapters_leave_casts_to_autocast_with_the_same_gradients(tmp_path: Path) -> None:
    save_lora(taught(tmp_path), tmp_path)
    unet = load_lora(tiny_bundle(), tmp_path).unet.train()
    adapters = {n: layer for n, layer in unet.named_modules() if isinstance(layer, LoraLayer)}
    seen: dict[str, torch.dtype] = {}
    for name, layer in adapters.items():
        layer.lora_A["default_0"].register_forward_pre_hook(
            lambda _layer, inputs, name=name: seen.update({name: inputs[0].dtype})
        )
    latents = torch.randn((2, 4, 32, 32), generator=torch.Generator().manual_seed(0))

    def gradients() -> list[torch.Tensor]:
        weights = [p.requires_grad_() for n, p in unet.named_parameters() if "lora_" in n]
        with torch.autocast("cpu", torch.bfloat16):
            context = torch.ones(2, 77, 32, dtype=torch.bfloat16)
            made = unet(latents, torch.tensor([3, 700]), encoder_hidden_states=context).sample
        return list(torch.autograd.grad(made.float().square().mean(), weights))

    ours = gradients()
    assert {seen[n] for n in adapters if n.endswith(("attn2.to_k", "to_out.0"))} == {torch.bfloat16}
    for layer in adapters.values():
        layer.cast_input_dtype_enabled = True
    assert all(torch.equal(a, b) for a, b in zip(ours, gradients(), strict=True))
    assert set(seen.values()) == {torch.float32}


@pytest.mark.parametrize(
    ("context", "rank", "targets", "expected"),
    [
        (768, 4, ["to_q", "to_k", "to_v"], 597_504),
        (768, 4, ["to_q", "to_k", "to_v", "to_out.0"], 797_184),
        (768, 8, ["to_q", "to_k", "to_v", "to_out.0"], 1_594_368),
        (1024, 4, ["to_q", "to_k", "to_v"], 630_272),
        (1024, 4, ["to_q", "to_k", "to_v", "to_out.0"], 829_952),
        (1024, 8, ["to_q", "to_k", "to_v", "to_out.0"], 1_659_904),
    ],
)
def test_adapters_of_stable_diffusion_have_the_published_size(
    context: int, rank: int, targets: list[str], expected: int
) -> None:
    with torch.device("meta"):
        unet = UNet2DConditionModel(cross_attention_dim=context, attention_head_dim=8)
        add_lora(unet, LoraSettings(rank=rank, targets=targets), seed=0)
    trainable = [p for p in unet.parameters() if p.requires_grad]
    assert sum(p.numel() for p in trainable) == expected
    assert sum(p.numel() for p in unet.parameters()) - expected == (859_520_964 if context == 768 else 865_910_724)


@pytest.mark.parametrize("alpha", [2.0, 8.0])
def test_plain_diffusers_draws_the_film_that_we_draw(tmp_path: Path, tiny_base: Path, alpha: float) -> None:
    bundle = taught(tmp_path / "work", lora={"rank": 2, "alpha": alpha})
    save_lora(bundle, tmp_path / "adapter")
    settings = SamplerSettings(steps=3, guidance=3.0, batch=1, resolution=64)
    base = load_bundle(str(tiny_base))
    plain_film = Sampler(base, settings, device=CPU).draw([Ask(CAPTIONS[0], 11)])
    ours = Sampler(load_lora(load_bundle(str(tiny_base)), tmp_path / "adapter"), settings, device=CPU).draw(
        [Ask(CAPTIONS[0], 11)]
    )

    pipe = StableDiffusionPipeline.from_pretrained(tiny_base, safety_checker=None, dtype=torch.float32)
    pipe.load_lora_weights(tmp_path / "adapter")
    pipe.scheduler = make_scheduler(base, "dpmpp_2m")
    pipe.set_progress_bar_config(disable=True)
    images = pipe(
        CAPTIONS[0],
        latents=initial_noise([11], (4, 32, 32)),
        num_inference_steps=3,
        guidance_scale=3.0,
        height=64,
        width=64,
        output_type="np",
    ).images
    assert to_grey(images).tobytes() == ours.tobytes()
    assert ours.tobytes() != plain_film.tobytes(), "the adapter shows"


def test_a_loaded_adapter_computes_what_the_trained_one_did(tmp_path: Path) -> None:
    bundle = taught(tmp_path / "work", text_encoder="lora")
    save_lora(bundle, tmp_path / "adapter")
    loaded = load_lora(tiny_bundle(), tmp_path / "adapter")
    assert torch.allclose(predicted(loaded), predicted(bundle), atol=1e-6)
    ids = torch.arange(5)[None]
    states = [b.text_encoder(ids).last_hidden_state for b in (loaded, bundle, tiny_bundle())]
    assert torch.allclose(states[0], states[1], atol=1e-6) and not torch.allclose(states[0], states[2], atol=1e-3)
    assert not any(p.requires_grad for p in loaded.unet.parameters())


def test_the_file_of_an_adapter_is_the_same_in_every_run(tmp_path: Path) -> None:
    files = set()
    for run in ("a", "b"):
        bundle = taught(tmp_path / run / "work", text_encoder="lora")
        for copy in range(6):
            save_lora(bundle, tmp_path / run / str(copy))
            files.add((tmp_path / run / str(copy) / WEIGHTS).read_bytes())
    assert len(files) == 1
    with safe_open(tmp_path / "a" / "0" / WEIGHTS, framework="pt") as opened:
        assert set(opened.metadata()) == {"format", "lora_adapter_metadata"}


def test_layers_that_a_network_has_not_are_named() -> None:
    with pytest.raises(InputError, match="none of the layers to_nowhere"):
        add_lora(tiny_bundle().unet, LoraSettings(targets=["to_nowhere"]), seed=0)


def test_both_ways_to_begin_leave_the_network_as_it_is() -> None:
    begun = []
    for init in ("gaussian", "kaiming"):
        bundle = tiny_bundle()
        before = predicted(bundle)
        add_lora(bundle.unet, LoraSettings(rank=2, init=init), seed=0)
        assert torch.equal(predicted(bundle), before)
        begun.append(next(p for n, p in bundle.unet.named_parameters() if "lora_A" in n))
    assert not torch.equal(*begun)
