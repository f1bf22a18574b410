"""Rows of the ChestX-ray14 label table: which can be trusted, and what their demographics say."""

from __future__ import annotations

import polars as pl

from cxr_assets.cohorts.demographics import age_scheme, harmonise_age, harmonise_sex
from cxr_assets.cohorts.labels import NIH_LABELS
from cxr_assets.cohorts.ledger import Ledger
from cxr_assets.errors import InputError

_FILM_NAME = r"^[0-9]{8}_[0-9]{3}\.(?:png|jpe?g)$"


def sound_rows(rows: pl.DataFrame, source: str, ledger: Ledger) -> pl.DataFrame:
    """Rows whose image, patient and labels can be trusted; the others go to the quarantine.

    Adds ``study_id`` and ``parts`` (the labels as a list), and pads ``patient`` to the eight digits of a film's name.
    """
    image, patient, labels = pl.col("image"), pl.col("patient"), pl.col("parts")
    rows = rows.with_columns(pl.col("image", "labels", "patient", "follow_up").str.strip_chars()).with_columns(
        image.str.head(12).alias("study_id"),
        pl.col("labels").str.split("|").list.eval(pl.element().str.strip_chars()).alias("parts"),
    )
    unsafe = image.str.contains(r"[/\\\x00]") | image.str.contains("..", literal=True)
    unknown = labels.list.set_difference(list(NIH_LABELS)).list.len() > 0
    contradiction = labels.list.contains("No Finding") & (labels.list.n_unique() > 1)
    film_hint = "expected eight digits, '_', three digits, '.png' (00000061_012.png)"
    for bad, column, kind, hint in (
        (unsafe, "image", "unsafe name", "a film's name holds no folder and no '..'"),
        (~image.str.contains(_FILM_NAME), "image", "malformed name", film_hint),
        (~patient.str.contains("^[0-9]{1,8}$"), "patient", "malformed patient", "expected digits only, not 61.0"),
        (
            patient.str.zfill(8) != image.str.head(8),
            "patient",
            "patient mismatch",
            "the film's name has another patient",
        ),
        (unknown, "labels", "unknown label", f"expected {', '.join(NIH_LABELS)}, joined by '|'"),
        (contradiction, "labels", "label contradiction", "No Finding stands with a finding"),
        (~pl.col("study_id").is_first_distinct(), "image", "duplicate image", "the first sound row of a film is kept"),
    ):
        rows = ledger.sift(rows, bad, source=source, column=column, kind=kind, hint=hint)
    return rows.with_columns(patient.str.zfill(8))


def with_demographics(rows: pl.DataFrame, source: str, scheme: str, ledger: Ledger) -> pl.DataFrame:
    """Age in years, its flag and bin, sex, view and order in time, each null where the text is not usable."""
    rows = rows.join(_ages(rows["age"]), on="age", how="left", maintain_order="left")
    rows = rows.join(_sexes(rows["sex"]), on="sex", how="left", maintain_order="left")
    view = pl.col("view").str.strip_chars().str.to_uppercase()
    rows = rows.with_columns(
        age_scheme(scheme).bin_of(pl.col("age_years")).alias("age_bin"),
        pl.when(view.is_in(["PA", "AP"])).then(view).alias("known_view"),
        pl.col("follow_up").str.extract("^([0-9]{1,6})$").cast(pl.Int64).alias("study_number"),
    )
    flag = pl.col("age_flags")
    changing = pl.col("known_sex").drop_nulls().n_unique().over("patient") > 1
    readable = "expected 63, 060Y, 013M or 001D; set to null"
    for odd, column, kind, hint in (
        (flag == "over_120", "age", "age out of range", "over 120 years; set to null"),
        (flag.is_in(["unparsed", "missing"]), "age", "unreadable age", readable),
        (pl.col("odd_sex"), "sex", "unknown sex", "expected M or F; set to null"),
        (changing, "sex", "sex differs within patient", "set to null for this patient"),
        (pl.col("known_view").is_null(), "view", "unknown view", "expected PA or AP; set to null"),
        (pl.col("study_number").is_null(), "follow_up", "unreadable follow-up", "expected a whole number; set to null"),
    ):
        ledger.note(rows.filter(odd), source=source, column=column, kind=kind, hint=hint)
    return rows.with_columns(pl.when(~changing).then(pl.col("known_sex")).alias("known_sex"))


def _ages(column: pl.Series) -> pl.DataFrame:
    """Years and flag of every distinct age text."""
    schema = {"age": pl.String, "age_years": pl.Float64, "age_flags": pl.String}
    return pl.DataFrame([(raw, *harmonise_age(raw)) for raw in column.unique()], schema=schema, orient="row")


def _sexes(column: pl.Series) -> pl.DataFrame:
    """Sex of every distinct text, and whether the text was outside the vocabulary."""
    schema = {"sex": pl.String, "known_sex": pl.String, "odd_sex": pl.Boolean}
    return pl.DataFrame([(raw, *_sex(raw)) for raw in column.unique()], schema=schema, orient="row")


def _sex(raw: str) -> tuple[str | None, bool]:
    """Sex, and whether the text was outside the vocabulary."""
    try:
        return harmonise_sex(raw), False
    except InputError:
        return None, True
