"""The views over choices say in SQL what the library says in Python, for every scheme, axis and policy."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxr_assets.cohorts.base import long_findings
from cxr_assets.cohorts.choices import LABEL_POLICIES, Choices, apply_choices, choice_tables
from cxr_assets.cohorts.demographics import AGE_SCHEMES
from cxr_assets.cohorts.labels import FINDINGS
from cxr_assets.cohorts.race import RACE_AXES
from cxr_assets.cohorts.schema import TABLES
from cxr_assets.errors import StorageError
from cxr_assets.warehouse import Store
from cxr_assets.warehouse.connect import connect, declared_tables, keep_published, publish, standalone
from cxr_assets.warehouse.reference import REFERENCE_FILE, read_reference, reference_bytes
from tests.warehouse.writer import Writer

EDGES = sorted({edge for scheme in AGE_SCHEMES.values() for edge in scheme.edges})
AGES = [None, *(age for edge in EDGES for age in (edge, math.nextafter(edge, -1), edge + 0.5)), 120.0]
CHOICES = [
    Choices(age_scheme=scheme, race_axis=axis)  # type: ignore[arg-type]
    for scheme, axis in product(AGE_SCHEMES, RACE_AXES)
]
VOCABULARY = ("edema", "pneumonia")
SEEN = ["study_id", "age_bin", "race"]


def cohort() -> dict[str, pl.DataFrame]:
    """One study an age, all pairs of races, and all pairs of the four label values."""
    rows = len(AGES)
    races = [("hispanic", "white"), ("black", "black"), ("hispanic", None), (None, None), ("other", "other")]
    studies = pl.DataFrame(
        {
            "cohort": "c",
            "study_id": [f"s{row:02d}" for row in range(rows)],
            "patient_id": [f"p{row:02d}" for row in range(rows)],
            "split": "train",
            "age_years": pl.Series(AGES, dtype=pl.Float64),
            "sex": [("female", "male", None)[row % 3] for row in range(rows)],
            "race5": [races[row % 5][0] for row in range(rows)],
            "race_only": [races[row % 5][1] for row in range(rows)],
            "label_source": "nlp_report",
        }
    )
    pairs = list(product((1, 0, -1, None), repeat=2))
    values = studies.select("study_id").with_columns(
        pl.Series(name, [pairs[row % 16][column] for row in range(rows)], dtype=pl.Int8)
        for column, name in enumerate(VOCABULARY)
    )
    absent = [pl.lit(None, pl.Int8).alias(name) for name in FINDINGS if name not in VOCABULARY]
    order = list(TABLES["finding_values"].schema)
    vocabulary = pl.DataFrame({"cohort": "c", "finding": VOCABULARY, "position": range(2)})
    return {
        "studies": studies,
        "finding_values": values.with_columns(absent).select(order),
        "cohort_findings": vocabulary,
    }


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("choices")
    writer = Writer(root)
    writer.put("studies", frames=cohort())
    writer.store.put_reference(choice_tables(Choices()))
    return root


@pytest.fixture
def own(written: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(written, tmp_path / "own root"))


def rows(con: duckdb.DuckDBPyConnection, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
    return con.execute(sql, list(parameters)).fetchall()


def demographics_as_sql_has_them(con: duckdb.DuckDBPyConnection, choices: Choices) -> list[tuple[Any, ...]]:
    sql = "select study_id, age_bin, race from demographics where age_scheme = ? and race_axis = ? order by study_id"
    return rows(con, sql, choices.age_scheme, choices.race_axis)


def labels_as_read() -> dict[str, list[tuple[Any, ...]]]:
    tables = cohort()
    long = long_findings(tables["studies"], tables["finding_values"], VOCABULARY).sort("study_id", "finding")
    return {
        name: [
            (study, finding, value, policy.read(finding, value))
            for study, finding, value in long.select("study_id", "finding", "value").iter_rows()
        ]
        for name, policy in LABEL_POLICIES.items()
    }


LABELS_SQL = "select study_id, finding, value, label from labels where label_policy = ? order by study_id, finding"


def test_demographics_hold_every_scheme_and_axis_as_python_applies_them(written: Path) -> None:
    studies = cohort()["studies"]
    with connect(written) as con:
        for choices in CHOICES:
            wanted = apply_choices(studies, choices).select(SEEN).rows()
            assert demographics_as_sql_has_them(con, choices) == wanted, choices
        assert rows(con, "select count(*) from demographics") == [(len(AGES) * len(CHOICES),)]


@pytest.mark.parametrize("choices", CHOICES, ids=lambda c: f"{c.age_scheme}-{c.race_axis}")
def test_studies_show_the_choice_in_force(own: Path, choices: Choices) -> None:
    Store(own).put_reference(choice_tables(choices))
    with connect(own) as con:
        wanted = apply_choices(cohort()["studies"], choices).select(SEEN).rows()
        assert rows(con, "select study_id, age_bin, race from studies order by study_id") == wanted
        named = rows(con, "select distinct age_scheme, race_axis from studies")
    assert named == [(choices.age_scheme, choices.race_axis)]


def test_findings_are_the_long_findings_of_the_library(written: Path) -> None:
    tables = cohort()
    wanted = long_findings(tables["studies"], tables["finding_values"], VOCABULARY).sort("study_id", "finding")
    with connect(written) as con:
        names = ", ".join(wanted.columns)
        assert rows(con, f"select {names} from findings order by study_id, finding") == wanted.rows()


@pytest.mark.parametrize("policy", LABEL_POLICIES)
def test_labels_count_as_the_policy_reads_them(written: Path, policy: str) -> None:
    tables = cohort()
    with connect(written) as con:
        found = rows(con, LABELS_SQL, policy)
    assert found == labels_as_read()[policy]
    matrix = LABEL_POLICIES[policy].matrix(tables["finding_values"], VOCABULARY).ravel().tolist()
    assert [label for *_, label in found] == [None if math.isnan(label) else label for label in matrix]


@pytest.fixture(scope="module")
def ages(written: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection whose studies are whatever ages lie in its table ``given``."""
    (declared,) = (d for d in declared_tables() if d.table == "studies")
    told = {"study_id": "row", "age_years": "age"}
    columns = ", ".join(f"{told.get(column, 'null')}::{kind} as {column}" for column, kind in declared.columns)
    with connect(written) as con:
        con.execute("create table given (row varchar, age double)")
        con.execute(f"create or replace view parts.studies as select {columns} from given")
        yield con


near_an_edge = st.builds(
    lambda edge, steps: edge + steps * math.ulp(edge or 1.0), st.sampled_from(EDGES), st.integers(-3, 3)
)


@settings(max_examples=40, deadline=None)
@given(given_ages=st.lists(near_an_edge | st.floats(0, 120) | st.none(), min_size=1, max_size=30))
def test_sql_and_python_agree_on_ages_at_the_edges(
    ages: duckdb.DuckDBPyConnection, given_ages: list[float | None]
) -> None:
    ages.execute("delete from given")
    ages.executemany("insert into given values (?, ?)", [[f"{n:02d}", age] for n, age in enumerate(given_ages)])
    nothing = pl.Series([None] * len(given_ages), dtype=pl.String)
    frame = pl.DataFrame({"age_years": pl.Series(given_ages, dtype=pl.Float64), "race5": nothing, "race_only": nothing})
    for choices in CHOICES[::2]:
        wanted = apply_choices(frame, choices)["age_bin"].to_list()
        assert [bin for _, bin, _ in demographics_as_sql_has_them(ages, choices)] == wanted


def test_a_data_root_without_choices_has_studies_and_no_bins(own: Path) -> None:
    (own / REFERENCE_FILE).unlink()
    with connect(own) as con:
        assert rows(con, "select count(*), count(age_bin), count(race) from studies")[0][:2] == (len(AGES), 0)
        assert rows(con, "select count(*) from demographics") == [(0,)]


def test_the_published_file_has_the_same_views(own: Path) -> None:
    with duckdb.connect(str(publish(own)), read_only=True) as con:
        for choices in CHOICES:
            wanted = apply_choices(cohort()["studies"], choices).select(SEEN).rows()
            assert demographics_as_sql_has_them(con, choices) == wanted
        assert {name: rows(con, LABELS_SQL, name) for name in LABEL_POLICIES} == labels_as_read()


def test_a_standalone_file_keeps_choices_without_its_data_root(own: Path, tmp_path: Path) -> None:
    file = standalone(own, tmp_path / "handed.duckdb")
    shutil.rmtree(own)
    with duckdb.connect(str(file), read_only=True) as con:
        wanted = apply_choices(cohort()["studies"], Choices()).select(SEEN).rows()
        assert rows(con, "select study_id, age_bin, race from studies order by study_id") == wanted
        assert demographics_as_sql_has_them(con, Choices()) == wanted
        assert {name: rows(con, LABELS_SQL, name) for name in LABEL_POLICIES} == labels_as_read()
        assert rows(con, "from choices") == [("demo4", "race5", "u_ignore")]


def test_another_choice_publishes_again_and_the_same_one_does_not(own: Path) -> None:
    publish(own)
    assert not keep_published(own)
    Store(own).put_reference(choice_tables(Choices(age_scheme="nm2021")))
    assert keep_published(own) and not keep_published(own)
    with duckdb.connect(str(own / "warehouse.duckdb"), read_only=True) as con:
        assert rows(con, "select distinct age_scheme from studies") == [("nm2021",)]


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b"[1]",
        b"null",
        b"\xff\xfe\x00",
        b'{"choices": {}}',
        b'{"choices": [1]}',
        b'{"choices": [["demo4"]]}',
        b'{"age_bins": [["demo4", "one", "00-39", 0, 40]]}',
        b'{"label_policies": [["u_ones", 1, "edema", 700, 1]]}',
    ],
)
def test_a_damaged_file_of_choices_is_named(own: Path, content: bytes) -> None:
    (own / REFERENCE_FILE).write_bytes(content)
    with pytest.raises(StorageError, match=r"reference\.json") as error, connect(own):
        pass
    assert str(own) in str(error.value) and "Delete" in str(error.value)


def test_choices_are_text_and_never_sql(own: Path) -> None:
    hostile = "x'); drop view main.studies; --"
    (own / REFERENCE_FILE).write_bytes(reference_bytes({"choices": [[hostile, "race5", "u_ignore"]]}))
    with connect(own) as con:
        assert rows(con, "select age_scheme from choices") == [(hostile,)]
        assert rows(con, "select count(*) from studies") == [(len(AGES),)]


def test_the_file_is_written_only_when_the_choices_change(own: Path) -> None:
    store, file = Store(own), own / REFERENCE_FILE
    before = file.stat().st_mtime_ns, file.stat().st_ino
    store.put_reference(choice_tables(Choices()))
    assert (file.stat().st_mtime_ns, file.stat().st_ino) == before
    store.put_reference(choice_tables(Choices(label_policy="u_ones")))
    assert read_reference(own)["choices"] == [["demo4", "race5", "u_ones"]]
    assert read_reference(own / "nowhere") == {}
