"""Patient splits that depend on the patient's name and a seed only, never on order or on who else is there."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import polars as pl

from cxr_assets.errors import SettingsError


def patient_split(patients: pl.Series, *, seed: int, shares: Mapping[str, float]) -> pl.Series:
    """Assign each row the split of its patient.

    A patient's place in [0, 1) is a hash of seed and id; the splits divide that interval in the order of ``shares``.
    So adding patients moves none, and a larger share only takes from its neighbours.

    Args:
        patients: patient ids as text, one a row, repeats allowed.
        seed: another seed gives an independent split.
        shares: split name to share of patients; they sum to 1.

    Returns:
        Split names, as long as ``patients``.
    """
    if abs(sum(shares.values()) - 1) > 1e-9 or min(shares.values()) < 0:
        raise SettingsError(f"split shares {dict(shares)} must be at least 0 and sum to 1.")
    limits, reached = [], 0.0
    for name, share in shares.items():
        reached += share
        limits.append((reached, name))
    limits[-1] = (1.0, limits[-1][1])

    def place(patient: str) -> str:
        digest = hashlib.sha256(f"{seed}:{patient}".encode()).digest()
        position = int.from_bytes(digest[:7]) / 2**56
        return next(name for limit, name in limits if position < limit)

    unique = patients.unique().to_list()
    table = {patient: place(patient) for patient in unique}
    return patients.replace_strict(table, return_dtype=pl.String).alias("split")


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
