"""Report files of MIMIC-CXR, from their zip or from files beside the study folders."""

from __future__ import annotations

import hashlib
import lzma
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from cxr_assets.cohorts.delimited import decode
from cxr_assets.cohorts.film_folder import is_inside
from cxr_assets.cohorts.ledger import Ledger, relative
from cxr_assets.cohorts.mimic.sections import sections_of
from cxr_assets.cohorts.schema import TABLES, conform
from cxr_assets.errors import InputError

ZIP_NAME = "mimic-cxr-reports.zip"
_MEMBER = re.compile(r"(?:^|/)p(\d{2})/p(\d{8})/s(\d{8})\.txt$", re.ASCII)
_LARGEST = 1_000_000
_ENCRYPTED = 0x1
_UNPACKING = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    OSError,
    EOFError,
    RuntimeError,
    ValueError,
    LookupError,
)
"""What a damaged zip raises: the archive, or one member of it."""
_FAULTS = {
    "not a report": "expected pNN/pNNNNNNNN/sNNNNNNNN.txt",
    "duplicate report": "the study has a report already",
    "too large": f"over {_LARGEST} bytes; a report has a few thousand",
    "encrypted report": "unpack it with its password, and give the folder",
    "unreadable report": "damaged; fetch it again",
    "file outside": "a link leaves the folder",
}
_STRANGER = "study not in the metadata"


@dataclass(frozen=True)
class _Read:
    """One file: its name, and its study with the bytes, or why it is not used."""

    member: str
    exam: str = ""
    data: bytes = b""
    fault: str | None = None


def read_reports(
    rows: pl.DataFrame, root: Path, ledger: Ledger, given: Path | None
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Reports of the studies where they are at hand: a zip, or files beside the study folders.

    A file that cannot be used goes to the quarantine; only a zip that cannot be opened stops the curation.

    Returns:
        The reports table (each section once for every image of its study), and ``exam_id, report_source, report_digest``.
    """
    place = given or next((p for p in (root / ZIP_NAME, root / "files") if p.exists()), None)
    links = {"exam_id": pl.String, "report_source": pl.String, "report_digest": pl.String}
    if place is None:
        return TABLES["reports"].empty(), pl.DataFrame(schema=links)
    if not place.exists():
        raise InputError(f"cohort {ledger.spec.name!r}: there are no reports at {place}. Nothing was written.")
    name = relative(place, root) if place.is_relative_to(root) else f"reports:{place.name}"
    wanted = dict(rows.select("exam_id", "patient_id").unique().iter_rows())
    is_zip = place.is_file()
    whole = _digest(place) if is_zip else ""
    home = (root if place.is_relative_to(root) else place).resolve()
    texts: list[tuple[str, str, str]] = []
    found: list[tuple[str, str, str]] = []
    sizes: list[int] = []
    faults: list[tuple[str, str]] = []
    for file in _zipped(place, wanted, ledger) if is_zip else _loose(place, wanted, home):
        if file.fault:
            faults.append((file.member, file.fault))
            continue
        texts += [(file.exam, section, body) for section, body in sections_of(decode(file.data)).items()]
        source = f"{name}/{file.member}"
        found.append((file.exam, source, whole or hashlib.sha256(file.data).hexdigest()))
        sizes.append(len(file.data))
    ledger.open(name, rows=len(found) + len(faults))
    _complain(faults, name, ledger)
    if is_zip:
        ledger.file(name, digest=whole, size=place.stat().st_size, release="reports")
    else:
        for (_, source, digest), size in zip(found, sizes, strict=True):
            ledger.file(source, digest=digest, size=size, release="report", rows=(1, 1))
    sections = pl.DataFrame(texts, schema={"exam_id": pl.String, "section": pl.String, "text": pl.String}, orient="row")
    joined = rows.select("study_id", "exam_id").join(sections, on="exam_id").drop("exam_id")
    reports = joined.select(pl.lit(ledger.spec.name).alias("cohort"), "study_id", "section", "text")
    return conform(reports.sort("study_id", "section"), "reports"), pl.DataFrame(found, schema=links, orient="row")


def _complain(faults: list[tuple[str, str]], source: str, ledger: Ledger) -> None:
    """Drop the files that are not used; one of a study that is not ours is counted, and no complaint."""
    told = pl.DataFrame(faults, schema={"file": pl.String, "fault": pl.String}, orient="row")
    ledger.unused(source, kind=_STRANGER, rows=told.filter(fault=_STRANGER).height)
    for fault, hint in _FAULTS.items():
        bad = told.filter(fault=fault)
        ledger.sift(bad, pl.lit(True), source=source, column="file", kind=fault, hint=hint)


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _zipped(path: Path, wanted: Mapping[str, str], ledger: Ledger) -> Iterator[_Read]:
    """Every file of a zip, in its order; folders are none."""
    try:
        archive = zipfile.ZipFile(path)
    except _UNPACKING as error:
        raise InputError(
            f"cohort {ledger.spec.name!r}: {path.name} is no whole zip file ({error}). Nothing was written."
        ) from error
    seen: set[str] = set()
    with archive:
        for entry in archive.infolist():
            if entry.is_dir():
                continue
            match = _MEMBER.search(entry.filename)
            exam = f"s{match[3]}" if match else ""
            fault = None
            if match is None:
                fault = "not a report"
            elif wanted.get(exam) != match[2]:
                fault = _STRANGER
            elif exam in seen:
                fault = "duplicate report"
            elif entry.flag_bits & _ENCRYPTED:
                fault = "encrypted report"
            elif entry.file_size > _LARGEST:
                fault = "too large"
            if fault:
                yield _Read(entry.filename, fault=fault)
                continue
            try:
                data = archive.read(entry)
            except _UNPACKING:
                yield _Read(entry.filename, fault="unreadable report")
                continue
            seen.add(exam)
            yield _Read(entry.filename, exam, data)


def _loose(folder: Path, wanted: Mapping[str, str], home: Path) -> Iterator[_Read]:
    """Report files of the studies wanted; a file that is not there is no fault, since many copies hold films alone."""
    inside: dict[str, bool] = {}
    for exam, patient in sorted(wanted.items()):
        place = f"p{patient[:2]}/p{patient}"
        member = f"{place}/{exam}.txt"
        path = folder / member
        if not path.is_file():
            continue
        if place not in inside:
            inside[place] = is_inside((folder / place).resolve(), home)
        try:
            if not inside[place] or (path.is_symlink() and not is_inside(path.resolve(), home)):
                yield _Read(member, fault="file outside")
            elif path.stat().st_size > _LARGEST:
                yield _Read(member, fault="too large")
            else:
                yield _Read(member, exam, path.read_bytes())
        except OSError:
            yield _Read(member, fault="unreadable report")
