"""Images of one stratum on their way through quality control: tried, tried again with another seed, kept or set aside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cxr_assets.synthesis.quality import Gate, first_fault
from cxr_assets.synthesis.requests import ImageRequest


@dataclass(frozen=True)
class Attempt:
    """One drawn film of a request: accepted, or why not."""

    request: ImageRequest
    reason: str | None

    @property
    def accepted(self) -> bool:
        return self.reason is None


@dataclass(frozen=True)
class Kept:
    """What a stratum keeps of a request: the accepted film, or the last one with what was wrong with it."""

    request: ImageRequest
    film: np.ndarray
    reason: str | None


class Trial:
    """Attempts at the images of a stratum.

    Films are judged by rounds: once all first attempts are there, in the order of the plan, then all second ones, and so
    on. So what passes hangs neither on the size of batches nor on what else is drawn with them.

    Args:
        requests: of the stratum, in the order of the plan.
        retries: further attempts at an image that was refused.
    """

    def __init__(self, requests: Sequence[ImageRequest], gates: Sequence[Gate], retries: int) -> None:
        self._order = {request.prompt_id: place for place, request in enumerate(requests)}
        self._gates, self._retries = gates, retries
        self._round: list[tuple[ImageRequest, np.ndarray]] = []
        self._open = len(requests)
        self._kept: dict[str, Kept] = {}
        self.attempts: list[Attempt] = []

    @property
    def whole(self) -> bool:
        """True once every image is kept or set aside."""
        return len(self._kept) == len(self._order)

    @property
    def kept(self) -> list[Kept]:
        """One for each image that is settled, in the order of the plan."""
        return sorted(self._kept.values(), key=lambda kept: self._order[kept.request.prompt_id])

    def add(self, request: ImageRequest, film: np.ndarray) -> list[ImageRequest]:
        """Take a film. Returns what is to be drawn again, which is known when the last film of a round comes."""
        self._round.append((request, film))
        if len(self._round) < self._open:
            return []
        again = []
        for tried, drawn in sorted(self._round, key=lambda pair: self._order[pair[0].prompt_id]):
            reason = first_fault(self._gates, drawn, tried)
            self.attempts.append(Attempt(tried, reason))
            if reason is not None and tried.k < self._retries:
                again.append(tried.attempt(tried.k + 1))
            else:
                self._kept[tried.prompt_id] = Kept(tried, drawn, reason)
        self._round, self._open = [], len(again)
        return again
