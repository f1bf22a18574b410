"""Terms of use travel with what is made: a derivative carries the strictest terms of its parents.

Tags and their order: datasets.md of the field's public sets; ``unknown`` is the strictest, because nobody has said that
anything may be done.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from cxr_assets.errors import InputError

STRICTNESS = (
    "generated",
    "cc-by",
    "nih-open",
    "odbl",
    "rsna-research",
    "cc-by-nc-nd",
    "per-image",
    "bimcv-research",
    "stanford-research",
    "physionet-credentialed",
    "unknown",
)


MAY_EXPORT: Mapping[str, str] = MappingProxyType(
    {
        "generated": "Drawn by CXR Assets. No patient is in it.",
        "cc-by": "CC BY: name the source and say what was changed.",
        "nih-open": "Open: link to the NIH download site, cite Wang et al. 2017, name the NIH Clinical Center as provider.",
        "odbl": "ODbL: share alike, with attribution.",
        "rsna-research": "Research and non-commercial use, with citation.",
    }
)
"""Terms whose rows and derivatives may leave the machine, and the condition on which they may. All others are refused."""


def strictest(tags: Iterable[str]) -> str:
    """The strictest of some terms tags; ``generated`` for none. Raises InputError for a tag nobody knows."""
    tags = list(tags)
    for tag in tags:
        if tag not in STRICTNESS:
            raise InputError(f"terms tag {tag!r} is none of {', '.join(STRICTNESS)}.")
    return max(tags, key=STRICTNESS.index, default="generated")
