"""Patient splits: published ones where they exist, else drawn by hash and spread evenly over demographic groups."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Collection, Mapping

import numpy as np
import polars as pl

from cxr_assets.cohorts.base import CurateSettings
from cxr_assets.cohorts.demographics import AGE_SCHEMES
from cxr_assets.errors import SettingsError

_GUARD = {"train": 0, "validate": 1, "test": 2}
_GOLDEN = 0.6180339887498949
_AGES = AGE_SCHEMES["nm2021"]


def patient_split(patients: pl.Series, *, seed: int, shares: Mapping[str, float]) -> pl.Series:
    """Assign each row the split of its patient, by a hash of seed and id alone.

    Used where nothing is known of the patients: adding some moves none of the others.

    Args:
        patients: patient ids as text, one a row, repeats allowed.
        seed: another seed gives an independent split.
        shares: split name to share of patients; they sum to 1.

    Returns:
        Split names, as long as ``patients``.
    """
    names, limits = _limits(shares)
    unique = patients.unique().to_list()
    chosen = {patient: names[bisect_right(limits, _place(patient, seed))] for patient in unique}
    return patients.replace_strict(chosen, return_dtype=pl.String).alias("split")


def stratified_split(patients: pl.DataFrame, *, seed: int, shares: Mapping[str, float]) -> pl.DataFrame:
    """Assign each patient a split so that every group of patients has its share in each, as nearly as whole people allow.

    Within a group patients are ordered by a hash of seed and id, and dealt out in a fixed pattern. The split hangs on the
    set of patients, never on the order of rows; another patient may move some of the same or a later group.

    Args:
        patients: ``patient_id`` (unique) and ``group``.

    Returns:
        ``patient_id`` and ``split``.
    """
    names, limits = _limits(shares)
    places = pl.Series("place", [_place(patient, seed) for patient in patients["patient_id"]], dtype=pl.Float64)
    ordered = patients.with_columns(places).sort("group", "place", "patient_id", nulls_last=True)
    dealt = np.arange(ordered.height) * _GOLDEN % 1.0
    index = np.searchsorted(np.array(limits), dealt, side="right")
    return ordered.select("patient_id", pl.Series("split", np.array(names, dtype=object)[index], dtype=pl.String))


def assign_splits(
    rows: pl.DataFrame, *, published: Mapping[str, str], settings: CurateSettings, carve: Collection[str] = ()
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Add ``split`` to rows; a patient is in one only.

    A patient whom the published splits divide goes to the most guarded of them (test, then validate). A row on no list
    follows its patient; a patient on none is dealt out by ``stratified_split`` over sex, recorded race and age.

    Args:
        rows: ``patient_id``, ``split_native`` (null on no list), and where known ``known_sex``, ``race5``, ``age_years``.
        published: published word to split.
        settings: seed and shares.
        carve: splits that nobody published, to be taken out of the published training patients.

    Returns:
        The rows with ``split``, and those rows whose own list says something less guarded than their patient's.
    """
    guard = pl.col("split_native").replace_strict(
        {word: _GUARD[split] for word, split in published.items()}, default=None, return_dtype=pl.Int8
    )
    rows = rows.with_columns(guard.alias("_guard"))
    groups = [pl.col(name).first().fill_null("?") for name in ("known_sex", "race5") if name in rows.columns]
    if "age_years" in rows.columns:
        groups.append(_AGES.bin_of(pl.col("age_years").min()).fill_null("?").alias("age"))
    patients = rows.group_by("patient_id").agg(pl.col("_guard").max().alias("_highest"), *groups)
    named = [name for name in ("known_sex", "race5", "age") if name in patients.columns]
    group = pl.concat_str(named, separator=" ") if named else pl.lit("")
    patients = patients.with_columns(group.alias("group"))
    free = patients.filter(pl.col("_highest").is_null())
    trained = patients.filter(pl.col("_highest") == 0)
    shares = settings.shares
    kept = {name: shares[name] for name in ("test", "validate") if name in carve}
    parts = [
        stratified_split(free, seed=settings.split_seed, shares=shares),
        stratified_split(trained, seed=settings.split_seed, shares={**kept, "train": 1 - sum(kept.values())}),
    ]
    for name in ("validate", "test"):
        chosen = patients.filter(pl.col("_highest") == _GUARD[name])
        parts.append(chosen.select("patient_id", pl.lit(name).alias("split")))
    rows = rows.join(pl.concat(parts), on="patient_id", how="left", maintain_order="left")
    highest = rows.select("patient_id").join(
        patients.select("patient_id", "_highest"), on="patient_id", how="left", maintain_order="left"
    )["_highest"]
    divided = rows.filter(pl.col("_guard") < highest)
    return rows.drop("_guard"), divided.drop("_guard")


def _limits(shares: Mapping[str, float]) -> tuple[list[str], list[float]]:
    """Names, and the upper ends of their intervals of [0, 1) but the last."""
    if abs(sum(shares.values()) - 1) > 1e-9 or min(shares.values()) < 0:
        raise SettingsError(f"split shares {dict(shares)} must be at least 0 and sum to 1.")
    names = list(shares)
    return names, np.cumsum([shares[name] for name in names[:-1]]).tolist()


def _place(patient: str, seed: int) -> float:
    """Where a patient stands in [0, 1)."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{patient}".encode()).digest()[:6]) / 2**48


def shared_patients(studies: pl.DataFrame) -> pl.DataFrame:
    """Patients with studies in more than one split; empty where there is no leakage.

    Returns:
        ``patient_id``, ``splits`` (sorted list), ``studies`` (their number), by patient.
    """
    return (
        studies.group_by("patient_id")
        .agg(pl.col("split").unique().sort().alias("splits"), pl.len().alias("studies"))
        .filter(pl.col("splits").list.len() > 1)
        .sort("patient_id")
    )
