from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from cxr_assets.diffusion.conditioners.blocks import Conditioner
from cxr_assets.diffusion.conditioners.build import build_conditioner
from cxr_assets.diffusion.conditioners.config import ConditionerConfig
from cxr_assets.diffusion.conditioners.saving import HEADER, load_conditioner, save_conditioner
from cxr_assets.diffusion.conditioners.schema import DemographicSchema
from cxr_assets.errors import InputError

SCHEMA = DemographicSchema()
BATCH = SCHEMA.encode([5, None], ["male", "female"], ["white", "black"])
KINDS = ("demographic_encoder", "hcn", "compdiff")


def made(kind: str = "hcn", seed: int = 3) -> Conditioner:
    config = ConditionerConfig.model_validate({"kind": kind, "width": 8, "context_width": 16, "route": "both"})
    conditioner = build_conditioner(config, SCHEMA, seed=seed)
    assert conditioner is not None
    return conditioner


def rewrite(path: Path, weights: dict[str, torch.Tensor]) -> None:
    """The same file with other tensors."""
    with safe_open(path, framework="pt") as opened:
        metadata = opened.metadata()
    save_file(weights, path, metadata=metadata)


@pytest.mark.parametrize("kind", KINDS)
def test_a_loaded_conditioner_is_the_saved_one(tmp_path: Path, kind: str) -> None:
    saved = made(kind).eval()
    save_conditioner(saved, tmp_path / "c.safetensors")
    loaded = load_conditioner(tmp_path / "c.safetensors", SCHEMA)
    assert loaded.config == saved.config and type(loaded) is type(saved) and not loaded.training
    assert torch.equal(loaded(BATCH).tokens, saved(BATCH).tokens)


def test_a_file_is_the_same_each_time_and_says_what_it_is(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_conditioner(made(), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    with safe_open(tmp_path / "a", framework="pt") as opened:
        about = json.loads(opened.metadata()[HEADER])
    assert about["class"] == "HierarchicalConditioner" and about["schema_digest"] == SCHEMA.digest()


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ({"races": SCHEMA.races[::-1]}, "races"),
        ({"sexes": ("male", "female")}, "sexes"),
        ({"age_edges": (0, 20, 40, 60, 80)}, "age_edges"),
    ],
)
def test_another_schema_is_refused_by_name(tmp_path: Path, changed: dict[str, Any], word: str) -> None:
    save_conditioner(made(), tmp_path / "c")
    with pytest.raises(InputError, match=f"another schema.*{word}"):
        load_conditioner(tmp_path / "c", DemographicSchema(**changed))


def test_missing_extra_and_misshapen_tensors_are_named(tmp_path: Path) -> None:
    path = tmp_path / "c"
    save_conditioner(made(), path)
    weights = load_file(path)
    name = "tables.race.table.weight"
    for altered, words in (
        ({k: v for k, v in weights.items() if k != name}, f"missing {name}"),
        (weights | {"surplus": torch.zeros(1)}, "extra surplus"),
        (weights | {name: torch.zeros(3, 8)}, rf"{name} of shape \(3, 8\) for \(5, 8\)"),
    ):
        rewrite(path, altered)
        with pytest.raises(InputError, match=words):
            load_conditioner(path, SCHEMA)


def test_what_is_no_conditioner_is_refused(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "plain")
    (tmp_path / "text").write_text("hello")
    for name, words in (("plain", "no conditioner"), ("text", "not a readable"), ("absent", "not a readable")):
        with pytest.raises(InputError, match=words):
            load_conditioner(tmp_path / name, SCHEMA)
