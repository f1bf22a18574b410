from __future__ import annotations

import gzip
import re
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cxr_assets.cohorts import nih
from cxr_assets.cohorts.choices import Choices, apply_choices
from cxr_assets.cohorts.nih_splits import assign
from cxr_assets.cohorts.splits import shared_patients
from cxr_assets.errors import InputError
from tests.cohorts.conftest import NIH_HEADERS, nih_row
from tests.cohorts.nih_tools import DATA, Make, curate, flow, kinds


@pytest.mark.parametrize("variant", NIH_HEADERS)
@pytest.mark.parametrize(("end", "encoding"), [("\n", "utf-8"), ("\r\n", "utf-8-sig"), ("\r", "utf-16")])
def test_every_published_header_reads_alike(nih_root: Make, variant: str, end: str, encoding: str) -> None:
    tail = {"sample": ",2500,2048,0.1,0.1", "underscores": ""}.get(variant, ",2500,2048,0.1,0.1")
    if "trailing" in variant:
        tail += ","
    rows = [nih_row(age="060Y", tail=tail), nih_row("00000009_003.png", "Mass|Nodule", follow="3", sex="M", tail=tail)]
    cohort = curate(nih_root(rows, header=NIH_HEADERS[variant], end=end, encoding=encoding))
    assert cohort.studies.select("study_id", "patient_id", "age_years", "sex", "view", "study_number").rows() == [
        ("00000007_000", "00000007", 60.0, "female", "PA", 0),
        ("00000009_003", "00000009", 58.0, "male", "PA", 3),
    ]
    assert flow(cohort) == {"read": 2, "kept": 2}


def test_the_header_variant_is_kept_with_the_source(nih_root: Make) -> None:
    root = nih_root([nih_row(tail=NIH_TAIL_COMMA)], header=NIH_HEADERS["v2020 sex, trailing comma"])
    release = curate(root).sources["release"][0]
    assert release == "Data_Entry_2017_v2020: bracketed header, Patient Sex, trailing comma"


NIH_TAIL_COMMA = ",2500,2048,0.168,0.168,"


def test_a_gzipped_table_is_read(nih_root: Make) -> None:
    root = nih_root([nih_row()])
    (root / f"{DATA}.gz").write_bytes(gzip.compress((root / DATA).read_bytes()))
    (root / DATA).unlink()
    assert curate(root).studies.height == 1


@pytest.mark.parametrize(
    ("row", "kind", "column"),
    [
        (nih_row("../00000007_000.png", patient="7"), "unsafe name", "Image Index"),
        (nih_row("images\\00000007_000.png", patient="7"), "unsafe name", "Image Index"),
        (nih_row("film.png", patient="7"), "malformed name", "Image Index"),
        (nih_row("", patient="7"), "malformed name", "Image Index"),
        (nih_row(patient="7.0"), "malformed patient", "Patient ID"),
        (nih_row(patient="8"), "patient mismatch", "Patient ID"),
        (nih_row(labels="Effusion|Gout"), "unknown label", "Finding Labels"),
        (nih_row(labels=""), "unknown label", "Finding Labels"),
        (nih_row(labels="No Finding|Mass"), "label contradiction", "Finding Labels"),
        (nih_row("00000001_000.png"), "duplicate image", "Image Index"),
        ("00000007_000.png,Effusion", "malformed row", None),
        (nih_row() + ",stray", "malformed row", None),
        ('"' + nih_row(), "malformed row", None),
    ],
)
def test_a_bad_row_is_quarantined_and_the_others_stay(nih_root: Make, row: str, kind: str, column: str | None) -> None:
    cohort = curate(nih_root([nih_row("00000001_000.png"), row, nih_row("00000002_000.png")], films=FILMS))
    assert cohort.studies["study_id"].to_list() == ["00000001_000", "00000002_000"]
    assert [(line, name, found) for line, name, _, found in kinds(cohort)] == [(3, column, kind)]
    assert flow(cohort) == {"read": 3, f"dropped: {kind}": 1, "kept": 2}


FILMS = ("00000001_000.png", "00000002_000.png")


@pytest.mark.parametrize(
    ("row", "kind", "field"),
    [
        (nih_row(age="411Y"), "age out of range", "age_years"),
        (nih_row(age="old"), "unreadable age", "age_years"),
        (nih_row(sex="Z"), "unknown sex", "sex"),
        (nih_row(view="LL"), "unknown view", "view"),
        (nih_row(follow="first"), "unreadable follow-up", "study_number"),
    ],
)
def test_a_bad_value_becomes_null_and_the_row_stays(nih_root: Make, row: str, kind: str, field: str) -> None:
    cohort = curate(nih_root([row], films=["00000007_000.png"]))
    assert cohort.studies[field].to_list() == [None]
    assert [found for *_, found in kinds(cohort)] == [kind]
    assert flow(cohort) == {"read": 1, "kept": 1}


def test_an_impossible_age_keeps_its_text_and_a_flag(nih_root: Make) -> None:
    study = curate(nih_root([nih_row(age="411Y")])).studies.row(0, named=True)
    assert (study["age_raw"], study["age_flags"], study["age_years"]) == ("411Y", "over_120", None)


def test_sex_that_changes_within_a_patient_is_null_for_that_patient(nih_root: Make) -> None:
    rows = [nih_row(), nih_row("00000007_001.png", sex="M"), nih_row("00000008_000.png")]
    cohort = curate(nih_root(rows))
    assert cohort.studies["sex"].to_list() == [None, None, "female"]
    assert cohort.patients["sex"].to_list() == [None, "female"]


def test_a_missing_film_is_noted_and_its_study_kept(nih_root: Make) -> None:
    cohort = curate(nih_root([nih_row(), nih_row("00000008_000.png")], films=["00000008_000.png"]))
    assert cohort.studies["source_path"].to_list() == [None, "images/00000008_000.png"]
    assert kinds(cohort) == [(2, "Image Index", "00000007_000.png", "missing film")]


def test_films_are_found_in_the_rehosted_folders(nih_root: Make) -> None:
    root = nih_root([nih_row()])
    (root / "images_003" / "images").mkdir(parents=True)
    (root / "images_003" / "images" / "00000007_000.png").touch()
    assert curate(root).studies["source_path"].to_list() == ["images_003/images/00000007_000.png"]


def test_a_link_out_of_the_cohort_is_not_followed(nih_root: Make, tmp_path: Path) -> None:
    root = nih_root([nih_row(), nih_row("00000008_000.png")], films=["00000008_000.png"])
    (tmp_path / "secret.png").touch()
    (root / "images" / "00000007_000.png").symlink_to(tmp_path / "secret.png")
    cohort = curate(root)
    assert cohort.studies["source_path"].to_list() == [None, "images/00000008_000.png"]
    assert kinds(cohort) == [(2, "Image Index", "00000007_000.png", "film outside")]


def test_findings_are_one_row_a_study_and_finding(nih_root: Make) -> None:
    cohort = curate(nih_root([nih_row(labels="Effusion|Mass"), nih_row("00000008_000.png", "No Finding")]))
    positive = cohort.findings.filter(pl.col("value") == 1).select("study_id", "finding").rows()
    assert positive == [
        ("00000007_000", "lung_opacity"),
        ("00000007_000", "lung_lesion"),
        ("00000007_000", "pleural_effusion"),
        ("00000008_000", "no_finding"),
    ]
    assert cohort.findings.height == 2 * len(cohort.spec.findings)


@pytest.mark.parametrize("column", ["Patient Age", "Finding Labels", "Follow-up #", "Patient Gender"])
def test_a_missing_column_stops_the_curation(nih_root: Make, column: str) -> None:
    header = NIH_HEADERS["v2020 gender"].replace(column, "Remark")
    with pytest.raises(InputError) as caught:
        curate(nih_root([nih_row()], header=header))
    for word in (DATA, column, "Seen: Image Index", "docs/cohorts/nih.md", "Nothing was written"):
        assert word in str(caught.value)


def test_no_table_no_rows_and_no_header_are_stated(nih_root: Make, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds none of Data_Entry_2017_v2020\.csv"):
        curate(tmp_path)
    with pytest.raises(InputError, match="no rows"):
        curate(nih_root([]))
    (tmp_path / "nih" / DATA).write_text("")
    with pytest.raises(InputError, match="no header"):
        curate(tmp_path / "nih")


def test_two_sex_columns_are_refused(nih_root: Make) -> None:
    header = NIH_HEADERS["v2020 gender"].replace("View Position", "Patient Sex")
    with pytest.raises(InputError, match="both 'Patient Sex' and 'Patient Gender'"):
        curate(nih_root([nih_row()], header=header))


FIELD = st.text(alphabet=st.characters(blacklist_categories=("Cs",)), max_size=12) | st.text(
    alphabet='",;\n\r\x00\ufeff a', max_size=6
)
LINE = st.one_of(
    st.builds(nih_row, labels=FIELD, age=FIELD, sex=FIELD, view=FIELD, follow=FIELD),
    st.builds(nih_row, st.sampled_from(["00000001_000.png", "../x.png", "00000002_001.png\x00"]), patient=FIELD),
    st.lists(FIELD, max_size=14).map(",".join),
    FIELD,
)


def test_a_film_is_found_under_another_suffix_than_the_table_says(nih_root: Make) -> None:
    rows = [nih_row("00000007_000.png"), nih_row("00000008_000.jpg")]
    cohort = curate(nih_root(rows, films=["00000007_000.jpg", "00000008_000.png"]))
    assert cohort.studies["source_path"].to_list() == ["images/00000007_000.jpg", "images/00000008_000.png"]


def test_rows_that_are_neither_dropped_nor_kept_stop_the_run(nih_root: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nih, "assign", lambda rows, lists, **told: assign(rows, lists, **told).head(1))
    message = r"the rows of Data_Entry_2017_v2020\.csv do not add up: 2 read, 0 dropped, 1 kept.*Nothing was written"
    with pytest.raises(InputError, match=message):
        curate(nih_root([nih_row(), nih_row("00000008_000.png")]))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(LINE, max_size=6), st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]))
def test_rows_read_are_curated_or_quarantined_whatever_they_hold(
    nih_root: Make, lines: list[str], encoding: str
) -> None:
    rows = [nih_row("00000042_000.png"), *lines]
    cohort = curate(nih_root(rows, encoding=encoding))
    steps = flow(cohort)
    dropped = sum(count for step, count in steps.items() if step.startswith("dropped"))
    assert steps["read"] == sum(bool(line.strip()) for row in rows for line in re.split("\r\n|\n|\r", row))
    assert steps["kept"] + dropped == steps["read"]
    assert cohort.studies.height == steps["kept"]
    assert shared_patients(cohort.studies).is_empty()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=80))
def test_any_bytes_after_the_header_are_survived(nih_root: Make, tail: bytes) -> None:
    root = nih_root([nih_row()])
    with (root / DATA).open("ab") as stream:
        stream.write(tail)
    cohort = curate(root)
    assert cohort.studies.height == flow(cohort)["kept"] >= 1


def test_the_real_slice_has_its_known_counts(shared_data: Path) -> None:
    cohort = curate(shared_data / "nih-chestxray14")
    bins = Choices(age_scheme="nm2021")
    studies = apply_choices(cohort.studies, bins)
    assert (studies.height, cohort.patients.height, cohort.boxes.height) == (420, 241, 34)
    assert dict(studies["sex"].value_counts().iter_rows()) == {"male": 235, "female": 185}
    assert dict(cohort.patients["sex"].value_counts().iter_rows()) == {"male": 136, "female": 105}
    assert dict(studies["view"].value_counts().iter_rows()) == {"AP": 246, "PA": 174}
    assert dict(studies["split"].value_counts().iter_rows())["test"] == 111
    assert [studies.filter(age_bin=label).height for label in cohort.spec.chosen(bins).ages] == [98, 84, 162, 67, 9]
    positive = dict(cohort.findings.filter(value=1)["finding"].value_counts().iter_rows())
    assert positive == {
        "pneumonia": 250,
        "no_finding": 170,
        "infiltration": 94,
        "atelectasis": 48,
        "edema": 46,
        "pleural_effusion": 46,
        "consolidation": 32,
        "pleural_other": 26,
        "lung_lesion": 32,
        "cardiomegaly": 14,
        "pneumothorax": 11,
        "fibrosis": 8,
        "emphysema": 7,
        "hernia": 3,
        "lung_opacity": 250,
    }
    assert dict(cohort.boxes["finding"].value_counts().iter_rows()) == {
        "pneumonia": 29,
        "infiltration": 2,
        "pleural_effusion": 1,
        "lung_lesion": 1,
        "pneumothorax": 1,
    }
    assert cohort.quarantine.is_empty() and studies["source_path"].null_count() == 0


@pytest.mark.parametrize(
    ("name", "rows", "kept"), [("nih_sample_labels_slice.csv", 300, 300), ("nih_underscore_header_slice.csv", 100, 100)]
)
def test_real_rows_of_the_rehosted_tables_are_read(
    shared_data: Path, tmp_path: Path, name: str, rows: int, kept: int
) -> None:
    (tmp_path / "sample_labels.csv").write_bytes((shared_data / "parsers" / name).read_bytes())
    cohort = curate(tmp_path)
    assert flow(cohort, "sample_labels.csv") == {"read": rows, "kept": kept}
    odd = cohort.studies.filter(pl.col("age_raw").is_in(["013M", "001D", "411Y"])).select("age_raw", "age_years")
    if "sample" in name:
        assert dict(odd.iter_rows()) == {"013M": 13 / 12, "001D": 1 / 365.25, "411Y": None}
