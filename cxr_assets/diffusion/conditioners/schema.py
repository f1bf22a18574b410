"""The one place where ages and words become indices; files and configurations hold words."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product

import torch
from torch import Tensor

from cxr_assets.cohorts.demographics import OLDEST, RACES, SEXES, UNKNOWN, AgeScheme
from cxr_assets.errors import InputError, did_you_mean
from cxr_assets.warehouse.manifest import digest_json


@dataclass(frozen=True)
class DemographicBatch:
    """Demographics of a batch as tensors. Where ``known`` is false, a zero stands in and means nothing.

    Attributes:
        age_bin: int64, shape ``(B,)``.
        years: float32, shape ``(B,)``.
        sex: int64, shape ``(B,)``.
        race: int64, shape ``(B,)``.
        known: bool, shape ``(B, 3)``, columns as in ``ATTRIBUTES``.
    """

    age_bin: Tensor
    years: Tensor
    sex: Tensor
    race: Tensor
    known: Tensor

    def __len__(self) -> int:
        return len(self.known)

    def to(self, device: torch.device) -> DemographicBatch:
        """The same batch on a device."""
        return DemographicBatch(*(getattr(self, name).to(device) for name in self.__dataclass_fields__))

    def rows(self, at: Tensor) -> DemographicBatch:
        """Some rows, int64 indices ``(n,)``."""
        return DemographicBatch(*(getattr(self, name)[at] for name in self.__dataclass_fields__))

    def without(self, drop: Tensor | None) -> DemographicBatch:
        """The same batch with every attribute unknown where ``drop``, bool ``(B,)``, is true."""
        return self if drop is None else replace(self, known=self.known & ~drop.to(self.known.device)[:, None])


@dataclass(frozen=True)
class DemographicSchema:
    """Age bins and vocabularies in the order that indices follow.

    Args:
        age_edges: lower edges of left-closed bins, in years, rising.
        sexes: words of the sex table.
        races: words of the race table.

    Raises:
        InputError: for a vocabulary that is empty or says a word twice, or edges that do not rise.
    """

    age_edges: tuple[float, ...] = (0, 18, 40, 60, 80)
    sexes: tuple[str, ...] = SEXES
    races: tuple[str, ...] = RACES

    def __post_init__(self) -> None:
        object.__setattr__(self, "age_edges", tuple(float(edge) for edge in self.age_edges))
        object.__setattr__(self, "sexes", tuple(self.sexes))
        object.__setattr__(self, "races", tuple(self.races))
        if not self.age_edges or list(self.age_edges) != sorted(set(self.age_edges)):
            raise InputError(f"age edges {self.age_edges} must rise, and there must be one at least.")
        for name, words in (("sexes", self.sexes), ("races", self.races)):
            if not words or len(set(words)) < len(words) or not {"", UNKNOWN}.isdisjoint(words):
                raise InputError(f"{name} {words}: name each word once, and leave out {UNKNOWN!r}: no table has it.")

    @property
    def age_labels(self) -> tuple[str, ...]:
        """Slugs of the age bins, such as ``18-39``."""
        return AgeScheme("schema", self.age_edges).labels

    def age_bin(self, age: float | None) -> int | None:
        """Bin of an age in years, None for None. Raises InputError outside the first edge to 120 years."""
        if age is None:
            return None
        if not self.age_edges[0] <= age <= OLDEST:
            raise InputError(
                f"age {age} is not between {self.age_edges[0]:g} and {OLDEST:g} years. Pass None for an unknown age,"
                " or lower the schema's first edge."
            )
        return bisect_right(self.age_edges, age) - 1

    def sex_index(self, sex: str | None) -> int | None:
        """Index of a sex, None where unknown. Raises InputError for a word outside the vocabulary."""
        return _index("sex", sex, self.sexes)

    def race_index(self, race: str | None) -> int | None:
        """Index of a race, None where unknown. Raises InputError for a word outside the vocabulary."""
        return _index("race", race, self.races)

    def encode(
        self, ages: Sequence[float | None], sexes: Sequence[str | None], races: Sequence[str | None]
    ) -> DemographicBatch:
        """Tensors of three equally long columns; None, ``""`` and ``"unknown"`` are unknown.

        Raises:
            InputError: for columns of unequal length, an impossible age or a word outside the vocabulary.
        """
        if not len(ages) == len(sexes) == len(races):
            raise InputError(f"{len(ages)} ages, {len(sexes)} sexes and {len(races)} races: give one of each a row.")
        bins = [self.age_bin(age) for age in ages]
        sex = [self.sex_index(word) for word in sexes]
        race = [self.race_index(word) for word in races]
        known = [[value is not None for value in column] for column in (bins, sex, race)]
        return DemographicBatch(
            age_bin=torch.tensor([i or 0 for i in bins], dtype=torch.int64),
            years=torch.tensor([float(age or 0.0) for age in ages], dtype=torch.float32),
            sex=torch.tensor([i or 0 for i in sex], dtype=torch.int64),
            race=torch.tensor([i or 0 for i in race], dtype=torch.int64),
            known=torch.tensor(known, dtype=torch.bool).T.contiguous(),
        )

    def cell(self, age: float | None, sex: str | None, race: str | None) -> str:
        """Demographic cell ``age.sex.race`` of slugs, as in a stratum; ``unknown`` where unknown."""
        at = self.age_bin(age), self.sex_index(sex), self.race_index(race)
        words = self.age_labels, self.sexes, self.races
        return ".".join(UNKNOWN if i is None else names[i] for i, names in zip(at, words, strict=True))

    def every_cell(self) -> DemographicBatch:
        """One row for each age bin (at its lower edge), sex and race."""
        ages, sexes, races = zip(*product(self.age_edges, self.sexes, self.races), strict=True)
        return self.encode(ages, sexes, races)

    def digest(self) -> str:
        """Hex SHA-256 of edges and vocabularies, their order included."""
        return digest_json(asdict(self))


def _index(attribute: str, word: str | None, words: tuple[str, ...]) -> int | None:
    if word is None or word in ("", UNKNOWN):
        return None
    if word not in words:
        hint = did_you_mean(word, words)
        raise InputError(f"{attribute} {word!r} is none of {', '.join(words)}, {UNKNOWN} or blank.{hint}")
    return words.index(word)
