from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from cxr_assets.keys import Stratum
from cxr_assets.synthesis.composers import image_request
from cxr_assets.synthesis.quality import CopyGate, Gate
from cxr_assets.synthesis.requests import ImageRequest, image_seed
from cxr_assets.synthesis.trials import Trial

STRATUM = Stratum("edema", "40-59", "female", "black")
REQUESTS = [image_request(STRATUM, i, {}, seed=0) for i in range(3)]


def film_of(request: ImageRequest) -> np.ndarray:
    return np.full((4, 4), request.seed % 251, dtype=np.uint8)


def run(trial: Trial, requests: list[ImageRequest]) -> list[ImageRequest]:
    """Draw everything that a trial asks for, in the order in which it asks; returns what was drawn."""
    waiting, drawn = list(requests), []
    while waiting:
        request = waiting.pop(0)
        drawn.append(request)
        waiting = trial.add(request, film_of(request)) + waiting
    return drawn


def until(k: int) -> Gate:
    """Refuses the attempts before the ``k``-th."""
    return lambda film, request: f"attempt {request.k} is too early" if request.k < k else None


def test_an_image_that_is_refused_twice_is_accepted_with_the_third_seed_and_all_are_logged() -> None:
    """generation.md §7.10, known answer 25."""
    trial = Trial(REQUESTS[:1], [until(2)], retries=3)
    drawn = run(trial, REQUESTS[:1])
    name = REQUESTS[0].prompt_id
    assert [r.seed for r in drawn] == [image_seed(0, name, k) for k in range(3)]
    assert [(a.request.k, a.accepted) for a in trial.attempts] == [(0, False), (1, False), (2, True)]
    (kept,) = trial.kept
    assert trial.whole and kept.reason is None and kept.request.k == 2
    np.testing.assert_array_equal(kept.film, film_of(REQUESTS[0].attempt(2)))


@pytest.mark.parametrize("retries", [0, 1, 3])
def test_what_never_passes_is_kept_with_its_reason_after_the_last_attempt(retries: int) -> None:
    """generation.md §7.10, known answer 25."""
    trial = Trial(REQUESTS, [until(99)], retries=retries)
    assert len(run(trial, REQUESTS)) == 3 * (retries + 1) == len(trial.attempts)
    assert trial.whole and not any(a.accepted for a in trial.attempts)
    assert [k.reason for k in trial.kept] == [f"attempt {retries} is too early"] * 3
    assert [k.request.k for k in trial.kept] == [retries] * 3


def test_only_what_was_refused_is_drawn_again() -> None:
    trial = Trial(REQUESTS, [lambda _, r: "no" if (r.index, r.k) == (1, 0) else None], retries=3)
    assert [(r.index, r.k) for r in run(trial, REQUESTS)] == [(0, 0), (1, 0), (2, 0), (1, 1)]
    assert [k.request.index for k in trial.kept] == [0, 1, 2]


def test_what_passes_hangs_on_no_order_of_arrival() -> None:
    """Image 1 fails at first, and its second attempt looks as image 2 does: image 2 came first in the plan's rounds."""
    same = np.zeros((4, 4), np.uint8)
    films = {(0, 0): same + 1, (1, 0): same + 2, (2, 0): same + 3, (1, 1): same + 3, (1, 2): same + 4}
    outcomes = set()
    for order in permutations(REQUESTS):
        trial = Trial(REQUESTS, [lambda _, r: "no" if (r.index, r.k) == (1, 0) else None, CopyGate()], retries=3)
        waiting = list(order)
        while waiting:
            request = waiting.pop(0)
            waiting += trial.add(request, films[request.index, request.k])
        outcomes.add(tuple((a.request.index, a.request.k, a.reason) for a in trial.attempts))
    copy = f"copy of {REQUESTS[2].prompt_id}"
    assert outcomes == {((0, 0, None), (1, 0, "no"), (2, 0, None), (1, 1, copy), (1, 2, None))}


def test_nothing_is_settled_before_its_round_is_whole() -> None:
    trial = Trial(REQUESTS, [until(1)], retries=1)
    assert trial.add(REQUESTS[0], film_of(REQUESTS[0])) == [] and not trial.attempts and not trial.whole
    assert trial.add(REQUESTS[2], film_of(REQUESTS[2])) == []
    again = trial.add(REQUESTS[1], film_of(REQUESTS[1]))
    assert again == [r.attempt(1) for r in REQUESTS] and not trial.kept


def test_a_stratum_of_nothing_is_whole_at_once() -> None:
    trial = Trial([], [], retries=3)
    assert trial.whole and trial.kept == []
