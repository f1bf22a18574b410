"""Anybody's predictions as one long table: a row for every model, training seed, study and finding.

Nothing is guessed: a column is used under its own name or the one that a mapping gives it. A fault is told with its column,
row and value, and the faults of all columns are told together.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import yaml
from pydantic import Field, ValidationError, model_validator

from cxr_assets.cohorts.delimited import ROW, parse_delimited
from cxr_assets.cohorts.table.mapping import MISSING, Keyed, Words
from cxr_assets.cohorts.table.words import SPLIT_WORDS
from cxr_assets.cohorts.unpack import unpacked
from cxr_assets.errors import InputError, did_you_mean
from cxr_assets.evaluation.cells import POOLED
from cxr_assets.evaluation.metrics import NO_FINDING

ROLES = ("patient_id", "study_id", "finding", "score", "truth", "split", "model", "seed")
ATTRIBUTES = ("sex", "race", "age_bin", "age")
"""Columns that make groups where nobody says which do."""
ID_KINDS = ("patient", "study", "image")
LINE = "\0line"
"""Column with the line of a text file (header: line 1) or the row of a table; no column of anybody's is called so."""
_FINDING = "{finding}"
_SHOWN = 40


class ColumnMapping(Keyed):
    """Which column of a table is what. With ``scores`` or ``score_columns`` the table has one row a study (wide)."""

    columns: dict[str, str] = Field(default_factory=dict)
    scores: dict[str, str] = Field(default_factory=dict)
    truth: dict[str, str] = Field(default_factory=dict)
    score_columns: str | None = None
    truth_columns: str | None = None
    finding: str | None = None
    attributes: Words | None = None

    @model_validator(mode="after")
    def _hangs_together(self) -> ColumnMapping:
        if (self.score_columns is None) != (self.truth_columns is None) or bool(self.scores) != bool(self.truth):
            raise ValueError("columns of scores and of truth go together: name both")
        if self.scores and self.score_columns:
            raise ValueError("name the columns of scores one by one or by a pattern, not both")
        for finding in sorted(self.scores.keys() ^ self.truth.keys()):
            other = self.truth if finding in self.scores else self.scores
            raise ValueError(f"{finding!r} is in one of scores and truth only.{did_you_mean(finding, other)}")
        for pattern in (self.score_columns, self.truth_columns):
            if pattern is not None and pattern.count(_FINDING) != 1:
                raise ValueError(f"{pattern!r} must hold {_FINDING} once, such as 'score_{_FINDING}'")
        return self

    @property
    def wide(self) -> bool:
        return bool(self.scores) or self.score_columns is not None


@dataclass(frozen=True)
class Table:
    """A table as received: ``rows`` with LINE in front; ``digest`` SHA-256 of the file, None for a frame."""

    name: str
    digest: str | None
    rows: pl.DataFrame
    unit: str

    @property
    def columns(self) -> list[str]:
        return self.rows.columns[1:]

    def at(self, line: object) -> str:
        return f"{self.unit} {line}"


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


def read_mapping(given: ColumnMapping | Mapping[str, Any] | Path | str | None, **more: Any) -> ColumnMapping:
    """A mapping from a YAML file or a dict; ``more`` goes before what it says, and ``columns`` are added to its own.

    Raises:
        InputError: for a file that cannot be read, an unknown key, or parts that contradict each other.
    """
    where, tree = "the mapping", given
    if isinstance(given, Path | str):
        where = Path(given).name
        try:  # scalars stay text: a column may be called 1, yes or null
            tree = yaml.load(Path(given).read_bytes(), Loader=yaml.BaseLoader)
        except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
            raise InputError(f"{where} cannot be read as YAML: {error}. Nothing was written.") from error
    elif isinstance(given, ColumnMapping):
        tree = given.model_dump(exclude_defaults=True)
    if tree is not None and not isinstance(tree, Mapping):
        raise InputError(f"{where} holds no keys. Known: {', '.join(ColumnMapping.model_fields)}. Nothing was written.")
    merged = dict(tree or {}) | {key: value for key, value in more.items() if value is not None}
    if isinstance(merged.get("columns"), Mapping) and tree and isinstance(tree.get("columns"), Mapping):
        merged["columns"] = {**tree["columns"], **merged["columns"]}
    try:
        return ColumnMapping.model_validate(merged)
    except ValidationError as error:
        faults = (
            (".".join(map(str, f["loc"])), f["msg"].removeprefix("Value error, "))
            for f in error.errors(include_url=False)
        )
        told = "; ".join(f"{place}: {words}" if place else words for place, words in faults)
        raise InputError(f"{where}: {told}. Nothing was written.") from error


def refuse(where: str, problems: Sequence[str], seen: Sequence[str] = ()) -> None:
    """Raise InputError that tells all problems of one input, if there are any, and what columns were ``seen``."""
    more = " …" if len(seen) > _SHOWN else ""
    columns = f"Columns seen: {', '.join(seen[:_SHOWN])}{more}. " if seen else ""
    if len(problems) == 1:
        raise InputError(f"{where}: {problems[0]} {columns}Nothing was written.")
    if problems:
        listed = "".join(f"\n  - {problem}" for problem in problems)
        raise InputError(f"{where}: {len(problems)} things to mend.{listed}\n{columns}Nothing was written.")


def read_table(source: object, name: str) -> Table:
    """Rows of a file or a frame of polars or pandas; text files of any separator and encoding.

    Args:
        name: what a frame is called in errors; a file is called by its own name.

    Raises:
        InputError: for what cannot be read, ragged rows, or a column that stands twice.
    """
    if isinstance(source, Path | str):
        return _read_file(Path(source))
    if type(source).__module__.partition(".")[0] == "pandas" and hasattr(source, "columns"):
        frame: Any = source
        if any(level is not None for level in frame.index.names):
            frame = frame.reset_index()
        if not frame.columns.is_unique:
            raise InputError(f"{name}: the frame names a column twice. Nothing was written.")
        try:
            source = pl.from_pandas(frame.rename(columns=str))
        except (TypeError, ValueError, pl.exceptions.PolarsError) as error:
            raise InputError(
                f"{name}: the pandas frame mixes kinds in a column: {error}. Nothing was written."
            ) from error
    if not isinstance(source, pl.DataFrame):
        kind = type(source).__name__
        raise InputError(f"{name}: a {kind} is no table. Give a path, or a DataFrame of polars or pandas.")
    return Table(name, None, _numbered(source), "row")


def _read_file(path: Path) -> Table:
    name, form = path.name, path.name.lower().removesuffix(".gz")
    if not form.endswith((".parquet", ".csv", ".tsv")):
        raise InputError(f"{name}: give .parquet, .csv or .tsv (text may be .gz). Nothing was written.")
    try:
        data = path.read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        if form.endswith(".parquet"):
            return Table(name, digest, _numbered(pl.read_parquet(data)), "row")
    except (OSError, pl.exceptions.PolarsError) as error:
        why = getattr(error, "strerror", None) or error
        raise InputError(f"{name} cannot be read: {why}. Nothing was written.") from error
    separator = "\t" if form.endswith(".tsv") else None
    try:
        plain = unpacked(data, path, cohort="")
        _, rows, ragged = parse_delimited(plain, what=name, cohort="", separator=separator, named=str.strip)
    except InputError as error:
        raise InputError(str(error).removeprefix("cohort '': ")) from error
    if ragged.height:
        raise InputError(
            f"{name}: {ragged.height} lines have not as many fields as the header, first line {ragged[ROW][0]}."
            " Quote fields that hold the separator. Nothing was written."
        )
    # The reader moves a column that is called as its own line number out of the way; it gets its name back.
    return Table(name, digest, rows.rename({ROW: LINE}).rename({f"{ROW} ": ROW}, strict=False), "line")


def _numbered(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_row_index(LINE, offset=1).with_columns(pl.col(LINE).cast(pl.Int64))


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
    carried = tuple(name for name in _wanted(mapping) if name in roles)
    order = ["model", "seed", "finding", "study_id"]
    return Intake(table, rows.sort(order), carried, table.rows.height, tuple(notes))


def _wanted(mapping: ColumnMapping) -> tuple[str, ...]:
    return ATTRIBUTES if mapping.attributes is None else mapping.attributes


def _columns(
    table: Table, mapping: ColumnMapping, kind: str
) -> tuple[dict[str, str], dict[str | None, tuple[str, str]]]:
    """Name to column, and finding to its columns of score and truth (None: the finding is a column)."""
    seen, problems = table.columns, []
    known = (*ROLES, *dict.fromkeys((*ATTRIBUTES, *_wanted(mapping))))
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
        pairs.update(_pairs(mapping, seen, problems))
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


def _pairs(mapping: ColumnMapping, seen: list[str], problems: list[str]) -> dict[str, tuple[str, str]]:
    """Finding to its columns of score and truth in a table of one row a study."""
    if mapping.scores:
        pairs = {finding: (column, mapping.truth[finding]) for finding, column in mapping.scores.items()}
    else:
        patterns = mapping.score_columns or "", mapping.truth_columns or ""
        by_score, by_truth = (
            {name[len(start) : len(name) - len(end)] for name in seen if re.fullmatch(_between(start, end), name)}
            for start, end in (pattern.split(_FINDING) for pattern in patterns)
        )
        if len(patterns[0]) < len(patterns[1]):  # y_{finding} takes y_true_edema as well, which is the other's
            by_score = {f for f in by_score if patterns[0].replace(_FINDING, f) not in _filled(patterns[1], by_truth)}
        else:
            by_truth = {f for f in by_truth if patterns[1].replace(_FINDING, f) not in _filled(patterns[0], by_score)}
        # A bare {finding} takes every column, so the other pattern says what the findings are.
        found = (by_score if patterns[0] != _FINDING else set()) | (by_truth if patterns[1] != _FINDING else set())
        if not found:
            problems.append(f"no column is like {patterns[0]!r} or {patterns[1]!r}.")
        pairs = {f: (patterns[0].replace(_FINDING, f), patterns[1].replace(_FINDING, f)) for f in sorted(found)}
    for finding, columns in pairs.items():
        for what, column in zip(("score", "truth"), columns, strict=True):
            if column not in seen:
                problems.append(f"{what} of {finding!r}: no column {column!r}.{did_you_mean(column, seen)}")
    return pairs


def _between(start: str, end: str) -> str:
    return f"{re.escape(start)}.+{re.escape(end)}"


def _filled(pattern: str, findings: set[str]) -> set[str]:
    return {pattern.replace(_FINDING, finding) for finding in findings}


def as_text(column: pl.Series) -> pl.Series:
    """A column as trimmed text, null where empty; whole numbers that are held as floats lose their ``.0``."""
    if column.dtype.is_float():
        column = column.fill_nan(None)
        whole = column.drop_nulls()
        if ((whole == whole.round()) & (whole.abs() < 2**53)).all():
            column = column.cast(pl.Int64)
    if column.dtype.is_nested() or column.dtype in (pl.Binary, pl.Object):
        raise InputError(f"column {column.name!r} holds no plain values ({column.dtype}). Nothing was written.")
    return column.cast(pl.String).str.strip_chars().replace({"": None})


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


def written(text: pl.Series, missing: Sequence[str] = MISSING) -> pl.Series:
    """Text with null for words that mean nothing was written, whatever their case."""
    said = ~pl.col(text.name).str.to_lowercase().is_in(list(missing))
    return text.to_frame().select(pl.when(said).then(pl.col(text.name)).alias(text.name)).to_series()


def numbers(column: pl.Series) -> tuple[pl.Series, pl.Series]:
    """A column as float64 with null where nothing was written, and which cells are text."""
    if column.dtype.is_numeric() or column.dtype == pl.Boolean:
        value = column.cast(pl.Float64).fill_nan(None)
        return value, pl.Series([False]).new_from_index(0, len(column))
    text = written(as_text(column))
    value = text.cast(pl.Float64, strict=False).fill_nan(None)
    return value, text.is_not_null() & value.is_null()


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
