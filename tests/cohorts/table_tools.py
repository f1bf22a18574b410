"""Small tables, workbooks and DICOM files for the cohort that has a mapping."""

from __future__ import annotations

import os
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
import polars as pl
import yaml
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian, generate_uid

from cxr_assets.cohorts.base import CuratedCohort, CurateSettings
from cxr_assets.cohorts.registry import adapter

SECRET = os.environ.setdefault("SECRET_OF_THE_TESTS", "a secret of the test")
SALT = {"site_salt": "env:SECRET_OF_THE_TESTS"}
COLUMNS = {"patient_id": "pid", "path": "file", "sex": "sex", "age_years": "age", "view": "view"}
HEADER = "pid,file,sex,age,view,edema,mass"
MAPPING: dict[str, Any] = {
    "title": "Made up",
    "terms": "cc-by",
    "tables": "data.csv",
    "columns": COLUMNS,
    "findings": {"edema": "edema", "lung_lesion": {"column": "mass", "positive": ["yes"], "negative": ["no"]}},
}


def line(
    pid: str = "007",
    file: str = "a.png",
    sex: str = "F",
    age: str = "60",
    view: str = "PA",
    edema: str = "1",
    mass: str = "no",
) -> str:
    return ",".join((pid, file, sex, age, view, edema, mass))


ROWS = [line(), line("008", "b.png", "M", "013M", "AP", "-1", "yes"), line("008", "c.png", "", "", "", "", "")]
TABLE = "\n".join([HEADER, *ROWS]) + "\n"


def folder(root: Path, data: str | bytes, mapping: Mapping[str, Any] | None = None, **changes: Any) -> Path:
    """A cohort's folder with ``data.csv`` and its mapping."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "data.csv").write_bytes(data.encode() if isinstance(data, str) else data)
    write_mapping(root, {**(MAPPING if mapping is None else mapping), **changes})
    return root


def write_mapping(root: Path, tree: Mapping[str, Any]) -> None:
    root.mkdir(parents=True, exist_ok=True)
    (root / "cohort.yaml").write_text(yaml.safe_dump(dict(tree), allow_unicode=True), encoding="utf-8")


def curate(root: Path, *, tables_only: bool = True, **options: Any) -> CuratedCohort:
    return adapter("table").curate(root, settings=CurateSettings(tables_only=tables_only, options=options))


def flow(cohort: CuratedCohort, source: str = "data.csv") -> dict[str, int]:
    return dict(cohort.waterfall.filter(pl.col("source") == source).select("step", "rows").iter_rows())


def adds_up(cohort: CuratedCohort) -> bool:
    """Whether every source's rows are kept or dropped, and as many studies came of them as were kept."""
    steps = cohort.waterfall.with_columns(pl.col("step").str.starts_with("dropped").alias("lost"))
    sums = [
        sum(n for step, n, _ in part.select("step", "rows", "lost").iter_rows() if step == "read")
        - sum(n for step, n, _ in part.select("step", "rows", "lost").iter_rows() if step != "read")
        for _, part in steps.group_by("source")
    ]
    return not any(sums)


def kinds(cohort: CuratedCohort) -> list[tuple[int | None, str | None, str]]:
    reason = pl.col("reason").str.split(":").list.first()
    return list(cohort.quarantine.select("row", "column", reason).iter_rows())


def write_xlsx(path: Path, sheets: Mapping[str, Sequence[Sequence[Any]]]) -> None:
    """A minimal workbook: text inline, numbers as numbers."""
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    package = "http://schemas.openxmlformats.org/package/2006"
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    entries = "".join(f'<sheet name="{n}" sheetId="{i}" r:id="s{i}"/>' for i, n in enumerate(sheets, 1))
    links = "".join(
        f'<Relationship Id="s{i}" Type="{office}/worksheet" Target="worksheets/s{i}.xml"/>'
        for i in range(1, len(sheets) + 1)
    )
    files = {
        "[Content_Types].xml": f'<Types xmlns="{package}/content-types"><Default Extension="rels"'
        ' ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        '<Default Extension="xml" ContentType="application/xml"/></Types>',
        "_rels/.rels": f'<Relationships xmlns="{package}/relationships"><Relationship Id="r1"'
        f' Type="{office}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook xmlns="{main}" xmlns:r="{office}"><sheets>{entries}</sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{package}/relationships">{links}</Relationships>',
    }
    for number, rows in enumerate(sheets.values(), 1):
        body = "".join(
            f'<row r="{r}">' + "".join(_cell(f"{chr(65 + c)}{r}", value) for c, value in enumerate(row)) + "</row>"
            for r, row in enumerate(rows, 1)
        )
        files[f"xl/worksheets/s{number}.xml"] = f'<worksheet xmlns="{main}"><sheetData>{body}</sheetData></worksheet>'
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, '<?xml version="1.0" encoding="UTF-8"?>' + text)


def _cell(place: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, int | float):
        return f'<c r="{place}"><v>{value}</v></c>'
    return f'<c r="{place}" t="inlineStr"><is><t>{escape(value)}</t></is></c>'


RAMP = np.tile(np.arange(32, dtype=np.uint8) * 8, (32, 1))


def film(pixels: np.ndarray = RAMP, *, bits: int | None = None, **tags: Any) -> Dataset:
    """A DICOM film of one grey channel; tags are set last, None takes one away."""
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID = ComputedRadiographyImageStorage
    made.SOPInstanceUID = tags.pop("SOPInstanceUID", generate_uid())
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    made.StudyInstanceUID = generate_uid()
    made.Modality, made.BodyPartExamined, made.PatientID, made.StudyDate = "DX", "CHEST", "P-1", "20100615"
    made.PatientSex, made.PatientAge, made.ViewPosition = "F", "060Y", "PA"
    made.Rows, made.Columns = pixels.shape[:2]
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.BitsAllocated = pixels.dtype.itemsize * 8
    made.BitsStored = bits or made.BitsAllocated
    made.HighBit = made.BitsStored - 1
    made.PixelRepresentation = int(pixels.dtype.kind == "i")
    made.add_new("PixelData", "OW", pixels.tobytes())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some tags are wrong on purpose
        for name, value in tags.items():
            if value is None:
                delattr(made, name)
            else:
                setattr(made, name, value)
    return made


def save(path: Path, made: Dataset) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made.save_as(path, enforce_file_format=True)
    return path
