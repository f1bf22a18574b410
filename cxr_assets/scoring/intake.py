"""Anybody's predictions as one long table: a row for every model, training seed, study and finding.

Nothing is guessed: a column is used under its own name or the one that a mapping gives it. A fault is told with its column,
row and value, and the faults of all columns are told together.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from cxr_assets.cohorts.table.words import SPLIT_WORDS
from cxr_assets.errors import InputError, did_you_mean
from cxr_assets.evaluation.cells import POOLED
from cxr_assets.evaluation.metrics import NO_FINDING
from cxr_assets.scoring.mapping import ATTRIBUTES, ROLES, ColumnMapping, pairs_of
from cxr_assets.scoring.tables import LINE, Table, as_text, numbers, read_table, refuse

ID_KINDS = ("patient", "study", "image")


@dataclass(frozen=True)
class Intake:
    """Predictions in the long form.

    ``rows``: LINE, patient_id, study_id, finding, split (validate or test), model, seed, score (float64), truth (0, 1,
    null), and the columns of ``carried`` as text. ``read`` counts rows of the table as received.
    """

    table: Table
    rows: pl.DataFrame
    carried: tuple[str, ...]
    read: int
    notes: tuple[str, ...]

    def split(self, name: str) -> pl.DataFrame:
        return self.rows.filter(pl.col("split") == name)


def read_predictions(source: object, mapping: ColumnMapping, *, patient_id_kind: str = "patient") -> Intake:
    """Predictions in the long form, checked row by row.

    Args:
        source: path, or DataFrame of polars or pandas.
        patient_id_kind: ``patient``; ``study`` or ``image`` where it is not known whose film is whose.

    Raises:
        InputError: with every fault of the columns, or of the rows where the columns are sound.
    """
    if patient_id_kind not in ID_KINDS:
        near = did_you_mean(patient_id_kind, ID_KINDS)
        raise InputError(f"patient-id-kind {patient_id_kind!r} is none of {', '.join(ID_KINDS)}.{near}")
    table = read_table(source, "predictions")
    roles, pairs = _columns(table, mapping, patient_id_kind)
    if table.rows.is_empty():
        raise InputError(f"{table.name}: 0 rows. There is nothing to score; nothing was written.")
    notes: list[str] = []
    base = _base(table, roles, mapping, patient_id_kind, notes)
    problems = _unknown_splits(table, base, roles)
    trained = base.filter(pl.col("split") == "train")
    if trained.height:
        notes.append(f"{trained.height} rows of split train were left out.")
    scored = base["split"] != "train"
    kept, received = base.filter(scored), table.rows.filter(scored)
    for role in (name for name in ("study_id", "patient_id", "model", "seed", "finding") if name in roles):
        if role in kept.columns and (count := kept[role].null_count()):
            line = kept.filter(pl.col(role).is_null())[LINE][0]
            fix = " Where patients are not known: --patient-id-kind study." if role == "patient_id" else ""
            problems.append(f"column {roles[role]!r} is empty in {count} rows, first {table.at(line)}.{fix}")
    parts = []
    for finding, (score, truth) in pairs.items():
        values = _scores(table, received, score, truth, problems)
        named = kept if finding is None else kept.with_columns(finding=pl.lit(finding))
        parts.append(named.with_columns(values))
    refuse(table.name, problems)
    rows = _without_blank(_findings_named(pl.concat(parts), notes), notes)
    refuse(table.name, _contradictions(table, rows))
    if leaked := set(trained["patient_id"].drop_nulls()) & set(rows.filter(pl.col("split") == "test")["patient_id"]):
        notes.append(
            f"{len(leaked)} {patient_id_kind} ids of the test rows are in the train rows as well: these figures are too good"
            " if the model learned from them."
        )
    carried = tuple(name for name in mapping.wanted if name in roles)
    order = ["model", "seed", "finding", "study_id"]
    return Intake(table, rows.sort(order), carried, table.rows.height, tuple(notes))


def _columns(
    table: Table, mapping: ColumnMapping, kind: str
) -> tuple[dict[str, str], dict[str | None, tuple[str, str]]]:
    """Name to column, and finding to its columns of score and truth (None: the finding is a column)."""
    seen, problems = table.columns, []
    known = (*ROLES, *dict.fromkeys((*ATTRIBUTES, *mapping.wanted)))
    roles = {name: name for name in known if name in seen}
    for name, column in mapping.columns.items():
        if name not in known:
            problems.append(f"--map {name}={column}: {name!r} is no name here.{did_you_mean(name, known)}")
        elif column in seen:
            roles[name] = column
        elif name in ROLES:
            problems.append(f"--map {name}={column}: no column {column!r}.{did_you_mean(column, seen)}")
    needed = ["study_id", *(["patient_id"] if kind == "patient" else [])]
    pairs: dict[str | None, tuple[str, str]] = {}
    if mapping.wide:
        pairs.update(pairs_of(mapping, seen, problems))
    else:
        needed += ["score", "truth", *([] if mapping.finding else ["finding"])]
        pairs[mapping.finding] = roles.get("score", ""), roles.get("truth", "")
        if mapping.finding and "finding" in roles:
            problems.append("--finding names the one finding of a table without a column 'finding'; this one has it.")
    for name in needed:
        if name not in roles and name not in mapping.columns:
            also = {
                "finding": " If all rows are of one finding: --finding NAME.",
                "patient_id": " Where patients are not known: --patient-id-kind study.",
                "score": " One row a study: --score-columns and --truth-columns.",
            }.get(name, "")
            problems.append(
                f"no column {name!r}.{did_you_mean(name, seen)} Say which it is: --map {name}=COLUMN.{also}"
            )
    refuse(table.name, problems, seen)
    return roles, pairs


def _base(table: Table, roles: Mapping[str, str], mapping: ColumnMapping, kind: str, notes: list[str]) -> pl.DataFrame:
    """Every column but score and truth as text under its name here; defaults where there is none."""
    names = [name for name in roles if name not in ("score", "truth") and not (name == "finding" and mapping.wide)]
    base = pl.DataFrame([table.rows[LINE], *(as_text(table.rows[roles[name]]).alias(name) for name in names)])
    for name, default in (("model", "model"), ("seed", "s0"), ("split", "test")):
        if name not in roles:
            base = base.with_columns(pl.lit(default).alias(name))
    if "split" not in roles:
        notes.append("No column 'split': every row counts as test, and no threshold can be fitted.")
    if "patient_id" not in roles:
        base = base.with_columns(patient_id="study_id")
    elif kind != "patient":
        base = base.with_columns(pl.col("patient_id").fill_null(pl.col("study_id")))
    words = pl.col("split").str.to_lowercase().replace_strict(dict(SPLIT_WORDS), default=None, return_dtype=pl.String)
    return pl.concat(
        [base.rename({"split": "\0split"}), base.select(words.fill_null("\0").alias("split"))], how="horizontal"
    )


def _unknown_splits(table: Table, base: pl.DataFrame, roles: Mapping[str, str]) -> list[str]:
    odd = base.filter(pl.col("split") == "\0")["\0split"].fill_null("")
    if odd.is_empty():
        return []
    counts = odd.value_counts(sort=True, name="rows").sort("rows", "\0split", descending=[True, False])
    listed = ", ".join(f"{word!r} ({rows} rows)" for word, rows in counts.head(8).iter_rows())
    return [f"column {roles['split']!r}: {listed} is no split. Write train, validate or test."]


def _scores(table: Table, raw: pl.DataFrame, score: str, truth: str, problems: list[str]) -> list[pl.Series]:
    """Score and truth of the rows as received; what is wrong with them is added to the problems."""
    (scores, score_text), (values, truth_text) = numbers(raw[score]), numbers(raw[truth])

    def tell(column: str, bad: pl.Series, what: str, fix: str, *, shown: bool = True) -> None:
        if bad.any():
            line, value = raw.filter(bad).select(LINE, column).row(0)
            example = f"{value!r} in {table.at(line)}" if shown else table.at(line)
            problems.append(f"column {column!r}: {bad.sum()} {what}, first {example}. {fix}")

    first = raw.filter(score_text)[score].cast(pl.String)[0] if score_text.any() else ""
    comma = "Write the decimal point as a point." if re.fullmatch(r"\s*\d*,\d+\s*", first) else "Write a number."
    tell(score, score_text, "scores are no number", comma)
    outside = ~scores.is_between(0, 1).fill_null(value=True)
    tell(
        score,
        outside,
        "scores lie outside [0, 1]",
        "If they are logits, give their sigmoid; percentages, divide by 100.",
    )
    known = values.is_not_null() | truth_text
    lost = scores.is_null() & ~score_text & known
    tell(
        score, lost, "scores are missing where truth is known", "Score these films, or leave the rows out.", shown=False
    )
    odd = truth_text | ~values.is_in([0.0, 1.0]).fill_null(value=True)
    tell(
        truth, odd, "values are neither 0, 1 nor empty", "Decide what an uncertain label counts as; empty is not known."
    )
    return [scores.alias("score"), values.alias("truth")]


def _findings_named(rows: pl.DataFrame, notes: list[str]) -> pl.DataFrame:
    """Spellings of No Finding become the one that is told apart from pathologies."""
    plain = pl.col("finding").str.to_lowercase().str.replace_all("[^a-z0-9]", "")
    spelt = rows.filter((plain == NO_FINDING.replace("_", "")) & (pl.col("finding") != NO_FINDING))["finding"].unique()
    for word in sorted(spelt):
        notes.append(f"Finding {word!r} is called {NO_FINDING!r} here; it is not pooled with findings of disease.")
    return rows.with_columns(
        finding=pl.when(plain == NO_FINDING.replace("_", "")).then(pl.lit(NO_FINDING)).otherwise("finding")
    )


def _without_blank(rows: pl.DataFrame, notes: list[str]) -> pl.DataFrame:
    blank = pl.col("score").is_null() & pl.col("truth").is_null()
    count = rows.select(blank.sum()).item()
    if count:
        notes.append(f"{count} rows have neither score nor truth and were left out.")
    return rows.filter(~blank)


def _contradictions(table: Table, rows: pl.DataFrame) -> list[str]:
    """What sound rows say against each other."""
    problems = []
    if "test" not in set(rows["split"]):
        problems.append("no row is of split test, and nothing else is scored. Write test in the split of test rows.")
    if POOLED in set(rows["finding"]):
        problems.append(f"a finding is called {POOLED!r}, which stands for all of them. Give it another name.")
    keys = ["model", "seed", "study_id", "finding"]
    twice = rows.group_by(keys).agg(pl.len(), pl.col(LINE).sort()).filter(pl.col("len") > 1).sort(*keys)
    if twice.height:
        row = twice.row(0, named=True)
        lines = " and ".join(map(str, row[LINE][:2]))
        problems.append(
            f"model {row['model']!r}, seed {row['seed']!r}, study {row['study_id']!r}, finding {row['finding']!r} stands"
            f" {row['len']} times ({table.unit}s {lines}); {twice.height} such in all. Keep one row of each."
        )
    films = rows.group_by("study_id").agg(pl.col("patient_id", "split").unique().sort()).sort("study_id")
    shared = films.filter(pl.col("patient_id").list.len() > 1)
    if shared.height:
        study, patients = shared.row(0)[:2]
        problems.append(
            f"study {study!r} is given to the patients {patients[0]!r} and {patients[1]!r}; {shared.height} such in all."
            " A study has one patient."
        )
    for what, column in (("study", "study_id"), ("patient", "patient_id")):
        both = rows.group_by(column).agg(pl.col("split").n_unique()).filter(pl.col("split") > 1).sort(column)
        if both.height:
            problems.append(
                f"{what} {both[column][0]!r} is in validate and in test; {both.height} such in all. Thresholds must not be"
                " fitted on what they are used on: give each patient one split."
            )
            break  # a study that is in both brings its patient along
    truths = rows.group_by("study_id", "finding").agg(pl.col("truth").n_unique()).filter(pl.col("truth") > 1)
    if truths.height:
        study, finding = truths.sort("study_id", "finding").row(0)[:2]
        problems.append(
            f"truth of study {study!r}, finding {finding!r} differs between rows; {truths.height} such in all. Every model is"
            " held against the same truth."
        )
    return problems
