"""Ages, sexes and recorded races: closed vocabularies, and one harmoniser each.

Null means unknown and stays null: it is counted, never imputed and never merged into a group. Recorded race is what a
clerk or the patient wrote down; it is no biology.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import polars as pl

from cxr_assets.errors import InputError, SettingsError

SEXES: tuple[str, ...] = ("female", "male")
RACES: tuple[str, ...] = ("asian", "black", "hispanic", "white", "other")
UNKNOWN = "unknown"
"""The slug that stands for null where a slug is needed, as in a stratum."""
OLDEST = 120.0

_AGE = re.compile(r"0*(\d{1,4})(?:\.(\d{1,6}))?([YMWD]?)", re.ASCII)
_YEARS_PER = {"": 1.0, "Y": 1.0, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}


@dataclass(frozen=True)
class AgeScheme:
    """Left-closed age bins; ages under the first edge belong to none. Another ``version`` has other edges."""

    name: str
    edges: tuple[float, ...]
    version: int = 1

    @property
    def labels(self) -> tuple[str, ...]:
        """Bin slugs such as ``00-39`` and ``80-up``, in order."""
        pairs = zip(self.edges, self.edges[1:], strict=False)
        closed = [f"{int(low):02d}-{int(high) - 1:02d}" for low, high in pairs]
        return (*closed, f"{int(self.edges[-1]):02d}-up")

    def bin_of(self, age: pl.Expr) -> pl.Expr:
        """Bin slug of an age in years, null for a null age and for one below the first edge."""
        label = pl.lit(None, pl.String)
        for edge, name in zip(self.edges, self.labels, strict=True):
            label = pl.when(age >= edge).then(pl.lit(name)).otherwise(label)
        return label.alias("age_bin")


AGE_SCHEMES: Mapping[str, AgeScheme] = MappingProxyType(
    {
        "demo4": AgeScheme("demo4", (0, 40, 60, 80)),
        "nm2021": AgeScheme("nm2021", (0, 20, 40, 60, 80)),
        "adult4": AgeScheme("adult4", (18, 40, 60, 80)),
        "adult3": AgeScheme("adult3", (18, 45, 70)),
        "compdiff5": AgeScheme("compdiff5", (0, 18, 40, 60, 80)),
    }
)
"""``nm2021``: Seyyed-Kalantari et al. 2021, whose published shares are those of left-closed bins. ``adult4``: studies of
adults only. ``compdiff5``: the same with one bin for everybody under 18."""


def age_scheme(name: str) -> AgeScheme:
    """The named age scheme. Raises SettingsError for an unknown name."""
    try:
        return AGE_SCHEMES[name]
    except KeyError:
        raise SettingsError(f"age scheme {name!r} does not exist. Choose one of {', '.join(AGE_SCHEMES)}.") from None


def harmonise_age(raw: str | None) -> tuple[float | None, str | None]:
    """Age in years from text such as ``63``, ``060Y``, ``013M`` or ``001D``.

    Returns:
        Years and a flag. Years are None, with a flag, where the text is empty (``missing``), not an age
        (``unparsed``) or above 120 years (``over_120``).
    """
    text = (raw or "").strip().upper()
    if not text:
        return None, "missing"
    match = _AGE.fullmatch(text)
    if match is None:
        return None, "unparsed"
    whole, fraction, unit = match.groups()
    years = float(f"{whole}.{fraction or 0}") * _YEARS_PER[unit]
    return (None, "over_120") if years > OLDEST else (years, None)


_SEX = MappingProxyType(
    {
        "m": "male",
        "male": "male",
        "f": "female",
        "female": "female",
        "": None,
        "o": None,
        "u": None,
        "other": None,
        "unknown": None,
    }
)


def harmonise_sex(raw: str | None) -> str | None:
    """``female``, ``male`` or None. Raises InputError for a word outside the closed vocabulary."""
    word = (raw or "").strip().lower()
    if word not in _SEX:
        raise InputError(f"sex {raw!r} is none of M, F, male, female, O, U, other, unknown or blank.")
    return _SEX[word]
