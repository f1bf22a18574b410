from __future__ import annotations

import json
import re
import zipfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cxr_assets.cohorts.base import CuratedCohort, CurateSettings
from cxr_assets.cohorts.choices import Choices, apply_choices
from cxr_assets.cohorts.registry import adapter
from cxr_assets.cohorts.splits import shared_patients
from cxr_assets.errors import InputError
from tests.cohorts.conftest import write_film

TABLE = "stage_2_train_labels.csv"
HEADER = "patientId,x,y,width,height,Target"
CLASS_HEADER = "patientId,class"
DICOM_HEADER = (
    ",BodyPartExamined,ConversionType,Filename,InstanceNumber,Modality,PatientAge,PatientID,PatientOrientation,PatientSex,"
    "PixelSpacing,SamplesPerPixel,SeriesNumber,ViewPosition"
)
A, B, C = (f"{letter * 8}-0000-4000-8000-000000000000" for letter in "abc")
BOX = (264.0, 152.0, 213.0, 379.0)
Make = Callable[..., Path]


def target(image: str, *box: object, value: int | str | None = None) -> str:
    """One row of the label table: a film without opacity, or one box."""
    told = value if value is not None else int(bool(box))
    return ",".join(map(str, [image, *(box or [""] * 4), told]))


def header(image: str, *, age: str = "58", sex: str = "F", view: str = "PA") -> str:
    """One row of the table of DICOM headers."""
    return f"0,CHEST,WSD,{image}.dcm,1.0,CR,{age},{image},,{sex},0.168,1.0,1.0,{view}"


@pytest.fixture
def rsna(tmp_path: Path) -> Make:
    def make(
        rows: Sequence[str],
        *,
        classes: Sequence[str] = (),
        headers: Sequence[str] = (),
        links: Sequence[str] = (),
        top: str = HEADER,
        encoding: str = "utf-8",
    ) -> Path:
        for name, lines in (
            (TABLE, [top, *rows]),
            ("stage_2_detailed_class_info.csv", [CLASS_HEADER, *classes]),
            ("dicom_headers.csv", [DICOM_HEADER, *headers]),
            ("nih_mapping.csv", ["patientId,Image Index", *links]),
        ):
            (tmp_path / name).unlink(missing_ok=True)
            if len(lines) > 1 or name == TABLE:
                (tmp_path / name).write_bytes("\n".join(lines).encode(encoding))
        return tmp_path

    return make


def curate(root: Path) -> CuratedCohort:
    return adapter("rsna").curate(root, settings=CurateSettings(tables_only=True))


def flow(cohort: CuratedCohort, source: str = TABLE) -> dict[str, int]:
    return dict(cohort.waterfall.filter(source=source).select("step", "rows").iter_rows())


def kinds(cohort: CuratedCohort) -> list[tuple[int, str, str]]:
    frame = cohort.quarantine.select("row", "column", pl.col("reason").str.split(":").list.first())
    return list(frame.iter_rows())


def labels(cohort: CuratedCohort) -> dict[str, tuple[int | None, int | None]]:
    frame = cohort.finding_values.select("study_id", "no_finding", "lung_opacity")
    return {study: (normal, opacity) for study, normal, opacity in frame.iter_rows()}


def test_a_target_is_an_opacity_and_never_pneumonia(rsna: Make) -> None:
    rows = [target(A), target(B, *BOX), target(B, 562, 152, 256, 453)]
    cohort = curate(rsna(rows))
    assert labels(cohort) == {A: (None, 0), B: (None, 1)}
    assert cohort.finding_values["pneumonia"].null_count() == 2 and "pneumonia" not in cohort.spec.findings
    assert cohort.boxes.select("study_id", "finding", "x", "y", "width", "height").rows() == [
        (B, "lung_opacity", *BOX),
        (B, "lung_opacity", 562.0, 152.0, 256.0, 453.0),
    ]
    study = cohort.studies.row(0, named=True)
    assert (study["study_id"], study["patient_id"], study["patient_id_kind"]) == (A, A, "image")
    assert (study["age_years"], study["sex"], study["view"], study["split_native"]) == (None, None, None, None)
    assert (study["label_source"], study["terms"]) == ("radiologist_image", "rsna-research")
    assert flow(cohort) == {"read": 3, "kept": 3} and cohort.quarantine.is_empty()


def test_classes_say_what_is_normal_and_what_is_not_known(rsna: Make) -> None:
    rows = [target(A), target(B, *BOX), target(B, 1, 1, 9, 9), target(C)]
    classes = [f"{A},Normal", f"{B},Lung Opacity", f"{B},Lung Opacity", f"{C},No Lung Opacity / Not Normal"]
    cohort = curate(rsna(rows, classes=classes))
    assert labels(cohort) == {A: (1, 0), B: (0, 1), C: (None, 0)}
    assert flow(cohort, "stage_2_detailed_class_info.csv") == {"read": 4, "dropped: repeated once a box": 1, "kept": 3}
    assert cohort.quarantine.is_empty()


@pytest.mark.parametrize(
    ("classes", "kind"),
    [
        ([f"{A},Normal", f"{A},Lung Opacity"], ["class contradiction", "class contradiction", "not listed"]),
        ([f"{A},Lung Opacity"], ["class contradicts target"]),
        ([f"{A},Gout"], ["not listed", "unknown class"]),
        ([f"{B},Normal"], ["not listed"]),
        (["x,Normal"], ["malformed image", "not listed"]),
    ],
)
def test_a_class_that_cannot_be_trusted_leaves_no_finding_unknown(
    rsna: Make, classes: list[str], kind: list[str]
) -> None:
    cohort = curate(rsna([target(A)], classes=classes))
    assert labels(cohort) == {A: (None, 0)}
    assert sorted(found for *_, found in kinds(cohort)) == kind


def test_headers_give_age_sex_and_view(rsna: Make) -> None:
    headers = [header(C), header(A, age="155"), header(B, sex="M", view="AP"), header(B, age="3")]
    cohort = curate(rsna([target(A), target(B)], headers=headers))
    assert cohort.studies.select("age_years", "age_raw", "age_flags", "sex", "view").rows() == [
        (None, "155", "over_120", "female", "PA"),
        (58.0, "58", None, "male", "AP"),
    ]
    assert kinds(cohort) == [(3, "PatientAge", "age out of range")]
    assert flow(cohort, "dicom_headers.csv") == {
        "read": 4,
        "dropped: not in the label table": 1,
        "dropped: repeated header": 1,
        "kept": 2,
    }


def test_a_film_without_a_header_is_noted_once(rsna: Make) -> None:
    cohort = curate(rsna([target(A), target(B)], headers=[header(B, sex="Z", view="LL", age="old")]))
    assert sorted(kinds(cohort)) == [
        (2, "PatientAge", "unreadable age"),
        (2, "PatientSex", "unknown sex"),
        (2, "ViewPosition", "unknown view"),
        (2, "patientId", "not listed"),
    ]
    assert cohort.studies.select("age_years", "sex", "view").null_count().row(0) == (2, 2, 2)


def test_the_map_gives_patients_of_chestxray14(rsna: Make) -> None:
    links = [f"{A},00000061_012.png", f"{B},00000061_013.png"]
    headers = [header(A), header(B, sex="M"), header(C)]
    cohort = curate(rsna([target(A), target(B), target(C)], headers=headers, links=links))
    assert cohort.studies.select("study_id", "patient_id", "patient_id_kind", "sex").rows() == [
        (A, "00000061", "patient", None),
        (B, "00000061", "patient", None),
        (C, C, "image", "female"),
    ]
    assert cohort.patients.height == 2 and shared_patients(cohort.studies).is_empty()
    assert sorted(found for *_, found in kinds(cohort)) == ["not listed", *["sex differs within patient"] * 2]


def test_the_organisers_own_file_reads_like_a_table(rsna: Make) -> None:
    root = rsna([target(A), target(B), target(C)])
    entries = [
        {"subset_img_id": A, "img_id": "00000061_012.png", "SOPInstanceUID": "1.2"},
        {"subset_img_id": B, "img_id": "../00000061_012.png"},
        {"subset_img_id": 7, "img_id": None},
        "stray",
        {"subset_img_id": C, "img_id": "00000007_000.png"},
        {"subset_img_id": C, "img_id": "00000008_000.png"},
    ]
    path = root / "pneumonia-challenge-dataset-mappings_2018.json"
    path.write_text(json.dumps(entries))
    cohort = curate(root)
    assert cohort.studies["patient_id"].to_list() == ["00000061", B, C]
    assert flow(cohort, path.name) == {
        "read": 6,
        "dropped: malformed image": 2,
        "dropped: malformed name": 1,
        "dropped: map contradiction": 2,
        "kept": 1,
    }
    for text, told in (("{", "no JSON"), ("{}", "no list of objects")):
        path.write_text(text)
        with pytest.raises(InputError, match=told):
            curate(root)


@pytest.mark.parametrize(
    ("row", "column", "kind"),
    [
        (target("../" + A[3:]), "patientId", "malformed image"),
        (target(""), "patientId", "malformed image"),
        (target(B, value="2"), "Target", "malformed target"),
        (target(B, value="1"), "Target", "target without box"),
        (target(B, *BOX, value="0"), "Target", "box without target"),
        (target(B, 1, 1, 9, "wide"), "height", "malformed box"),
        (target(B, 1, 1, 9, ""), "height", "malformed box"),
        (target(B, 1, 1, "inf", 9), "width", "malformed box"),
        (target(B, 1, 1, 0, 9), "width", "empty box"),
        (target(B, 1000, 1, 30, 9), "x", "box outside"),
        (target(A, *BOX), "patientId", "duplicate row"),
        (target(A), "Target", "target contradiction"),
        ("a,b", None, "malformed row"),
    ],
)
def test_a_bad_row_is_quarantined_and_the_others_stay(rsna: Make, row: str, column: str | None, kind: str) -> None:
    cohort = curate(rsna([target(A, *BOX), row, target(C)]))
    assert labels(cohort) == {A: (None, 1), C: (None, 0)}
    assert kinds(cohort) == [(3, column, kind)]
    assert flow(cohort) == {"read": 3, f"dropped: {kind}": 1, "kept": 2}


def test_films_are_found_by_their_id(rsna: Make) -> None:
    root = rsna([target(A), target(B), target(C)])
    (root / "stage_2_train_images").mkdir()
    (root / "stage_2_train_images" / f"{A}.dcm").touch()
    write_film(root / "images" / f"{B}.png")
    cohort = adapter("rsna").curate(root, settings=CurateSettings())
    assert cohort.studies["source_path"].to_list() == [f"stage_2_train_images/{A}.dcm", f"images/{B}.png", None]
    assert kinds(cohort) == [(4, "patientId", "missing film")]


def test_a_zipped_table_is_read_and_two_tables_in_one_are_not(rsna: Make, tmp_path: Path) -> None:
    root = rsna([target(A)])
    packed = root / f"{TABLE}.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        archive.write(root / TABLE, TABLE)
    (root / TABLE).unlink()
    assert curate(root).studies.height == 1
    with zipfile.ZipFile(packed, "a") as archive:
        archive.writestr("more.csv", HEADER)
    with pytest.raises(InputError, match="holds 2 files, expected one table"):
        curate(root)
    packed.write_bytes(b"PK")
    with pytest.raises(InputError, match="no zip file"):
        curate(root)


def test_missing_tables_and_columns_are_stated(rsna: Make, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds none of stage_2_train_labels.csv"):
        curate(tmp_path)
    with pytest.raises(InputError, match=r"no column 'Target'. Seen: patientId, x, y, width, height, Label"):
        curate(rsna([target(A)], top=HEADER.replace("Target", "Label")))
    with pytest.raises(InputError, match="no rows"):
        curate(rsna([]))
    root = rsna([target(A)])
    (root / "stage_2_detailed_class_info.csv").write_text("patientId,kind\n")
    with pytest.raises(InputError, match=r"stage_2_detailed_class_info.csv has no column 'class'"):
        curate(root)


FIELD = st.text(
    st.characters(blacklist_categories=("Cs",)) | st.sampled_from('",;\n\r\x00\ufeff'), max_size=10
) | st.sampled_from(
    [A, B, "0", "1", "-3", "9.5", "nan", "inf", "1e400", "../x", "Normal", "00000061_012.png", "999Y", "é"]
)
LINE = st.one_of(st.lists(FIELD, max_size=15).map(",".join), st.lists(FIELD, max_size=7).map(";".join))
ROW = st.one_of(
    LINE,
    st.builds(target, st.sampled_from([A, B])),
    st.builds(target, st.sampled_from([A, B]), *(st.integers(-5, 900) | FIELD for _ in range(4))),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(ROW, max_size=6),
    st.lists(LINE | st.sampled_from([f"{A},Normal"]), max_size=3),
    st.lists(LINE | st.builds(header, st.sampled_from([A, C]), age=FIELD, sex=FIELD, view=FIELD), max_size=3),
    st.lists(LINE | st.sampled_from([f"{A},00000061_012.png"]), max_size=3),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
)
def test_rows_read_are_used_or_dropped_whatever_they_hold(
    rsna: Make, rows: list[str], classes: list[str], headers: list[str], links: list[str], encoding: str
) -> None:
    given = {"classes": classes, "headers": headers, "links": links}
    cohort = curate(rsna([target(C), *rows], **given, encoding=encoding))
    for source in cohort.waterfall["source"].unique():
        steps = flow(cohort, source)
        assert steps["read"] == steps["kept"] + sum(n for step, n in steps.items() if step.startswith("dropped"))
    assert flow(cohort)["read"] == 1 + sum(bool(line.strip()) for row in rows for line in re.split("\r\n|\n|\r", row))
    assert (
        cohort.study_sources.filter(role="label", source_id=cohort.sources["source_id"][0]).height
        == (flow(cohort)["kept"])
    )
    assert cohort.studies.height == cohort.finding_values.height >= 1
    assert shared_patients(cohort.studies).is_empty()


def test_the_real_tables_have_their_known_counts(wheel_table: Callable[..., Path]) -> None:
    table, headers = "kaggle_stage_2_train_labels.csv.zip", "kaggle_stage_2_train_images_dicom_headers.csv.gz"
    cohort = curate(wheel_table(table, headers))
    studies, expected = cohort.studies, cohort.spec.expected[0]
    assert flow(cohort, table) == {"read": expected.when_rows, "kept": expected.when_rows}
    assert flow(cohort, headers) == {"read": 26_684, "kept": 26_684}
    assert studies.height == expected.studies == cohort.patients.height
    assert dict(studies["sex"].value_counts().iter_rows()) == expected.sex
    assert dict(studies["view"].value_counts().iter_rows()) == expected.view
    opacity = cohort.finding_values["lung_opacity"]
    assert ((opacity == 1).sum(), (opacity == 0).sum()) == (6_012, 20_672)
    assert expected.positive == {"lung_opacity": 6_012} and expected.negative == {"lung_opacity": 20_672}
    assert cohort.boxes.height == 9_555
    assert Counter(cohort.boxes["study_id"].value_counts()["count"]) == {1: 2_614, 2: 3_266, 3: 119, 4: 13}
    assert sorted(cohort.quarantine["value"]) == ["148", "150", "151", "153", "155"]
    bins = apply_choices(studies, Choices(age_scheme="nm2021"))["age_bin"].drop_nulls()
    assert [(bins == label).sum() for label in ("00-19", "20-39", "40-59", "60-79", "80-up")] == [
        1_659,
        6_865,
        11_612,
        6_251,
        297 - 5,
    ]
