"""Who is in the cohort, what they have, and how it was labelled, the planted disparity included."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cxr_assets.cohorts.phantom.config import (
    AGE_BINS,
    AGE_EDGES,
    FINDINGS,
    RACES,
    SEXES,
    STYLES,
    USUAL_STYLE,
    PhantomConfig,
)
from cxr_assets.cohorts.phantom.disease import true_findings, true_severities

# Columns of patients or studies by name: age (float64), sex and race (text).
People: TypeAlias = dict[str, NDArray[Any]]

# Share of patients with 1 to 5 studies: 1.6 on average.
_STUDIES_PER_PATIENT = (0.62, 0.24, 0.08, 0.04, 0.02)
_PORTABLE_AP, _OTHER_AP = 0.75, 0.08


@dataclass(frozen=True)
class Population:
    """Tables of a sampled cohort.

    Attributes:
        studies: study_id, patient_id, study_number, split, age_years, age_bin, sex, race, style, view, one int8 label a
            finding (as labelled), no_finding.
        truth: study_id, finding, present, severity, labelled, reason ("correct", "under_labelled", "label_noise").
        planted: finding, subgroup (JSON), enabled, representation, under_labelled, n_train_positive, n_removed; the
            counts are of true positives of the subgroup in train and validate.
    """

    studies: pl.DataFrame
    truth: pl.DataFrame
    planted: pl.DataFrame


def _attributes(rng: np.random.Generator, n: int, race_share: tuple[float, ...]) -> People:
    """Natural draws of age, sex and race for n patients."""
    age = np.where(rng.random(n) < 0.55, rng.normal(63.0, 14.0, n), rng.uniform(18.0, 95.0, n))
    return {
        "age": np.clip(age, 18.0, 95.0),
        "sex": np.array(SEXES)[rng.integers(0, 2, n)],
        "race": np.array(RACES)[rng.choice(len(RACES), n, p=race_share)],
    }


def _age_bin(age: NDArray[np.float64]) -> NDArray[np.str_]:
    return np.array(AGE_BINS)[np.digitize(age, AGE_EDGES)]


def _in_subgroup(people: People, subgroup: dict[str, str]) -> NDArray[np.bool_]:
    values = {"age_bin": _age_bin(people["age"]), "sex": people["sex"], "race": people["race"]}
    return np.logical_and.reduce([values[name] == value for name, value in subgroup.items()])


def _training_people(rng: np.random.Generator, n: int, config: PhantomConfig) -> People:
    """Patients of train and validate: natural, or with the subgroup's share set to the planted one."""
    if not config.disparity.enabled:
        return _attributes(rng, n, config.race_share)
    wanted = rng.random(n) < config.disparity.representation
    people = _attributes(rng, n, config.race_share)
    # Redraw those on the wrong side of the subgroup until all fit; other attributes keep their natural law given it.
    for _ in range(200):
        wrong = np.flatnonzero(_in_subgroup(people, config.disparity.subgroup) != wanted)
        if not wrong.size:
            return people
        again = _attributes(rng, wrong.size, config.race_share)
        for name, values in again.items():
            people[name][wrong] = values
    raise ValueError(
        f"disparity.subgroup {config.disparity.subgroup} is too rare under race_share {config.race_share} to reach "
        f"representation {config.disparity.representation}. Nothing was sampled."
    )


def _test_people(rng: np.random.Generator, n: int, config: PhantomConfig) -> People:
    """Patients of test: every sex x race cell equally often, ages natural."""
    people = _attributes(rng, n, config.race_share)
    cell = rng.permutation(n) % (len(SEXES) * len(RACES))
    people["sex"], people["race"] = np.array(SEXES)[cell % len(SEXES)], np.array(RACES)[cell // len(SEXES)]
    return people


def _style_and_view(
    rng: np.random.Generator, race: NDArray[Any], correlation: float
) -> tuple[NDArray[np.str_], NDArray[np.str_]]:
    """Acquisition style given race (usual one with ``correlation``, else one of the others) and view given style."""
    usual = np.array([STYLES.index(USUAL_STYLE[name]) for name in RACES])[np.searchsorted(RACES, race)]
    other = (usual + rng.integers(1, len(STYLES), race.size)) % len(STYLES)
    style = np.array(STYLES)[np.where(rng.random(race.size) < correlation, usual, other)]
    ap = rng.random(race.size) < np.where(style == "portable_grid", _PORTABLE_AP, _OTHER_AP)
    return style, np.where(ap, "AP", "PA")


def _truth_frame(
    study_id: NDArray[np.str_],
    present: NDArray[np.bool_],
    severity: NDArray[np.float64],
    labelled: NDArray[np.bool_],
    reason: NDArray[np.str_],
) -> pl.DataFrame:
    n = study_id.size
    return pl.DataFrame(
        {
            "study_id": np.repeat(study_id, len(FINDINGS)),
            "finding": np.tile(np.array(FINDINGS), n),
            "present": present.ravel(),
            "severity": severity.ravel(),
            "labelled": labelled.ravel().astype(np.int8),
            "reason": reason.ravel(),
        }
    )


def _study_frame(columns: People, labelled: NDArray[np.bool_]) -> pl.DataFrame:
    labels = {finding: labelled[:, j].astype(np.int8) for j, finding in enumerate(FINDINGS)}
    return pl.DataFrame(columns | labels | {"no_finding": (~labelled.any(1)).astype(np.int8)})


def sample_population(config: PhantomConfig) -> Population:
    """Sample the cohort's tables; equal configurations give equal tables.

    Args:
        config: sizes, rates and the disparity to plant.

    Returns:
        Population. Train and validate carry label noise and the planted under-labelling, test carries true labels and
        is balanced over sex x race; a patient is in one split only.
    """
    rng = np.random.default_rng([config.seed, 20_001])
    n = config.studies
    counts = rng.choice(np.arange(1, 6), n, p=_STUDIES_PER_PATIENT)
    patients = int(np.searchsorted(np.cumsum(counts), n)) + 1
    counts = counts[:patients]
    counts[-1] -= int(counts.sum()) - n
    patient = np.repeat(np.arange(patients), counts)
    number = np.arange(n) - np.repeat(np.cumsum(counts) - counts, counts) + 1

    names = ("train", "validate", "test")
    edges = np.round(np.cumsum([config.split[name] for name in names]) * patients).astype(int)
    order = rng.permutation(patients)
    split = np.empty(patients, dtype="<U8")
    split[order] = np.repeat(np.array(names), np.diff(edges, prepend=0))
    is_test = split == "test"
    people = {name: np.empty(patients, values.dtype) for name, values in _attributes(rng, 1, config.race_share).items()}
    people["sex"], people["race"] = people["sex"].astype("<U8"), people["race"].astype("<U8")
    for where, draw in ((~is_test, _training_people), (is_test, _test_people)):
        for name, values in draw(rng, int(where.sum()), config).items():
            people[name][where] = values

    race = people["race"][patient]
    style, view = _style_and_view(rng, race, config.style_correlation)
    # Later studies of a patient follow within months.
    age = np.round(np.minimum(people["age"][patient] + 0.4 * (number - 1), 95.0), 1)
    present = true_findings(rng, age, patient, config)
    severity = true_severities(rng, present, config)

    training = ~is_test[patient][:, None]
    flip = rng.random(present.shape)
    # 4/3 and 2/3 of the rate: missed positives twice as likely, and the mean over both label values is label_noise.
    missed, false = config.label_noise * 4.0 / 3.0, config.label_noise * 2.0 / 3.0
    noisy = training & (flip < np.where(present, missed, false))
    subgroup = _in_subgroup({"age": age, "sex": people["sex"][patient], "race": race}, config.disparity.subgroup)
    removed = training & present & subgroup[:, None] & (rng.random(present.shape) < config.disparity.under_labelled)
    removed &= config.disparity.enabled
    labelled = np.where(removed, False, present ^ noisy)
    reason = np.where(removed, "under_labelled", np.where(noisy, "label_noise", "correct"))

    study_id = np.array([f"phantom-{i:06d}" for i in range(n)])
    columns = {
        "study_id": study_id,
        "patient_id": np.array([f"phantom-p{i:05d}" for i in range(patients)])[patient],
        "study_number": number,
        "split": split[patient],
        "age_years": age,
        "age_bin": _age_bin(age),
        "sex": people["sex"][patient],
        "race": race,
        "style": style,
        "view": view,
    }
    candidates = training & present & subgroup[:, None]
    disparity = config.disparity
    planted = pl.DataFrame(
        {
            "finding": list(FINDINGS),
            "subgroup": [json.dumps(disparity.subgroup, sort_keys=True)] * len(FINDINGS),
            "enabled": [disparity.enabled] * len(FINDINGS),
            "representation": [disparity.representation if disparity.enabled else None] * len(FINDINGS),
            "under_labelled": [disparity.under_labelled if disparity.enabled else 0.0] * len(FINDINGS),
            "n_train_positive": candidates.sum(0),
            "n_removed": removed.sum(0),
        },
        schema_overrides={"representation": pl.Float64},
    )
    return Population(
        studies=_study_frame(columns, labelled),
        truth=_truth_frame(study_id, present, severity, labelled, reason),
        planted=planted,
    )


def sample_requests(
    n: int,
    seed: int,
    *,
    balanced: bool = True,
    severity: tuple[float, float] = (0.35, 1.0),
    style_correlation: float = 0.85,
) -> Population:
    """Sample studies for pretraining a generator: true labels, every combination likely.

    Args:
        n: number of studies, each of a patient of its own.
        seed: of the draw; ids carry it, so that requests of different seeds are different patients.
        balanced: age bin, sex and race uniform and independent; otherwise their natural shares.
        severity: range from which severities are drawn uniformly, within (0, 1].
        style_correlation: probability of the usual acquisition style of the race.

    Returns:
        Population with split "train", labels equal to the truth (about 15 % no finding, else 1 to 3 findings) and an
        empty ``planted`` table.
    """
    rng = np.random.default_rng([seed, 20_002])
    people = _attributes(rng, n, PhantomConfig().race_share)
    if balanced:
        low = np.array((18.0, *AGE_EDGES))
        high = np.array((*AGE_EDGES, 95.0))
        which = rng.integers(0, len(AGE_BINS), n)
        people["age"] = low[which] + (high - low)[which] * rng.random(n)
        people["race"] = np.array(RACES)[rng.integers(0, len(RACES), n)]
    count = np.where(rng.random(n) < 0.15, 0, rng.choice([1, 2, 3], n, p=[0.55, 0.3, 0.15]))
    rank = np.argsort(np.argsort(rng.random((n, len(FINDINGS))), axis=1), axis=1)
    present = rank < count[:, None]
    level = np.where(present, rng.uniform(*severity, present.shape), 0.0)
    style, view = _style_and_view(rng, people["race"], style_correlation)
    age = np.floor(people["age"] * 10.0) / 10.0
    study_id = np.array([f"phantom-q{seed}-{i:06d}" for i in range(n)])
    columns = {
        "study_id": study_id,
        "patient_id": np.array([f"phantom-q{seed}-p{i:06d}" for i in range(n)]),
        "study_number": np.ones(n, np.int64),
        "split": np.full(n, "train"),
        "age_years": age,
        "age_bin": _age_bin(age),
        "sex": people["sex"],
        "race": people["race"],
        "style": style,
        "view": view,
    }
    planted = pl.DataFrame(
        schema={
            "finding": pl.String,
            "subgroup": pl.String,
            "enabled": pl.Boolean,
            "representation": pl.Float64,
            "under_labelled": pl.Float64,
            "n_train_positive": pl.Int64,
            "n_removed": pl.Int64,
        }
    )
    return Population(
        studies=_study_frame(columns, present),
        truth=_truth_frame(study_id, present, level, present, np.full(present.shape, "correct")),
        planted=planted,
    )
