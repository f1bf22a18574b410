from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cxr_assets.cohorts.curation import curate_studies
from cxr_assets.cohorts.splits import shared_patients
from cxr_assets.errors import InputError
from cxr_assets.project import Project
from tests.cohorts.mimic_tools import FIELD, Make, admission, curate, dicom, image, kinds, labels, write_mimic


@pytest.fixture
def mimic(tmp_path: Path) -> Make:
    return partial(write_mimic, tmp_path)


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
        ("10000032,F,91,2180,2014 - 2016,", "21830101", 91.0, "topcoded"),
        ("10000032,F,91,2180,2014 - 2016,", "22200101", 91.0, "topcoded"),
        ("10000032,F,91,2180,2014 - 2016,", "", 91.0, "topcoded"),
        ("10000032,F,91,2180,2014 - 2016,", "21790101", 91.0, "topcoded|before_anchor"),
        ("10000032,F,89,2180,2014 - 2016,", "21830101", 92.0, None),
        ("10000032,F,89,2180,2014 - 2016,", "22110101", 120.0, None),
        ("10000032,F,89,2180,2014 - 2016,", "22120101", None, "out_of_range"),
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
        image(2, study="50000002", time="123.5"),
        image(3, study="50000003", date="21790101"),
    ]
    studies = curate(mimic(rows)).studies.sort("exam_id")
    assert studies.select("exam_id", "study_number").rows() == [("s50000001", 2), ("s50000002", 1), ("s50000003", 0)]


@pytest.mark.parametrize("clock", ["", "noon", "250000.0", "-1", "nan", "1e5"])
def test_a_clock_that_cannot_be_read_leaves_its_day_in_the_order_of_ids(mimic: Make, clock: str) -> None:
    rows = [
        image(1, study="50000001", time="101500.0"),
        image(2, study="50000002", time=clock),
        image(3, study="50000003", time="91500.0"),
        image(4, study="50000005", date="21800507", time="2.0"),
        image(5, study="50000004", date="21800507", time="3.0"),
    ]
    cohort = curate(mimic(rows))
    order = cohort.studies.sort("study_number")["exam_id"].to_list()
    assert order == ["s50000001", "s50000002", "s50000003", "s50000005", "s50000004"]
    assert cohort.quarantine.filter(pl.col("reason").str.starts_with("unreadable time")).select(
        "row", "value"
    ).rows() == [(3, clock)]


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


def test_without_mimic_iv_nobody_is_given_an_age_or_a_race(mimic: Make) -> None:
    root = mimic()
    for name in ("patients", "admissions"):
        (root / "hosp" / f"{name}.csv.gz").unlink()
    studies = curate(root).studies
    assert studies.select("age_years", "sex", "race5").rows() == [(None, None, None)]


@pytest.mark.parametrize("changed", ["patients.csv", "deeper/reports.txt", None])
def test_a_file_that_an_option_names_makes_the_studies_anew_when_it_changes(
    mimic: Make, tmp_path: Path, changed: str | None
) -> None:
    root = mimic(zipped=False)
    elsewhere = tmp_path.with_name(f"{tmp_path.name}-iv")
    (root / "hosp").rename(elsewhere)
    (elsewhere / "deeper").mkdir()
    (elsewhere / "deeper" / "reports.txt").write_text("a")

    def made() -> bool:
        overrides = {"cohort_root": root, "curate": {"tables_only": True, "options": {"mimic_iv": str(elsewhere)}}}
        storage = tmp_path.with_name(f"{tmp_path.name}-store")
        return curate_studies(Project.open(cohort="mimic", storage=storage, overrides=overrides)).fresh

    assert [made(), made()] == [True, False]
    if changed:
        path = elsewhere / changed
        before = path.stat()
        path.write_text("b" if path.suffix == ".txt" else path.read_text().replace("F,52", "F,53"))
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1000))
        assert path.stat().st_size == before.st_size
    assert [made(), made()] == [changed is not None, False]


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
