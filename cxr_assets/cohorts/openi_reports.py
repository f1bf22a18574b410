"""Indiana reports as read: one XML file a report, or one table with a row a report."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

import polars as pl
from defusedxml import DefusedXmlException  # type: ignore[import-untyped]
from defusedxml.ElementTree import fromstring  # type: ignore[import-untyped]

from cxr_assets.cohorts.delimited import ROW, read_bytes, read_delimited
from cxr_assets.cohorts.film_folder import is_inside
from cxr_assets.cohorts.ledger import Ledger
from cxr_assets.errors import InputError

SECTIONS = ("findings", "impression", "indication", "comparison")
_UID = re.compile(r"CXR\d{1,6}", re.ASCII)
_LARGEST = 5_000_000
_TABLE_COLUMNS = ("uid", "MeSH", *SECTIONS)


@dataclass(frozen=True)
class Report:
    """One report: its id ``CXR<n>``, verbatim sections, manual headings, image names, and where it was read."""

    uid: str
    sections: dict[str, str]
    headings: tuple[str, ...]
    images: tuple[str, ...]
    source: str
    source_id: str
    row: int | None


def read_xml_folder(root: Path, folder: str, ledger: Ledger) -> list[Report]:
    """Every ``<n>.xml`` of a folder, by number; a file that cannot be used goes to the quarantine.

    Raises:
        InputError: if the folder holds no XML file.
    """
    paths = sorted((root / folder).glob("*.xml"), key=lambda path: (len(path.name), path.name))
    if not paths:
        raise InputError(
            f"cohort 'openi': {folder}/ holds no .xml file. Unpack NLMCXR_reports.tgz. Nothing was written."
        )
    ledger.open(folder, rows=len(paths))
    home = root.resolve()
    reports: dict[str, Report] = {}
    for path in paths:
        source = f"{folder}/{path.name}"
        if path.is_symlink() and not is_inside(path.resolve(), home):
            ledger.drop_one(
                source=source, value=path.name, kind="file outside", hint="a link leaves the folder", account=folder
            )
            continue
        data = read_bytes(path, cohort="openi")
        digest = hashlib.sha256(data).hexdigest()
        try:
            report = _parsed(data, source=source, digest=digest)
            if report.uid in reports:
                raise _Unusable("duplicate report", f"{report.uid} was read from {reports[report.uid].source}")
        except _Unusable as fault:
            ledger.drop_one(source=source, value=path.name, kind=fault.kind, hint=fault.hint, account=folder)
            ledger.file(source, digest=digest, size=len(data), release="eCitation XML", rows=(1, 0))
            continue
        reports[report.uid] = report
        ledger.file(source, digest=digest, size=len(data), release="eCitation XML", rows=(1, 1))
    return list(reports.values())


class _Unusable(Exception):
    """A report that cannot be used, with the kind of fault and what was expected."""

    def __init__(self, kind: str, hint: str) -> None:
        super().__init__(kind)
        self.kind, self.hint = kind, hint


def _parsed(data: bytes, *, source: str, digest: str) -> Report:
    if len(data) > _LARGEST:
        raise _Unusable("too large", f"{len(data)} bytes; a report has a few thousand")
    try:
        tree: Element = fromstring(data, forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError, LookupError) as error:
        raise _Unusable("malformed XML", str(error) or type(error).__name__) from error
    uid = (node.get("id") or "").strip() if (node := tree.find("uId")) is not None else ""
    if not _UID.fullmatch(uid):
        raise _Unusable("malformed report id", f"expected uId id='CXR<number>', got {uid!r}")
    sections: dict[str, str] = {}
    for node in tree.iterfind(".//AbstractText"):
        section = (node.get("Label") or "").strip().lower()
        if section in SECTIONS and (text := "".join(node.itertext())).strip():
            sections[section] = text
    headings = ("".join(node.itertext()).strip() for node in tree.iterfind("MeSH/major"))
    images = (node.get("id", "") for node in tree.iterfind("parentImage"))
    return Report(uid, sections, tuple(filter(None, headings)), tuple(filter(None, images)), source, digest, None)


def read_table(path: Path, source: str, ledger: Ledger) -> list[Report]:
    """Reports from the one-table form, whose ``MeSH`` joins headings by ``;``.

    Raises:
        InputError: for a missing column.
    """
    table = read_delimited(path, cohort="openi", multiline=True)
    short = {name.lower(): name.lower() for name in _TABLE_COLUMNS}
    for name in _TABLE_COLUMNS:
        if name.lower() not in table.rows.columns:
            raise InputError(
                f"cohort 'openi': {source} has no column '{name}'. Seen: {', '.join(filter(None, table.header))}. "
                f"Expected {', '.join(_TABLE_COLUMNS)} (docs/cohorts/openi.md). Nothing was written."
            )
    rows = ledger.table(source, table, release="reports table", short=short)
    rows = ledger.sift(
        rows,
        ~pl.col("uid").str.strip_chars().str.contains("^[0-9]{1,6}$"),
        source=source,
        column="uid",
        kind="malformed report id",
        hint="expected a number",
    )
    rows = rows.with_columns(
        pl.format("CXR{}", pl.col("uid").str.strip_chars().str.replace("^0+([0-9])", "$1")).alias("report")
    )
    rows = ledger.sift(
        rows,
        ~pl.col("report").is_first_distinct(),
        source=source,
        column="uid",
        kind="duplicate report",
        hint="the report has a row already",
    )
    return [
        Report(
            uid=row["report"],
            sections={section: row[section] for section in SECTIONS if row[section].strip()},
            headings=tuple(part.strip() for part in row["mesh"].split(";") if part.strip()),
            images=(),
            source=source,
            source_id=table.digest,
            row=row[ROW],
        )
        for row in rows.iter_rows(named=True)
    ]
