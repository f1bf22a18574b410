"""Rows of the ChestX-ray14 label table: which can be trusted, and what their demographics say."""

from __future__ import annotations

import polars as pl

from cxr_assets.cohorts.labels import NIH_LABELS
from cxr_assets.cohorts.ledger import Ledger
from cxr_assets.cohorts.rows import with_age, with_sex

_FILM_NAME = r"^[0-9]{8}_[0-9]{3}\.(?:png|jpe?g)$"


def sound_rows(rows: pl.DataFrame, source: str, ledger: Ledger) -> pl.DataFrame:
    """Rows whose image, patient and labels can be trusted; the others go to the quarantine.

    Adds ``study_id`` and ``parts`` (the labels as a list), and ``patient_id`` of the eight digits that a film's name has.
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
    return rows.with_columns(patient.str.zfill(8).alias("patient_id"))


def with_demographics(rows: pl.DataFrame, source: str, ledger: Ledger) -> pl.DataFrame:
    """Age in years and its flag, sex, view and order in time, each null where the text is not usable."""
    rows = with_age(rows, source=source, ledger=ledger)
    rows = with_sex(rows, source=source, ledger=ledger, patient="patient_id")
    view = pl.col("view").str.strip_chars().str.to_uppercase()
    rows = rows.with_columns(
        pl.when(view.is_in(["PA", "AP"])).then(view).alias("known_view"),
        pl.col("follow_up").str.extract("^([0-9]{1,6})$").cast(pl.Int64).alias("study_number"),
    )
    for odd, column, kind, hint in (
        (pl.col("known_view").is_null(), "view", "unknown view", "expected PA or AP; set to null"),
        (pl.col("study_number").is_null(), "follow_up", "unreadable follow-up", "expected a whole number; set to null"),
    ):
        ledger.note(rows.filter(odd), source=source, column=column, kind=kind, hint=hint)
    return rows
