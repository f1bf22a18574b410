"""Token budget of a text encoder: the header always survives, the body gives way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from cxr_assets.errors import InputError

CLIP_TOKENS = 77
"""Context of a CLIP text encoder, start and end tokens included."""
_BATCH = 2048

Tokenizer = Callable[..., Any]
"""A Hugging Face tokenizer such as CLIPTokenizer; called with a list of texts, it returns ``input_ids``."""
Compose = Callable[[Sequence[str]], str]
"""Makes a caption from the body pieces that are kept; from none, the header alone."""


@dataclass(frozen=True)
class FittedCaption:
    """A caption within its budget, its tokens with start and end (None if not measured), and whether it was cut."""

    text: str
    tokens: int | None
    truncated: bool


def count_tokens(texts: Sequence[str], tokenizer: Tokenizer) -> list[int]:
    """Tokens of each text with start and end tokens, never truncated."""
    counts: list[int] = []
    for first in range(0, len(texts), _BATCH):
        encoded = tokenizer(list(texts[first : first + _BATCH]), truncation=False, padding=False, verbose=False)
        counts += [len(ids) for ids in encoded["input_ids"]]
    return counts


def fit_caption(
    pieces: Sequence[str], compose: Compose, *, tokenizer: Tokenizer | None, limit: int = CLIP_TOKENS
) -> FittedCaption:
    """The longest caption of leading body pieces that fits.

    Args:
        pieces: words or findings, in order; only whole ones are kept.
        compose: makes the caption from the pieces that are kept.
        tokenizer: measures the caption; None measures nothing and keeps all.
        limit: most tokens, start and end included.

    Raises:
        InputError: if the header alone does not fit.
    """
    text = compose(pieces)
    if tokenizer is None:
        return FittedCaption(text, None, truncated=False)
    (tokens,) = count_tokens([text], tokenizer)
    if tokens <= limit:
        return FittedCaption(text, tokens, truncated=False)
    fits, too_many = 0, len(pieces)
    while too_many - fits > 1:
        middle = (fits + too_many) // 2
        (tokens,) = count_tokens([compose(pieces[:middle])], tokenizer)
        fits, too_many = (middle, too_many) if tokens <= limit else (fits, middle)
    text = compose(pieces[:fits])
    (tokens,) = count_tokens([text], tokenizer)
    if tokens > limit:
        raise InputError(
            f"caption header {text!r} takes {tokens} tokens, more than {limit}. Shorten the template's subject."
        )
    return FittedCaption(text, tokens, truncated=True)
