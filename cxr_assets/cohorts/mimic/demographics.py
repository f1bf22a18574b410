"""Age, sex and recorded race of MIMIC-CXR patients from MIMIC-IV."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Literal

import polars as pl

from cxr_assets.cohorts.delimited import ROW, Delimited, read_delimited
from cxr_assets.cohorts.demographics import OLDEST
from cxr_assets.cohorts.ledger import Ledger, relative
from cxr_assets.cohorts.race import RACE_TABLE_VERSION, race_columns
from cxr_assets.cohorts.rows import find_columns, first_file, with_sex
from cxr_assets.errors import InputError

RaceRule = Literal["most_frequent", "first", "last"]
_FOLDERS = ("", "hosp/", "core/")
_GROUPED_AGE = 91
"""Anchor age of everybody over 89."""
_RACE = ("race", "ethnicity")
"""The column's name since MIMIC-IV 2.0, and before."""
_HARMONISED = ("race5", "race_only", "ethnicity", "race_detail", "race_raw", "race_flags", "race_source")


def join_people(
    rows: pl.DataFrame, root: Path, source: str, ledger: Ledger, mimic_iv: Path | None, rule: RaceRule
) -> tuple[pl.DataFrame, list[pl.DataFrame]]:
    """Add sex, age at the study and recorded race where MIMIC-IV is at hand; all null with a note where it is not.

    Args:
        rows: images with ``patient_id``, ``study_date`` and ``study_year``.
        source: the image table, which complaints about its rows name.
        mimic_iv: folder of MIMIC-IV; None looks in ``root`` and in folders of it called ``mimic-iv*``.

    Returns:
        The rows, and rows of ``study_sources``.
    """
    homes = [mimic_iv] if mimic_iv else [root, *sorted(root.glob("mimic-iv*")), *sorted(root.glob("mimic-iv*/[0-9]*"))]
    patients = _find(homes, "patients.csv")
    admissions = _find(homes, "admissions.csv")
    if mimic_iv and not patients:
        raise InputError(
            f"cohort {ledger.spec.name!r}: {mimic_iv} holds no patients.csv(.gz), hosp/ or core/. Nothing was written."
        )
    stays = _find([*homes, *(home / "ed" for home in homes)], "edstays.csv")
    paths = [path for path in (patients, admissions, stays) if path]
    with ThreadPoolExecutor(max(1, len(paths))) as pool:
        tables = dict(zip(paths, pool.map(partial(read_delimited, cohort=ledger.spec.name), paths), strict=True))
    links = []
    if patients:
        rows, link = _with_patients(rows, tables[patients], _name(patients, root), source, ledger)
        links.append(link)
    else:
        rows = rows.with_columns(
            pl.lit(None, pl.String).alias(name)
            for name in ("sex_raw", "known_sex", "age_raw", "age_flags", "age_source")
        ).with_columns(pl.lit(None, pl.Float64).alias("age_years"))
    visits = [_visits(tables[path], _name(path, root), ledger) for path in (admissions, stays) if path]
    if visits:
        rows = _with_race(rows, visits, ledger, rule)
    else:
        rows = rows.with_columns(pl.lit(None, pl.String).alias(name) for name in _HARMONISED)
    return rows.with_columns(harmonisation=pl.lit(RACE_TABLE_VERSION)), links


def _find(homes: Sequence[Path], name: str) -> Path | None:
    places = (first_file(home, [f"{folder}{name}" for folder in _FOLDERS]) for home in homes)
    return next((place for place in places if place), None)


def _name(path: Path, root: Path) -> str:
    """Relative to the cohort's folder, or by its own folder where MIMIC-IV lies elsewhere."""
    return relative(path, root) if path.is_relative_to(root) else f"mimic-iv:{path.parent.name}/{path.name}"


def _with_patients(
    rows: pl.DataFrame, table: Delimited, name: str, source: str, ledger: Ledger
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Sex, and age = anchor_age + year of study − anchor_year: both years are in the patient's own shifted calendar."""
    wanted = {
        "patient_id": "subject_id",
        "sex_raw": "gender",
        "anchor_age": "anchor_age",
        "anchor_year": "anchor_year",
    }
    people = ledger.table(
        name, table, release="MIMIC-IV patients", short=find_columns(table, wanted, cohort=ledger.spec.name)
    )
    ours = rows.select("patient_id").unique()
    kept = people.with_columns(pl.col(list(wanted)).str.strip_chars()).join(ours, on="patient_id", how="semi")
    ledger.unused(name, kind="patient without a film", rows=people.height - kept.height)
    age, year = (pl.col(n).cast(pl.Int64, strict=False) for n in ("anchor_age", "anchor_year"))
    kept = kept.with_columns(age.alias("_age"), year.alias("_year"))
    for bad, column, kind, hint in (
        (~pl.col("patient_id").is_first_distinct(), "patient_id", "duplicate patient", "the first row is kept"),
        (
            pl.col("_age").is_null() | pl.col("_year").is_null(),
            "anchor_age",
            "unreadable anchor",
            "expected whole numbers",
        ),
    ):
        kept = ledger.sift(kept, bad, source=name, column=column, kind=kind, hint=hint)
    kept = with_sex(kept, source=name, ledger=ledger, patient=None, column="sex_raw")
    joined = rows.join(
        kept.select("patient_id", "sex_raw", "known_sex", "_age", "_year", "anchor_age", "anchor_year", _line=ROW),
        on="patient_id",
        how="left",
        maintain_order="left",
    )
    ledger.note(
        joined.filter(pl.col("_line").is_null()).unique("patient_id", keep="first", maintain_order=True),
        source=source,
        column="subject",
        kind="patient not in MIMIC-IV",
        hint="age, sex and race stay null",
    )
    years = pl.col("_age") + pl.col("study_year") - pl.col("_year")
    grouped = pl.col("_age") >= _GROUPED_AGE
    impossible = (years < 0) | ((years > OLDEST) & ~grouped)
    joined = joined.with_columns(
        pl.when(~impossible & (pl.col("_age") > 0)).then(pl.min_horizontal(years, pl.lit(OLDEST))).alias("age_years"),
        pl.when(pl.col("_age") == 0)
        .then(pl.lit("anchor_zero"))
        .when(impossible)
        .then(pl.lit("out_of_range"))
        .when(grouped)
        .then(pl.lit("topcoded"))
        .when(years.is_null())
        .then(pl.lit("missing"))
        .alias("age_flags"),
        pl.format("{} in {}", "anchor_age", "anchor_year").alias("age_raw"),
        pl.lit("anchor_age + year of study - anchor_year, within a year").alias("age_source"),
    ).with_columns(pl.col("age_years").cast(pl.Float64))
    for flag, hint in (
        ("out_of_range", "below 0 or over 120 at the study; set to null"),
        ("anchor_zero", "anchor age 0 means under one year or not known; set to null"),
    ):
        odd = joined.filter(pl.col("age_flags") == flag).select("exam_id", ROW, anchor_age="anchor_age")
        ledger.note(
            odd.unique("exam_id", keep="first", maintain_order=True),
            source=source,
            column="anchor_age",
            kind="age out of range" if flag == "out_of_range" else "age unknown",
            hint=hint,
        )
    link = joined.filter(pl.col("_line").is_not_null()).select(
        "study_id", source_id=pl.lit(table.digest), row_number="_line", role=pl.lit("demographics")
    )
    return joined.drop("_line", "_age", "_year", "anchor_age", "anchor_year"), link


def _visits(table: Delimited, name: str, ledger: Ledger) -> tuple[pl.DataFrame, str]:
    """``patient_id``, ``race_raw`` and the day of each admission (YYYYMMDD in the shifted calendar)."""
    times = ("admittime", "intime")
    wanted = {"patient_id": "subject_id", "race_raw": _RACE, "time": times}
    rows = ledger.table(
        name, table, release="MIMIC-IV admissions", short=find_columns(table, wanted, cohort=ledger.spec.name)
    )
    day = pl.col("time").str.slice(0, 10).str.replace_all("-", "").cast(pl.Int64, strict=False)
    return rows.select(
        ROW, pl.col("patient_id").str.strip_chars(), pl.col("race_raw").str.strip_chars(), day.alias("day")
    ), name


def _with_race(
    rows: pl.DataFrame, visits: list[tuple[pl.DataFrame, str]], ledger: Ledger, rule: RaceRule
) -> pl.DataFrame:
    """Recorded race of each image's patient. Unknown never outvotes a known value.

    Where admissions disagree the most frequent group counts (or the first or last, by ``rule``); a tie goes to the
    admission nearest in time at or before the study, else the next after.
    """
    ours = rows.select("patient_id").unique()
    parts = []
    for frame, name in visits:
        kept = frame.join(ours, on="patient_id", how="semi")
        ledger.unused(name, kind="patient without a film", rows=frame.height - kept.height)
        kept = race_columns(kept, race="race_raw")
        ledger.note(
            kept.filter(~pl.col("race_known_text")),
            source=name,
            column="race_raw",
            kind="unknown race text",
            hint="in no harmonisation table (cohorts/race.py); not counted",
        )
        parts.append(kept)
    stated = pl.concat(parts).filter(pl.col("race5").is_not_null())
    raws = pl.concat(parts).filter(pl.col("race_raw") != "").select("patient_id", "race_raw").unique()
    texts = raws.sort("patient_id", "race_raw").group_by("patient_id").agg(pl.col("race_raw").str.join("|"))
    groups = stated.group_by("patient_id", "race5").agg(
        votes=pl.len(), first=pl.col("day").min(), last=pl.col("day").max()
    )
    best = {"most_frequent": pl.col("votes"), "first": -pl.col("first"), "last": pl.col("last")}[rule]
    groups = groups.with_columns(best.alias("_best"), pl.len().over("patient_id").alias("_distinct"))
    top = groups.filter(pl.col("_best") == pl.col("_best").max().over("patient_id"))
    top = top.with_columns(pl.len().over("patient_id").alias("_tied"))
    settled = top.filter(pl.col("_tied") == 1).select("patient_id", "race5", "_distinct")
    tied = top.filter(pl.col("_tied") > 1)
    chosen = rows.select("study_id", "patient_id").join(settled, on="patient_id", how="left", maintain_order="left")
    if tied.height:
        near = _nearest(rows, stated.join(tied.select("patient_id", "race5"), on=["patient_id", "race5"]))
        chosen = chosen.join(near, on="study_id", how="left", suffix="_near", maintain_order="left").with_columns(
            pl.coalesce("race5", "race5_near").alias("race5"),
            pl.when(pl.col("race5").is_null() & pl.col("race5_near").is_not_null())
            .then(2)
            .otherwise("_distinct")
            .alias("_distinct"),
            pl.col("race5_near").is_not_null().alias("_near"),
        )
    else:
        chosen = chosen.with_columns(_near=pl.lit(False))
    # The other axis and the detail are those of the text that stands for the chosen group most often.
    detail = (
        stated.group_by("patient_id", "race5", "race_only", "ethnicity", "race_detail", "race_raw")
        .len()
        .sort("patient_id", "race5", "len", "race_raw", descending=[False, False, True, False])
        .unique(["patient_id", "race5"], keep="first", maintain_order=True)
        .drop("len", "race_raw")
    )
    chosen = chosen.join(detail, on=["patient_id", "race5"], how="left", maintain_order="left")
    chosen = chosen.join(texts, on="patient_id", how="left", maintain_order="left")
    word = rule.replace("_", " ")
    return rows.hstack(
        chosen.select(
            "race5",
            "race_only",
            "ethnicity",
            "race_detail",
            "race_raw",
            pl.when(pl.col("_distinct") > 1).then(pl.lit("race_conflict")).alias("race_flags"),
            pl.when(pl.col("race5").is_null())
            .then(None)
            .when(pl.col("_near"))
            .then(pl.lit("nearest admission"))
            .when(pl.col("_distinct") > 1)
            .then(pl.lit(f"{word} admission"))
            .otherwise(pl.lit("all admissions agree"))
            .alias("race_source"),
        )
    )


def _nearest(rows: pl.DataFrame, visits: pl.DataFrame) -> pl.DataFrame:
    """``study_id`` and ``race5`` of the nearest visit at or before each study, else of the next after."""
    asked = rows.select("study_id", "patient_id", day="study_date").join(
        visits.select("patient_id").unique(), on="patient_id", how="semi"
    )
    days = visits.select("patient_id", "day", "race5").drop_nulls("day").sort("day", "race5")
    asked = asked.filter(pl.col("day").is_not_null()).sort("day")
    before = asked.join_asof(days, on="day", by="patient_id", strategy="backward", check_sortedness=False)
    after = asked.join_asof(days, on="day", by="patient_id", strategy="forward", check_sortedness=False)
    both = before.join(after.select("study_id", after="race5"), on="study_id")
    return both.select("study_id", pl.coalesce("race5", "after").alias("race5"))
