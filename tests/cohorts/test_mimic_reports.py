"""Sections of reports, and report files that are damaged, doubled, foreign or linked from elsewhere."""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cxr_assets.cohorts.base import CuratedCohort
from cxr_assets.cohorts.mimic.reports import ZIP_NAME
from cxr_assets.cohorts.mimic.sections import sections_of
from cxr_assets.errors import InputError
from tests.cohorts.mimic_tools import Make, curate, dicom, image, kinds, write_mimic


@pytest.fixture
def mimic(tmp_path: Path) -> Make:
    return partial(write_mimic, tmp_path)


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


@pytest.mark.parametrize(
    ("text", "sections"),
    [
        (
            "  INDICATION:  cough\n\n \tFINDINGS:  clear\n\n\t IMPRESSION:  normal.",
            {"indication", "findings", "impression"},
        ),
        ("\tFINDINGS:\tclear\r\n\r\n\u00a0IMPRESSION: ok\r\n", {"findings", "impression"}),
        ("FINDINGS: clear\r\rIMPRESSION: ok\r", {"findings", "impression"}),
    ],
)
def test_headings_may_be_indented_by_any_blanks(text: str, sections: set[str]) -> None:
    assert set(sections_of(f"                 FINAL REPORT\n{text}")) == sections


@pytest.mark.parametrize(
    "heading",
    [
        "WET READ: ___ 9:00 PM",
        "WET READ",
        "ADDENDUM",
        "ADDENDUM:",
        "NOTIFICATION:",
        "RECOMMENDATION(S):",
        "DICTATED BY:",
    ],
)
def test_a_paragraph_of_another_section_never_stands_in_for_the_reading(heading: str) -> None:
    other = f"\n {heading}\n\n Told by phone.\n\n Large pneumothorax called by resident.\n"
    assert sections_of(f"FINAL REPORT\n{other}") == {}
    assert sections_of(f"FINAL REPORT\n HISTORY: pain\n{other}") == {"indication": "pain"}
    assert sections_of(f"FINAL REPORT\n HISTORY: pain\n\n Lungs are clear.\n{other}") == {
        "indication": "pain",
        "last_paragraph": "Lungs are clear.",
    }


def test_an_addendum_ends_a_section_without_a_colon() -> None:
    text = "FINDINGS: a\n\n IMPRESSION: b\n\n ADDENDUM  There is c.\n\n As discussed.\n"
    assert sections_of(text) == {"findings": "a", "impression": "b"}


@pytest.mark.parametrize(
    "text", ["FINAL REPORT\n CHEST\n", "FINAL REPORT\n Chest film.\n\n HISTORY: pain\n", "CHEST ON ___"]
)
def test_a_title_is_no_reading(text: str) -> None:
    assert "last_paragraph" not in sections_of(text)


@given(st.text(alphabet=st.sampled_from("AaZ:. \t\n\r"), max_size=60) | st.text(max_size=60))
def test_sections_are_folded_and_never_empty(text: str) -> None:
    for body in sections_of(text).values():
        assert body and body == " ".join(body.split())


MEMBER = "files/p10/p10000032/s50414267.txt"
FLAG_IN_FILE, FLAG_IN_LIST = 6, 8


def zipped(root: Path, *members: tuple[str, str]) -> Path:
    path = root / ZIP_NAME
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        warnings.simplefilter("ignore", UserWarning)
        for name, text in members:
            archive.writestr(name, text)
    return path


def steps(cohort: CuratedCohort, source: str) -> dict[str, int]:
    return dict(cohort.waterfall.filter(source=source).select("step", "rows").iter_rows())


def damage(data: bytes) -> bytes:
    """The first member's stream is no deflate stream any more."""
    start = data.index(MEMBER.encode()) + len(MEMBER)
    return data[:start] + b"\xff" * 6 + data[start + 6 :]


def wrong_sum(data: bytes) -> bytes:
    """The list says another checksum for the first member."""
    start = data.index(b"PK\x01\x02") + 16
    return data[:start] + bytes(byte ^ 0xFF for byte in data[start : start + 4]) + data[start + 4 :]


def encrypt(data: bytes) -> bytes:
    """The first member is said to be encrypted."""
    changed = bytearray(data)
    changed[FLAG_IN_FILE] |= 1
    changed[data.index(b"PK\x01\x02") + FLAG_IN_LIST] |= 1
    return bytes(changed)


@pytest.mark.parametrize(
    ("change", "kind"),
    [(damage, "unreadable report"), (wrong_sum, "unreadable report"), (encrypt, "encrypted report")],
)
def test_a_damaged_member_goes_to_the_quarantine_and_the_rest_is_read(
    mimic: Make, change: Callable[[bytes], bytes], kind: str
) -> None:
    root = mimic([image(1), image(2, study="50000002")])
    path = zipped(root, (MEMBER, REPORT), ("files/p10/p10000032/s50000002.txt", REPORT))
    path.write_bytes(change(path.read_bytes()))
    cohort = curate(root)
    assert cohort.reports["study_id"].unique().to_list() == [dicom(2)]
    assert cohort.quarantine.filter(source=ZIP_NAME).select("value", "reason").rows() == [
        (MEMBER, next(r for r in cohort.quarantine["reason"] if r.startswith(kind)))
    ]
    assert steps(cohort, ZIP_NAME) == {"read": 2, f"dropped: {kind}": 1, "kept": 1}


def test_every_member_of_a_zip_is_counted(mimic: Make) -> None:
    root = mimic()
    zipped(
        root,
        ("files/", ""),
        (MEMBER, "IMPRESSION: first."),
        (f"again/{MEMBER}", "IMPRESSION: second."),
        (MEMBER, "IMPRESSION: third."),
        ("files/p10/p10000032/notes.txt", "x"),
        ("files/p19/p19999999/s59999999.txt", REPORT),
    )
    cohort = curate(root)
    assert cohort.reports["text"].to_list() == ["first."]
    assert steps(cohort, ZIP_NAME) == {
        "read": 5,
        "dropped: duplicate report": 2,
        "dropped: not a report": 1,
        "dropped: study not in the metadata": 1,
        "kept": 1,
    }
    assert sorted(cohort.quarantine.filter(source=ZIP_NAME)["value"]) == [
        f"again/{MEMBER}",
        "files/p10/p10000032/notes.txt",
        MEMBER,
    ]


@pytest.mark.parametrize("form", ["zip", "files"])
def test_a_report_of_a_megabyte_is_no_report(mimic: Make, form: str) -> None:
    root = mimic()
    text = "y" * 1_000_001
    if form == "zip":
        zipped(root, (MEMBER, text))
    else:
        (root / MEMBER).parent.mkdir(parents=True)
        (root / MEMBER).write_text(text)
    cohort = curate(root)
    assert kinds(cohort) == ["too large"] and cohort.reports.is_empty()
    assert cohort.studies["report_source"].to_list() == [None]
    assert steps(cohort, ZIP_NAME if form == "zip" else "files") == {"read": 1, "dropped: too large": 1, "kept": 0}


@pytest.mark.parametrize("linked", ["file", "patient's folder", "all"])
@pytest.mark.parametrize("given_by", ["root", "option"])
def test_a_link_that_leaves_the_folder_is_not_followed(mimic: Make, tmp_path: Path, linked: str, given_by: str) -> None:
    root = mimic()
    outside = tmp_path.with_name(f"{tmp_path.name}-outside")
    there, here = outside / MEMBER, root / MEMBER
    there.parent.mkdir(parents=True)
    there.write_text("IMPRESSION: outside the root.")
    if linked == "all" and given_by == "option":
        (root / "files").symlink_to(outside / "files")
        assert not curate(root, options={"reports": str(outside / "files")}).reports.is_empty(), "given, so wanted"
        return
    up = {"file": 0, "patient's folder": 1, "all": 3}[linked]
    link, target = [here, *here.parents][up], [there, *there.parents][up]
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(target)
    cohort = curate(root, options={"reports": str(root / "files")} if given_by == "option" else {})
    assert cohort.reports.is_empty() and kinds(cohort) == ["file outside"]
    assert steps(cohort, "files") == {"read": 1, "dropped: file outside": 1, "kept": 0}


def test_a_link_inside_the_folder_is_followed(mimic: Make) -> None:
    root = mimic()
    (root / MEMBER).parent.mkdir(parents=True)
    (root / "one.txt").write_text("IMPRESSION: inside.")
    (root / MEMBER).symlink_to(root / "one.txt")
    assert curate(root).reports["text"].to_list() == ["inside."]


def test_reports_may_lie_in_a_folder_elsewhere(mimic: Make, tmp_path: Path) -> None:
    root = mimic()
    place = tmp_path.with_name(f"{tmp_path.name}-reports") / "files"
    path = place.parent / MEMBER
    path.parent.mkdir(parents=True)
    path.write_text("IMPRESSION: elsewhere.")
    cohort = curate(root, options={"reports": str(place)})
    assert cohort.reports["text"].to_list() == ["elsewhere."]
    assert cohort.studies["report_source"].to_list() == ["reports:files/p10/p10000032/s50414267.txt"]


def test_a_letter_outside_ascii_is_not_changed(mimic: Make) -> None:
    root = mimic()
    (root / MEMBER).parent.mkdir(parents=True)
    (root / MEMBER).write_bytes("IMPRESSION: Sjögren.".encode("cp1252"))
    assert curate(root).reports["text"].to_list() == ["Sjögren."]


NAME = st.one_of(
    st.sampled_from([MEMBER, f"../{MEMBER}", "files/p10/p10000032/s50414268.txt", "files/p10/", "/etc/passwd"]),
    st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\x00"), min_size=1, max_size=12),
)


def told(cohort: CuratedCohort) -> None:
    """What is read is kept or dropped; nothing of another study is told."""
    flow = steps(cohort, ZIP_NAME)
    assert flow.pop("read") == sum(flow.values())
    assert cohort.studies.height == 1 and set(cohort.reports["study_id"]) <= {dicom(1)}
    assert cohort.studies["report_source"].count() == flow["kept"]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(NAME, st.one_of(st.just(REPORT), st.text(max_size=30))), max_size=4),
    st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=3)), max_size=3),
)
def test_any_zip_is_counted_or_refused(
    mimic: Make, members: list[tuple[str, str]], packing: int, changes: list[tuple[float, bytes]]
) -> None:
    root = mimic()
    path = root / ZIP_NAME
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w", packing) as archive:
        warnings.simplefilter("ignore", UserWarning)
        for name, text in members:
            archive.writestr(name, text.encode(errors="replace"))
    data = bytearray(path.read_bytes())
    for place, new in changes:
        start = int(place * len(data))
        data[start : start + len(new)] = new
    path.write_bytes(bytes(data))
    try:
        cohort = curate(root)
    except InputError as refused:
        assert ZIP_NAME in str(refused)
    else:
        told(cohort)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=80), st.sampled_from([b"", b"PK\x05\x06" + b"\x00" * 18, b"PK\x03\x04"]))
def test_bytes_that_are_no_zip_are_refused_by_name(mimic: Make, data: bytes, tail: bytes) -> None:
    root = mimic()
    (root / ZIP_NAME).write_bytes(data + tail)
    try:
        told(curate(root))
    except InputError as refused:
        assert ZIP_NAME in str(refused)
