"""Predictions of one classifier laid out for counting: films × findings, patients, and the groups they are in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import polars as pl

from cxr_assets.errors import InputError

POOLED = "all"
OVERALL = "all"


@dataclass(frozen=True)
class Grouping:
    """One attribute or intersection.

    ``member`` int64, shape ``(films,)``: index into ``groups``, -1 for unknown; ``of_cell`` the same for the cells of a
    :class:`Lattice`.
    """

    attribute: str
    groups: tuple[str, ...]
    member: np.ndarray
    of_cell: np.ndarray


@dataclass(frozen=True)
class Lattice:
    """Cells that no attribute divides further, and every grouping as a union of them.

    ``cell`` int64 ``(films,)``; ``unknown`` int64 ``(cells,)``, one bit for each attribute that is not known there.
    """

    cell: np.ndarray
    unknown: np.ndarray
    groupings: tuple[Grouping, ...]


@dataclass(frozen=True)
class ScoredFilms:
    """Scores and truth of evaluation films.

    ``scores`` float64 ``(learners, films, findings)``, NaN where a film has no prediction; ``truth`` float64
    ``(films, findings)``, NaN where it is not known; ``patient`` int64 ``(films,)``, consecutive from 0.
    """

    findings: tuple[str, ...]
    learners: tuple[str, ...]
    scores: np.ndarray
    truth: np.ndarray
    patient: np.ndarray
    people: pl.DataFrame

    @property
    def patients(self) -> int:
        return int(self.patient.max()) + 1 if len(self.patient) else 0


def lay_out(predictions: pl.DataFrame, people: pl.DataFrame, findings: Sequence[str]) -> ScoredFilms:
    """Lay out long predictions.

    Args:
        predictions: learner, study_id, patient_id, finding, score, truth.
        people: study_id with one column for every attribute.

    Raises:
        InputError: no rows, a column that lacks or holds text, a row without a key, a repeated key, a score outside [0, 1],
            or a truth other than 0, 1 and null.
    """
    _refuse_columns(predictions)
    keys = ["learner", "study_id", "finding"]
    if predictions.select(pl.struct(keys).is_duplicated().any()).item():
        raise InputError("predictions hold the same learner, study_id and finding twice. Keep one row of each.")
    bad = predictions.filter(~pl.col("score").is_between(0, 1) | pl.col("score").is_nan())
    if bad.height:
        raise InputError(
            f"predictions: {bad.height} scores lie outside [0, 1], such as {bad['score'][0]} of {bad['study_id'][0]}."
        )
    odd = predictions.filter(~pl.col("truth").cast(pl.Float64).is_in([0.0, 1.0]))
    if odd.height:
        raise InputError(
            f"predictions: {odd.height} values of truth are neither 0, 1 nor null, such as {odd['truth'][0]}."
        )
    two = predictions.group_by("study_id", "finding").agg(pl.col("truth").n_unique()).filter(pl.col("truth") > 1)
    if two.height:
        raise InputError(
            f"predictions: the truth of {two['finding'][0]} in {two['study_id'][0]} differs from learner to learner"
            f" ({two.height} such). One film has one truth."
        )
    if people["study_id"].is_duplicated().any():
        raise InputError("people: a study_id stands there twice. Give one row of attributes for each study.")
    films = predictions.select("study_id", "patient_id").unique().sort("study_id")
    if films["study_id"].is_duplicated().any():
        raise InputError("predictions give one study_id to two patients.")
    learners = tuple(sorted(predictions["learner"].unique()))
    scores = np.full((len(learners), films.height, len(findings)), np.nan)
    truth = np.full((films.height, len(findings)), np.nan)
    at = predictions.select("learner", "study_id", "finding", "score", pl.col("truth").cast(pl.Float64))
    for column, names in (("learner", learners), ("study_id", films["study_id"]), ("finding", findings)):
        place = pl.DataFrame({column: names, f"{column}_at": range(len(names))}, schema_overrides={column: pl.String})
        at = at.join(place, on=column, how="inner")
    film, finding = at["study_id_at"].to_numpy(), at["finding_at"].to_numpy()
    scores[at["learner_at"].to_numpy(), film, finding] = at["score"].to_numpy()
    truth[film, finding] = at["truth"].fill_null(np.nan).to_numpy()
    patient = films["patient_id"].rank("dense").cast(pl.Int64).to_numpy() - 1
    joined = films.join(people, on="study_id", how="left", maintain_order="left")
    return ScoredFilms(tuple(findings), learners, scores, truth, patient, joined)


def _refuse_columns(predictions: pl.DataFrame) -> None:
    named = ("learner", "study_id", "patient_id", "finding")
    if lacking := [name for name in (*named, "score", "truth") if name not in predictions.columns]:
        raise InputError(f"predictions: no column {lacking[0]!r}. There are {', '.join(predictions.columns)}.")
    if predictions.is_empty():
        raise InputError("there are no predictions to evaluate: 0 rows.")
    for name in ("score", "truth"):
        kind = predictions.schema[name]
        if not (kind.is_numeric() or kind in (pl.Boolean, pl.Null)):
            raise InputError(
                f"predictions: {name} is {kind}, not a number. Give probabilities in [0, 1] and truth as 0 or 1."
            )
    for name in named:
        if empty := predictions[name].null_count():
            raise InputError(
                f"predictions: {empty} rows have no {name}. Intervals are drawn by patient: fill it in or drop them."
            )


def recorded(values: pl.Series) -> pl.Series:
    """An attribute as text, null where it is null, empty or ``unknown``."""
    text = values.cast(pl.String)
    return text.set(text.is_in(["unknown", ""]).fill_null(True), None)


def lattice(films: ScoredFilms, attributes: Sequence[str]) -> Lattice:
    """Overall, every attribute, and every intersection; names of intersections in alphabetical order.

    A film is in a group only if every attribute of the grouping is known: not null, empty or ``unknown``.
    """
    chosen = sorted(attributes)
    codes, names = np.full((len(films.patient), len(chosen)), -1, dtype=np.int64), []
    for column, attribute in enumerate(chosen):
        known = recorded(films.people[attribute])
        names.append(known.drop_nulls().unique().sort().to_list())
        if names[-1]:
            position = pl.Series(range(len(names[-1])), dtype=pl.Int64)
            code = known.replace_strict(pl.Series(names[-1], dtype=pl.String), position, default=None)
            codes[:, column] = code.fill_null(-1).to_numpy()
    distinct, cell = np.unique(codes, axis=0, return_inverse=True)
    cell = cell.reshape(-1)
    everything = np.zeros(len(distinct), dtype=np.int64)
    found = [Grouping(OVERALL, (OVERALL,), everything[cell], everything)]
    for size in range(1, len(chosen) + 1):
        for picked in combinations(range(len(chosen)), size):
            present = distinct[:, picked]
            whole = np.flatnonzero((present >= 0).all(axis=1))
            rows, inverse = np.unique(present[whole], axis=0, return_inverse=True)
            if len(rows) > 1:
                of_cell = np.full(len(distinct), -1, dtype=np.int64)
                of_cell[whole] = inverse.reshape(-1)
                groups = tuple("×".join(names[c][i] for c, i in zip(picked, row, strict=True)) for row in rows)
                found.append(Grouping("×".join(chosen[c] for c in picked), groups, of_cell[cell], of_cell))
    unknown = ((distinct < 0) * (1 << np.arange(len(chosen)))).sum(axis=1) if chosen else everything
    return Lattice(cell, unknown, tuple(found))
