from __future__ import annotations

import gzip
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cxr_assets.cohorts.base import CuratedCohort, CurateSettings
from cxr_assets.cohorts.mimic.reports import sections_of
from cxr_assets.cohorts.registry import adapter
from cxr_assets.cohorts.splits import shared_patients
from cxr_assets.errors import InputError

METADATA = (
    "dicom_id,subject_id,study_id,PerformedProcedureStepDescription,ViewPosition,Rows,Columns,StudyDate,StudyTime,"
    "ProcedureCodeSequence_CodeMeaning,ViewCodeSequence_CodeMeaning,PatientOrientationCodeSequence_CodeMeaning"
)
LABELS = (
    "Atelectasis,Cardiomegaly,Consolidation,Edema,Enlarged Cardiomediastinum,Fracture,Lung Lesion,Lung Opacity,No Finding,"
    "Pleural Effusion,Pleural Other,Pneumonia,Pneumothorax,Support Devices"
)
PATIENTS = "subject_id,gender,anchor_age,anchor_year,anchor_year_group,dod"
ADMISSIONS = (
    "subject_id,hadm_id,admittime,dischtime,deathtime,admission_type,admit_provider_id,admission_location,"
    "discharge_location,insurance,language,marital_status,race,edregtime,edouttime,hospital_expire_flag"
)
Make = Callable[..., Path]


def dicom(number: int) -> str:
    """A well-formed image id."""
    return "-".join([f"{number:08x}", *["0a1b2c3d"] * 4])


def image(
    number: int = 1,
    *,
    subject: str = "10000032",
    study: str = "50414267",
    view: str = "PA",
    date: str = "21800506",
    time: str = "213014.531",
    code: str = "",
    procedure: str = "CHEST (PA AND LAT)",
    name: str | None = None,
) -> str:
    """One row of the image table."""
    cells = [name or dicom(number), subject, study, procedure, view, "3056", "2544", date, time, "", code, "Erect"]
    return ",".join(f'"{cell}"' if "," in cell else cell for cell in cells)


def labels(study: str = "50414267", subject: str = "10000032", **values: str) -> str:
    """One row of a label table; names as in the header, blanks for underscores."""
    named = {name.replace("_", " "): value for name, value in values.items()}
    return ",".join([subject, study, *(named.get(column, "") for column in LABELS.split(","))])


def admission(race: str, time: str = "2180-05-06 22:23:00", subject: str = "10000032") -> str:
    """One row of MIMIC-IV's admissions."""
    return ",".join([subject, "22595853", time, *[""] * 9, race, "", "", "0"])


@pytest.fixture
def mimic(tmp_path: Path) -> Make:
    def make(
        images: Sequence[str] = (image(),),
        *,
        study_labels: Sequence[str] = (labels(Edema="1.0"),),
        split: Sequence[str] | None = None,
        patients: Sequence[str] = ("10000032,F,52,2180,2014 - 2016,",),
        admissions: Sequence[str] = (),
        zipped: bool = True,
    ) -> Path:
        if split is None:
            split = [f"{row.split(',')[0]},{row.split(',')[2]},{row.split(',')[1]},train" for row in images]
        tables = {
            "mimic-cxr-2.0.0-metadata.csv": (METADATA, images),
            "mimic-cxr-2.0.0-split.csv": ("dicom_id,study_id,subject_id,split", split),
            "mimic-cxr-2.0.0-chexpert.csv": (f"subject_id,study_id,{LABELS}", study_labels),
            "hosp/patients.csv": (PATIENTS, patients),
            "hosp/admissions.csv": (ADMISSIONS, admissions),
        }
        for name, (header, rows) in tables.items():
            data = ("\n".join([header, *rows]) + "\n").encode()
            path = tmp_path / (f"{name}.gz" if zipped else name)
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(gzip.compress(data) if zipped else data)
        return tmp_path

    return make


def curate(root: Path, **changes: object) -> CuratedCohort:
    return adapter("mimic").curate(root, settings=CurateSettings(tables_only=True, **changes))


def kinds(cohort: CuratedCohort) -> list[str]:
    return cohort.quarantine["reason"].str.split(":").list.first().to_list()


@pytest.mark.parametrize("zipped", [True, False])
def test_an_image_gets_its_patient_study_view_and_labels(mimic: Make, zipped: bool) -> None:
    cohort = curate(mimic(study_labels=[labels(Edema="1.0", Pneumonia="-1.0", Fracture="0.0")], zipped=zipped))
    assert cohort.studies.select("study_id", "patient_id", "exam_id", "view", "sex", "age_years", "split").rows() == [
        (dicom(1), "10000032", "s50414267", "PA", "female", 52.0, "train")
    ]
    row = cohort.finding_values.row(0, named=True)
    assert (row["edema"], row["pneumonia"], row["fracture"], row["atelectasis"]) == (1, -1, 0, None)


@pytest.mark.parametrize(
    ("person", "date", "age", "flag"),
    [
        ("10000032,F,52,2180,2014 - 2016,", "21830101", 55.0, None),
        ("10000032,F,91,2180,2014 - 2016,", "21830101", 94.0, "topcoded"),
        ("10000032,F,0,2180,2014 - 2016,", "21800101", None, "anchor_zero"),
        ("10000032,F,20,2180,2014 - 2016,", "21500101", None, "out_of_range"),
        ("10000032,F,52,2180,2014 - 2016,", "", None, "missing"),
    ],
)
def test_age_is_counted_in_the_patient_s_own_calendar(
    mimic: Make, person: str, date: str, age: float | None, flag: str | None
) -> None:
    studies = curate(mimic([image(date=date)], patients=[person])).studies
    assert studies.select("age_years", "age_flags").rows() == [(age, flag)]


def test_studies_are_ordered_by_a_clock_that_lost_its_zeros(mimic: Make) -> None:
    rows = [
        image(1, study="50000001", time="101500.0"),
        image(2, study="50000002", time="83.5"),
        image(3, study="50000003", date="21790101"),
    ]
    studies = curate(mimic(rows)).studies.sort("exam_id")
    assert studies.select("exam_id", "study_number").rows() == [("s50000001", 2), ("s50000002", 1), ("s50000003", 0)]


@pytest.mark.parametrize(
    ("view", "code", "procedure", "expected"),
    [
        ("AP", "", "", "AP"),
        ("LL", "", "", "LATERAL"),
        ("AP AXIAL", "", "", "AP"),
        ("SWIMMERS", "", "", "LATERAL"),
        ("LPO", "lateral", "", None),
        ("", "postero-anterior", "", "PA"),
        ("", "", "CHEST (PORTABLE AP)", "AP"),
        ("", "", "CHEST (PA AND LAT)", None),
    ],
)
def test_views(mimic: Make, view: str, code: str, procedure: str, expected: str | None) -> None:
    cohort = curate(mimic([image(view=view, code=code, procedure=procedure)]))
    assert cohort.studies["view"].to_list() == [expected] and cohort.quarantine.is_empty()


def test_a_study_without_labels_is_kept_with_nulls(mimic: Make) -> None:
    cohort = curate(mimic([image(1), image(2, study="50000002")]))
    assert cohort.studies.height == 2 and kinds(cohort) == ["study without labels"]
    assert cohort.finding_values.filter(study_id=dicom(2)).select("edema", "no_finding").rows() == [(None, None)]


@pytest.mark.parametrize(
    ("visits", "race5", "source"),
    [
        (["WHITE", "UNKNOWN", "PATIENT DECLINED TO ANSWER"], "white", "all admissions agree"),
        (["OTHER", "WHITE", "WHITE - RUSSIAN"], "white", "most frequent admission"),
        (["UNKNOWN"], None, None),
        ([], None, None),
    ],
)
def test_unknown_never_outvotes_a_recorded_race(
    mimic: Make, visits: list[str], race5: str | None, source: str | None
) -> None:
    studies = curate(mimic(admissions=[admission(race) for race in visits])).studies
    assert studies.select("race5", "race_source").rows() == [(race5, source)]


def test_a_tie_goes_to_the_admission_before_the_study(mimic: Make) -> None:
    visits = [admission("ASIAN", "2181-01-01 00:00:00"), admission("WHITE", "2179-01-01 00:00:00")]
    rows = [image(1), image(2, study="50000002", date="21820101")]
    studies = curate(mimic(rows, admissions=visits)).studies.sort("exam_id", descending=True)
    assert studies.select("race5", "race_source", "race_flags", "race_raw").rows() == [
        ("white", "nearest admission", "race_conflict", "ASIAN|WHITE"),
        ("asian", "nearest admission", "race_conflict", "ASIAN|WHITE"),
    ]
    first = curate(mimic(rows, admissions=visits), options={"race_rule": "first"}).studies
    assert set(first["race5"]) == {"white"}


def test_hispanic_is_on_one_axis_and_unknown_on_the_other(mimic: Make) -> None:
    studies = curate(mimic(admissions=[admission("HISPANIC/LATINO - CUBAN")])).studies
    assert studies.select("race5", "race_only", "ethnicity").rows() == [("hispanic", None, "hispanic")]


def test_the_column_of_older_releases_is_read(mimic: Make) -> None:
    root = mimic(zipped=False, admissions=[admission("BLACK/AFRICAN AMERICAN")])
    path = root / "hosp" / "admissions.csv"
    path.write_text(path.read_text().replace("marital_status,race,", "marital_status,ethnicity,"))
    assert curate(root).studies["race5"].to_list() == ["black"]


def test_without_mimic_iv_nobody_is_given_an_age_or_a_race(mimic: Make) -> None:
    root = mimic()
    for name in ("patients", "admissions"):
        (root / "hosp" / f"{name}.csv.gz").unlink()
    studies = curate(root).studies
    assert studies.select("age_years", "sex", "race5").rows() == [(None, None, None)]


def test_radiologists_labels_replace_the_labeller_s_for_their_studies(mimic: Make) -> None:
    root = mimic(
        [image(1), image(2, study="50000002")], study_labels=[labels(Edema="1.0"), labels("50000002", Edema="1.0")]
    )
    (root / "mimic-cxr-2.1.0-test-set-labeled.csv").write_text("study_id,Airspace Opacity,Edema\n50000002,1.0,0.0\n")
    cohort = curate(root)
    values = cohort.studies.join(cohort.finding_values, on="study_id").sort("exam_id", descending=True)
    assert values.select("edema", "lung_opacity", "label_source").rows() == [
        (1, None, "nlp_report"),
        (0, 1, "radiologist_report"),
    ]


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        (image(name="not-an-id"), "malformed image id"),
        (image(9, subject="10000032.0"), "malformed patient"),
        (image(9, study="1e7"), "malformed study"),
        (image(1), "duplicate image"),
        ("a,b", "malformed row"),
        (image(name="../../../../etc/passwd"), "malformed image id"),
    ],
)
def test_bad_rows_go_to_the_quarantine(mimic: Make, row: str, kind: str) -> None:
    cohort = curate(mimic([image(1), row], split=[f"{dicom(1)},50414267,10000032,train"]))
    assert cohort.studies.height == 1 and kind in kinds(cohort)


def test_a_patient_whom_the_split_list_divides_goes_to_the_test(mimic: Make) -> None:
    split = [f"{dicom(1)},50414267,10000032,train", f"{dicom(2)},50414267,10000032,test"]
    cohort = curate(mimic([image(1), image(2)], split=split))
    assert cohort.studies["split"].to_list() == ["test", "test"] and kinds(cohort) == ["patient in two splits"]


@pytest.mark.parametrize("missing", ["mimic-cxr-2.0.0-metadata", "mimic-cxr-2.0.0-split", "mimic-cxr-2.0.0-chexpert"])
def test_a_missing_table_is_named(mimic: Make, missing: str) -> None:
    root = mimic()
    (root / f"{missing}.csv.gz").unlink()
    with pytest.raises(InputError, match=missing.replace(".", r"\.")):
        curate(root)


REPORT = """                                 FINAL REPORT
 EXAMINATION:  CHEST (PA AND LAT)

 INDICATION:  ___F with new onset ascites

 WET READ: ___ 10:02 PM
  No pneumonia.

 FINDINGS:

 There is no focal consolidation.
 Heart is normal.

 IMPRESSION:

 No acute process.

 RECOMMENDATION(S):  Follow up.
"""


def test_report_sections_are_found_under_their_headings() -> None:
    assert sections_of(REPORT) == {
        "indication": "___F with new onset ascites",
        "findings": "There is no focal consolidation. Heart is normal.",
        "impression": "No acute process.",
    }


def test_the_last_paragraph_stands_in_where_no_section_is_named() -> None:
    assert sections_of("FINAL REPORT\n CHEST\n\n HISTORY: pain\n\n Lungs are clear.\n") == {
        "indication": "pain",
        "last_paragraph": "Lungs are clear.",
    }
    assert sections_of("CONCLUSION: old.\n\nIMPRESSION: new.\n")["impression"] == "new."
    assert sections_of("") == {}


@pytest.mark.parametrize("form", ["zip", "files"])
def test_reports_are_read_from_a_zip_or_from_files(mimic: Make, form: str) -> None:
    root = mimic([image(1), image(2)])
    member = "files/p10/p10000032/s50414267.txt"
    if form == "zip":
        with zipfile.ZipFile(root / "mimic-cxr-reports.zip", "w") as archive:
            archive.writestr(member, REPORT)
            archive.writestr("../../evil.txt", "x")
            archive.writestr("files/p19/p19999999/s59999999.txt", REPORT)
    else:
        (root / member).parent.mkdir(parents=True)
        (root / member).write_text(REPORT)
    cohort = curate(root)
    assert cohort.reports.filter(study_id=dicom(2))["section"].to_list() == ["findings", "impression", "indication"]
    assert cohort.studies["report_source"].null_count() == 0
    assert cohort.study_sources.filter(role="report").height == 2


FIELD = st.text(alphabet=st.characters(blacklist_characters='\r\n",', blacklist_categories=("Cs",)), max_size=9)
LINE = st.one_of(
    st.builds(image, st.integers(2, 4), subject=FIELD, view=FIELD, date=FIELD, time=FIELD),
    st.builds(image, st.integers(2, 4), study=st.sampled_from(["50000002", "x"]), code=FIELD),
    FIELD,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(LINE, max_size=4),
    st.lists(st.builds(labels, st.sampled_from(["50414267", "x"]), Edema=FIELD), max_size=3),
    st.lists(FIELD.map(lambda age: f"10000032,F,{age},2180,x,"), min_size=1, max_size=2),
    st.lists(st.builds(admission, st.one_of(FIELD, st.sampled_from(["WHITE", "ASIAN"])), FIELD), max_size=3),
)
def test_rows_read_are_curated_or_quarantined_whatever_they_hold(
    mimic: Make, images: list[str], read: list[str], people: list[str], visits: list[str]
) -> None:
    split = [f"{dicom(1)},50414267,10000032,train"]
    cohort = curate(mimic([image(1), *images], study_labels=read, split=split, patients=people, admissions=visits))
    flow = cohort.waterfall
    for source, count in flow.filter(step="read").select("source", "rows").iter_rows():
        rest = flow.filter((pl.col("source") == source) & (pl.col("step") != "read"))["rows"].sum()
        assert rest == count
    kept = flow.filter(pl.col("source").str.contains("metadata") & (pl.col("step") == "kept"))["rows"].item()
    assert cohort.studies.height == kept >= 1
    assert shared_patients(cohort.studies).is_empty()
