"""What the adapters do alike with the rows of a table: find its columns, harmonise ages and sexes, look for films."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from cxr_assets.cohorts.delimited import Delimited, normal_name
from cxr_assets.cohorts.demographics import harmonise_age, harmonise_sex
from cxr_assets.cohorts.film_folder import FILM_SUFFIXES, LEAVES_ROOT, locate_films
from cxr_assets.cohorts.ledger import Ledger
from cxr_assets.cohorts.race import RACE_TABLE_VERSION, race_columns
from cxr_assets.errors import InputError

Wanted = Mapping[str, str | Sequence[str]]
"""Short name to the name that the source publishes, or to several of which it uses one."""


def find_columns(table: Delimited, wanted: Wanted, *, optional: Wanted | None = None, cohort: str) -> dict[str, str]:
    """Short name to normal name of the columns wanted, those of ``optional`` where they are there.

    Raises:
        InputError: for a column that is not there, or is there under two of its names.
    """
    seen = set(table.rows.columns)
    found = {}
    for short, published in [*wanted.items(), *(optional or {}).items()]:
        options = [published] if isinstance(published, str) else list(published)
        there = [name for name in options if normal_name(name) in seen]
        if len(there) > 1:
            raise InputError(
                f"cohort {cohort!r}: {table.path.name} has both {there[0]!r} and {there[1]!r}. Remove one."
                " Nothing was written."
            )
        if there:
            found[short] = normal_name(there[0])
        elif short in wanted:
            raise InputError(
                f"cohort {cohort!r}: {table.path.name} has no column {' or '.join(map(repr, options))}. "
                f"Seen: {', '.join(filter(None, table.header))}. "
                f"Expected one of the published headers (docs/cohorts/{cohort}.md). Nothing was written."
            )
    return found


def first_file(root: Path, names: Sequence[str]) -> Path | None:
    """The first of some files that is there, as named, gzipped or alone in a zip."""
    for name in names:
        for path in (root / name, root / f"{name}.gz", root / f"{name}.zip"):
            if path.is_file():
                return path
    return None


def need_file(root: Path, names: Sequence[str], *, cohort: str) -> Path:
    """As ``first_file``. Raises InputError where none is there."""
    if (path := first_file(root, names)) is None:
        raise InputError(
            f"cohort {cohort!r}: {root} holds none of {', '.join(names)} (or .gz, .zip); see docs/cohorts/{cohort}.md."
            " Nothing was written."
        )
    return path


def with_age(rows: pl.DataFrame, *, source: str, ledger: Ledger, column: str = "age") -> pl.DataFrame:
    """Add ``age_years`` and ``age_flags`` from a text such as ``63``, ``060Y`` or ``013M``; what is odd is noted."""
    schema = {column: pl.String, "age_years": pl.Float64, "age_flags": pl.String}
    ages = [(raw, *harmonise_age(raw)) for raw in rows[column].unique()]
    table = pl.DataFrame(ages, schema=schema, orient="row")
    rows = rows.join(table, on=column, how="left", nulls_equal=True, maintain_order="left")
    flag, readable = pl.col("age_flags"), "expected 63, 060Y, 013M or 001D; set to null"
    for odd, kind, hint in (
        (flag == "over_120", "age out of range", "over 120 years; set to null"),
        (flag.is_in(["unparsed", "missing"]), "unreadable age", readable),
    ):
        ledger.note(rows.filter(odd), source=source, column=column, kind=kind, hint=hint)
    return rows


def with_sex(
    rows: pl.DataFrame, *, source: str, ledger: Ledger, patient: str | None, column: str = "sex"
) -> pl.DataFrame:
    """Add ``known_sex``: null for a word outside the vocabulary and for a patient whose films contradict each other.

    Args:
        patient: column that names the patient; None where the source does not tell patients apart.
    """
    words = []
    for raw in rows[column].unique():
        try:
            words.append((raw, harmonise_sex(raw), False))
        except InputError:
            words.append((raw, None, True))
    schema = {column: pl.String, "known_sex": pl.String, "odd_sex": pl.Boolean}
    table = pl.DataFrame(words, schema=schema, orient="row")
    rows = rows.join(table, on=column, how="left", nulls_equal=True, maintain_order="left")
    ledger.note(
        rows.filter("odd_sex"), source=source, column=column, kind="unknown sex", hint="expected M or F; set to null"
    )
    if patient is None:
        return rows.drop("odd_sex")
    known = pl.col("known_sex").cast(pl.Enum(["female", "male"]))
    known_sexes = rows.group_by(patient).agg(low=known.min(), high=known.max())
    changing = known_sexes.filter(pl.col("low") != pl.col("high")).select(patient)
    if changing.height:
        contradicted = pl.col(patient).is_in(changing[patient].implode())
        ledger.note(
            rows.filter(contradicted),
            source=source,
            column=column,
            kind="sex differs within patient",
            hint="set to null for this patient",
        )
        rows = rows.with_columns(pl.when(~contradicted).then(pl.col("known_sex")).alias("known_sex"))
    return rows.drop("odd_sex")


def with_race(
    rows: pl.DataFrame, *, source: str, ledger: Ledger, race: str, ethnicity: str | None = None
) -> pl.DataFrame:
    """Add ``race5, race_only, ethnicity, race_detail, race_flags, harmonisation``; a text in no table is noted, and null.

    Args:
        race: column of the race text; ``ethnicity`` that of the ethnicity text, where there is one. Neither may have one
            of the added names.
    """
    rows = race_columns(rows, race=race, ethnicity=ethnicity)
    ledger.note(
        rows.filter(~pl.col("race_known_text")),
        source=source,
        column=race,
        kind="unknown race text",
        hint="in no harmonisation table (cohorts/race.py); set to null, never to a default",
    )
    return rows.drop("race_known_text").with_columns(pl.lit(RACE_TABLE_VERSION).alias("harmonisation"))


FLOAT_ID = (
    r"^[+-]?(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?$"  # 7.0  12.5  1.2E37  8.39e+35
    r"|^[+-]?[0-9]+[eE][+-][0-9]+$"  # 1e+05
    r"|^[+-]?[0-9][eE][0-9]{1,3}$"  # 1e16
)
"""A number that a program made of an id. Without point and sign, only what a program writes: one digit, a power that a
float reaches; so that hexadecimal ids (``12e4567``) stay ids."""
UNSAFE_PATH = r"(?:^|[/\\])\.\.(?:[/\\]|$)|^[/\\]|^[A-Za-z]:|[\x00-\x1f]"
"""What a path in a table must not hold: a step up, an absolute start, a drive, a control character."""


def with_films(
    rows: pl.DataFrame,
    root: Path,
    folders: Sequence[str],
    *,
    source: str,
    ledger: Ledger,
    column: str = "path",
    look: bool = True,
) -> pl.DataFrame:
    """Add ``source_path``: the film relative to the root where it is there, else null with a note.

    Args:
        rows: ``column`` holds safe relative paths (none that match ``UNSAFE_PATH``).
        folders: folders of the root that the paths may begin in, ``.`` for the root; the first that has the film wins.
        look: False leaves all null without a note (tables only).
    """
    if not look:
        return rows.with_columns(pl.lit(None, pl.String).alias("source_path"))
    bases = [folder for folder in folders if (root / folder).is_dir()]
    starts = [(os.path.join(root, base) if base != "." else str(root), base) for base in bases]

    def place(path: str | None) -> str | None:
        for start, base in starts if path else ():
            if os.path.isfile(f"{start}/{path}"):
                return path if base == "." else f"{base}/{path}"
        return None

    found = pl.Series("source_path", [place(path) for path in rows[column]], dtype=pl.String)
    rows = rows.with_columns(found)
    ledger.note(
        rows.filter(pl.col("source_path").is_null()),
        source=source,
        column=column,
        kind="missing film",
        hint=f"not under {' or '.join(folders)}; the study is kept without a film",
    )
    return rows


def with_named_films(
    rows: pl.DataFrame,
    root: Path,
    folders: Sequence[str],
    *,
    source: str,
    ledger: Ledger,
    column: str = "image",
    suffixes: tuple[str, ...] = FILM_SUFFIXES,
    look: bool = True,
) -> pl.DataFrame:
    """Add ``source_path`` of films that lie flat in some folders, whatever folder a table says.

    Null, with a note, for a film that is missing or would be read from outside the root.

    Args:
        rows: ``column`` holds the films' names; a film is found whatever suffix stands there, or none.
        folders: glob patterns relative to the root; see ``locate_films``.
        suffixes: what a film's name may end in; where it comes with two of them, the first of these wins.
        look: False leaves all null without a note (tables only).
    """
    if not look:
        return rows.with_columns(pl.lit(None, pl.String).alias("source_path"))
    films = locate_films(root, folders, suffixes=suffixes)
    ranked = sorted(films.found, key=lambda name: suffixes.index(f".{name.rpartition('.')[2].lower()}"), reverse=True)
    places = {name.rpartition(".")[0]: films.found[name] for name in ranked}
    refused = [name.rpartition(".")[0] for name in films.refused]
    endings = "|".join(suffix.removeprefix(".") for suffix in suffixes)
    stem = pl.col(column).str.replace(rf"(?i)\.(?:{endings})$", "")
    rows = rows.with_columns(stem.replace_strict(places, default=None, return_dtype=pl.String).alias("source_path"))
    kind, _, hint = LEAVES_ROOT.partition(": ")
    where = " or ".join("the folder itself" if folder == "." else folder for folder in folders)
    absent, outside = pl.col("source_path").is_null(), stem.is_in(refused)
    for lost, what, why in (
        (absent & outside, kind, hint),
        (absent & ~outside, "missing film", f"not in {where}; the study is kept without a film"),
    ):
        ledger.note(rows.filter(lost), source=source, column=column, kind=what, hint=why)
    return rows
