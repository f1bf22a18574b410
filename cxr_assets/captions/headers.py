"""Prompts of other systems: who is spoken of in the header, and the text after it, unchanged.

RoentGen-v2 and CompDiff begin a prompt with ``<age> year old <race> <sex>.`` Only such a header is read; a number or a
colour among the findings is nobody's age or race, and what is not said is unknown (generation.md §1.5).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from cxr_assets.cohorts.demographics import OLDEST
from cxr_assets.cohorts.race import harmonise_race
from cxr_assets.errors import InputError

_YEARS: Mapping[str, float] = MappingProxyType({"year": 1.0, "month": 1 / 12, "week": 7 / 365.25, "day": 1 / 365.25})
_SEXES: Mapping[str, str] = MappingProxyType(
    {
        "male": "male",
        "man": "male",
        "m": "male",
        "boy": "male",
        "female": "female",
        "woman": "female",
        "f": "female",
        "girl": "female",
    }
)
_RACES: Mapping[str, str] = MappingProxyType(
    {
        "caucasian": "white",
        "african american": "black",
        "african-american": "black",
        "latino": "hispanic",
        "latina": "hispanic",
    }
)
"""Words for races that no data set's field has; all others are looked up as recorded ones are."""
_HEADER = re.compile(
    r"\s*(?P<number>\d{1,3}(?:\.\d+)?)[ -](?P<unit>year|month|week|day)s?[ -]old"
    r"(?P<words>(?:[ -][A-Za-z/-]+)*?)(?:[ ](?:patient))?\.(?:\s+|$)(?P<body>.*)",
    re.DOTALL | re.IGNORECASE,
)


@dataclass(frozen=True)
class ReadPrompt:
    """What a prompt's header says, and the text after it. ``age`` is in years; None is unknown.

    ``warnings`` name the words of the header that were not understood.
    """

    body: str
    age: float | None = None
    sex: str | None = None
    race: str | None = None
    warnings: tuple[str, ...] = ()


def read_prompt(text: str) -> ReadPrompt:
    """Read a prompt; one without a header is all body, and nobody is known."""
    match = _HEADER.fullmatch(text)
    if match is None:
        return ReadPrompt(text)
    age = float(match["number"]) * _YEARS[match["unit"].lower()]
    if age > OLDEST:
        return ReadPrompt(text)
    *race, last = match["words"].lower().split() or [""]
    sex = _SEXES.get(last)
    words = " ".join(race) if sex else match["words"].strip().lower()
    found = _race(words) if words else None
    unknown = (f"race {words!r} is not known",) if words and found is None else ()
    return ReadPrompt(match["body"], age, sex, found, unknown)


def _race(words: str) -> str | None:
    """Recorded race of some words, None where they are none."""
    if words in _RACES:
        return _RACES[words]
    try:
        return harmonise_race(words.upper()).race5
    except InputError:
        return None
