"""DICOM folders: which files are films, what their tags become, and that nothing of a person is copied."""

from __future__ import annotations

import csv
import traceback
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from cxr_assets.cohorts.dicom import UnusableTags, hashed, read_tags, uncut
from cxr_assets.cohorts.films import add_films
from cxr_assets.errors import InputError, SettingsError
from cxr_assets.warehouse import Store
from tests.cohorts.table_tools import SALT, SECRET, adds_up, curate, film, flow, folder, kinds, save, write_mapping

ALONE = {"title": "A PACS export", "dicom": "true"}
DICOM = "DICOM files"


def one(root: Path, **tags: Any) -> dict[str, Any]:
    """The study that a single film becomes."""
    save(root / "x" / "one.dcm", film(**tags))
    write_mapping(root, ALONE)
    return curate(root, tables_only=False, **SALT).studies.row(0, named=True)


def test_every_file_is_a_study_and_has_no_labels(tmp_path: Path) -> None:
    for name in ("a.dcm", "sub/b.DICOM", "sub/c", "1.2.3.4"):
        save(tmp_path / name, film(PatientID=name))
    write_mapping(tmp_path, ALONE)
    cohort = curate(tmp_path, tables_only=False, **SALT)
    assert sorted(cohort.studies["source_path"]) == ["1.2.3.4", "a.dcm", "sub/b.DICOM", "sub/c"]
    assert cohort.patients.height == 4 and cohort.spec.findings == () and cohort.findings.is_empty()
    assert flow(cohort, DICOM) == {"read": 4, "kept": 4}
    assert cohort.studies["sex"].to_list() == ["female"] * 4 and cohort.studies["age_years"].to_list() == [60.0] * 4


@pytest.mark.parametrize(
    ("tags", "kind"),
    [
        ({"NumberOfFrames": 5}, "multi-frame film"),
        ({"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}, "colour film"),
        ({"BurnedInAnnotation": "YES"}, "burned-in annotation"),
        ({"BodyPartExamined": "HAND"}, "other body part"),
        ({"Modality": "CT"}, "other modality"),
        ({"Modality": "SC"}, "other modality"),
        ({"Modality": None}, "other modality"),
        ({"SOPInstanceUID": ""}, "no instance UID"),
    ],
)
def test_files_that_are_no_chest_film_are_refused_with_their_reason(
    tmp_path: Path, tags: dict[str, Any], kind: str
) -> None:
    if tags == {"SOPInstanceUID": ""}:
        made = film()
        made.SOPInstanceUID = ""
        save(tmp_path / "bad.dcm", made)
    else:
        save(tmp_path / "bad.dcm", film(**tags))
    save(tmp_path / "good.dcm", film())
    write_mapping(tmp_path, ALONE)
    cohort = curate(tmp_path, tables_only=False, **SALT)
    assert cohort.studies["source_path"].to_list() == ["good.dcm"] and adds_up(cohort)
    assert cohort.quarantine.select("source", pl.col("reason").str.split(":").list.first()).rows() == [
        ("bad.dcm", kind)
    ]


def test_what_is_no_dicom_is_refused_and_a_second_copy_too(tmp_path: Path) -> None:
    made = film(SOPInstanceUID="1.2.3")
    save(tmp_path / "a.dcm", made)
    save(tmp_path / "b.dcm", made)
    (tmp_path / "c.dcm").write_bytes(b"not one")
    (tmp_path / "d.dcm").write_bytes((tmp_path / "a.dcm").read_bytes()[:200])
    (tmp_path / "README").write_text("about")
    save(tmp_path / "DICOMDIR", film())
    write_mapping(tmp_path, ALONE)
    cohort = curate(tmp_path, tables_only=False, **SALT)
    assert cohort.studies["source_path"].to_list() == ["a.dcm"]
    reasons = dict(cohort.quarantine.select("source", pl.col("reason").str.split(":").list.first()).iter_rows())
    assert reasons["b.dcm"] == "duplicate instance" and reasons["c.dcm"] == "not DICOM" and "d.dcm" in reasons
    assert flow(cohort, DICOM)["dropped: no DICOM film"] == 2 and adds_up(cohort)


def test_secondary_capture_is_taken_where_that_is_asked_for(tmp_path: Path) -> None:
    save(tmp_path / "a.dcm", film(Modality="SC"))
    write_mapping(tmp_path, ALONE)
    with pytest.raises(InputError, match=r"no film is left.*other modality"):
        curate(tmp_path, **SALT)
    assert curate(tmp_path, **SALT, allow_secondary_capture=True).studies.height == 1


@pytest.mark.parametrize(
    ("tags", "age", "source"),
    [
        ({"PatientAge": "062Y"}, 62.0, "PatientAge"),
        ({"PatientAge": "062"}, 62.0, "PatientAge"),
        ({"PatientAge": "018M"}, 1.5, "PatientAge"),
        ({"PatientAge": "026W"}, 0.498, "PatientAge"),
        ({"PatientAge": "010D"}, 0.027, "PatientAge"),
        ({"PatientAge": "411Y"}, None, "PatientAge"),
        ({"PatientAge": None, "PatientBirthDate": "19500615"}, 60.0, "birth date and study date"),
        (
            {"PatientAge": "", "PatientBirthDate": "19500615", "StudyDate": "", "AcquisitionDate": "20200615"},
            70.0,
            "birth date and study date",
        ),
        ({"PatientAge": "", "PatientBirthDate": "20500615"}, None, "birth date and study date"),
        ({"PatientAge": "", "PatientBirthDate": "1950"}, None, None),
        ({"PatientAge": None}, None, None),
    ],
)
def test_ages_come_with_their_unit_else_from_two_dates(
    tmp_path: Path, tags: dict[str, Any], age: float | None, source: str | None
) -> None:
    study = one(tmp_path, **tags)
    assert study["age_years"] == (pytest.approx(age, abs=2e-3) if age is not None else None)
    assert study["age_source"] == source
    assert study["age_raw"] == (tags["PatientAge"] if source == "PatientAge" else None)


@pytest.mark.parametrize(
    ("tags", "view", "raw"),
    [
        ({"ViewPosition": "AP"}, "AP", "AP"),
        ({"ViewPosition": "LL"}, "LATERAL", "LL"),
        ({"ViewPosition": "LLD"}, None, "LLD"),
        ({"ViewPosition": ""}, None, None),
    ],
)
def test_projections(tmp_path: Path, tags: dict[str, Any], view: str | None, raw: str | None) -> None:
    study = one(tmp_path, **tags)
    assert (study["view"], study["view_raw"]) == (view, raw)


@pytest.mark.parametrize(
    ("code", "meaning", "view"), [("272479007", "", "PA"), ("R-10206", "", "AP"), ("x", "left lateral", "LATERAL")]
)
def test_a_view_code_stands_in_for_a_blank_position(tmp_path: Path, code: str, meaning: str, view: str) -> None:
    from pydicom import Dataset

    item = Dataset()
    item.CodeValue, item.CodeMeaning = code, meaning
    assert one(tmp_path, ViewPosition="", ViewCodeSequence=[item])["view"] == view


@pytest.mark.parametrize(
    ("text", "race"),
    [
        ("White", "white"),
        ("BLACK OR AFRICAN", "black"),
        ("HISPANIC OR LATI", "hispanic"),
        ("Martian", None),
        (None, None),
    ],
)
def test_recorded_race_goes_through_the_table_even_where_it_was_cut_off(
    tmp_path: Path, text: str | None, race: str | None
) -> None:
    study = one(tmp_path, **({"EthnicGroup": text} if text else {}))
    assert (study["race5"], study["race_raw"]) == (race, text)


def test_a_short_text_is_never_completed() -> None:
    assert (
        uncut("BLACK") == "BLACK"
        and uncut("WHITE - R") == "WHITE - R"
        and uncut("NATIVE AMERICAN,") == "NATIVE AMERICAN,"
    )


def test_sex_o_and_words_that_are_none_are_null_with_the_text_kept(tmp_path: Path) -> None:
    assert one(tmp_path / "o", PatientSex="O")["sex"] is None
    study = one(tmp_path / "x", PatientSex="X")
    assert (study["sex"], study["sex_raw"]) == (None, "X")


def test_no_id_name_or_date_of_a_person_is_in_any_table(tmp_path: Path) -> None:
    tags = {
        "PatientName": "Doe^Jane",
        "PatientID": "MRN-4711",
        "PatientBirthDate": "19500101",
        "PatientAge": None,
        "StudyInstanceUID": "1.2.3.4711",
        "SOPInstanceUID": "1.2.3.4712",
        "AccessionNumber": "ACC-4711",
    }
    made = film(**tags)
    made.private_block(0x0011, "SOME VENDOR", create=True).add_new(0x01, "LO", "private 4711")
    save(tmp_path / "film.dcm", made)
    write_mapping(tmp_path, ALONE)
    cohort = curate(tmp_path, tables_only=False, **SALT)
    told = "".join(frame.write_csv() for frame in cohort.tables().values())
    assert not any(word in told for word in ("4711", "4712", "Doe", "1950", "2010", "VENDOR", SECRET))
    assert cohort.studies.row(0, named=True)["patient_id"] == hashed("patient", "MRN-4711", SECRET)


def test_another_salt_gives_other_ids_and_the_same_salt_the_same() -> None:
    assert hashed("patient", "1", "a") == hashed("patient", "1", "a") != hashed("patient", "1", "b")
    assert hashed("patient", "1", "a") != hashed("exam", "1", "a") and hashed("patient", "", "a") == ""


def test_a_salt_is_needed_and_stands_in_the_environment_or_in_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path / "films" / "a.dcm", film())
    write_mapping(tmp_path / "films", ALONE)
    root = tmp_path / "films"
    with pytest.raises(SettingsError, match="site_salt"):
        curate(root)
    for option, said in (
        ("env:HOSPITAL_SALT", "HOSPITAL_SALT, which the environment does not hold"),
        (f"file:{tmp_path / 'salt'}", "cannot read .*salt .*No such file"),
    ):
        with pytest.raises(SettingsError, match=said):
            curate(root, site_salt=option)
    monkeypatch.setenv("HOSPITAL_SALT", SECRET)
    (tmp_path / "salt").write_text(f"{SECRET}\n")
    expected = curate(root, **SALT).studies
    for option in ("env:HOSPITAL_SALT", f"file:{tmp_path / 'salt'}", "file:../salt"):
        assert curate(root, site_salt=option).studies.equals(expected)
    (tmp_path / "salt").write_text("\n")
    with pytest.raises(SettingsError, match="an empty file"):
        curate(root, site_salt="file:../salt")


@pytest.mark.parametrize("given", ["hunter2secret", "env:hunter2-secret", "file: hunter2secret", ["hunter2secret"], {}])
def test_a_salt_that_stands_in_the_settings_is_refused_and_not_repeated(tmp_path: Path, given: Any) -> None:
    save(tmp_path / "a.dcm", film())
    write_mapping(tmp_path, ALONE)
    with pytest.raises((SettingsError, ValidationError), match="site_salt") as caught:
        curate(tmp_path, site_salt=given)
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


def test_a_wrong_value_of_another_option_is_repeated(tmp_path: Path) -> None:
    save(tmp_path / "a.dcm", film())
    write_mapping(tmp_path, ALONE)
    with pytest.raises(SettingsError, match=r"allow_secondary_capture: .*given 'maybe'"):
        curate(tmp_path, allow_secondary_capture="maybe", **SALT)


def test_films_without_a_patient_are_dropped_unless_the_image_stands_for_it(tmp_path: Path) -> None:
    save(tmp_path / "a.dcm", film(PatientID=""))
    save(tmp_path / "b.dcm", film())
    write_mapping(tmp_path, ALONE)
    cohort = curate(tmp_path, **SALT)
    assert cohort.studies.height == 1 and flow(cohort, DICOM)["dropped: no patient"] == 1 and adds_up(cohort)
    write_mapping(tmp_path, {**ALONE, "patient_id_kind": "image"})
    studies = curate(tmp_path, **SALT).studies
    assert (studies["patient_id"] == studies["study_id"]).all() and studies.height == 2


def test_a_table_says_who_and_what_and_the_tags_the_rest(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        save(tmp_path / "films" / f"{name}.dcm", film(PatientID=name, PatientSex="M", ViewPosition="AP"))
    save(tmp_path / "films" / "d.dcm", film(Modality="CT"))
    text = "p,f,s,e\n1,a.dcm,F,1\n2,b.dcm,,0\n3,d.dcm,F,1\n4,gone.dcm,F,1\n"
    columns = {"patient_id": "p", "path": "f", "sex": "s"}
    folder(tmp_path, text, {"tables": "data.csv", "dicom": "true", "columns": columns, "findings": {"edema": "e"}})
    cohort = curate(tmp_path, tables_only=False, **SALT)
    studies = cohort.studies.join(cohort.finding_values.select("study_id", "edema"), on="study_id").sort("patient_id")
    assert studies.select("patient_id", "sex", "view", "age_years", "edema").rows() == [
        ("1", "female", "AP", 60.0, 1),
        ("2", None, "AP", 60.0, 0),
        ("4", "female", None, None, 1),
    ]
    assert flow(cohort) == {"read": 4, "dropped: film refused": 1, "kept": 3}
    dicom = flow(cohort, DICOM)
    assert dicom["dropped: not in the table"] == 1 and dicom["dropped: other modality"] == 1 and adds_up(cohort)


def test_a_table_without_patients_takes_them_from_the_files(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save(tmp_path / f"{name}.dcm", film(PatientID="same"))
    mapping = {"tables": "data.csv", "dicom": "true", "columns": {"path": "f"}, "findings": {"edema": "e"}}
    folder(tmp_path, "f,e\na.dcm,1\ngone.dcm,0\n", mapping)
    cohort = curate(tmp_path, tables_only=False, **SALT)
    assert cohort.patients.height == 1 and cohort.studies.height == 2
    assert sorted(cohort.finding_values["edema"].to_list(), key=str) == [1, None]
    assert flow(cohort) == {"read": 2, "dropped: no patient": 1, "kept": 1}


def test_lossy_films_are_told(tmp_path: Path) -> None:
    save(tmp_path / "a.dcm", film(LossyImageCompression="01"))
    write_mapping(tmp_path, ALONE)
    assert [kind for *_, kind in kinds(curate(tmp_path, **SALT))] == ["lossy film"]


@settings(max_examples=150, deadline=None)
@given(position=st.integers(0, 1200), value=st.integers(0, 255), cut=st.integers(0, 1200))
def test_a_changed_or_cut_file_has_tags_or_a_stated_fault(
    tmp_path_factory: Any, position: int, value: int, cut: int
) -> None:
    data = bytearray(_saved(tmp_path_factory))
    data[position % len(data)] = value
    path = tmp_path_factory.getbasetemp() / "changed.dcm"
    path.write_bytes(bytes(data)[: len(data) - cut])
    try:
        assert read_tags(path, salt="s").patient is not None
    except UnusableTags as fault:
        assert ": " in str(fault)


def _saved(tmp_path_factory: Any) -> bytes:
    path = tmp_path_factory.getbasetemp() / "whole.dcm"
    return path.read_bytes() if path.exists() else save(path, film()).read_bytes()


def test_the_constructed_files_give_what_their_manifest_says(shared_data: Path, tmp_path: Path) -> None:
    write_mapping(tmp_path, {**ALONE, "roots": ["films"]})
    (tmp_path / "films").mkdir()
    for path in (shared_data / "parsers" / "dicom").glob("*.dcm"):
        (tmp_path / "films" / path.name).write_bytes(path.read_bytes())
    cohort = curate(tmp_path, tables_only=False, **SALT)
    done = add_films(cohort, tmp_path, Store(tmp_path / "store"), size=64)
    assert done.studies.height == 9 and done.studies["image_digest"].n_unique() == 9
    ages = {
        "age_months.dcm": 13 / 12,
        "age_days.dcm": 1 / 365.25,
        "age_411.dcm": None,
        "age_no_unit.dcm": 62.0,
        "birthdate_no_age.dcm": 60.45,
        "sex_O_view_blank.dcm": 71.0,
        "mono2_8bit.dcm": 77.0,
        "mono1_12bit.dcm": 38.0,
    }
    sexes = {"M": "male", "F": "female", "O": None}
    studies = {Path(row["source_path"]).name: row for row in done.studies.iter_rows(named=True)}
    with (shared_data / "parsers" / "dicom" / "manifest.csv").open() as rows:
        for row in csv.DictReader(rows):
            study = studies[row["file"]]
            assert study["sex"] == sexes[row["PatientSex"]] and study["view"] == (row["ViewPosition"] or None)
            assert (study["age_raw"] or "") == row["PatientAge"]
            if row["file"] in ages:
                expected = ages[row["file"]]
                assert study["age_years"] == (None if expected is None else pytest.approx(expected, abs=0.01))
    assert adds_up(done)
