"""Rows of the PadChest table: which can be trusted, and what their demographics say."""

from __future__ import annotations

import polars as pl

from cxr_assets.cohorts.demographics import OLDEST
from cxr_assets.cohorts.ledger import Ledger
from cxr_assets.cohorts.rows import with_sex

_FILM_NAME = r"^[0-9A-Za-z_-]+\.png$"
_BLANK = "nan"
"""What the publisher's tool wrote for an empty cell."""
_VIEWS = {"PA": "PA", "AP": "AP", "AP_HORIZONTAL": "AP", "L": "LATERAL"}
_UNUSED = {
    "COSTAL": "a film of the ribs",
    "EXCLUDE": "its publishers exclude the film",
    "UNK": "its publishers could not tell the projection",
}
_METHODS = {"Physician": "radiologist_report", "RNN_model": "nlp_report"}


def sound_rows(rows: pl.DataFrame, source: str, ledger: Ledger) -> pl.DataFrame:
    """Rows whose film, patient, study, label method and projection can be used; the others go to the quarantine.

    Adds ``study_id``, ``patient_id``, ``label_source`` and ``known_view``; ``image`` loses its suffix.
    """
    texts = pl.col("image", "patient", "study", "view", "method", "birth", "study_date", "labels")
    image, view = pl.col("image"), pl.col("view").str.to_uppercase()
    rows = rows.with_columns(texts.str.strip_chars())
    unsafe = image.str.contains(r"[/\\\x00]") | image.str.contains("..", literal=True)
    digits = "digits only, not 8.39e+35: these numbers are too long for any number type"
    name_hint = "expected letters, digits, '_' and '-', then .png"
    method_hint = f"expected {' or '.join(_METHODS)}"
    for bad, column, kind, hint in (
        (unsafe, "image", "unsafe name", "a film's name holds no folder and no '..'"),
        (~image.str.contains(_FILM_NAME), "image", "malformed name", name_hint),
        (~pl.col("patient").str.contains("^[0-9]{1,64}$"), "patient", "malformed patient", f"expected {digits}"),
        (~pl.col("study").str.contains("^[0-9][0-9_-]{0,63}$"), "study", "malformed study", f"expected {digits}"),
        (~pl.col("method").is_in(list(_METHODS)), "method", "unknown label method", method_hint),
        *(
            (view == name, "view", f"projection {name}", f"{why}; only PA, L, AP and AP_horizontal are used")
            for name, why in _UNUSED.items()
        ),
        (~view.is_in(list(_VIEWS)), "view", "unknown projection", "expected PA, L, AP or AP_horizontal"),
        (~image.is_first_distinct(), "image", "duplicate image", "the first sound row of a film is kept"),
    ):
        rows = ledger.sift(rows, bad, source=source, column=column, kind=kind, hint=hint)
    stem = image.str.head(-len(".png"))
    return rows.with_columns(
        stem,
        stem.alias("study_id"),
        pl.col("patient").alias("patient_id"),
        pl.col("method").replace_strict(_METHODS, return_dtype=pl.String).alias("label_source"),
        view.replace_strict(_VIEWS, return_dtype=pl.String).alias("known_view"),
    )


def with_demographics(rows: pl.DataFrame, source: str, ledger: Ledger) -> pl.DataFrame:
    """Age, sex and order in time, each null where the text is not usable.

    Adds ``age_years`` (year of the study minus year of birth), ``age_flags``, ``known_sex``, and ``study_number``
    (from 0, by date of study within the patient). The column ``Pediatric`` is not read: it misses most children.
    """
    given = pl.col("sex")
    blank = pl.when(given.str.strip_chars().str.to_lowercase() != _BLANK).then(given).otherwise(pl.lit(""))
    raw = rows["sex"]
    rows = with_sex(rows.with_columns(blank.alias("sex")), source=source, ledger=ledger, patient="patient_id")
    day = pl.col("study_date").str.to_date("%Y%m%d", strict=False)
    born = pl.col("birth").str.extract(r"^([0-9]{4})(?:\.0*)?$").cast(pl.Int32)
    rows = rows.with_columns(raw, day.alias("day"), born.alias("born"))
    age = (pl.col("day").dt.year() - pl.col("born")).cast(pl.Float64)
    missing = pl.col("birth").str.to_lowercase().is_in(["", _BLANK]) | (pl.col("study_date") == "")
    rows = rows.with_columns(age.alias("age_years")).with_columns(
        pl.when(missing)
        .then(pl.lit("missing"))
        .when(pl.col("age_years").is_null())
        .then(pl.lit("unparsed"))
        .when(pl.col("age_years") > OLDEST)
        .then(pl.lit("over_120"))
        .when(pl.col("age_years") < 0)
        .then(pl.lit("before_birth"))
        .alias("age_flags")
    )
    odd = pl.col("age_flags")
    for bad, column, kind, hint in (
        (pl.col("day").is_null(), "study_date", "unreadable date", "expected YYYYMMDD; age and order are null"),
        (pl.col("born").is_null(), "birth", "unreadable age", "expected a year of birth such as 1930.0; set to null"),
        (odd == "over_120", "birth", "age out of range", "over 120 years at the study; set to null"),
        (odd == "before_birth", "birth", "age out of range", "born after the study; set to null"),
    ):
        ledger.note(rows.filter(bad), source=source, column=column, kind=kind, hint=hint)
    return rows.with_columns(
        pl.when(odd.is_null()).then(pl.col("age_years")).alias("age_years"),
        (pl.col("day").rank("dense").over("patient_id") - 1).cast(pl.Int64).alias("study_number"),
    )
