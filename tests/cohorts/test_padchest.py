from __future__ import annotations

import ast
import csv
import gzip
import io
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cxr_assets.cohorts.base import CuratedCohort, CurateSettings
from cxr_assets.cohorts.delimited import read_delimited
from cxr_assets.cohorts.label_maps import PADCHEST_FINDINGS, PADCHEST_LABELS
from cxr_assets.cohorts.padchest.labels import parse_labels
from cxr_assets.cohorts.registry import adapter
from cxr_assets.cohorts.splits import shared_patients
from cxr_assets.errors import InputError, SettingsError
from tests.cohorts.conftest import write_film

TABLE = "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv"
HEADER = (
    ",ImageID,ImageDir,StudyDate_DICOM,StudyID,PatientID,PatientBirth,PatientSex_DICOM,ViewPosition_DICOM,Projection,"
    "MethodProjection,Pediatric,Modality_DICOM,Manufacturer_DICOM,PhotometricInterpretation_DICOM,"
    "PixelRepresentation_DICOM,PixelAspectRatio_DICOM,SpatialResolution_DICOM,BitsStored_DICOM,WindowCenter_DICOM,"
    "WindowWidth_DICOM,Rows_DICOM,Columns_DICOM,XRayTubeCurrent_DICOM,Exposure_DICOM,ExposureInuAs_DICOM,ExposureTime,"
    "RelativeXRayExposure_DICOM,ReportID,Report,MethodLabel,Labels,Localizations,LabelsLocalizationsBySentence,"
    "labelCUIS,LocalizationsCUIS"
)
PATIENT = "839860488694292331637988235681460987"
Make = Callable[..., Path]


def line(image: str = "1_a.png", **fields: str) -> str:
    """One row of the label table; fields are named as published, without ``_DICOM``."""
    told = {
        "ImageID": image,
        "ImageDir": "0",
        "StudyDate": "20140915",
        "StudyID": "216840111366964012558082906712009279180221152_00-043-182",
        "PatientID": PATIENT,
        "PatientBirth": "1930.0",
        "PatientSex": "F",
        "Projection": "PA",
        "Pediatric": "No",
        "Report": "sin hallazg patolog . ",
        "MethodLabel": "Physician",
        "Labels": "['normal']",
        "labelCUIS": "['C0034069'\n 'C0742362']",
        **fields,
    }
    text = io.StringIO()
    csv.writer(text).writerow([told.get(n.removesuffix("_DICOM"), "") for n in HEADER.split(",")])
    return text.getvalue().removesuffix("\r\n")


@pytest.fixture
def padchest(tmp_path: Path) -> Make:
    def make(rows: Sequence[str], *, header: str = HEADER, end: str = "\n", encoding: str = "utf-8") -> Path:
        (tmp_path / TABLE).write_bytes((end.join([header, *rows]) + end).encode(encoding))
        return tmp_path

    return make


def curate(root: Path, **options: object) -> CuratedCohort:
    return adapter("padchest").curate(root, settings=CurateSettings(tables_only=True, options=options))


def flow(cohort: CuratedCohort) -> dict[str, int]:
    return dict(cohort.waterfall.select("step", "rows").iter_rows())


def kinds(cohort: CuratedCohort) -> list[tuple[int, str, str]]:
    frame = cohort.quarantine.select("row", "column", pl.col("reason").str.split(":").list.first())
    return list(frame.iter_rows())


def values(cohort: CuratedCohort, study: str = "1_a") -> dict[str, int]:
    row = cohort.finding_values.filter(study_id=study).row(0, named=True)
    return {finding: row[finding] for finding in PADCHEST_FINDINGS if row[finding] is not None}


@pytest.mark.parametrize(("end", "encoding"), [("\n", "utf-8"), ("\r\n", "utf-8-sig"), ("\n", "utf-16")])
def test_a_row_becomes_a_study(padchest: Make, end: str, encoding: str) -> None:
    cohort = curate(padchest([line(), line("1_b.png", Projection="L")], end=end, encoding=encoding))
    study = cohort.studies.row(0, named=True)
    assert {key: study[key] for key in ("study_id", "patient_id", "sex", "sex_raw", "age_years", "view", "terms")} == {
        "study_id": "1_a",
        "patient_id": PATIENT,
        "sex": "female",
        "sex_raw": "F",
        "age_years": 84.0,
        "view": "PA",
        "terms": "bimcv-research",
    }
    assert study["label_source"] == "radiologist_report" and study["label_granularity"] == "study"
    assert cohort.studies["view"].to_list() == ["PA", "LATERAL"]
    assert flow(cohort) == {"read": 2, "kept": 2}
    assert cohort.reports.is_empty() and cohort.boxes.is_empty() and cohort.quarantine.is_empty()


def test_a_gzipped_table_is_read(padchest: Make) -> None:
    root = padchest([line()])
    (root / f"{TABLE}.gz").write_bytes(gzip.compress((root / TABLE).read_bytes()))
    (root / TABLE).unlink()
    assert curate(root).studies.height == 1


def test_normal_alone_makes_every_pathology_negative_and_devices_unmentioned(padchest: Make) -> None:
    expected = {finding: 0 for finding in PADCHEST_FINDINGS if finding != "support_devices"}
    assert values(curate(padchest([line()]))) == {**expected, "no_finding": 1}


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ("['pseudonodule']", {"no_finding": 0}),
        ("['mediastinal mass', 'soft tissue mass', 'breast mass']", {"no_finding": 0}),
        ("['pericardial effusion']", {"no_finding": 0}),
        ("['abnormal foreign body']", {"no_finding": 0}),
        ("['subcutaneous emphysema', 'copd signs']", {"no_finding": 0}),
        ("['laminar atelectasis']", {"no_finding": 0}),
        ("['callus rib fracture']", {"no_finding": 0}),
        ("['infiltrates']", {"no_finding": 0, "lung_opacity": 1}),
        ("['consolidation']", {"no_finding": 0, "consolidation": 1}),
        (
            "['Nodule ', ' hydropneumothorax', '', 'nodule']",
            {"no_finding": 0, "lung_lesion": 1, "pneumothorax": 1, "pleural_effusion": 1},
        ),
        ("['nsg tube', 'pacemaker', 'dai']", {"no_finding": 0, "support_devices": 1}),
        ("['normal', 'cardiomegaly']", {"no_finding": 0, "cardiomegaly": 1}),
        ("['normal', 'unchanged']", {}),
        ("['unchanged', 'suboptimal study', 'exclude']", {}),
        ("['normal', 'gout']", {}),
        ("['', ' ']", {}),
        ("nan", {}),
        ("", {}),
    ],
)
def test_labels_are_compared_whole_and_what_is_not_listed_is_unmentioned(
    padchest: Make, labels: str, expected: dict[str, int]
) -> None:
    assert values(curate(padchest([line(Labels=labels)]))) == expected


def test_options_let_laminar_atelectasis_and_callus_count(padchest: Make) -> None:
    root = padchest([line(Labels="['laminar atelectasis', 'callus rib fracture']")])
    assert values(curate(root, laminar=True, callus=True)) == {"no_finding": 0, "atelectasis": 1, "fracture": 1}
    with pytest.raises(SettingsError, match=r"has no such option. Did you mean laminar"):
        curate(root, laminer=True)


@pytest.mark.parametrize(
    ("fields", "column", "kind"),
    [
        ({"image": "../1_a.png"}, "ImageID", "unsafe name"),
        ({"image": "0\\1_a.png"}, "ImageID", "unsafe name"),
        ({"image": "/etc/passwd.png"}, "ImageID", "unsafe name"),
        ({"image": ""}, "ImageID", "malformed name"),
        ({"image": "1_a.jpg"}, "ImageID", "malformed name"),
        ({"image": "1_z.png"}, "ImageID", "duplicate image"),
        ({"PatientID": "8.39860488694e+35"}, "PatientID", "malformed patient"),
        ({"PatientID": "12.0"}, "PatientID", "malformed patient"),
        ({"PatientID": ""}, "PatientID", "malformed patient"),
        ({"StudyID": "2.1e44"}, "StudyID", "malformed study"),
        ({"MethodLabel": "Guess"}, "MethodLabel", "unknown label method"),
        ({"Projection": "EXCLUDE"}, "Projection", "projection EXCLUDE"),
        ({"Projection": "UNK"}, "Projection", "projection UNK"),
        ({"Projection": "COSTAL"}, "Projection", "projection COSTAL"),
        ({"Projection": "oblique"}, "Projection", "unknown projection"),
        ({"Labels": "normal"}, "Labels", "malformed labels"),
        ({"Labels": "['normal' 'copd signs']"}, "Labels", "malformed labels"),
        ({"Labels": "__import__('os')"}, "Labels", "malformed labels"),
        ({"Labels": "['normal'"}, "Labels", "malformed labels"),
        ({"Labels": "[['normal']]"}, "Labels", "malformed labels"),
    ],
)
def test_a_bad_row_is_quarantined_and_the_others_stay(
    padchest: Make, fields: dict[str, str], column: str, kind: str
) -> None:
    cohort = curate(padchest([line("1_z.png", labelCUIS=""), line(**{"labelCUIS": "", **fields}), line("2_b.png")]))
    assert cohort.studies["study_id"].to_list() == ["1_z", "2_b"]
    assert kinds(cohort) == [(3, column, kind)]
    assert flow(cohort) == {"read": 3, f"dropped: {kind}": 1, "kept": 2}


@pytest.mark.parametrize(
    ("fields", "age", "flag", "kind"),
    [
        ({"PatientBirth": "1880.0"}, None, "over_120", ["age out of range"]),
        ({"PatientBirth": "2016.0"}, None, "before_birth", ["age out of range"]),
        ({"PatientBirth": ""}, None, "missing", ["unreadable age"]),
        ({"PatientBirth": "19400"}, None, "unparsed", ["unreadable age"]),
        ({"StudyDate": "20141399"}, None, "unparsed", ["unreadable date"]),
        ({"PatientBirth": "2014.0", "Pediatric": "No"}, 0.0, None, []),
        ({"PatientBirth": "1990", "Pediatric": "PED"}, 24.0, None, []),
        ({"PatientSex": "Z"}, 84.0, None, ["unknown sex"]),
        ({"PatientSex": "O"}, 84.0, None, []),
        ({"PatientSex": "nan"}, 84.0, None, []),
        ({"Labels": "['', '']"}, 84.0, None, ["no labels"]),
        ({"Labels": "['normal', 'scoliosis']"}, 84.0, None, ["normal beside other labels"]),
        ({"Labels": "['gout']"}, 84.0, None, ["unknown label"]),
    ],
)
def test_an_odd_value_is_noted_and_the_row_stays(
    padchest: Make, fields: dict[str, str], age: float | None, flag: str | None, kind: list[str]
) -> None:
    cohort = curate(padchest([line(**fields)]))
    study = cohort.studies.row(0, named=True)
    assert (study["age_years"], study["age_flags"]) == (age, flag)
    assert [found for *_, found in kinds(cohort)] == kind
    assert flow(cohort) == {"read": 1, "kept": 1}
    if "PatientSex" in fields:
        assert study["sex"] is None and study["sex_raw"] == fields["PatientSex"]


def test_ages_are_those_of_the_study_and_not_of_one_year(padchest: Make) -> None:
    rows = [line("1_a.png", StudyDate="20070503"), line("1_b.png", StudyDate="20171117")]
    assert curate(padchest(rows)).studies["age_years"].to_list() == [77.0, 87.0]


def test_a_patient_of_two_sexes_has_none_and_films_are_ordered_by_date(padchest: Make) -> None:
    rows = [
        line("1_c.png", StudyDate="20150102"),
        line("1_a.png"),
        line("1_b.png", Projection="AP_horizontal", PatientSex="M"),
    ]
    cohort = curate(padchest(rows))
    assert cohort.studies.select("study_id", "study_number", "sex", "sex_raw", "view", "view_raw").rows() == [
        ("1_a", 0, None, "F", "PA", "PA"),
        ("1_b", 0, None, "M", "AP", "AP_horizontal"),
        ("1_c", 1, None, "F", "PA", "PA"),
    ]
    assert [kind for *_, kind in kinds(cohort)] == ["sex differs within patient"] * 3
    assert cohort.patients.select("studies", "sex").rows() == [(3, None)]


def test_films_are_found_in_numbered_folders_and_flat(padchest: Make, tmp_path: Path) -> None:
    root = padchest([line(f"{number}_a.png") for number in range(1, 5)])
    for place in ("0/1_a.png", "images/54/2_a.png", "3_a.png"):
        write_film(root / place)
    cohort = adapter("padchest").curate(root, settings=CurateSettings())
    assert cohort.studies["source_path"].to_list() == ["0/1_a.png", "images/54/2_a.png", "3_a.png", None]
    assert [kind for *_, kind in kinds(cohort)] == ["missing film"]


def test_a_link_out_of_the_cohort_is_not_followed(padchest: Make, tmp_path_factory: pytest.TempPathFactory) -> None:
    root = padchest([line()])
    (root / "0").mkdir()
    (root / "0" / "1_a.png").symlink_to(write_film(tmp_path_factory.mktemp("outside") / "1_a.png"))
    cohort = adapter("padchest").curate(root, settings=CurateSettings())
    assert cohort.studies["source_path"].to_list() == [None]
    assert [kind for *_, kind in kinds(cohort)] == ["film outside"]


@pytest.mark.parametrize("column", ["PatientID", "StudyDate_DICOM", "MethodLabel", "Labels"])
def test_a_missing_column_stops_the_curation(padchest: Make, column: str) -> None:
    with pytest.raises(InputError, match=rf"no column '{column}'. Seen: ImageID.*docs/cohorts/padchest.md"):
        curate(padchest([line()], header=HEADER.replace(f",{column},", ",Remark,")))


def test_no_table_no_rows_and_no_gzip_are_stated(padchest: Make, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds none of PADCHEST"):
        curate(tmp_path)
    with pytest.raises(InputError, match="no rows"):
        curate(padchest([]))
    (tmp_path / TABLE).rename(tmp_path / f"{TABLE}.gz")
    with pytest.raises(InputError, match="no gzip file"):
        curate(tmp_path)


PLAIN = st.text(st.characters(blacklist_characters="\\'\"\r\n", blacklist_categories=("Cs", "Cc")), max_size=8)


@given(st.lists(PLAIN | st.sampled_from(sorted(PADCHEST_LABELS))), st.sampled_from([", ", ",", " , "]), st.booleans())
def test_labels_are_parsed_as_python_would(labels: list[str], joint: str, double: bool) -> None:
    text = f"[{joint.join(f'{quote}{label}{quote}' for label in labels)}]" if (quote := '"' if double else "'") else ""
    parts = parse_labels(pl.Series([text]))["parts"].to_list()[0]
    meant = [word for label in ast.literal_eval(text) if (word := label.strip().lower())]
    assert parts == list(dict.fromkeys(meant))


@given(st.text(st.sampled_from("[]'\",\\ a\n"), max_size=10))
def test_no_text_is_read_that_python_would_read_otherwise(text: str) -> None:
    parts = parse_labels(pl.Series([text], dtype=pl.String))["parts"].to_list()[0]
    if parts is not None:
        read = ast.literal_eval(text)
        assert isinstance(read, list) and parts == list(dict.fromkeys(filter(None, (word.strip() for word in read))))


FIELD = st.text(
    st.characters(blacklist_categories=("Cs",)) | st.sampled_from('",;\n\r\x00\ufeff'), max_size=10
) | st.sampled_from(
    ["['normal']", "nan", "-1", "1e40", "../a.png", "9" * 39, "20140230", "Physician", "L", "F", "é\x00"]
)
NAMES = ("ImageDir", "StudyDate", "StudyID", "PatientID", "PatientBirth", "PatientSex", "Projection", "Labels")
LINE = st.one_of(
    st.builds(
        lambda image, fields: line(image, **fields), FIELD, st.dictionaries(st.sampled_from(NAMES), FIELD, max_size=4)
    ),
    st.lists(FIELD, max_size=40).map(",".join),
    st.lists(FIELD, max_size=40).map(";".join),
)


@pytest.mark.parametrize(("column", "text"), [("LocalizationsCUIS", '"[]'), ("Report", '"stray'), ("", '"7')])
@pytest.mark.parametrize("second", [None, 8, 10])
def test_a_stray_quote_takes_no_other_row(padchest: Make, column: str, text: str, second: int | None) -> None:
    rows = [line(f"{number}_a.png", Labels="normal", labelCUIS="C1", Report="x") for number in range(1, 11)]
    for number in filter(None, (7, second)):
        fields = rows[number - 1].split(",")
        fields[HEADER.split(",").index(column)] = text
        rows[number - 1] = ",".join(fields)
    cohort = curate(padchest(rows))
    spoiled = [7] if second is None else [7, second]
    assert flow(cohort)["read"] == 10 and flow(cohort)["dropped: malformed row"] == len(spoiled)
    ragged = cohort.quarantine.filter(pl.col("reason").str.starts_with("malformed row"))
    assert ragged["row"].to_list() == [number + 1 for number in spoiled]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(LINE, max_size=5), st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]), st.sampled_from(["\n", "\r\n"]))
def test_rows_read_are_curated_or_quarantined_whatever_they_hold(
    padchest: Make, lines: list[str], encoding: str, end: str
) -> None:
    cohort = curate(padchest([line("42_x.png"), *lines], encoding=encoding, end=end))
    steps = flow(cohort)
    dropped = sum(count for step, count in steps.items() if step.startswith("dropped"))
    assert steps["kept"] + dropped == steps["read"] >= 1
    assert cohort.studies.height == cohort.finding_values.height == steps["kept"]
    assert shared_patients(cohort.studies).is_empty()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=80))
def test_any_bytes_after_the_header_are_survived(padchest: Make, tail: bytes) -> None:
    root = padchest([line()])
    with (root / TABLE).open("ab") as stream:
        stream.write(tail)
    cohort = curate(root)
    assert cohort.studies.height == flow(cohort)["kept"]


def test_the_real_table_has_its_known_counts(wheel_table: Callable[..., Path]) -> None:
    cohort = curate(wheel_table(f"{TABLE}.gz"))
    studies, expected = cohort.studies, cohort.spec.expected[0]
    assert flow(cohort) == {
        "read": expected.when_rows,
        "dropped: projection COSTAL": 630,
        "dropped: projection EXCLUDE": 11,
        "dropped: projection UNK": 8,
        "kept": expected.studies,
    }
    assert (studies.height, cohort.patients.height) == (expected.studies, expected.patients)
    assert dict(studies["view"].value_counts().iter_rows()) == expected.view
    assert dict(studies["view_raw"].value_counts().iter_rows())["AP_horizontal"] == 14_346
    assert dict(studies["sex"].drop_nulls().value_counts().iter_rows()) == expected.sex
    assert studies["patient_id"].str.len_chars().max() == 39
    ages = studies["age_years"].drop_nulls()
    assert (ages.min(), ages.max(), studies["age_years"].null_count()) == (0, 105, 6)
    contradicted = cohort.quarantine.filter(pl.col("reason").str.starts_with("sex differs"))
    assert contradicted.height == studies.filter(pl.col("sex").is_null() & pl.col("sex_raw").is_in(["M", "F"])).height
    for value, counts in ((1, expected.positive), (0, expected.negative)):
        assert {finding: (cohort.finding_values[finding] == value).sum() for finding in counts} == counts
    assert shared_patients(studies).is_empty()


def test_the_real_labels_have_their_known_counts(wheel_table: Callable[..., Path]) -> None:
    root = wheel_table(f"{TABLE}.gz")
    rows = read_delimited(root / f"{TABLE}.gz", cohort="padchest", multiline=True).rows
    methods = dict(rows["methodlabel"].value_counts().iter_rows())
    assert methods == {"Physician": 39_053, "RNN_model": 121_808}
    table = rows.select("labels").join(parse_labels(rows["labels"].unique()), on="labels")
    assert table.filter(pl.col("parts").is_null())["labels"].unique().to_list() == ["nan"]
    assert table["parts"].null_count() == 103
    assert table.filter(pl.col("parts").list.contains("normal") & (pl.col("parts").list.len() > 1)).height == 226
    present = dict(table.explode("parts", empty_as_null=True)["parts"].drop_nulls().value_counts().iter_rows())
    assert set(present) == PADCHEST_LABELS and len(present) == 193
    written: Counter[str] = Counter()
    once: Counter[str] = Counter()
    for text, rows_with in rows["labels"].value_counts().filter(pl.col("labels") != "nan").iter_rows():
        words = [label.strip().lower() for label in ast.literal_eval(text)]
        written.update({word: number * rows_with for word, number in Counter(words).items()})
        once.update(dict.fromkeys(filter(None, words), rows_with))
    assert present == once
    entries = {"normal": 50_616, "copd signs": 23_280, "cardiomegaly": 15_028, "unchanged": 14_349, "nodule": 3_781}
    entries |= {"pleural effusion": 10_026, "pneumonia": 8_037, "laminar atelectasis": 5_201, "atelectasis": 2_905}
    entries |= {"consolidation": 2_508, "exclude": 1_312, "suboptimal study": 1_840, "": 3_041}
    assert {label: written[label] for label in entries} == entries
    assert (present["pulmonary edema"], present["pneumothorax"]) == (1_456, 533)
    nodules = table.filter(pl.col("parts").list.set_intersection(["nodule", "multiple nodules"]).list.len() > 0)
    assert nodules.height == 4_072 and table.filter(pl.col("labels").str.contains("nodule")).height > 6_000
