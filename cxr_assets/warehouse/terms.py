"""Terms of use travel with what is made: a derivative carries the strictest terms of its parents.

Tags and their order: datasets.md of the field's public sets; ``unknown`` is the strictest, because nobody has said that
anything may be done.
"""

from __future__ import annotations

from collections.abc import Iterable

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


def strictest(tags: Iterable[str]) -> str:
    """The strictest of some terms tags; ``generated`` for none. Raises InputError for a tag nobody knows."""
    tags = list(tags)
    for tag in tags:
        if tag not in STRICTNESS:
            raise InputError(f"terms tag {tag!r} is none of {', '.join(STRICTNESS)}.")
    return max(tags, key=STRICTNESS.index, default="generated")
