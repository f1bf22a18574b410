"""The two ways into a U-Net: tokens after the text's, and a vector added to the time embedding."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor


def with_tokens(text: Tensor, tokens: Tensor | None) -> Tensor:
    """Cross-attention context: the text's states, then the demographic tokens.

    Args:
        text: shape ``(B, L, C)``.
        tokens: shape ``(B, n, C)``; None adds none.

    Returns:
        Shape ``(B, L + n, C)``, dtype and device of ``text``.
    """
    return text if tokens is None else torch.cat([text, tokens.to(text)], dim=1)


@contextmanager
def added_to_time(unet: Any, time: Tensor | None) -> Iterator[None]:
    """Within the block, a U-Net's time embedding has ``time``, shape ``(B, T)``, added to it; None adds nothing."""
    if time is None:
        yield
        return
    hook = unet.time_embedding.register_forward_hook(lambda _module, _inputs, output: output + time.to(output))
    try:
        yield
    finally:
        hook.remove()
