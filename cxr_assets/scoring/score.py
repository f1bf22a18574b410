"""Scorecards of all models in one table of predictions, each held against the baseline where both saw the same films."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from itertools import combinations
from pathlib import Path
from typing import Any

import polars as pl

from cxr_assets import __version__
from cxr_assets.classification.thresholds import RULES, refuse_fitted_rows
from cxr_assets.errors import InputError, did_you_mean
from cxr_assets.evaluation.cells import ScoredFilms, lay_out
from cxr_assets.evaluation.config import Hypothesis
from cxr_assets.evaluation.contrasts import CONTRASTS, contrast_arms
from cxr_assets.evaluation.fairness import score_arm
from cxr_assets.evaluation.family import refuse_too_few
from cxr_assets.evaluation.metrics import NO_FINDING
from cxr_assets.evaluation.scorecard_tables import Eligibility, Scorecard
from cxr_assets.progress import Progress
from cxr_assets.scoring.intake import Intake, read_predictions
from cxr_assets.scoring.mapping import ColumnMapping, read_mapping
from cxr_assets.scoring.people import People, read_people
from cxr_assets.scoring.thresholds import by_rule, operating_points

CODE_VERSION = "3"


@dataclass(frozen=True)
class Scored:
    """Scorecards of all models and how they were made.

    ``groups``: attribute, group (null: unknown), studies, patients. ``replicates``: what models are compared by, draw by
    draw; it is not written. ``facts`` is what ``scorecard.json`` says.
    """

    estimates: pl.DataFrame
    gaps: pl.DataFrame
    contrasts: pl.DataFrame
    reliability: pl.DataFrame
    thresholds: pl.DataFrame
    groups: pl.DataFrame
    replicates: pl.DataFrame
    facts: dict[str, Any]

    def tables(self) -> dict[str, pl.DataFrame]:
        """The tables that are written, by name of their file without suffix."""
        return {
            "fairness_estimates": self.estimates,
            "fairness_gaps": self.gaps,
            "fairness_contrasts": self.contrasts,
            "fairness_reliability": self.reliability,
            "thresholds": self.thresholds,
        }


def score(
    predictions: object,
    *,
    attributes_table: object | None = None,
    attributes: Sequence[str] | None = None,
    mapping: ColumnMapping | Mapping[str, Any] | Path | str | None = None,
    thresholds: float | Mapping[str, float] | None = None,
    rules: Sequence[str] = RULES,
    patient_id_kind: str = "patient",
    baseline: str | None = None,
    replicates: int = 1000,
    permutations: int = 1000,
    seed: int = 0,
    eligibility: Eligibility | None = None,
    family: Sequence[Hypothesis] | None = None,
    progress: Progress | None = None,
) -> Scored:
    """Score the test rows of every model in somebody's predictions. The same input gives the same tables.

    Args:
        predictions: path (.parquet, .csv, .tsv, text may be .gz), or DataFrame of polars or pandas; docs/score.md.
        attributes_table: the same, with study_id or patient_id and columns of attributes.
        attributes: columns that make groups; by default those of sex, race and age_bin (or age) that are there. An empty
            list scores over all films alone.
        mapping: which column is what, as a dict or a YAML file.
        thresholds: operating points given by hand, one for all findings or by finding; they replace fitting.
        rules: how thresholds are fitted on validate rows; gaps are taken at the first.
        patient_id_kind: ``patient``; ``study`` or ``image`` where patients are not known.
        baseline: model that the others are held against; by default the first by name.
        replicates, permutations, seed: of the bootstrap and of the gaps that chance gives.
        family: gaps declared before anybody looked (Holm); by default the TPR gap over all findings by every attribute and
            intersection.

    Raises:
        InputError: with every fault of the input.
    """
    if odd := [rule for rule in rules if rule not in RULES]:
        raise InputError(f"rule {odd[0]!r} is unknown.{did_you_mean(odd[0], RULES)} Choose from {', '.join(RULES)}.")
    if not rules:
        raise InputError(f"no rule is named. Choose from {', '.join(RULES)}.")
    if replicates < 1 or permutations < 1:
        raise InputError("replicates and permutations must be at least 1; 1000 is usual.")
    where, limits = read_mapping(mapping, attributes=attributes), eligibility or Eligibility()
    intake = read_predictions(predictions, where, patient_id_kind=patient_id_kind)
    people = read_people(intake, where, attributes_table)
    test, validate = intake.split("test"), intake.split("validate")
    refuse_fitted_rows(set(validate["study_id"]), set(test["study_id"]))
    models, findings = _names(test, "model"), _names(test, "finding")
    family = _family(findings, people.attributes) if family is None else family
    refuse_too_few(family, people.attributes, permutations)
    if baseline is not None and baseline not in models:
        raise InputError(
            f"baseline {baseline!r} is no model of the test rows.{did_you_mean(baseline, models)}"
            f" Models: {', '.join(models)}. Nothing was written."
        )
    first = baseline or models[0]
    notes = [*intake.notes, *people.notes, *_uneven_seeds(test)]
    cuts = operating_points(test, validate, thresholds, tuple(dict.fromkeys(rules)), notes)
    cards: dict[str, Scorecard] = {}
    laid: dict[str, ScoredFilms] = {}
    for model in models:
        own = test.filter(pl.col("model") == model).rename({"seed": "learner"})
        films = laid[model] = lay_out(own.drop("model"), people.frame, findings)
        cards[model] = score_arm(
            films,
            by_rule(cuts.filter(pl.col("model") == model), films),
            arm=model,
            attributes=people.attributes,
            replicates=replicates,
            permutations=permutations,
            seed=seed,
            eligibility=limits,
            patient_kind=patient_id_kind,
            family=family,
            progress=progress,
        )
    contrasts = _contrasts(test, cards, laid, first, notes)
    settings = {
        "mapping": where.model_dump(exclude_defaults=True),
        "patient_id_kind": patient_id_kind,
        "replicates": replicates,
        "permutations": permutations,
        "seed": seed,
        "family": None if family is None else [one.model_dump() for one in family],
        **asdict(limits),
    }
    return Scored(
        pl.concat([card.estimates for card in cards.values()]),
        pl.concat([card.gaps for card in cards.values()]),
        contrasts,
        pl.concat([card.reliability for card in cards.values()]),
        cuts,
        people.groups,
        pl.concat([card.replicates for card in cards.values()]),
        _facts(intake, people, cuts, baseline=first, settings=settings, notes=notes),
    )


def _family(findings: Sequence[str], attributes: Sequence[str]) -> list[Hypothesis] | None:
    """Declared gaps: those of the pooled TPR, or of underdiagnosis where No Finding is all that was looked for."""
    if list(findings) != [NO_FINDING]:
        return None
    sizes = range(1, len(attributes) + 1)
    joined = ("×".join(chosen) for size in sizes for chosen in combinations(sorted(attributes), size))
    return [Hypothesis(attribute=name, finding=NO_FINDING, metric="underdiagnosis") for name in joined]


def _facts(
    intake: Intake, people: People, cuts: pl.DataFrame, *, baseline: str, settings: dict[str, Any], notes: list[str]
) -> dict[str, Any]:
    """What went in and how it was scored, as plain values."""
    splits = {name: intake.split(name) for name in ("test", "validate")}
    test = splits["test"]
    models = _names(test, "model")
    packages = {name: version(name) for name in ("numpy", "polars", "scipy")}
    return {
        "code_version": CODE_VERSION,
        "versions": {"cxr-assets": __version__, "python": platform.python_version(), **packages},
        "inputs": [
            {"role": role, "file": table.name, "sha256": table.digest, "rows": table.rows.height}
            for role, table in (("predictions", intake.table), ("attributes", people.table))
            if table is not None
        ],
        "models": models,
        "seeds": {model: _names(test.filter(pl.col("model") == model), "seed") for model in models},
        "findings": _names(test, "finding"),
        "attributes": people.attributes,
        "baseline": baseline,
        "rules": cuts.drop_nulls("threshold")["rule"].unique(maintain_order=True).to_list(),
        "settings": settings,
        "rows": {"received": intake.read, **{name: rows.height for name, rows in splits.items()}},
        "studies": {name: rows["study_id"].n_unique() for name, rows in splits.items()},
        "patients": {name: rows["patient_id"].n_unique() for name, rows in splits.items()},
        "notes": notes,
    }


def _names(rows: pl.DataFrame, column: str) -> list[str]:
    return rows[column].unique().sort().to_list()


def _by_seeds(test: pl.DataFrame) -> pl.DataFrame:
    """Films of each model, and whether every one of its seeds has scored them."""
    seeds = pl.col("seed").n_unique()
    films = test.group_by("model", "study_id", "finding").agg(has=seeds)
    counts = test.group_by("model").agg(all=seeds)
    return films.join(counts, on="model").select("model", "study_id", "finding", whole=pl.col("has") == pl.col("all"))


def _uneven_seeds(test: pl.DataFrame) -> list[str]:
    """Models of which a seed lacks films: those films count for none of its seeds."""
    uneven = _by_seeds(test).filter(~pl.col("whole")).group_by("model").len().sort("model")
    return [
        f"Model {model!r}: {count} pairs of study and finding are not scored by every seed, and were left out."
        for model, count in uneven.iter_rows()
    ]


def _contrasts(
    test: pl.DataFrame,
    cards: Mapping[str, Scorecard],
    films: Mapping[str, ScoredFilms],
    baseline: str,
    notes: list[str],
) -> pl.DataFrame:
    """Every model against the baseline, where both have the same rows: only then is one draw of patients the same draw."""
    keys = ["study_id", "finding"]
    whole = _by_seeds(test).filter("whole")
    rows = {model: whole.filter(pl.col("model") == model).select(keys) for model in cards}
    base, paired = rows[baseline], [baseline]
    for model, own in rows.items():
        apart = own.join(base, on=keys, how="anti").height + base.join(own, on=keys, how="anti").height
        if apart:
            notes.append(
                f"Model {model!r} is not held against {baseline!r}: {apart} pairs of study and finding are in one of them"
                " only."
            )
        elif model != baseline:
            paired.append(model)
    if len(paired) == 1:
        return pl.DataFrame(schema=CONTRASTS)
    return contrast_arms([cards[m].replicates for m in paired], baseline, {m: films[m] for m in paired})
