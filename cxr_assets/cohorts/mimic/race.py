"""Recorded race of MIMIC patients: one value a study from admissions that may disagree."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from cxr_assets.cohorts.delimited import ROW, Delimited
from cxr_assets.cohorts.ledger import Ledger
from cxr_assets.cohorts.race import RACE_TABLE_VERSION, race_columns
from cxr_assets.cohorts.rows import find_columns

RaceRule = Literal["most_frequent", "first", "last", "drop"]


class RaceChoices(BaseModel):
    """How recorded race is decided."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    race_rule: RaceRule = Field(
        "most_frequent", description="which admission counts where several disagree; drop: none, race is null"
    )
    prospective: bool = Field(default=False, description="use no admission after the day of the study")
    portuguese: Literal["white", "other"] = Field("white", description="group that PORTUGUESE counts as")
    south_american: Literal["hispanic", "other"] = Field("hispanic", description="group that SOUTH AMERICAN counts as")

    @property
    def harmonisation(self) -> str:
        """Version of the race table, and what was read otherwise than it says."""
        changed = [f"{name}=other" for name in ("portuguese", "south_american") if getattr(self, name) == "other"]
        return "; ".join([RACE_TABLE_VERSION, *changed])


HARMONISED = ("race5", "race_only", "ethnicity", "race_detail", "race_raw", "race_flags", "race_source")
_RACE = ("race", "ethnicity")
"""The column's name since MIMIC-IV 2.0, and before."""
_DAY = r"^([0-9]{4})-([0-9]{2})-([0-9]{2})(?:[ T].*)?$"
# Columns that rank the groups of a study, the best first: name, whether the largest is best, and what it says of the choice.
_NEAREST = (("before", True, "nearest admission"), ("after", False, "nearest admission"))
_VOTES = ("votes", True, "most frequent admission")
_ALPHABET = ("race5", False, "first in the alphabet")
_RANKS: Mapping[str, tuple[tuple[str, bool, str], ...]] = MappingProxyType(
    {
        "most_frequent": (_VOTES, *_NEAREST, _ALPHABET),
        "first": (("first", False, "first admission"), _VOTES, _ALPHABET),
        "last": (("last", True, "last admission"), _VOTES, _ALPHABET),
    }
)
_NO_DATE = "most frequent admission, as dates do not decide"
_FALLBACKS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        _NO_DATE: ("admissions without order", "dates do not tell the groups apart; the most frequent counts"),
        _ALPHABET[2]: ("admissions undecided", "neither number nor dates decide; the first in the alphabet stands"),
    }
)


def read_visits(table: Delimited, name: str, ledger: Ledger) -> tuple[pl.DataFrame, str]:
    """``patient_id``, ``admission``, ``race_raw`` and the ``time`` of each admission or emergency stay."""
    wanted = {"patient_id": "subject_id", "race_raw": _RACE, "time": ("admittime", "intime")}
    short = find_columns(table, wanted, optional={"admission": "hadm_id"}, cohort=ledger.spec.name)
    rows = ledger.table(name, table, release="MIMIC-IV admissions", short=short)
    return rows.with_columns(pl.col("patient_id").str.strip_chars()), name


def with_race(
    rows: pl.DataFrame, visits: list[tuple[pl.DataFrame, str]], ledger: Ledger, choices: RaceChoices
) -> pl.DataFrame:
    """Recorded race of each image's patient. Unknown never outvotes a known value.

    Where admissions disagree the most frequent group counts (or the first or last, or none, by the choices); a tie goes
    to the admission nearest in time at or before the study, else the next after. Where dates are missing, the most
    frequent counts, then the first in the alphabet, with a note. An emergency stay whose admission states a race has no
    vote of its own.

    Args:
        rows: images with ``study_id``, ``patient_id`` and ``study_date``.
        visits: what ``read_visits`` gave, admissions before emergency stays.
    """
    ours = rows.select("patient_id").unique()
    parts: list[pl.DataFrame] = []
    for frame, name in visits:
        kept = frame.join(ours, on="patient_id", how="semi")
        ledger.unused(name, kind="patient without a film", rows=frame.height - kept.height)
        kept = _mapped(kept, name, ledger, choices)
        stated_there = [part.filter(pl.col("race5").is_not_null(), pl.col("admission") != "") for part in parts]
        own = kept
        for earlier in stated_there:
            own = own.join(earlier, on=["patient_id", "admission"], how="anti")
        ledger.unused(name, kind="emergency stay of an admission", rows=kept.height - own.height)
        parts.append(own)
    seen = pl.concat(parts)
    unit = "study_id" if choices.prospective else "patient_id"
    if choices.prospective:
        dated = rows.select("study_id", "patient_id", "study_date")
        seen = dated.join(seen, on="patient_id").filter(pl.col("day") <= pl.col("study_date"))
    stated = seen.filter(pl.col("race5").is_not_null())
    chosen = _chosen(rows, stated, unit, choices.race_rule)
    # The other axis and the detail are those of the text that stands for the chosen group most often.
    detail = (
        stated.group_by(unit, "race5", "race_only", "ethnicity", "race_detail", "race_raw")
        .len()
        .sort(unit, "race5", "len", "race_raw", descending=[False, False, True, False])
        .unique([unit, "race5"], keep="first", maintain_order=True)
        .drop("len", "race_raw")
    )
    texts = seen.filter(pl.col("race_raw") != "").select(unit, "race_raw").unique().sort(unit, "race_raw")
    chosen = chosen.join(detail, on=[unit, "race5"], how="left", maintain_order="left")
    chosen = chosen.join(
        texts.group_by(unit).agg(pl.col("race_raw").str.join("|")), on=unit, how="left", maintain_order="left"
    )
    _note_fallbacks(chosen, visits[0][1], ledger)
    known_later = pl.concat(parts).filter(pl.col("race5").is_not_null())["patient_id"].unique()
    later = pl.col("distinct").is_null() & pl.col("patient_id").is_in(known_later.implode())
    flags = (
        pl.when(pl.col("distinct") > 1)
        .then(pl.lit("race_conflict"))
        .when(later & choices.prospective)
        .then(pl.lit("not_yet_recorded"))
    )
    return rows.hstack(chosen.with_columns(race_flags=flags).select(HARMONISED))


def _mapped(rows: pl.DataFrame, source: str, ledger: Ledger, choices: RaceChoices) -> pl.DataFrame:
    """Visits with harmonised race and ``day`` (YYYYMMDD in the shifted calendar, null where it cannot be read)."""
    if "admission" not in rows.columns:
        rows = rows.with_columns(admission=pl.lit(""))
    time = pl.col("time").str.strip_chars()
    rows = rows.with_columns(
        pl.col("race_raw").str.strip_chars(),
        pl.col("admission").str.strip_chars().str.strip_suffix(".0"),
        day=time.str.replace(_DAY, "$1$2$3").cast(pl.Int64, strict=False),
    ).with_columns(day=pl.when(time.str.contains(_DAY)).then("day"))
    rows = race_columns(rows, race="race_raw")
    for odd, column, kind, hint in (
        (
            ~pl.col("race_known_text"),
            "race_raw",
            "unknown race text",
            "in no harmonisation table (cohorts/race.py); not counted",
        ),
        (
            pl.col("day").is_null() & pl.col("race5").is_not_null(),
            "time",
            "unreadable time",
            "expected YYYY-MM-DD; the admission counts, and has no place in time",
        ),
    ):
        ledger.note(rows.filter(odd), source=source, column=column, kind=kind, hint=hint)
    other = pl.lit(False)
    for detail in ("portuguese", "south_american"):
        if getattr(choices, detail) == "other":
            other = other | (pl.col("race_detail") == detail).fill_null(False)
    return rows.select(
        ROW,
        "patient_id",
        "admission",
        "race_raw",
        "day",
        "race_detail",
        pl.when(other).then(pl.lit("other")).otherwise("race5").alias("race5"),
        pl.when(other).then(pl.lit("other")).otherwise("race_only").alias("race_only"),
        pl.when(~other).then("ethnicity").alias("ethnicity"),
    )


def _chosen(rows: pl.DataFrame, stated: pl.DataFrame, unit: str, rule: RaceRule) -> pl.DataFrame:
    """``study_id``, ``patient_id``, ``race5``, ``distinct`` (groups there were) and ``race_source``, one row an image."""
    each = stated.group_by(unit).agg(pl.col("race5").first(), distinct=pl.col("race5").n_unique())
    asked = rows.select("study_id", "patient_id", "study_date")
    chosen = asked.join(each, on=unit, how="left", maintain_order="left").with_columns(
        race_source=pl.when(pl.col("distinct") == 1).then(pl.lit("all admissions agree"))
    )
    disputed = chosen.filter(pl.col("distinct") > 1).select("study_id", "patient_id", "study_date")
    if disputed.is_empty():
        return chosen
    if rule == "drop":
        split = pl.col("distinct") > 1
        return chosen.with_columns(
            race5=pl.when(~split.fill_null(False)).then("race5"),
            race_source=pl.when(split).then(pl.lit("admissions disagree")).otherwise("race_source"),
        )
    settled = _settled(disputed.join(stated.select(unit, "race5", "day"), on=unit), rule)
    chosen = chosen.join(settled, on="study_id", how="left", suffix="_settled", maintain_order="left")
    return chosen.with_columns(
        pl.coalesce("race5_settled", "race5").alias("race5"),
        pl.coalesce("race_source_settled", "race_source").alias("race_source"),
    )


def _settled(pairs: pl.DataFrame, rule: RaceRule) -> pl.DataFrame:
    """``study_id``, ``race5`` and ``race_source`` from pairs of a study and an admission of a patient in dispute."""
    day, study = pl.col("day"), pl.col("study_date")
    groups = pairs.group_by("study_id", "race5").agg(
        votes=pl.len(),
        first=day.min(),
        last=day.max(),
        before=day.filter(day <= study).max(),
        after=day.filter(day > study).min(),
    )
    # The next admission after the study counts only where neither group has one before it.
    groups = groups.with_columns(after=pl.when(pl.col("before").is_null()).then("after"))
    ranks = _RANKS[rule]
    ordered = groups.sort(
        "study_id", *(name for name, *_ in ranks), descending=[False, *(d for _, d, _ in ranks)], nulls_last=True
    )
    best = ordered.group_by("study_id", maintain_order=True).agg(
        *(pl.col(name).first().alias(name) for name, *_ in ranks),
        *(pl.col(name).get(1).alias(f"{name}_next") for name, *_ in ranks),
    )
    source = pl.lit(ranks[-1][2])
    for name, _, word in reversed(ranks[:-1]):
        told = _NO_DATE if name == "votes" and rule != "most_frequent" else word
        source = pl.when(pl.col(name).ne_missing(pl.col(f"{name}_next"))).then(pl.lit(told)).otherwise(source)
    return best.select("study_id", "race5", source.alias("race_source"))


def _note_fallbacks(chosen: pl.DataFrame, source: str, ledger: Ledger) -> None:
    """Note the patients whose race no rule decided, each once."""
    for said, (kind, hint) in _FALLBACKS.items():
        patients = chosen.filter(race_source=said).unique("patient_id", keep="first", maintain_order=True)
        ledger.note(patients, source=source, column="race_raw", kind=kind, hint=f"{hint}, flagged race_conflict")
