"""CheXpert Plus: its table, and labels that are read as they stand or not at all."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cxr_assets.cohorts.splits import shared_patients
from cxr_assets.errors import InputError
from tests.cohorts.test_chexpert import FIELD, curate, kinds

Make = Callable[..., Path]

PLUS_COLUMNS = (
    "path_to_image,path_to_dcm,frontal_lateral,ap_pa,deid_patient_id,patient_report_date_order,report,"
    "section_narrative,section_clinical_history,section_history,section_comparison,section_technique,"
    "section_procedure_comments,section_findings,section_impression,section_end_of_impression,"
    "section_summary,section_accession_number,age,sex,race,ethnicity,interpreter_needed,insurance_type,"
    "recent_bmi,deceased,split"
)
PLUS_HEADER = PLUS_COLUMNS.split(",")


def plus_row(**cells: str) -> dict[str, str]:
    given = {
        "path_to_image": "train/patient00001/study1/view1_frontal.jpg",
        "frontal_lateral": "Frontal",
        "ap_pa": "AP",
        "age": "41.0",
        "sex": "Male",
        "race": "White",
        "ethnicity": "Non-Hispanic/Non-Latino",
        "split": "train",
        **cells,
    }
    return {name: given.get(name, "") for name in PLUS_HEADER}


def test_chexpert_plus_brings_reports_and_labels_of_a_chosen_section(tmp_path: Path) -> None:
    rows = [
        plus_row(
            section_impression="1. Edema,\nnew.", section_findings="\n", section_end_of_impression="I have read this"
        ),
        plus_row(
            path_to_image="valid/patient64541/study1/view1_frontal.jpg",
            split="valid",
            race="Asian",
            ethnicity="Unknown",
        ),
    ]
    pl.DataFrame(rows).write_csv(tmp_path / "df_chexpert_plus_240401.csv")
    told = {"path_to_image": rows[0]["path_to_image"], "Edema": 1, "Lung Opacity": -1, "Fracture": None}
    (tmp_path / "impression_fixed.json").write_text(json.dumps(told) + "\n")
    cohort = curate(tmp_path)
    assert cohort.studies.select("patient_id", "race5", "age_years", "split_native").rows() == [
        ("patient00001", "white", 41.0, "train"),
        ("patient64541", "asian", 41.0, "valid"),
    ]
    assert cohort.finding_values.select("edema", "lung_opacity", "fracture").rows() == [
        (1, -1, None),
        (None, None, None),
    ]
    assert cohort.reports.select("section", "text").rows() == [("impression", "1. Edema,\nnew.")]
    with pytest.raises(InputError, match=r"findings_fixed.json"):
        curate(tmp_path, options={"labels": "findings"})


def film(number: int) -> str:
    return f"train/patient{number:05d}/study1/view1_frontal.jpg"


def label_line(number: int, **labels: Any) -> str:
    return json.dumps({"path_to_image": film(number), **{name.replace("_", " "): v for name, v in labels.items()}})


@pytest.fixture
def plus(tmp_path: Path) -> Make:
    def make(
        lines: Sequence[str] | bytes, *, rows: Sequence[dict[str, str]] | None = None, tail: str = "", films: int = 1
    ) -> Path:
        text = io.StringIO()
        writer = csv.DictWriter(text, PLUS_HEADER)
        writer.writeheader()
        writer.writerows(rows or [plus_row(path_to_image=film(number)) for number in range(1, films + 1)])
        (tmp_path / "df_chexpert_plus_240401.csv").write_bytes((text.getvalue() + tail).encode())
        data = lines if isinstance(lines, bytes) else "\n".join(lines).encode()
        (tmp_path / "impression_fixed.json").write_bytes(data)
        return tmp_path

    return make


@pytest.mark.parametrize(
    ("label", "value"),
    [
        (1, 1),
        (0, 0),
        (-1, -1),
        (1.0, 1),
        (-0.0, 0),
        (-1.0, -1),
        ("1", 1),
        ("-1.0", -1),
        ("0", 0),
        (None, None),
        ("", None),
    ],
)
def test_a_label_is_read_as_number_or_as_text(plus: Make, label: object, value: int | None) -> None:
    cohort = curate(plus([label_line(1, Edema=label, No_Finding=None)]))
    assert cohort.finding_values["edema"].to_list() == [value] and kinds(cohort) == []


@pytest.mark.parametrize(
    "label",
    [0.5, 1.9, -0.4, 2, 1e300, 10**40, "maybe", "null", True, False, [1], {"a": 1}, float("nan"), "\ud800", "1 0"],
)
def test_a_label_that_is_none_is_never_changed_into_one(plus: Make, label: object) -> None:
    cohort = curate(plus([label_line(1, Edema=label, Fracture=1), label_line(2, Edema=1)], films=2))
    assert kinds(cohort) == ["unknown label value"]
    assert cohort.quarantine.select("source", "row", "column").rows() == [("impression_fixed.json", 1, "edema")]
    assert cohort.finding_values.select("edema", "fracture").rows() == [(None, None), (1, None)]
    flow = dict(cohort.waterfall.filter(source="impression_fixed.json").select("step", "rows").iter_rows())
    assert flow == {"read": 2, "dropped: unknown label value": 1, "kept": 1}


@pytest.mark.parametrize(
    "keys", ['"Edema": 1, "edema": 0', '"Edema": 1, "Edema": 1', '"path_to_image": "x", "Edema": 1']
)
def test_a_line_that_names_a_key_twice_is_told(plus: Make, keys: str) -> None:
    line = f'{{"path_to_image": "{film(1)}", {keys}}}'
    cohort = curate(plus([line, label_line(2, edema=1)], films=2))
    assert kinds(cohort) == ["key named twice"] and cohort.finding_values["edema"].to_list() == [None, 1]


@pytest.mark.parametrize("line", ["{", "[1]", "5", '"text"', "{" * 30_000, '{"a":' * 30_000, "9" * 5_000])
def test_a_line_that_is_no_object_goes_to_the_quarantine(plus: Make, line: str) -> None:
    cohort = curate(plus([line, "", label_line(1, Edema=1)]))
    assert kinds(cohort) == ["malformed line"] and cohort.finding_values["edema"].to_list() == [1]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_is_no_fault(plus: Make, encoding: str) -> None:
    cohort = curate(plus((label_line(1, Edema=1) + "\r\n").encode(encoding)))
    assert cohort.finding_values["edema"].to_list() == [1] and kinds(cohort) == []


@pytest.mark.parametrize("data", [b"", b"\n\n", b"not json", b'{"path_to_image": "x"}', b'{"Edema": 1}', b"[]"])
def test_a_file_without_films_and_labels_is_refused(plus: Make, data: bytes) -> None:
    with pytest.raises(InputError, match=r"impression_fixed\.json is not JSON lines"):
        curate(plus(data))


@pytest.mark.parametrize("word", ["holdout", "", "TRAIN"])
def test_a_split_that_nobody_published_is_noted(plus: Make, word: str) -> None:
    rows = [plus_row(path_to_image=film(1), split=word), plus_row(path_to_image=film(2))]
    cohort = curate(plus([label_line(1, Edema=1)], rows=rows))
    assert kinds(cohort) == ["unknown split"] and cohort.quarantine["value"].to_list() == [word]
    assert cohort.studies["split_native"].to_list() == [word, "train"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2),
)
KEY = st.sampled_from(["path_to_image", "Edema", "edema", "Pleural Effusion", "No Finding", "other"]) | st.text(
    max_size=6
)
LABEL_LINE = st.one_of(
    st.builds(label_line, st.integers(1, 3), Edema=JSON, Fracture=st.sampled_from([1, 0, -1, None, "1.0"])),
    st.dictionaries(KEY, JSON, max_size=4).map(json.dumps),
    st.text(st.characters(exclude_categories=("Cs",)), max_size=20),
)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(LABEL_LINE, max_size=4),
    st.lists(st.tuples(FIELD, FIELD, FIELD, FIELD, FIELD, st.integers(1, 3)), max_size=3),
    st.one_of(st.just(""), st.text(st.sampled_from('",;\t\r\n\x00 a'), max_size=40), FIELD),
)
def test_what_is_read_of_plus_is_kept_or_quarantined(
    plus: Make, lines: list[str], cells: list[tuple[str, str, str, str, str, int]], tail: str
) -> None:
    rows = [plus_row(path_to_image=film(99))]
    for split, sex, age, race, impression, number in cells:
        told = {"split": split, "sex": sex, "age": age, "race": race, "section_impression": impression}
        rows.append(plus_row(path_to_image=film(number), **told))
    cohort = curate(plus([label_line(99, Edema=1), *lines], rows=rows, tail=tail))
    for source, read in cohort.waterfall.filter(step="read").select("source", "rows").iter_rows():
        flow = cohort.waterfall.filter((pl.col("source") == source) & (pl.col("step") != "read"))
        assert flow["rows"].sum() == read
    kept = cohort.waterfall.filter(source="df_chexpert_plus_240401.csv", step="kept")["rows"].item()
    assert cohort.studies.height == kept >= 1
    values = cohort.finding_values.filter(study_id="patient00099_study1_view1_frontal")
    assert values["edema"].to_list() == [1]
    assert shared_patients(cohort.studies).is_empty()
