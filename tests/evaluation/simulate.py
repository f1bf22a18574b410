"""Simulated predictions whose disparity is known, in the long form that classifiers write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from cxr_assets.evaluation.cells import ScoredFilms, lay_out
from cxr_assets.evaluation.fairness import Eligibility, Scorecard, score_arm

FINDINGS = ("edema", "fibrosis", "no_finding")
SMALL = Eligibility(min_positives=20, min_negatives=20, min_patients=15, suppress_below=10)
GROUPS = {"sex": ("female", "male"), "race": ("asian", "black", "white")}
WORST = "black×female"


def simulated(
    *,
    patients: int = 600,
    films: int = 1,
    seed: int = 0,
    missed: float = 0.0,
    learners: Sequence[str] = ("cnn.s0", "cnn.s1"),
    prevalence: float = 0.4,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Predictions and people.

    Args:
        missed: share of the positives of black women that score like a negative.
    """
    rng = np.random.default_rng(seed)
    person = np.arange(patients).repeat(films)
    sex, race = rng.choice(GROUPS["sex"], patients)[person], rng.choice(GROUPS["race"], patients)[person]
    worst = (sex == "female") & (race == "black")
    study = [f"s{i:05d}" for i in range(len(person))]
    frames = []
    for finding in FINDINGS:
        truth = rng.random(len(person)) < prevalence
        seen = truth & ~(worst & (rng.random(len(person)) < missed))
        ability = rng.normal(np.where(seen, 1.2, -1.2), 1.0)
        for learner in learners:
            logit = ability + rng.normal(0, 0.3, len(person))
            frames.append(
                pl.DataFrame(
                    {
                        "learner": learner,
                        "study_id": study,
                        "patient_id": [f"p{i:04d}" for i in person],
                        "finding": finding,
                        "score": 1 / (1 + np.exp(-logit)),
                        "truth": truth.astype(np.int8),
                    }
                )
            )
    return pl.concat(frames), pl.DataFrame({"study_id": study, "sex": sex, "race": race})


def laid_out(predictions: pl.DataFrame, people: pl.DataFrame) -> ScoredFilms:
    """The simulated predictions as arrays."""
    return lay_out(predictions, people, FINDINGS)


def card_of(
    predictions: pl.DataFrame,
    people: pl.DataFrame,
    *,
    arm: str = "real.r000",
    replicates: int = 200,
    permutations: int = 200,
    threshold: float = 0.5,
    eligibility: Eligibility = SMALL,
    seed: int = 0,
    attributes: Sequence[str] = ("sex", "race"),
    findings: Sequence[str] = FINDINGS,
) -> Scorecard:
    """Scorecard with one threshold for everything."""
    films = lay_out(predictions, people, findings)
    return score_arm(
        films,
        cuts(films, threshold),
        arm=arm,
        attributes=attributes,
        replicates=replicates,
        permutations=permutations,
        eligibility=eligibility,
        seed=seed,
    )


def cuts(films: ScoredFilms, threshold: float = 0.5) -> dict[str, np.ndarray]:
    """One threshold for every learner and finding, as the rule ``f1``."""
    return {"f1": np.full((len(films.learners), len(films.findings)), threshold)}


def films_of(
    truth: np.ndarray,
    scores: np.ndarray,
    people: Mapping[str, Sequence[object] | np.ndarray],
    patient: np.ndarray | None = None,
    findings: Sequence[str] = ("edema",),
) -> ScoredFilms:
    """Films of one finding or several from plain arrays.

    Args:
        truth: ``(films,)`` or ``(films, findings)``; ``scores`` of that shape, or with learners before it.
        people: columns of attributes, one value a film.
        patient: of each film, consecutive from 0; without it every film is its own patient.
    """
    known = np.asarray(truth, dtype=np.float64).reshape(len(truth), len(findings))
    scored = np.asarray(scores, dtype=np.float64).reshape(-1, *known.shape)
    who = np.arange(len(known)) if patient is None else np.asarray(patient, dtype=np.int64)
    learners = tuple(f"cnn.s{i}" for i in range(len(scored)))
    return ScoredFilms(tuple(findings), learners, scored, known, who, pl.DataFrame(dict(people)))


def mixed(seed: int, patients: int = 800) -> ScoredFilms:
    """Women mostly have the finding that is easily seen, men the other; each is seen as often in both."""
    rng = np.random.default_rng([seed, 9])
    female = rng.random(patients) < 0.5
    truth = rng.random((patients, 2)) < np.where(female[:, None], [0.6, 0.2], [0.2, 0.6])
    hit = rng.random((patients, 2)) < np.where(truth, [0.9, 0.5], 0.1)
    return films_of(truth, hit.astype(float), {"sex": np.where(female, "f", "m")}, findings=("edema", "nodule"))


def estimate_of(
    card: Scorecard,
    metric: str,
    finding: str = "all",
    attribute: str = "all",
    group: str = "all",
    weight_scheme: str = "none",
) -> dict[str, Any]:
    """The one row of a figure at the primary operating point."""
    named = {"metric": metric, "finding": finding, "attribute": attribute, "group": group}
    return _only(card.estimates, named, weight_scheme)


def gap_of(
    card: Scorecard,
    attribute: str,
    metric: str = "tpr",
    finding: str = "all",
    gap_kind: str = "max_min",
    weight_scheme: str = "none",
) -> dict[str, Any]:
    """The one row of a gap that names no single group."""
    named = {"metric": metric, "finding": finding, "attribute": attribute, "gap_kind": gap_kind}
    return _only(card.gaps, named, weight_scheme)


def _only(frame: pl.DataFrame, named: Mapping[str, str], weight_scheme: str) -> dict[str, Any]:
    wanted = [pl.col(name) == value for name, value in named.items()] + [pl.col("weight_scheme") == weight_scheme]
    primary = pl.col("primary") if weight_scheme == "none" else pl.lit(True)
    return frame.row(by_predicate=pl.all_horizontal(primary, *wanted), named=True)


def alike(first: pl.DataFrame, second: pl.DataFrame, *, atol: float = 1e-12, but: Sequence[str] = ()) -> None:
    """Assert that two tables of a scorecard hold the same rows, whatever their order.

    Args:
        but: columns that may differ.
    """
    assert first.schema == second.schema
    keys = [name for name in _KEYS if name in first.columns]
    a, b = (frame.sort(keys, nulls_last=True) for frame in (first, second))
    assert a.height == b.height and a.select(keys).equals(b.select(keys))
    assert not a.select(keys).is_duplicated().any(), "rows have a name of their own"
    for name in a.columns:
        if name in keys or name in but:
            continue
        if a.schema[name] == pl.Float64:
            one, two = (frame[name].to_numpy().astype(float) for frame in (a, b))
            np.testing.assert_allclose(one, two, rtol=0, atol=atol, err_msg=name)
        else:
            assert a[name].equals(b[name]), name


_KEYS = (
    "finding",
    "attribute",
    "group",
    "metric",
    "quantity",
    "threshold_id",
    "weight_scheme",
    "gap_kind",
    "worst_group",
    "bin",
    "replicate",
)
