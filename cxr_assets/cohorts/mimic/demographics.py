"""Age, sex and recorded race of MIMIC-CXR patients from MIMIC-IV."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import polars as pl

from cxr_assets.cohorts.delimited import ROW, Delimited, read_delimited
from cxr_assets.cohorts.demographics import OLDEST
from cxr_assets.cohorts.ledger import Ledger, relative
from cxr_assets.cohorts.mimic.race import HARMONISED, RaceChoices, read_visits, with_race
from cxr_assets.cohorts.rows import find_columns, first_file, with_sex
from cxr_assets.errors import InputError

_FOLDERS = ("", "hosp/", "core/")
_GROUPED_AGE = 91
"""Anchor age of everybody over 89: how old such a patient is at a study is not known, however far it lies from the anchor."""
_COUNTED = "anchor_age + year of study - anchor_year, within a year"
_TOPCODED = "anchor_age, which stands for everybody over 89"


def join_people(
    rows: pl.DataFrame, root: Path, source: str, ledger: Ledger, mimic_iv: Path | None, choices: RaceChoices
) -> tuple[pl.DataFrame, list[pl.DataFrame]]:
    """Add sex, age at the study and recorded race where MIMIC-IV is at hand; all null with a note where it is not.

    Args:
        rows: images with ``patient_id``, ``study_date`` and ``study_year``.
        source: the image table, which complaints about its rows name.
        choices: how recorded race is decided.
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
    visits = [read_visits(tables[path], _name(path, root), ledger) for path in (admissions, stays) if path]
    if visits:
        rows = with_race(rows, visits, ledger, choices)
    else:
        rows = rows.with_columns(pl.lit(None, pl.String).alias(name) for name in HARMONISED)
    return rows.with_columns(harmonisation=pl.lit(choices.harmonisation)), links


def _find(homes: Sequence[Path], name: str) -> Path | None:
    places = (first_file(home, [f"{folder}{name}" for folder in _FOLDERS]) for home in homes)
    return next((place for place in places if place), None)


def _name(path: Path, root: Path) -> str:
    """Relative to the cohort's folder, or by its own folder where MIMIC-IV lies elsewhere."""
    return relative(path, root) if path.is_relative_to(root) else f"mimic-iv:{path.parent.name}/{path.name}"


def _with_patients(
    rows: pl.DataFrame, table: Delimited, name: str, source: str, ledger: Ledger
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Sex, and age = anchor_age + year of study − anchor_year: both years are in the patient's own shifted calendar.

    An anchor age that stands for everybody over 89 is kept as it is, ``topcoded``; ``before_anchor`` is added where the
    study comes first, so that the patient may have been younger.
    """
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
    grouped = pl.col("_age") == _GROUPED_AGE
    impossible = ~grouped & ~years.is_between(0, OLDEST)
    joined = joined.with_columns(
        pl.when(grouped)
        .then(pl.lit(_GROUPED_AGE))
        .when(~impossible & (pl.col("_age") > 0))
        .then(years)
        .cast(pl.Float64)
        .alias("age_years"),
        pl.when(pl.col("_age") == 0)
        .then(pl.lit("anchor_zero"))
        .when(grouped & (pl.col("study_year") < pl.col("_year")))
        .then(pl.lit("topcoded|before_anchor"))
        .when(grouped)
        .then(pl.lit("topcoded"))
        .when(impossible)
        .then(pl.lit("out_of_range"))
        .when(years.is_null())
        .then(pl.lit("missing"))
        .alias("age_flags"),
        pl.format("{} in {}", "anchor_age", "anchor_year").alias("age_raw"),
        pl.when(grouped).then(pl.lit(_TOPCODED)).otherwise(pl.lit(_COUNTED)).alias("age_source"),
    )
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
