"""A made-up MIMIC-CXR-JPG and MIMIC-IV at their true row counts, in the true layout: nobody's data, only the shapes."""

from __future__ import annotations

import argparse
import gzip
from pathlib import Path

import numpy as np
import polars as pl

PATIENTS, STUDIES, IMAGES, ADMISSIONS = 65_379, 227_835, 377_110, 454_324
HOSPITAL_PATIENTS = 315_460
UNLABELLED = 8
RACES = (
    "WHITE",
    "WHITE - OTHER EUROPEAN",
    "BLACK/AFRICAN AMERICAN",
    "BLACK/CAPE VERDEAN",
    "HISPANIC/LATINO - PUERTO RICAN",
    "HISPANIC OR LATINO",
    "ASIAN",
    "ASIAN - CHINESE",
    "PORTUGUESE",
    "OTHER",
    "UNKNOWN",
)
_SHARES = (0.56, 0.05, 0.14, 0.02, 0.03, 0.03, 0.03, 0.02, 0.01, 0.04, 0.07)
_LABELS = (
    "Atelectasis",
    "Cardiomegaly",
    "Consolidation",
    "Edema",
    "Enlarged Cardiomediastinum",
    "Fracture",
    "Lung Lesion",
    "Lung Opacity",
    "No Finding",
    "Pleural Effusion",
    "Pleural Other",
    "Pneumonia",
    "Pneumothorax",
    "Support Devices",
)


def generate(root: Path, *, scale: float = 1.0, seed: int = 0) -> None:
    """Write all tables under ``root``; ``scale`` below 1 makes a smaller one of the same make-up."""
    rng = np.random.default_rng(seed)
    patients, studies, images, admissions = (round(n * scale) for n in (PATIENTS, STUDIES, IMAGES, ADMISSIONS))
    everybody = max(round(HOSPITAL_PATIENTS * scale), 2 * patients)
    subjects = np.sort(rng.choice(10_000_000, everybody, replace=False)) + 10_000_000
    filmed = np.sort(rng.choice(subjects, patients, replace=False))
    study_subject = np.concatenate([filmed, rng.choice(filmed, studies - patients)])
    study_ids = rng.choice(10_000_000, studies, replace=False) + 50_000_000
    image_study = np.concatenate([np.arange(studies), rng.integers(0, studies, images - studies)])
    words = rng.integers(0, 2**32, (images, 5), dtype=np.uint64)
    names = ["-".join(f"{word:08x}" for word in row) for row in words]
    date = (
        rng.integers(2110, 2200, studies) * 10_000 + rng.integers(1, 13, studies) * 100 + rng.integers(1, 29, studies)
    )[image_study]
    view = rng.choice(["AP", "PA", "LATERAL", "LL", "", "LPO"], images, p=[0.39, 0.255, 0.217, 0.093, 0.042, 0.003])
    metadata = pl.DataFrame(
        {
            "dicom_id": names,
            "subject_id": study_subject[image_study],
            "study_id": study_ids[image_study],
            "PerformedProcedureStepDescription": rng.choice(["CHEST (PA AND LAT)", "CHEST (PORTABLE AP)"], images),
            "ViewPosition": view,
            "Rows": rng.integers(2000, 3057, images),
            "Columns": rng.integers(2000, 3057, images),
            "StudyDate": date,
            "StudyTime": np.round(rng.uniform(0, 235_959, images), 3),
            "ProcedureCodeSequence_CodeMeaning": rng.choice(["CHEST (PA AND LAT)", "CHEST (PORTABLE AP)"], images),
            "ViewCodeSequence_CodeMeaning": rng.choice(["postero-anterior", "antero-posterior", "lateral"], images),
            "PatientOrientationCodeSequence_CodeMeaning": rng.choice(["Erect", "Recumbent", ""], images),
        }
    )
    _write(metadata.sort("subject_id", "study_id", "dicom_id"), root / "mimic-cxr-2.0.0-metadata.csv.gz")
    of_patient = dict(
        zip(filmed.tolist(), rng.choice(["train", "validate", "test"], patients, p=[0.988, 0.008, 0.004]), strict=True)
    )
    split = metadata.select("dicom_id", "study_id", "subject_id").with_columns(
        split=pl.Series([of_patient[s] for s in metadata["subject_id"].to_list()])
    )
    _write(split.sort("subject_id", "study_id", "dicom_id"), root / "mimic-cxr-2.0.0-split.csv.gz")
    labels = pl.DataFrame({"subject_id": study_subject, "study_id": study_ids}).with_columns(
        pl.Series(name, rng.choice(["1.0", "0.0", "-1.0", ""], studies, p=[0.14, 0.08, 0.04, 0.74])) for name in _LABELS
    )
    labels = labels.sort("subject_id", "study_id").head(studies - UNLABELLED)
    _write(labels, root / "mimic-cxr-2.0.0-chexpert.csv.gz")
    anchor = rng.integers(2110, 2200, everybody)
    age = np.minimum(rng.integers(18, 97, everybody), 91)
    people = pl.DataFrame(
        {
            "subject_id": subjects,
            "gender": rng.choice(["M", "F"], everybody),
            "anchor_age": age,
            "anchor_year": anchor,
            "anchor_year_group": rng.choice(["2008 - 2010", "2011 - 2013", "2014 - 2016"], everybody),
            "dod": "",
        }
    )
    _write(people, root / "hosp" / "patients.csv.gz")
    who = rng.choice(subjects, admissions)
    race_of = dict(zip(subjects.tolist(), rng.choice(RACES, everybody, p=_SHARES), strict=True))
    race = np.array([race_of[s] for s in who.tolist()])
    changed = rng.random(admissions) < 0.05
    race[changed] = rng.choice(RACES, int(changed.sum()))
    stamp = [f"{y}-{m:02d}-{d:02d} {h:02d}:{n:02d}:00" for y, m, d, h, n in _moments(rng, admissions)]
    visits = pl.DataFrame(
        {
            "subject_id": who,
            "hadm_id": rng.choice(10_000_000, admissions, replace=False) + 20_000_000,
            "admittime": stamp,
            "dischtime": stamp,
            "deathtime": "",
            "admission_type": rng.choice(["EW EMER.", "URGENT", "OBSERVATION ADMIT"], admissions),
            "admit_provider_id": [f"P{n:05d}" for n in rng.integers(0, 99_999, admissions)],
            "admission_location": rng.choice(["EMERGENCY ROOM", "PHYSICIAN REFERRAL"], admissions),
            "discharge_location": rng.choice(["HOME", "SKILLED NURSING FACILITY"], admissions),
            "insurance": rng.choice(["Medicare", "Private", "Medicaid"], admissions),
            "language": "English",
            "marital_status": rng.choice(["MARRIED", "SINGLE", ""], admissions),
            "race": race,
            "edregtime": "",
            "edouttime": "",
            "hospital_expire_flag": 0,
        }
    )
    _write(visits.sort("subject_id"), root / "hosp" / "admissions.csv.gz")


def _moments(rng: np.random.Generator, n: int) -> zip[tuple[int, ...]]:
    limits = ((2110, 2200), (1, 13), (1, 29), (0, 24), (0, 60))
    return zip(*(rng.integers(low, high, n).tolist() for low, high in limits), strict=True)


def _write(frame: pl.DataFrame, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(frame.write_csv().encode(), compresslevel=6, mtime=0))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--scale", type=float, default=1.0)
    given = parser.parse_args()
    generate(given.folder, scale=given.scale)
