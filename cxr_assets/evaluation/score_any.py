"""The scorecard for people who use nothing else of ours: anybody's predictions in, tables and a page out.

``score`` computes, ``write_scored`` writes. The same input gives the same bytes.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from cxr_assets import __version__
from cxr_assets.classification.thresholds import RULES, fit_threshold, refuse_fitted_rows, rows_digest
from cxr_assets.cohorts.demographics import AGE_SCHEMES, OLDEST, UNKNOWN, harmonise_age
from cxr_assets.cohorts.table.mapping import MISSING
from cxr_assets.errors import InputError, did_you_mean
from cxr_assets.evaluation.cells import OVERALL, ScoredFilms, lay_out
from cxr_assets.evaluation.contrasts import CONTRASTS, contrast_arms
from cxr_assets.evaluation.fairness import score_arm
from cxr_assets.evaluation.intake import (
    ATTRIBUTES,
    ROLES,
    ColumnMapping,
    Intake,
    Table,
    as_text,
    read_mapping,
    read_predictions,
    read_table,
    refuse,
    written,
)
from cxr_assets.evaluation.score_report import write_scored
from cxr_assets.evaluation.scorecard_tables import Eligibility, Scorecard
from cxr_assets.progress import Progress

__all__ = ["RULES", "Scored", "score", "write_scored"]
CODE_VERSION = "1"
GIVEN, NO_RULE = "given", "none"
THRESHOLDS = {
    "model": pl.String,
    "seed": pl.String,
    "finding": pl.String,
    "rule": pl.String,
    "threshold": pl.Float64,
    "fitted_on": pl.String,
    "null_reason": pl.String,
}
_MOST_GROUPS = 40
_MOST_ATTRIBUTES = 4


@dataclass(frozen=True)
class Scored:
    """Scorecards of all models and how they were made.

    ``groups``: attribute, group (null: unknown), studies, patients. ``facts`` is what ``scorecard.json`` says.
    """

    estimates: pl.DataFrame
    gaps: pl.DataFrame
    contrasts: pl.DataFrame
    thresholds: pl.DataFrame
    groups: pl.DataFrame
    facts: dict[str, Any]

    def tables(self) -> dict[str, pl.DataFrame]:
        """The tables that are written, by name of their file without suffix."""
        return {
            "fairness_estimates": self.estimates,
            "fairness_gaps": self.gaps,
            "fairness_contrasts": self.contrasts,
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
    progress: Progress | None = None,
) -> Scored:
    """Score the test rows of every model in somebody's predictions.

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
    if baseline is not None and baseline not in models:
        raise InputError(
            f"baseline {baseline!r} is no model of the test rows.{did_you_mean(baseline, models)}"
            f" Models: {', '.join(models)}. Nothing was written."
        )
    notes = [*intake.notes, *people.notes]
    notes += _uneven_seeds(test)
    cuts = _thresholds(test, validate, thresholds, rules, notes)
    cards: dict[str, Scorecard] = {}
    laid: dict[str, ScoredFilms] = {}
    for model in models:
        own = test.filter(pl.col("model") == model).rename({"seed": "learner"})
        films = laid[model] = lay_out(own.drop("model"), people.frame, findings)
        cards[model] = _score_model(
            films,
            _by_rule(cuts.filter(pl.col("model") == model), films),
            model=model,
            attributes=people.attributes,
            replicates=replicates,
            permutations=permutations,
            seed=seed,
            eligibility=limits,
            patient_kind=patient_id_kind,
            progress=progress,
        )
    first = baseline or models[0]
    contrasts = _contrasts(test, cards, laid, first, notes)
    facts = {
        "code_version": CODE_VERSION,
        "versions": {
            "cxr-assets": __version__,
            "python": platform.python_version(),
            **{name: version(name) for name in ("numpy", "polars", "scipy")},
        },
        "inputs": [
            {"role": role, "file": table.name, "sha256": table.digest, "rows": table.rows.height}
            for role, table in (("predictions", intake.table), ("attributes", people.table))
            if table is not None
        ],
        "models": models,
        "seeds": {model: _names(test.filter(pl.col("model") == model), "seed") for model in models},
        "findings": findings,
        "attributes": people.attributes,
        "baseline": first,
        "rules": _names(cuts.drop_nulls("threshold"), "rule", in_order=True),
        "settings": {
            "mapping": where.model_dump(exclude_defaults=True),
            "patient_id_kind": patient_id_kind,
            "replicates": replicates,
            "permutations": permutations,
            "seed": seed,
            **asdict(limits),
        },
        "rows": {"received": intake.read, "test": test.height, "validate": validate.height},
        "studies": {"test": test["study_id"].n_unique(), "validate": validate["study_id"].n_unique()},
        "patients": {"test": test["patient_id"].n_unique(), "validate": validate["patient_id"].n_unique()},
        "notes": notes,
    }
    return Scored(
        pl.concat([card.estimates for card in cards.values()]),
        pl.concat([card.gaps for card in cards.values()]),
        contrasts,
        cuts,
        people.groups,
        facts,
    )


def _names(rows: pl.DataFrame, column: str, *, in_order: bool = False) -> list[str]:
    found = rows[column].unique(maintain_order=True)
    return (found if in_order else found.sort()).to_list()


def _uneven_seeds(test: pl.DataFrame) -> list[str]:
    """Models of which a seed lacks films: those films count for none of its seeds."""
    seeds = pl.col("seed").n_unique()
    films = test.group_by("model", "study_id", "finding").agg(seeds.alias("has"))
    films = films.join(test.group_by("model").agg(seeds.alias("all")), on="model")
    uneven = films.filter(pl.col("has") < pl.col("all")).group_by("model").len().sort("model")
    return [
        f"Model {model!r}: {count} pairs of study and finding are not scored by every seed, and were left out."
        for model, count in uneven.iter_rows()
    ]


def _score_model(
    films: ScoredFilms,
    thresholds: Mapping[str, np.ndarray],
    *,
    model: str,
    attributes: Sequence[str],
    replicates: int,
    permutations: int,
    seed: int,
    eligibility: Eligibility,
    patient_kind: str,
    progress: Progress | None,
) -> Scorecard:
    """Scorecard of one model; the first rule is the one that gaps are taken at."""
    return score_arm(
        films,
        thresholds,
        arm=model,
        attributes=attributes,
        replicates=replicates,
        permutations=permutations,
        seed=seed,
        eligibility=eligibility,
        patient_kind=patient_kind,
        progress=progress,
    )


def _thresholds(
    test: pl.DataFrame,
    validate: pl.DataFrame,
    given: float | Mapping[str, float] | None,
    rules: Sequence[str],
    notes: list[str],
) -> pl.DataFrame:
    """One row for every model, seed, finding and rule of the test rows; null with a reason where there is none."""
    keys = ["model", "seed", "finding"]
    wanted = test.select(keys).unique().sort(keys)
    if given is not None:
        by_hand = _by_hand(given, _names(test, "finding"))
        if validate.height:
            notes.append("Thresholds were given by hand; the validate rows were not used.")
        frame = wanted.join(by_hand, on="finding", how="left", maintain_order="left").with_columns(rule=pl.lit(GIVEN))
        frame = frame.with_columns(null_reason=pl.when(pl.col("threshold").is_null()).then(pl.lit("not_given")))
    else:
        known = validate.filter(pl.col("truth").is_not_null() & pl.col("score").is_not_null())
        parts = known.partition_by(keys, as_dict=True)
        named = rules if validate.height else (NO_RULE,)
        rows = [
            dict(zip(keys, key, strict=True)) | {"rule": rule} | _fitted(parts.get(key), rule)
            for key in wanted.iter_rows()
            for rule in named
        ]
        frame = pl.DataFrame(rows, schema_overrides=THRESHOLDS)
    for reason, why in (
        ("not_given", "none was given"),
        ("no_validate_rows", "there are no validate rows with a known truth"),
        ("one_class", "the validate rows hold one class only"),
    ):
        lacking = frame.filter(pl.col("null_reason") == reason)
        if lacking.height:
            every = lacking.select(keys).unique().height == wanted.height
            whose = sorted({f"{f} of {m}" for f, m in lacking.select("finding", "model").iter_rows()})
            notes.append(
                f"No threshold for {'any finding' if every else ', '.join(whose)}: {why}. Nothing that needs one (TPR, FPR …) is"
                " given there."
            )
    absent = [pl.lit(None, kind).alias(name) for name, kind in THRESHOLDS.items() if name not in frame.columns]
    return frame.with_columns(absent).select(pl.col(name).cast(kind) for name, kind in THRESHOLDS.items())


def _by_hand(given: float | Mapping[str, float], findings: Sequence[str]) -> pl.DataFrame:
    """Thresholds by finding. Raises InputError for a finding that is not there, or a threshold outside [0, 1]."""
    named = dict(given) if isinstance(given, Mapping) else dict.fromkeys(findings, given)
    for finding, value in named.items():
        if finding not in findings:
            near = did_you_mean(finding, findings)
            raise InputError(f"--threshold {finding}={value}: no such finding.{near} Known: {', '.join(findings)}.")
        if not 0 <= value <= 1:
            raise InputError(f"--threshold {finding}={value}: a threshold of scores lies in [0, 1].")
    return pl.DataFrame({"finding": list(named), "threshold": [float(value) for value in named.values()]})


def _fitted(validate: pl.DataFrame | None, rule: str) -> dict[str, Any]:
    """Threshold of one model, seed and finding on its validate rows, or why there is none."""
    if validate is None:
        return {"threshold": None, "fitted_on": None, "null_reason": "no_validate_rows"}
    threshold = fit_threshold(validate["score"].to_numpy(), validate["truth"].to_numpy(), rule)
    digest = rows_digest(validate["study_id"].to_list())
    return {"threshold": threshold, "fitted_on": digest, "null_reason": "one_class" if threshold is None else None}


def _by_rule(cuts: pl.DataFrame, films: ScoredFilms) -> dict[str, np.ndarray]:
    """Thresholds of one model by rule, float64 ``(learners, findings)``, NaN where there is none."""
    out = {
        rule: np.full((len(films.learners), len(films.findings)), np.nan)
        for rule in _names(cuts, "rule", in_order=True)
    }
    for row in cuts.filter(pl.col("threshold").is_not_null()).iter_rows(named=True):
        out[row["rule"]][films.learners.index(row["seed"]), films.findings.index(row["finding"])] = row["threshold"]
    return out


def _contrasts(
    test: pl.DataFrame,
    cards: Mapping[str, Scorecard],
    films: Mapping[str, ScoredFilms],
    baseline: str,
    notes: list[str],
) -> pl.DataFrame:
    """Every model against the baseline, where both have the same rows: only then is one draw of patients the same draw."""
    keys = ["study_id", "finding"]
    rows = {model: test.filter(pl.col("model") == model).select(keys).unique() for model in cards}
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


@dataclass(frozen=True)
class People:
    """Who the test studies are of. ``frame``: study_id and every attribute as text, null for unknown."""

    frame: pl.DataFrame
    attributes: list[str]
    groups: pl.DataFrame
    table: Table | None
    notes: tuple[str, ...]


def read_people(intake: Intake, mapping: ColumnMapping, attributes_table: object | None) -> People:
    """Attributes of the test studies, from the predictions or a second table (which goes first).

    Raises:
        InputError: for an attribute that is nowhere, two values for one study, a key that stands twice, a table that
            matches nothing, an age that is none, or more groups than can be compared.
    """
    wanted = ATTRIBUTES if mapping.attributes is None else mapping.attributes
    problems: list[str] = []
    notes: list[str] = []
    for name in wanted:
        if name in (*ROLES, OVERALL) or "×" in name:
            problems.append(f"attribute {name!r} has a name that is taken here; --map another name to its column.")
    grouped = (
        intake.split("test")
        .group_by("study_id")
        .agg(pl.col("patient_id").first(), *(pl.col(name).drop_nulls().unique().sort() for name in intake.carried))
    )
    films = grouped.sort("study_id")
    for name in intake.carried:
        twice = films.filter(pl.col(name).list.len() > 1)
        if twice.height:
            study, values = twice.select("study_id", name).row(0)
            problems.append(f"study {study!r} has {name} {values[0]!r} and {values[1]!r}; {twice.height} such in all.")
    films = films.with_columns(pl.col(name).list.first() for name in intake.carried)
    refuse(intake.table.name, problems)
    table = None if attributes_table is None else read_table(attributes_table, "attributes")
    if table is not None:
        films = _joined(films, table, mapping, wanted, intake, notes)
    seen = [*intake.table.columns, *(table.columns if table else [])]
    there = [name for name in wanted if name in films.columns]
    if mapping.attributes is not None:
        problems += [
            f"no column {name!r} for the attribute of that name.{did_you_mean(name, seen)}"
            for name in wanted
            if name not in there
        ]
    elif not there:
        problems.append(
            f"no column of an attribute ({', '.join(ATTRIBUTES)}). Name yours: --attributes gender,ethnicity. --attributes"
            " none scores over all films alone."
        )
    where = f"{intake.table.name} with {table.name}" if table else intake.table.name
    refuse(where, problems, seen)
    if "age" in there:
        there.remove("age")
        if "age_bin" not in there:
            films = films.with_columns(_age_bins(films["age"], problems, notes))
            there.append("age_bin")
    if len(there) > _MOST_ATTRIBUTES:
        problems.append(
            f"{len(there)} attributes; intersections of more than {_MOST_ATTRIBUTES} are not counted. Choose."
        )
    films = films.with_columns(written(films[name], (*MISSING, UNKNOWN)) for name in there)
    used = [name for name in there if _can_be_compared(films[name], problems, notes)]
    refuse(where, problems)
    return People(films.select("study_id", *used), used, _group_sizes(films, there), table, tuple(notes))


def _can_be_compared(values: pl.Series, problems: list[str], notes: list[str]) -> bool:
    """Whether an attribute makes groups; what is odd about them is told."""
    name, known = values.name, values.drop_nulls().unique().sort()
    if len(known) > _MOST_GROUPS:
        problems.append(f"attribute {name!r} has {len(known)} groups, such as {known[0]!r}. Put them into bins.")
    elif known.str.contains("×").any():
        problems.append(f"attribute {name!r}: '×' in the name of a group joins intersections here. Rename it.")
    elif len(known) < 2:
        what = f"has one group ({known[0]})" if len(known) else "is unknown for every study"
        notes.append(f"Attribute {name!r} {what}: nothing can be compared by it.")
    if len(known) and values.null_count():
        notes.append(f"{name}: {values.null_count()} of {len(values)} studies are unknown, and in no group of it.")
    return len(known) > 1


def _joined(
    films: pl.DataFrame, table: Table, mapping: ColumnMapping, wanted: Sequence[str], intake: Intake, notes: list[str]
) -> pl.DataFrame:
    """Films with the attributes of a second table, by study_id if it has one, else by patient_id."""
    columns = {
        name: column
        for name in ("study_id", "patient_id", *wanted)
        for column in (mapping.columns.get(name, name), name)[::-1]
        if column in table.columns
    }
    key = next((name for name in ("study_id", "patient_id") if name in columns), None)
    found = [name for name in wanted if name in columns]
    if key is None:
        refuse(table.name, ["no column 'study_id' or 'patient_id' to join by; --map study_id=COLUMN."], table.columns)
    if not found:
        refuse(table.name, [f"none of the attributes {', '.join(wanted)} is a column here."], table.columns)
    assert key is not None
    rows = pl.DataFrame([as_text(table.rows[columns[name]]).alias(name) for name in (key, *found)])
    rows = rows.filter(pl.col(key).is_not_null())
    twice = rows.filter(pl.col(key).is_duplicated())[key].sort()
    if len(twice):
        more = twice.n_unique()
        refuse(table.name, [f"{key} {twice[0]!r} stands twice; {more} such in all. Keep one row of each."])
    matched = films.join(rows, on=key, how="semi").height
    if not matched:
        here, there = films[key].min(), rows[key].min()
        refuse(
            table.name,
            [
                f"no row matches: {key} is {there!r} here, for example, and {here!r} in {intake.table.name}. Write ids alike."
            ],
        )
    if both := [name for name in found if name in films.columns]:
        notes.append(f"{', '.join(both)} taken from {table.name}, not from {intake.table.name}, which has it as well.")
    if matched < films.height:
        notes.append(f"{films.height - matched} of {films.height} test studies are not in {table.name}: unknown.")
    return films.drop(both).join(rows, on=key, how="left", maintain_order="left")


def _age_bins(ages: pl.Series, problems: list[str], notes: list[str]) -> pl.Series:
    """Bins of adults from ages in years, or with a unit as in DICOM; null for children and unknown ages."""
    text = written(ages, (*MISSING, UNKNOWN))
    years: dict[str, float | None] = {}
    odd, old = [], 0
    for word, count in text.drop_nulls().value_counts(name="n").iter_rows():
        try:
            value: float | None = float(word)
        except ValueError:
            value = harmonise_age(word)[0]
        if value is None or not value >= 0:
            odd.append(word)
        elif value > OLDEST:
            old, value = old + count, None
        years[word] = value
    if odd:
        problems.append(
            f"column 'age': {len(odd)} values are no age in years, such as {min(odd)!r}. If these are bins: --map age_bin=age."
        )
    if old:
        notes.append(f"{old} studies have an age above {OLDEST:.0f} and count as unknown.")
    scheme = AGE_SCHEMES["adult4"]
    found = text.replace_strict(years, default=None, return_dtype=pl.Float64).alias("age")
    young = found.to_frame().filter(pl.col("age") < scheme.edges[0]).height
    if young:
        notes.append(f"{young} studies are of patients under 18: in no age group; they stay in all other figures.")
    return found.to_frame().select(scheme.bin_of(pl.col("age"))).to_series()


def _group_sizes(films: pl.DataFrame, attributes: Sequence[str]) -> pl.DataFrame:
    schema = pl.Schema({"attribute": pl.String, "group": pl.String, "studies": pl.Int64, "patients": pl.Int64})
    parts = [pl.DataFrame(schema=schema)]
    for name in attributes:
        rows = films.group_by(group=pl.col(name)).agg(studies=pl.len(), patients=pl.col("patient_id").n_unique())
        parts.append(rows.sort("group", nulls_last=True).select(attribute=pl.lit(name), **{c: c for c in rows.columns}))
    return pl.concat([part.cast(schema) for part in parts])
