"""Ages, sexes, recorded races, projections and splits of the rows, by the words of the mapping."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import polars as pl

from cxr_assets.cohorts.base import CurateSettings
from cxr_assets.cohorts.demographics import harmonise_sex
from cxr_assets.cohorts.race import harmonise_race
from cxr_assets.cohorts.rows import with_age, with_race, with_sex
from cxr_assets.cohorts.splits import assign_splits
from cxr_assets.cohorts.table.accounts import ACCOUNT, Accounts
from cxr_assets.cohorts.table.dicom_rows import DICOM
from cxr_assets.cohorts.table.mapping import TableMapping, fold
from cxr_assets.cohorts.table.words import SPLIT_WORDS, VIEWS, Unknowns, is_missing, translated
from cxr_assets.errors import InputError

_TEXTS = ("sex", "race", "ethnicity", "view", "split")


def with_meanings(rows: pl.DataFrame, mapping: TableMapping, unknowns: Unknowns, ledger: Accounts) -> pl.DataFrame:
    """Add ``<name>_raw`` (the text, null where missing) and put the meaning in its place, for every mapped column.

    Sexes and races become words that their harmonisers know; projections and splits those of the schema.
    """
    known: dict[str, Callable[[pl.Series], Mapping[str, str | None]]] = {
        "sex": lambda texts: _accepted(texts, harmonise_sex),
        "race": lambda texts: _accepted(texts, lambda text: harmonise_race(text) and text),
        "ethnicity": lambda texts: _accepted(texts, lambda text: harmonise_race("", text) and text),
        "view": lambda texts: VIEWS,
        "split": lambda texts: SPLIT_WORDS,
    }
    given = mapping.columns.given()
    for name in _TEXTS:
        raw = pl.col(name).alias(f"{name}_raw")
        if name not in given:
            rows = rows.with_columns(raw)
            continue
        column = given[name]
        missing = (*mapping.missing, *column.missing)
        words = {fold(word): _text(name, meaning) for word, meaning in column.vocabulary.items()}
        meaning = translated(
            rows,
            name,
            words or known[name](rows[name]),
            missing=missing,
            on_unknown=column.on_unknown or mapping.on_unknown,
            other="OTHER" if name == "race" else None,
            title=column.column,
            unknowns=unknowns,
            ledger=ledger,
        )
        spoken = ~is_missing(name, missing) | pl.Series(meaning.is_not_null())
        rows = rows.with_columns(pl.when(spoken).then(pl.col(name)).alias(f"{name}_raw"), meaning.alias(name))
    age, text = given.get("age_years"), pl.col("age_years")
    if age is not None:
        words = {word.strip(): meaning for word, meaning in age.vocabulary.items()}
        spoken = pl.when(~is_missing("age_years", (*mapping.missing, *age.missing))).then(text)
        number = text.str.strip_chars().replace(words) if words else text.str.strip_chars()
        if mapping.decimal_comma:
            number = number.str.replace(r"^([0-9]+),([0-9]+)", "$1.$2")
        rows = rows.with_columns(spoken.alias("age_raw"), pl.when(spoken.is_not_null()).then(number).alias("age_years"))
    else:
        rows = rows.with_columns(text.alias("age_raw"))
    source = pl.when(pl.col("age_raw").is_not_null()).then(pl.lit("as reported")).alias("age_source")
    return rows.with_columns(source)


def _text(name: str, meaning: str | None) -> str | None:
    return meaning.upper().replace("_", " ") if meaning and name in ("race", "ethnicity") else meaning


def _accepted(texts: pl.Series, harmonise: Callable[[str], Any]) -> dict[str, str | None]:
    """Folded text to what a harmoniser makes of it, of the texts that it takes."""
    found: dict[str, str | None] = {}
    for text in texts.drop_nulls().unique():
        try:
            found[fold(text)] = harmonise(text)
        except InputError:
            continue
    return found


def with_tags(rows: pl.DataFrame, mapping: TableMapping, ledger: Accounts) -> pl.DataFrame:
    """What DICOM tags say of sex, race, age and projection, where no table does."""
    rows = rows.with_columns(
        translated(
            rows,
            "d_view",
            VIEWS,
            missing=(),
            on_unknown="null",
            other=None,
            title="ViewPosition",
            unknowns=Unknowns(),
            ledger=ledger,
        ).alias("d_known_view")
    )
    given, alone = mapping.columns.given(), pl.col(ACCOUNT) == DICOM
    measured = pl.when(pl.col("d_age_source") == "PatientAge").then(pl.col("d_age"))
    for name, column, tag in (
        ("sex", "sex", pl.col("d_sex")),
        ("sex", "sex_raw", pl.col("d_sex")),
        ("race", "race", pl.col("d_race")),
        ("race", "race_raw", pl.col("d_race_raw")),
        ("view", "view", pl.col("d_known_view")),
        ("view", "view_raw", pl.col("d_view")),
        ("age_years", "age_years", pl.col("d_age")),
        ("age_years", "age_raw", measured),
        ("age_years", "age_source", pl.col("d_age_source")),
    ):
        taken = pl.when(alone).then(tag).otherwise(pl.col(column)) if name in given else tag
        rows = rows.with_columns(taken.alias(column))
    return rows


def with_people(rows: pl.DataFrame, mapping: TableMapping, ledger: Accounts) -> pl.DataFrame:
    """Harmonised age, sex and race; what is odd about them is noted. An axis that nothing records stays null."""
    given, everywhere = mapping.columns.given(), mapping.dicom
    rows = rows.with_columns(pl.col("study_number").str.extract(r"^([0-9]{1,9})$").cast(pl.Int64).alias("known_number"))
    ledger.note(
        rows.filter(pl.col("study_number").is_not_null() & pl.col("known_number").is_null()),
        column="study_number",
        kind="unreadable study number",
        hint="expected a whole number; set to null",
    )
    if everywhere or "age_years" in given:
        rows = with_age(rows.rename({"age_years": "age"}), source="", ledger=ledger)
    else:
        rows = rows.with_columns(
            pl.lit(None, pl.Float64).alias("age_years"), pl.lit(None, pl.String).alias("age_flags")
        )
    patient = "patient_id" if mapping.id_kind == "patient" else None
    rows = with_sex(rows, source="", ledger=ledger, patient=patient)
    if everywhere or "race" in given or "ethnicity" in given:
        texts = rows.rename({"race": "race_text", "ethnicity": "ethnicity_text"})
        rows = with_race(texts, source="", ledger=ledger, race="race_text", ethnicity="ethnicity_text")
    return rows


def with_splits(rows: pl.DataFrame, settings: CurateSettings, ledger: Accounts) -> pl.DataFrame:
    """Add ``split``: as published where a column says so; splits that nobody published are carved out of training."""
    rows = rows.with_columns(pl.col("split_raw").str.strip_chars().alias("split_native"))
    pairs = rows.select("split_native", "split").drop_nulls().unique()
    published = dict(pairs.iter_rows())
    carve = {"validate", "test"} - set(published.values()) if published else set()
    rows, divided = assign_splits(rows.drop("split"), published=published, settings=settings, carve=carve)
    ledger.note(
        divided,
        column="split_native",
        kind="patient in two splits",
        hint="all of the patient's studies go to the more guarded split",
    )
    return rows
