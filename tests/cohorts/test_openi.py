from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cxr_assets.cohorts.base import CuratedCohort, CurateSettings
from cxr_assets.cohorts.openi_images import image_id
from cxr_assets.cohorts.registry import adapter
from cxr_assets.errors import InputError
from tests.cohorts.conftest import write_film

TABLE_HEADER = "uid,MeSH,Problems,image,indication,comparison,findings,impression"


def xml(uid: str = "CXR1", *, majors: tuple[str, ...] = ("normal",), impression: str = "Clear lungs.") -> str:
    headings = "".join(f"<major>{text}</major>" for text in majors)
    sections = {"COMPARISON": "None.", "INDICATION": "XXXX-year-old male", "FINDINGS": "", "IMPRESSION": impression}
    abstract = "".join(f'<AbstractText Label="{label}">{text}</AbstractText>' for label, text in sections.items())
    images = "".join(f'<parentImage id="{uid}_1_IM-0001-{view}"/>' for view in (3001, 4001))
    return (
        f'<?xml version="1.0" encoding="utf-8"?><eCitation><uId id="{uid}"/><MedlineCitation><Article>'
        f"<Abstract>{abstract}</Abstract></Article></MedlineCitation>"
        f"<MeSH>{headings}<automatic>edema</automatic></MeSH>{images}</eCitation>"
    )


def xml_root(tmp_path: Path, **files: str) -> Path:
    (tmp_path / "ecgen-radiology").mkdir(exist_ok=True)
    for name, text in files.items():
        (tmp_path / "ecgen-radiology" / f"{name.removeprefix('_')}.xml").write_text(text)
    return tmp_path


def curate(root: Path) -> CuratedCohort:
    return adapter("openi").curate(root, settings=CurateSettings())


def values(cohort: CuratedCohort, study: str) -> dict[str, int | None]:
    return dict(cohort.findings.filter(study_id=study).select("finding", "value").iter_rows())


def test_one_study_a_report_without_images(tmp_path: Path) -> None:
    cohort = curate(xml_root(tmp_path, _1=xml(), _2=xml("CXR2", majors=("Cardiomegaly/mild", "Opacity/lung"))))
    study = cohort.studies.row(0, named=True)
    assert (study["study_id"], study["patient_id"], study["patient_id_kind"]) == ("CXR1", "CXR1", "report")
    assert study["sex"] is None and study["age_years"] is None and study["source_path"] is None
    assert values(cohort, "CXR1")["no_finding"] == 1
    second = values(cohort, "CXR2")
    assert (second["cardiomegaly"], second["lung_opacity"], second["no_finding"], second["edema"]) == (1, 1, 0, None)
    assert cohort.reports.filter(study_id="CXR1").select("section", "text").rows() == [
        ("impression", "Clear lungs."),
        ("indication", "XXXX-year-old male"),
        ("comparison", "None."),
    ]
    assert set(cohort.studies["terms"]) == {"cc-by-nc-nd"}


def test_projections_make_one_study_an_image(tmp_path: Path) -> None:
    root = xml_root(tmp_path, _1=xml(), _2=xml("CXR2"))
    lines = ["uid,filename,projection", "1,1_1_IM-0001-3001.dcm.png,Frontal", "1,1_1_IM-0001-4001.dcm.png,Lateral"]
    (root / "indiana_projections.csv").write_text(
        "\n".join([*lines, "9,9_IM-0009-1001.dcm.png,Frontal", "1,../1_IM-1.png,Frontal"])
    )
    write_film(root / "images" / "images_normalized" / "1_1_IM-0001-3001.dcm.png")
    cohort = curate(root)
    assert cohort.studies.select("study_id", "exam_id", "view", "view_raw", "source_path").rows() == [
        ("CXR1_1_IM-0001-3001", "CXR1", None, "Frontal", "images/images_normalized/1_1_IM-0001-3001.dcm.png"),
        ("CXR1_1_IM-0001-4001", "CXR1", "LATERAL", "Lateral", None),
        ("CXR2", "CXR2", None, None, None),
    ]
    reasons = cohort.quarantine["reason"].str.split(":").list.first().to_list()
    assert sorted(reasons) == ["malformed name", "missing film"]
    steps = dict(cohort.waterfall.filter(source="indiana_projections.csv").select("step", "rows").iter_rows())
    assert steps == {"read": 4, "dropped: malformed name": 1, "dropped: report not here": 1, "kept": 2}
    assert cohort.studies.filter(exam_id="CXR1")["split"].n_unique() == 1
    assert cohort.reports.height == 9


def test_films_as_received_are_found_without_projections(tmp_path: Path) -> None:
    root = xml_root(tmp_path, _1=xml())
    write_film(root / "NLMCXR_png" / "CXR1_1_IM-0001-3001.png")
    assert curate(root).studies.select("study_id", "source_path").rows() == [
        ("CXR1_1_IM-0001-3001", "NLMCXR_png/CXR1_1_IM-0001-3001.png")
    ]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("<eCitation>", "malformed XML"),
        ("", "malformed XML"),
        ('<!DOCTYPE x [<!ENTITY a "b">]><eCitation>&a;</eCitation>', "malformed XML"),
        (xml("../etc"), "malformed report id"),
        ("<eCitation/>", "malformed report id"),
        (xml("CXR1"), "duplicate report"),
    ],
)
def test_a_bad_file_is_quarantined_and_the_others_stay(tmp_path: Path, text: str, kind: str) -> None:
    cohort = curate(xml_root(tmp_path, _1=xml(), _2=text, _30=xml("CXR30")))
    assert cohort.studies["study_id"].to_list() == ["CXR1", "CXR30"]
    assert cohort.quarantine["source"].to_list() == ["ecgen-radiology/2.xml"]
    assert cohort.quarantine["reason"][0].startswith(kind)
    assert cohort.waterfall["rows"].to_list() == [3, 1, 2]


def test_the_table_form_reads_like_the_files(tmp_path: Path) -> None:
    rows = [
        '1,normal,normal,"Xray, PA",XXXX-year-old male,None.,,"Clear\nlungs."',
        '2,"Catheters, Indwelling/right;Fractures, Bone/ribs","x","y",,,Line in place.,',
        "x,normal,normal,,,,,",
        "2,normal,normal,,,,,",
        "7,normal",
    ]
    (tmp_path / "indiana_reports.csv").write_text("\n".join([TABLE_HEADER, *rows]))
    cohort = curate(tmp_path)
    assert cohort.studies["study_id"].to_list() == ["CXR1", "CXR2"]
    assert cohort.reports.filter(study_id="CXR1", section="impression")["text"].to_list() == ["Clear\nlungs."]
    assert {finding for finding, value in values(cohort, "CXR2").items() if value == 1} == {
        "support_devices",
        "fracture",
    }
    reasons = cohort.quarantine.select("row", pl.col("reason").str.split(":").list.first()).rows()
    assert reasons == [(5, "malformed report id"), (6, "duplicate report"), (7, "malformed row")]


def test_missing_files_and_columns_are_stated(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="neither ecgen-radiology/ nor indiana_reports"):
        curate(tmp_path)
    (tmp_path / "indiana_reports.csv").write_text("uid,Problems,indication\n")
    with pytest.raises(InputError, match=r"no column 'MeSH'. Seen: uid, Problems, indication"):
        curate(tmp_path)
    (tmp_path / "ecgen-radiology").mkdir()
    with pytest.raises(InputError, match=r"holds no \.xml"):
        curate(tmp_path)


@pytest.mark.parametrize(
    ("spoiled", "kept"),
    [
        ({6: '"Unclosed'}, [1, 2, 3, 4, 5, 7, 8, 9, 10, 11]),
        ({2: '"open', 4: 'end"'}, [1, 3, 4, 5, 6, 7, 8, 9, 10, 11]),
        ({2: '"open', 3: 'end"'}, [1, 3, 4, 5, 6, 7, 8, 9, 10, 11]),
    ],
)
def test_an_open_quote_gives_no_report_the_text_of_another(
    tmp_path: Path, spoiled: dict[int, str], kept: list[int]
) -> None:
    rows = [f"{uid},normal,normal,x,i,c,f,{spoiled.get(uid, f'of {uid}')}" for uid in range(1, 12)]
    (tmp_path / "indiana_reports.csv").write_text("\n".join([TABLE_HEADER, *rows]))
    cohort = curate(tmp_path)
    assert cohort.studies["study_id"].to_list() == [f"CXR{uid}" for uid in kept]
    told = cohort.reports.filter(section="impression").select("study_id", "text")
    assert dict(told.iter_rows()) == {f"CXR{uid}": spoiled.get(uid, f"of {uid}") for uid in kept}
    assert cohort.waterfall["rows"].to_list() == [11, 1, 10]


def test_reports_of_several_lines_are_whole(tmp_path: Path) -> None:
    text = "1. Nodule, 4 mm, left, upper, lobe, new, or not, see above.\n2. No, effusion.\n\nDone, thanks"
    rows = [f'{uid},normal,normal,x,i,c,"{text}","{text}"' for uid in range(1, 4)]
    (tmp_path / "indiana_reports.csv").write_text("\n".join([TABLE_HEADER, *rows]))
    cohort = curate(tmp_path)
    assert cohort.studies.height == 3 and cohort.quarantine.is_empty()
    assert set(cohort.reports.filter(pl.col("section").is_in(["findings", "impression"]))["text"]) == {text}


@pytest.mark.parametrize(
    ("name", "study"),
    [
        ("1_IM-0001-3001.dcm.png", "CXR1_IM-0001-3001"),
        ("CXR1_1_IM-0001-3001", "CXR1_1_IM-0001-3001"),
        ("CXR1_1_IM-0001-3001.png", "CXR1_1_IM-0001-3001"),
        ("../1_IM-1.png", None),
        ("film.png", None),
        ("", None),
    ],
)
def test_both_forms_of_an_image_name_are_one_study(name: str, study: str | None) -> None:
    assert image_id(name) == study


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.binary(max_size=60) | st.sampled_from([xml().encode(), xml("CXR5").encode()]), max_size=4))
def test_files_read_are_curated_or_quarantined_whatever_they_hold(tmp_path: Path, files: list[bytes]) -> None:
    root = xml_root(tmp_path, _1=xml())
    for old in (root / "ecgen-radiology").glob("1??.xml"):
        old.unlink()
    for number, data in enumerate(files):
        (root / "ecgen-radiology" / f"{100 + number}.xml").write_bytes(data)
    cohort = curate(root)
    assert cohort.studies.height + cohort.quarantine.height == 1 + len(files)


def test_the_real_slice_has_its_known_counts(shared_data: Path, tmp_path: Path) -> None:
    cohort = curate(shared_data / "openi")
    assert cohort.patients.height == 450
    assert cohort.waterfall.filter(source="ecgen-radiology")["rows"].to_list() == [450, 450]
    sections = cohort.reports.join(cohort.studies.select("study_id", "exam_id"), on="study_id")
    counts = dict(sections.group_by("section").agg(pl.col("exam_id").n_unique()).iter_rows())
    assert (counts["impression"], counts["findings"]) == (357 + 75, 357 + 6)
    normal = cohort.findings.filter(finding="no_finding", value=1).join(cohort.studies, on="study_id")
    assert normal["exam_id"].n_unique() == 124
    (tmp_path / "indiana_reports.csv").write_bytes((shared_data / "openi" / "indiana_reports.csv").read_bytes())
    table = curate(tmp_path)
    assert table.studies.height == 433
    assert table.findings.filter(finding="no_finding", value=1).height == 121
    both = table.findings.join(
        cohort.findings.join(cohort.studies.select("study_id", "exam_id"), on="study_id").unique(
            ["exam_id", "finding"]
        ),
        left_on=["study_id", "finding"],
        right_on=["exam_id", "finding"],
    )
    assert both.height == 433 * 17 and both.filter(pl.col("value").ne_missing(pl.col("value_right"))).is_empty()
