"""Conditioners on disk: one safetensors file whose header says what it is and which schema its tables follow."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from cxr_assets.diffusion.conditioners.blocks import Conditioner
from cxr_assets.diffusion.conditioners.build import build_conditioner
from cxr_assets.diffusion.conditioners.config import ConditionerConfig
from cxr_assets.diffusion.conditioners.schema import DemographicSchema
from cxr_assets.errors import InputError

HEADER = "conditioner"


def save_conditioner(conditioner: Conditioner, path: Path) -> None:
    """Write weights and, under ``conditioner`` in the header, class, configuration, schema and its digest as JSON."""
    from safetensors.torch import save_file

    about = {
        "class": type(conditioner).__name__,
        "config": conditioner.config.model_dump(mode="json"),
        "schema": asdict(conditioner.schema),
        "schema_digest": conditioner.schema.digest(),
    }
    weights = {name: value.detach().cpu().contiguous() for name, value in conditioner.state_dict().items()}
    save_file(weights, path, metadata={HEADER: json.dumps(about, sort_keys=True)})


def load_conditioner(path: Path, schema: DemographicSchema) -> Conditioner:
    """The saved conditioner, in evaluation mode, on the CPU.

    Raises:
        InputError: for a file that is no conditioner, was trained with another schema, or whose tensors are not exactly
            those of its configuration.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as opened:
            header = (opened.metadata() or {}).get(HEADER)
            weights = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: not a readable safetensors file ({error}). Train the conditioner again.") from error
    if header is None:
        raise InputError(f"{path}: its header has no {HEADER!r}, so it is no conditioner. Give one that we saved.")
    about = json.loads(header)
    if about["schema_digest"] != schema.digest():
        raise InputError(
            f"{path}: trained with another schema. {_differences(about['schema'], schema)} Use that schema."
        )
    conditioner = build_conditioner(ConditionerConfig(**about["config"]), schema, seed=0)
    if conditioner is None or type(conditioner).__name__ != about["class"]:
        raise InputError(f"{path}: class {about['class']} is not that of its configuration. Train it again.")
    expected = conditioner.state_dict()
    wrong = [f"missing {name}" for name in expected if name not in weights]
    wrong += [f"extra {name}" for name in weights if name not in expected]
    wrong += [
        f"{name} of shape {tuple(weights[name].shape)} for {tuple(value.shape)}"
        for name, value in expected.items()
        if name in weights and weights[name].shape != value.shape
    ]
    if wrong:
        raise InputError(f"{path}: tensors do not match the configuration: {'; '.join(wrong)}. Train it again.")
    conditioner.load_state_dict(weights)
    return conditioner.eval()


def _differences(saved: dict[str, list[object]], schema: DemographicSchema) -> str:
    """What a file's schema has and the given one has not."""
    ours = asdict(schema)
    return " ".join(
        f"Its {name} are {', '.join(map(str, values))}, here they are {', '.join(map(str, ours[name]))}."
        for name, values in saved.items()
        if list(ours[name]) != list(values)
    )
