"""The prompt template: findings and demographics to text, and that text back to exactly the same."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_FLOOR, Decimal
from types import MappingProxyType

from cxr_assets.cohorts.demographics import RACES, SEXES, UNKNOWN
from cxr_assets.cohorts.labels import DISPLAY_NAMES
from cxr_assets.errors import InputError

FINDING_WORDS: Mapping[str, str] = MappingProxyType({slug: name.lower() for slug, name in DISPLAY_NAMES.items()})
RACE_WORDS: Mapping[str, str] = MappingProxyType({race: "other-race" if race == "other" else race for race in RACES})
_FINDINGS = {words: slug for slug, words in FINDING_WORDS.items()}
_RACES = {words: slug for slug, words in RACE_WORDS.items()}
_OLDEST = 120


@dataclass(frozen=True)
class Prompt:
    """What a prompt says. None and an empty tuple mean that it does not say."""

    findings: tuple[str, ...] = ()
    age: float | None = None
    sex: str | None = None
    race: str | None = None


@dataclass(frozen=True)
class PromptTemplate:
    """``chest x-ray, 63 year old black female, pleural effusion and edema``.

    The header (subject and person) comes first, so that cutting a long caption never loses it. What is unknown is
    left out: no default age, sex or race is ever written or read. A person whose sex is unknown is a ``patient``.

    Attributes:
        decimals: of the age. None are written in captions, since text encoders know whole years.
    """

    subject: str = "chest x-ray"
    decimals: int = 0

    def render(
        self, findings: Sequence[str] = (), *, age: float | None = None, sex: str | None = None, race: str | None = None
    ) -> str:
        """Text of a prompt.

        Args:
            findings: finding slugs, each once, in the order to be written; none leaves the findings out.
            age: years, written in whole years lived (63.9 is 63), or in full tenths, hundredths … by ``decimals``.
            sex: ``female``, ``male`` or None.
            race: slug of the recorded race or None.

        Raises:
            InputError: for a slug outside the vocabularies, a repeated finding or an age outside 0 to 120.
        """
        header = self.header(age=age, sex=sex, race=race)
        return f"{header}, {self.body(findings)}" if findings else header

    def header(self, *, age: float | None = None, sex: str | None = None, race: str | None = None) -> str:
        """Subject and person, without findings. ``unknown`` as sex or race is read as None."""
        sex, race = (None if value == UNKNOWN else value for value in (sex, race))
        words = []
        if age is not None:
            if not (math.isfinite(age) and 0 <= age <= _OLDEST):
                raise InputError(f"prompt: age {age!r} is not between 0 and {_OLDEST} years.")
            words.append(f"{self._lived(age)} year old")
        if race is not None:
            words.append(_known(race, RACE_WORDS, "race"))
        if sex is not None:
            words.append(_known(sex, dict(zip(SEXES, SEXES, strict=True)), "sex"))
        elif words:
            words.append("patient")
        return f"{self.subject}, {' '.join(words)}" if words else self.subject

    def _lived(self, age: float) -> str:
        """Age without what is beyond the decimals; ``0.67`` and not ``0.6699``, which is what a float holds."""
        step = Decimal(1).scaleb(-self.decimals)
        return str(Decimal(repr(float(age))).quantize(step, rounding=ROUND_FLOOR))

    def body(self, findings: Sequence[str]) -> str:
        """Findings in words: ``a``, ``a and b``, ``a, b and c``."""
        if len(set(findings)) != len(findings):
            raise InputError(f"prompt: a finding is named twice in {', '.join(findings)}.")
        words = [_known(finding, FINDING_WORDS, "finding") for finding in findings]
        return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))

    def parse(self, text: str) -> Prompt:
        """Read a prompt back: ``parse(render(…))`` gives what was rendered, the age as far as it was written.

        Raises:
            InputError: for any text that ``render`` does not write.
        """
        match = _grammar(self.subject, self.decimals).fullmatch(text)
        if match is not None:
            age, race, noun, body = match.group("age", "race", "noun", "body")
            prompt = Prompt(
                findings=tuple(_FINDINGS[words] for words in re.split(r", | and ", body)) if body else (),
                age=(float(age) if self.decimals else int(age)) if age else None,
                sex=noun if noun in SEXES else None,
                race=_RACES[race] if race else None,
            )
            written = (prompt.age or 0) <= _OLDEST and len(set(prompt.findings)) == len(prompt.findings)
            if written and self.render(prompt.findings, age=prompt.age, sex=prompt.sex, race=prompt.race) == text:
                return prompt
        raise InputError(f"prompt {text!r} is not of the form {self.subject!r}[, person][, findings].")


def _known(slug: str, words: Mapping[str, str], kind: str) -> str:
    if slug not in words:
        raise InputError(f"prompt: {kind} {slug!r} is none of {', '.join(words)}.")
    return words[slug]


def _grammar(subject: str, decimals: int) -> re.Pattern[str]:
    finding = "|".join(sorted((re.escape(words) for words in _FINDINGS), key=len, reverse=True))
    race = "|".join(re.escape(words) for words in _RACES)
    rest = rf"\.[0-9]{{{decimals}}}" if decimals else ""
    return re.compile(
        rf"{re.escape(subject)}"
        rf"(?:, (?:(?P<age>(?:0|[1-9][0-9]{{0,2}}){rest}) year old )?(?:(?P<race>{race}) )?(?P<noun>female|male|patient))?"
        rf"(?:, (?P<body>(?:{finding})(?:(?:, (?:{finding}))* and (?:{finding}))?))?"
    )
