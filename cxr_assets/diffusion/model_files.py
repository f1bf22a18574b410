"""Files of a Stable Diffusion in diffusers' format: which are read, and whether the model is one that we can teach.

Only JSON is opened here. A model that cannot work is refused by its configuration, before gigabytes are read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from cxr_assets.errors import InputError, SettingsError
from cxr_assets.warehouse.manifest import FileEntry, digest_of, sha256_file

INDEX = "model_index.json"
NETWORKS = ("unet", "vae", "text_encoder")
FAMILIES = {768: "sd1", 1024: "sd2"}
"""Width of the text states by family; any other width is ``own``, a model of the same classes in sizes of its own."""
PREDICTIONS = ("epsilon", "v_prediction")
_PICKLES = (".bin", ".ckpt", ".pt", ".pth", ".pkl")
_WEIGHTS = re.compile(
    r"(?:diffusion_pytorch_)?model(?:\.(?P<variant>\w+))?(?:-\d{5}-of-\d{5})?\.safetensors(?:\.index(?:\.\w+)?\.json)?"
)
_CLASSES = {"unet": "UNet2DConditionModel", "vae": "AutoencoderKL", "text_encoder": "CLIPTextModel"}


class PickledWeights(InputError):
    """A network has weights that run code when they are opened, and no others."""


@dataclass(frozen=True)
class ModelFiles:
    """A model that can be used. ``names`` are the files that are read, relative to ``folder``.

    ``variant`` is ``fp16`` where some network has no other safetensors; ``commit`` is empty for a folder that is no
    snapshot of the hub's cache.
    """

    folder: Path
    names: tuple[str, ...]
    variant: str | None
    family: str
    prediction_type: str
    commit: str = ""

    @property
    def bytes(self) -> int:
        """Size on disk of the files that are read."""
        return sum((self.folder / name).stat().st_size for name in self.names)

    @cached_property
    def digest(self) -> str:
        """Digest of what is read, whatever else lies beside it: the ``base_id``."""
        paths = {name: self.folder / name for name in self.names}
        return digest_of(
            FileEntry(path=name, sha256=sha256_file(path), bytes=path.stat().st_size) for name, path in paths.items()
        )


def look_into(folder: Path, *, commit: str = "") -> ModelFiles:
    """The model in a folder, judged by its configuration and the names of its files.

    Raises:
        SettingsError: the folder holds no model, or not all of one.
        InputError: pickled weights alone (``PickledWeights``), or a model of another kind; says which and what to do.
    """
    if not (folder / INDEX).is_file():
        raise SettingsError(f"{folder} holds no {INDEX}: it is no model in diffusers' format")
    index = _read(folder / INDEX)
    _refuse_kind(folder, index)
    names = [p.relative_to(folder).as_posix() for p in sorted(folder.glob("*/*")) if p.is_file()]
    needed = files_needed([INDEX, *names], where=str(folder))
    configs = {part: _config(folder, part) for part in (*NETWORKS, "scheduler")}
    family = _family(folder, configs)
    prediction = configs["scheduler"].get("prediction_type", "epsilon")
    if prediction not in PREDICTIONS:
        raise InputError(
            f"{folder} predicts {prediction!r}; training and sampling here know {' and '.join(PREDICTIONS)}. Take another"
            " base model."
        )
    return ModelFiles(folder, needed, _variant(needed), family, prediction, commit)


def files_needed(names: Collection[str], *, where: str) -> tuple[str, ...]:
    """Files that loading reads, out of the names of all: configurations, vocabulary and one variant of the weights.

    Args:
        names: paths relative to the model's folder, with ``/``.
        where: the model in words, for errors.

    Raises:
        PickledWeights: a network has no others.
        SettingsError: a network has no weights that can be read.
    """
    kept = {name for name in names if name == INDEX or _describes(name)}
    weights = {part: _weights(names, part) for part in NETWORKS}
    half = any(None not in found for found in weights.values())
    for part, found in weights.items():
        wanted = "fp16" if half and "fp16" in found else None
        if wanted not in found:
            raise _missing(names, part, where)
        kept |= set(found[wanted])
    return tuple(sorted(kept))


def _describes(name: str) -> bool:
    """Whether a file is configuration or vocabulary of a part that is loaded."""
    part, _, file = name.partition("/")
    if part in NETWORKS:
        return file == "config.json"
    return part in ("tokenizer", "scheduler") and file.endswith((".json", ".txt"))


def _weights(names: Iterable[str], part: str) -> dict[str | None, list[str]]:
    """Safetensors of a network by variant, with the index of those that come in pieces."""
    found: dict[str | None, list[str]] = {}
    for name in names:
        folder, _, file = name.partition("/")
        match = _WEIGHTS.fullmatch(file) if folder == part else None
        if match is not None:
            variant = match["variant"]
            if file.endswith(".json"):  # model.safetensors.index.fp16.json puts the variant last
                last = file.removesuffix(".json").rpartition(".")[2]
                variant = last if last != "index" else variant
            found.setdefault(variant, []).append(name)
    return {variant: files for variant, files in found.items() if any(f.endswith(".safetensors") for f in files)}


def _variant(names: Iterable[str]) -> str | None:
    return "fp16" if any(".fp16" in name for name in names) else None


def _missing(names: Iterable[str], part: str, where: str) -> InputError | SettingsError:
    """Why a network cannot be read."""
    pickled = sorted(n.partition("/")[2] for n in names if n.startswith(f"{part}/") and n.endswith(_PICKLES))
    if pickled:
        return PickledWeights(
            f"{where}/{part} holds pickled weights ({', '.join(pickled)}) and no safetensors. Pickles run code when"
            " opened; convert the model with save_pretrained(safe_serialization=True) on a machine you trust."
        )
    return SettingsError(f"{where}/{part} holds no safetensors")


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path} cannot be read as JSON ({error})") from error
    if not isinstance(found, dict):
        raise SettingsError(f"{path} holds no configuration")
    return found


def _config(folder: Path, part: str) -> dict[str, Any]:
    return _read(folder / part / ("scheduler_config.json" if part == "scheduler" else "config.json"))


def _refuse_kind(folder: Path, index: dict[str, Any]) -> None:
    """Other pipelines, told by the classes of their parts."""
    classes = {part: (named[1] if isinstance(named, list) else None) for part, named in index.items()}
    if classes.get("text_encoder_2"):
        raise InputError(
            f"{folder} has two text encoders, as Stable Diffusion XL and 3 have; methods here condition one. Take a model of"
            " the families SD 1.x or 2.x."
        )
    for part, name in _CLASSES.items():
        if classes.get(part) != name:
            raise InputError(
                f"{folder}: its {part} is {classes.get(part) or 'missing'}, not {name}. Take a model of the families SD 1.x"
                " or 2.x."
            )
    if not (classes.get("tokenizer") and classes.get("scheduler")):
        raise InputError(f"{folder}: {INDEX} names no tokenizer or no scheduler. Take a whole pipeline.")


def _family(folder: Path, configs: dict[str, dict[str, Any]]) -> str:
    """Family by the width of the text states, once the parts are known to fit each other."""
    unet = configs["unet"]
    channels, latents = unet.get("in_channels", 4), configs["vae"].get("latent_channels", 4)
    if channels == 2 * latents + 1:
        raise InputError(
            f"{folder} is an inpainting model: its U-Net reads {channels} channels, a mask and a masked film beside the"
            f" latents' {latents}. Take the text-to-image model of the same family."
        )
    if channels != latents:
        raise InputError(
            f"{folder}: its U-Net reads {channels} channels and its VAE makes {latents}, so that it wants another image beside"
            " the text. Take a text-to-image model."
        )
    if unet.get("class_embed_type") or unet.get("num_class_embeds") or unet.get("addition_embed_type"):
        raise InputError(
            f"{folder}: its U-Net wants a condition beside the text (class_embed_type, num_class_embeds or"
            " addition_embed_type). Take a text-to-image model of the families SD 1.x or 2.x."
        )
    width, states = unet.get("cross_attention_dim", 1280), configs["text_encoder"].get("hidden_size", 512)
    if width != states:
        raise InputError(
            f"{folder}: its U-Net reads text states {width} wide and its text encoder makes them {states} wide. The parts are"
            " of two families; take them from one."
        )
    return FAMILIES.get(width, "own")
