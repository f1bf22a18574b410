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
    """One attribute or intersection. ``member`` int64, shape ``(films,)``: index into ``groups``, -1 for unknown."""

    attribute: str
    groups: tuple[str, ...]
    member: np.ndarray


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
        InputError: no rows, a repeated key, a score outside [0, 1], or a truth other than 0, 1 and null.
    """
    if predictions.is_empty():
        raise InputError("there are no predictions to evaluate: 0 rows.")
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
    if people["study_id"].is_duplicated().any():
        raise InputError("people: a study_id stands there twice. Give one row of attributes for each study.")
    films = predictions.select("study_id", "patient_id").unique().sort("study_id")
    if films["study_id"].is_duplicated().any():
        raise InputError("predictions give one study_id to two patients.")
    learners = tuple(sorted(predictions["learner"].unique()))
    index = {
        "film": {s: i for i, s in enumerate(films["study_id"])},
        "finding": {f: i for i, f in enumerate(findings)},
        "learner": {x: i for i, x in enumerate(learners)},
    }
    scores = np.full((len(learners), films.height, len(findings)), np.nan)
    truth = np.full((films.height, len(findings)), np.nan)
    kept = predictions.filter(pl.col("finding").is_in(list(findings)))
    at = [
        kept[column].replace_strict(index[kind]).to_numpy()
        for kind, column in (("learner", "learner"), ("film", "study_id"), ("finding", "finding"))
    ]
    scores[at[0], at[1], at[2]] = kept["score"].to_numpy()
    truth[at[1], at[2]] = kept["truth"].cast(pl.Float64).fill_null(np.nan).to_numpy()
    patient = films["patient_id"].rank("dense").cast(pl.Int64).to_numpy() - 1
    joined = films.join(people, on="study_id", how="left", maintain_order="left")
    return ScoredFilms(tuple(findings), learners, scores, truth, patient, joined)


def groupings(films: ScoredFilms, attributes: Sequence[str]) -> list[Grouping]:
    """Overall, every attribute, and every intersection; names of intersections in alphabetical order."""
    member = np.zeros(len(films.patient), dtype=np.int64)
    found = [Grouping(OVERALL, (OVERALL,), member)]
    for size in range(1, len(attributes) + 1):
        for chosen in combinations(sorted(attributes), size):
            known = films.people.select(
                pl.when(pl.all_horizontal(pl.col(c).is_not_null() & (pl.col(c) != "unknown") for c in chosen)).then(
                    pl.concat_str([pl.col(c) for c in chosen], separator="×")
                )
            ).to_series()
            names = tuple(sorted(known.drop_nulls().unique()))
            if len(names) > 1:
                position = {name: i for i, name in enumerate(names)}
                found.append(
                    Grouping("×".join(chosen), names, np.array([position.get(v, -1) for v in known], dtype=np.int64))
                )
    return found
