"""Made-up MIMIC-CXR folders in the true layout."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Sequence
from pathlib import Path

from hypothesis import strategies as st

from cxr_assets.cohorts.base import CuratedCohort, CurateSettings
from cxr_assets.cohorts.registry import adapter

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
STAYS = "subject_id,hadm_id,stay_id,intime,outtime,gender,race,arrival_transport,disposition"
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


def admission(race: str, time: str = "2180-05-06 22:23:00", subject: str = "10000032", stay: str = "22595853") -> str:
    """One row of MIMIC-IV's admissions."""
    return ",".join([subject, stay, time, *[""] * 9, race, "", "", "0"])


def emergency(race: str, time: str = "2180-05-06 20:00:00", stay: str = "") -> str:
    """One row of MIMIC-IV-ED's stays; ``stay`` is the admission that it belongs to."""
    return ",".join(["10000032", stay, "33258284", time, time, "F", race, "AMBULANCE", "ADMITTED"])


def write_mimic(
    folder: Path,
    images: Sequence[str] = (image(),),
    *,
    study_labels: Sequence[str] = (labels(Edema="1.0"),),
    split: Sequence[str] | None = None,
    patients: Sequence[str] = ("10000032,F,52,2180,2014 - 2016,",),
    admissions: Sequence[str] = (),
    stays: Sequence[str] = (),
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
    if stays:
        tables["ed/edstays.csv"] = (STAYS, stays)
    for name, (header, rows) in tables.items():
        data = ("\n".join([header, *rows]) + "\n").encode()
        path = folder / (f"{name}.gz" if zipped else name)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(gzip.compress(data) if zipped else data)
    return folder


def curate(root: Path, **changes: object) -> CuratedCohort:
    return adapter("mimic").curate(root, settings=CurateSettings(tables_only=True, **changes))


def kinds(cohort: CuratedCohort) -> list[str]:
    return cohort.quarantine["reason"].str.split(":").list.first().to_list()


FIELD = st.text(
    alphabet=st.one_of(st.characters(exclude_categories=("Cs",)), st.sampled_from('",;\t\r\n\x00')), max_size=9
)
"""Any text, quotes, separators, line ends and NUL among it."""
