"""Whose films they are: attributes of the test studies, from the predictions or a second table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from cxr_assets.cohorts.demographics import AGE_SCHEMES, OLDEST, UNKNOWN, harmonise_age
from cxr_assets.cohorts.table.mapping import MISSING
from cxr_assets.errors import did_you_mean
from cxr_assets.evaluation.cells import OVERALL
from cxr_assets.scoring.intake import Intake
from cxr_assets.scoring.mapping import ATTRIBUTES, ROLES, ColumnMapping
from cxr_assets.scoring.tables import Table, as_text, read_table, refuse, written

_MOST_GROUPS = 40
_MOST_ATTRIBUTES = 4


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
    wanted = mapping.wanted
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
