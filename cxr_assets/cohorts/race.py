"""Recorded race and ethnicity on two axes, from a closed table of what the sources write.

Recorded race is what a clerk or the patient wrote down; it is no biology. Two outputs stand side by side, and which of
them is used is a choice made later (``Choices.race_axis``): ``race5`` is one axis on which Hispanic ethnicity goes
before race; ``race_only`` with ``ethnicity`` keeps the two apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import polars as pl

from cxr_assets.cohorts.demographics import RACES
from cxr_assets.errors import InputError

RACE_TABLE_VERSION = "1"
"""Raise this when a text is mapped to another group. It is stored with every study."""
ETHNICITIES = ("hispanic", "not_hispanic")
RACE_DETAILS = ("american_indian", "pacific_islander", "multiple", "portuguese", "south_american")
RACE_AXES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"race5": RACES, "race_only": tuple(race for race in RACES if race != "hispanic")}
)
"""Axis to the groups that it has."""

_GROUPS: Mapping[str | None, str] = MappingProxyType(
    {
        "white": """WHITE; WHITE - BRAZILIAN; WHITE - EASTERN EUROPEAN; WHITE - OTHER EUROPEAN; WHITE - RUSSIAN;
            PORTUGUESE; WHITE, NON-HISPANIC; WHITE OR CAUCASIAN; WHITE, HISPANIC""",
        "black": """BLACK; BLACK/AFRICAN AMERICAN; BLACK/AFRICAN; BLACK/CAPE VERDEAN; BLACK/CARIBBEAN ISLAND;
            BLACK/HAITIAN; BLACK OR AFRICAN AMERICAN; BLACK, NON-HISPANIC; BLACK, HISPANIC""",
        "asian": """ASIAN; ASIAN - ASIAN INDIAN; ASIAN - CHINESE; ASIAN - KOREAN; ASIAN - SOUTH EAST ASIAN;
            ASIAN - VIETNAMESE; ASIAN, NON-HISPANIC; ASIAN - HISTORICAL CONV; ASIAN, HISPANIC""",
        "other": """OTHER; AMERICAN INDIAN/ALASKA NATIVE; AMERICAN INDIAN OR ALASKA NATIVE; MULTIPLE RACE/ETHNICITY;
            MULTI RACE ETHNICITY; NATIVE HAWAIIAN OR OTHER PACIFIC ISLANDER; PACIFIC ISLANDER, NON-HISPANIC;
            NATIVE AMERICAN, NON-HISPANIC; OTHER, NON-HISPANIC; OTHER, HISPANIC; NATIVE AMERICAN, HISPANIC;
            PACIFIC ISLANDER, HISPANIC""",
        None: """UNKNOWN; UNABLE TO OBTAIN; PATIENT DECLINED TO ANSWER; UNKNOWN/NOT SPECIFIED; PATIENT REFUSED;
            RACE AND ETHNICITY UNKNOWN; HISPANIC; HISPANIC OR LATINO; HISPANIC/LATINO - CENTRAL AMERICAN (OTHER);
            HISPANIC/LATINO - CENTRAL AMERICAN; HISPANIC/LATINO - COLUMBIAN; HISPANIC/LATINO - COLOMBIAN;
            HISPANIC/LATINO - CUBAN; HISPANIC/LATINO - DOMINICAN; HISPANIC/LATINO - GUATEMALAN;
            HISPANIC/LATINO - HONDURAN; HISPANIC/LATINO - MEXICAN; HISPANIC/LATINO - PUERTO RICAN;
            HISPANIC/LATINO - SALVADORAN; SOUTH AMERICAN; HISPANIC - HISTORICAL CONV""",
    }
)
_RACE = MappingProxyType(
    {"": None, **{" ".join(text.split()): race for race, texts in _GROUPS.items() for text in texts.split(";")}}
)
RACE_TEXTS: tuple[str, ...] = tuple(_RACE)
"""Texts of recorded race that are known, in capitals."""
_DETAIL = MappingProxyType(
    {
        "AMERICAN INDIAN/ALASKA NATIVE": "american_indian",
        "AMERICAN INDIAN OR ALASKA NATIVE": "american_indian",
        "NATIVE AMERICAN, NON-HISPANIC": "american_indian",
        "NATIVE AMERICAN, HISPANIC": "american_indian",
        "NATIVE HAWAIIAN OR OTHER PACIFIC ISLANDER": "pacific_islander",
        "PACIFIC ISLANDER, NON-HISPANIC": "pacific_islander",
        "PACIFIC ISLANDER, HISPANIC": "pacific_islander",
        "MULTIPLE RACE/ETHNICITY": "multiple",
        "MULTI RACE ETHNICITY": "multiple",
        "PORTUGUESE": "portuguese",
        "SOUTH AMERICAN": "south_american",
    }
)
_ETHNICITY: Mapping[str, str | None] = MappingProxyType(
    {
        "HISPANIC/LATINO": "hispanic",
        "HISPANIC": "hispanic",
        "HISPANIC OR LATINO": "hispanic",
        "NON-HISPANIC/NON-LATINO": "not_hispanic",
        "NON-HISPANIC": "not_hispanic",
        "NOT HISPANIC": "not_hispanic",
        "NOT HISPANIC OR LATINO": "not_hispanic",
        "": None,
        "UNKNOWN": None,
        "PATIENT REFUSED": None,
    }
)


@dataclass(frozen=True)
class RecordedRace:
    """One recorded race on both axes. ``conflict`` is true where race and ethnicity contradict each other."""

    race5: str | None
    race_only: str | None
    ethnicity: str | None
    detail: str | None
    conflict: bool = False


def harmonise_race(raw: str | None, ethnicity: str | None = None) -> RecordedRace:
    """Both axes of a recorded race.

    Whole strings are matched after trimming and upper-casing, never parts of them ("NON-HISPANIC" holds HISPANIC,
    "CAUCASIAN" holds ASIAN). ``PORTUGUESE`` is read as white and ``SOUTH AMERICAN`` as hispanic; the field is split on
    both, so ``detail`` names them.

    Raises:
        InputError: for a text that no table knows, so that no value falls to a default.
    """
    race, origin = (" ".join((text or "").upper().split()) for text in (raw, ethnicity))
    if race not in _RACE:
        raise InputError(f"race {raw!r} is not in the harmonisation table; add it to cohorts/race.py.")
    if origin not in _ETHNICITY:
        raise InputError(f"ethnicity {ethnicity!r} is not in the harmonisation table; add it to cohorts/race.py.")
    denied = race.endswith(", NON-HISPANIC")
    implied = race.endswith(", HISPANIC") or race.startswith("HISPANIC") or race == "SOUTH AMERICAN"
    stated = _ETHNICITY[origin]
    hispanic = implied or stated == "hispanic"
    known = "hispanic" if hispanic else "not_hispanic" if denied or stated == "not_hispanic" else None
    return RecordedRace(
        race5="hispanic" if hispanic else _RACE[race],
        race_only=_RACE[race],
        ethnicity=known,
        detail=_DETAIL.get(race),
        conflict=(implied and stated == "not_hispanic") or (denied and stated == "hispanic"),
    )


RACE_COLUMNS = {
    "race5": pl.String,
    "race_only": pl.String,
    "ethnicity": pl.String,
    "race_detail": pl.String,
    "race_flags": pl.String,
    "race_known_text": pl.Boolean,
}


def race_columns(rows: pl.DataFrame, *, race: str, ethnicity: str | None = None) -> pl.DataFrame:
    """Add the harmonised columns of ``RACE_COLUMNS`` to rows; each distinct pair of texts is looked up once.

    ``race_known_text`` is false where a text is in no table; everything harmonised is null there.
    """
    keys = [race, *([ethnicity] if ethnicity else [])]
    found = []
    for pair in rows.select(keys).unique().iter_rows():
        try:
            told = harmonise_race(*pair)
            flag = "ethnicity_conflict" if told.conflict else None
            found.append((*pair, told.race5, told.race_only, told.ethnicity, told.detail, flag, True))
        except InputError:
            found.append((*pair, None, None, None, None, None, False))
    table = pl.DataFrame(found, schema={**dict.fromkeys(keys, pl.String), **RACE_COLUMNS}, orient="row")
    return rows.join(table, on=keys, how="left", nulls_equal=True, maintain_order="left")
