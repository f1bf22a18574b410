"""What both distributions of VinDr-CXR come down to: who read which film, what they saw, and where."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from cxr_assets.cohorts.delimited import ROW
from cxr_assets.cohorts.label_maps import VINDR_LABELS
from cxr_assets.cohorts.ledger import Ledger

CONSENSUS = "consensus"
"""Stands for the reader of the test films, on whom five readers agreed."""
EDGES = ("x_min", "y_min", "x_max", "y_max")
_TOLERANCE = 0.5


@dataclass(frozen=True)
class Readings:
    """Readings of a set of films.

    Attributes:
        films: one row a film: ``image``, ``source``, ``row``, ``split_native``, ``readers`` (their number), ``agreed``
            (whether they speak with one voice).
        votes: one row a film, reader and label seen: ``image``, ``reader``, ``label`` (a key of ``VINDR_LABELS``).
        labels: labels that the tables ask every reader about.
        boxes: ``study_id``, ``finding``, ``reader`` and ``EDGES`` in pixels of the film.
        links: rows of ``study_sources``.
    """

    films: pl.DataFrame
    votes: pl.DataFrame
    labels: frozenset[str]
    boxes: pl.DataFrame
    links: pl.DataFrame


BOX_SCHEMA = {"study_id": pl.String, "finding": pl.String, "reader": pl.String, **dict.fromkeys(EDGES, pl.Float64)}


def sound_images(rows: pl.DataFrame, source: str, ledger: Ledger) -> pl.DataFrame:
    """Rows whose film, and whose reader where there is one, can be trusted."""
    checks = [("image", "^[0-9a-f]{32}$", "malformed image", "expected 32 hexadecimal digits")]
    if "reader" in rows.columns:
        checks.append(("reader", "^R[0-9]{1,4}$", "malformed reader", "expected R1, R2, …"))
    for column, pattern, kind, hint in checks:
        bad = ~pl.col(column).str.contains(pattern)
        rows = ledger.sift(rows, bad, source=source, column=column, kind=kind, hint=hint)
    return rows


def sound_boxes(rows: pl.DataFrame, source: str, ledger: Ledger, *, needed: pl.Expr) -> pl.DataFrame:
    """Edges as numbers; rows where ``needed`` holds and they make no box are dropped."""
    numbers = [pl.col(edge).cast(pl.Float64, strict=False).alias(f"_{edge}") for edge in EDGES]
    rows = rows.with_columns(numbers)
    for edge in EDGES:
        unreadable = needed & ~pl.col(f"_{edge}").is_finite().fill_null(False)
        hint = "expected a number of pixels"
        rows = ledger.sift(rows, unreadable, source=source, column=edge, kind="malformed box", hint=hint)
    left, top, right, low = (pl.col(f"_{edge}") for edge in EDGES)
    for bad, column, kind, hint in (
        ((right <= left) | (low <= top), "x_max", "empty box", "x_max and y_max must exceed x_min and y_min"),
        ((left < -_TOLERANCE) | (top < -_TOLERANCE), "x_min", "box outside", "the box leaves the film"),
    ):
        rows = ledger.sift(rows, needed & bad, source=source, column=column, kind=kind, hint=hint)
    return rows.with_columns(pl.col(f"_{edge}").alias(edge) for edge in EDGES).drop(f"_{edge}" for edge in EDGES)


def link(rows: pl.DataFrame, digest: str, role: str) -> pl.DataFrame:
    """Rows of ``study_sources`` for rows of one table."""
    return rows.select(
        pl.col("image").alias("study_id"),
        pl.lit(digest).alias("source_id"),
        pl.col(ROW).alias("row_number"),
        pl.lit(role).alias("role"),
    )


def box_finding() -> pl.Expr:
    """The finding that a box with this ``label`` is around; null for a label outside the vocabulary."""
    first = {label: findings[0] for label, findings in VINDR_LABELS.items() if findings}
    return pl.col("label").replace_strict(first, default=None, return_dtype=pl.String).alias("finding")
