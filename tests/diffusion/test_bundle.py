from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from cxr_assets.diffusion.bundle import Bundle, folder_digest, load_bundle, save_bundle
from cxr_assets.diffusion.latents import encode_captions, encode_films
from cxr_assets.errors import InputError, SettingsError
from tests.helpers import CAPTIONS, CPU, SPEC, noise_films, tiny_bundle, weights_digest

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
