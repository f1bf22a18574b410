"""Report files of MIMIC-CXR: free text under headings in capitals."""

from __future__ import annotations

import hashlib
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import polars as pl

from cxr_assets.cohorts.ledger import Ledger, relative
from cxr_assets.cohorts.schema import TABLES, conform
from cxr_assets.errors import InputError

ZIP_NAME = "mimic-cxr-reports.zip"
_HEADING = re.compile(r"^ ?([A-Z][A-Z ()/,-]{2,48}):", re.MULTILINE)
_SYNONYMS: Mapping[str, str] = MappingProxyType(
    {
        "FINDINGS": "findings",
        "FINDING": "findings",
        "IMPRESSION": "impression",
        "IMPRESSIONS": "impression",
        "CONCLUSION": "impression",
        "CONCLUSIONS": "impression",
        "FINDINGS AND IMPRESSION": "impression",
        "FINDINGS/IMPRESSION": "impression",
        "INDICATION": "indication",
        "HISTORY": "indication",
        "CLINICAL HISTORY": "indication",
        "CLINICAL INFORMATION": "indication",
        "REASON FOR EXAM": "indication",
        "COMPARISON": "comparison",
        "COMPARISONS": "comparison",
    }
)
_PARAGRAPH = re.compile(r"\n[ \t]*\n")
_MEMBER = re.compile(r"(?:^|/)p(\d{2})/p(\d{8})/s(\d{8})\.txt$", re.ASCII)
_LARGEST = 1_000_000


def sections_of(text: str) -> dict[str, str]:
    """Named sections of one report, whitespace folded; the last of a name counts.

    Where neither findings nor an impression is named, the last paragraph stands as ``last_paragraph``. Preliminary readings,
    addenda, techniques and recommendations end a section and are not kept.
    """
    marks = list(_HEADING.finditer(text))
    found: dict[str, str] = {}
    for mark, after in zip(marks, [*marks[1:], None], strict=False):
        section = _SYNONYMS.get(" ".join(mark[1].split()))
        body = text[mark.end() : after.start() if after else None]
        if section and body.strip():
            found[section] = body
    paragraphs = [part for part in _PARAGRAPH.split(text) if part.strip()]
    last = paragraphs[-1] if paragraphs else ""
    if not {"findings", "impression"} & found.keys() and last.strip() != "FINAL REPORT" and not _HEADING.search(last):
        found = {section: _PARAGRAPH.split(body.lstrip())[0] for section, body in found.items()}
        found |= {"last_paragraph": last} if last else {}
    return {section: " ".join(body.split()) for section, body in found.items()}


def read_reports(
    rows: pl.DataFrame, root: Path, ledger: Ledger, given: Path | None
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Reports of the studies where they are at hand: a zip, or files beside the study folders.

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
    texts: list[tuple[str, str, str]] = []
    found: list[tuple[str, str, str]] = []
    read = strangers = 0
    ledger.open(name, rows=0)
    is_zip = place.is_file()
    whole = _digest(place) if is_zip else ""
    for member, patient, exam, data in _zipped(place, ledger) if is_zip else _loose(place, wanted):
        read += 1
        if wanted.get(exam) != patient:
            strangers += 1
            continue
        texts += [(exam, section, body) for section, body in sections_of(data.decode("utf-8", "replace")).items()]
        found.append((exam, f"{name}/{member}" if is_zip else member, whole or hashlib.sha256(data).hexdigest()))
    ledger.open(name, rows=read)
    ledger.unused(name, kind="study not in the metadata", rows=strangers)
    if is_zip:
        ledger.file(name, digest=whole, size=place.stat().st_size, release="reports")
    else:
        for _, source, digest in found:
            ledger.file(source, digest=digest, size=(root / source).stat().st_size, release="report", rows=(1, 1))
    sections = pl.DataFrame(texts, schema={"exam_id": pl.String, "section": pl.String, "text": pl.String}, orient="row")
    joined = rows.select("study_id", "exam_id").join(sections, on="exam_id").drop("exam_id")
    reports = joined.select(pl.lit(ledger.spec.name).alias("cohort"), "study_id", "section", "text")
    return conform(reports.sort("study_id", "section"), "reports"), pl.DataFrame(found, schema=links, orient="row")


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _zipped(path: Path, ledger: Ledger) -> Iterator[tuple[str, str, str, bytes]]:
    try:
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                match = _MEMBER.search(entry.filename)
                if match and entry.file_size <= _LARGEST:
                    yield entry.filename, match[2], f"s{match[3]}", archive.read(entry)
    except (zipfile.BadZipFile, OSError, EOFError) as error:
        raise InputError(
            f"cohort {ledger.spec.name!r}: {path.name} is no whole zip file ({error}). Nothing was written."
        ) from error


def _loose(folder: Path, wanted: Mapping[str, str]) -> Iterator[tuple[str, str, str, bytes]]:
    """Report files of the studies wanted; a file that is not there is no fault, since many copies hold films alone."""
    for exam, patient in sorted(wanted.items()):
        member = f"p{patient[:2]}/p{patient}/{exam}.txt"
        path = folder / member
        if path.is_file() and path.stat().st_size <= _LARGEST:
            yield f"{folder.name}/{member}", patient, exam, path.read_bytes()
