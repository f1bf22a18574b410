"""Real tables by a mapping: what their owners count in them is what comes of them."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from cxr_assets.cohorts.labels import NIH_LABELS
from cxr_assets.cohorts.registry import adapter
from cxr_assets.cohorts.splits import shared_patients
from tests.cohorts.table_tools import curate, flow, write_mapping


@pytest.fixture
def packaged() -> Path:
    """Folder of the real tables in the torchxrayvision package, read in place; the test is skipped without them."""
    found = find_spec("torchxrayvision")
    root = Path(found.origin or "").parent / "data" if found else Path("none")
    if not root.is_dir():
        pytest.skip("no packaged tables")
    return root


def test_the_whole_nih_table_has_its_published_counts_by_a_mapping_too(packaged: Path, tmp_path: Path) -> None:
    labels = {label: finding for label, finding in NIH_LABELS.items() if finding != "lung_lesion"}
    columns = {
        "patient_id": "Patient ID",
        "path": "Image Index",
        "study_number": "Follow-up #",
        "view": "View Position",
        "age_years": "Patient Age",
        "sex": "Patient Gender",
    }
    write_mapping(
        tmp_path,
        {
            "tables": "Data_Entry_2017_v2020.csv.gz",
            "columns": columns,
            "findings": {
                "column": "Finding Labels",
                "labels": {**labels, "Mass": "lung_lesion", "Nodule": "lung_lesion"},
                "absent": "negative",
            },
        },
    )
    cohort = curate(packaged, mapping=str(tmp_path / "cohort.yaml"))
    expected = adapter("nih").spec.expected[0]
    assert flow(cohort, "Data_Entry_2017_v2020.csv.gz") == {"read": 112_120, "kept": 112_120}
    assert (cohort.studies.height, cohort.patients.height) == (expected.studies, expected.patients)
    for axis in ("sex", "view"):
        assert dict(cohort.studies[axis].value_counts().iter_rows()) == getattr(expected, axis)
    for finding, count in expected.positive.items():
        assert cohort.finding_values[finding].sum() == count, finding
    assert cohort.studies["age_years"].null_count() == 0


def test_repeated_mask_rows_of_the_real_siim_table_are_one_film_each(packaged: Path, tmp_path: Path) -> None:
    columns = {"study_id": " ImageId", "exam_id": "EncodedPixels"}
    write_mapping(tmp_path, {"tables": "siim-pneumothorax-train-rle.csv.gz", "columns": columns})
    cohort = curate(packaged, mapping=str(tmp_path / "cohort.yaml"))
    steps = flow(cohort, "siim-pneumothorax-train-rle.csv.gz")
    assert steps == {"read": 12_954, "dropped: duplicate study": 907, "kept": 12_047}
    assert (cohort.studies["exam_id"] == "-1").sum() == 9_378


def test_the_ready_mapping_curates_the_real_hannover_set(shared_data: Path) -> None:
    mapping = Path(__file__).parents[2] / "docs" / "cohorts" / "examples" / "hannover.yaml"
    cohort = curate(shared_data / "hannover-covid19", tables_only=False, mapping=str(mapping))
    studies = cohort.studies
    assert (studies.height, cohort.patients.height, cohort.quarantine.height) == (59, 31, 0)
    assert dict(studies["sex"].value_counts().iter_rows()) == {"male": 40, "female": 19}
    assert dict(studies["view"].value_counts().iter_rows()) == {"AP": 37, "PA": 22}
    assert studies["age_years"].null_count() == 59 and studies["source_path"].null_count() == 0
    assert set(studies["terms"]) == {"cc-by"} and shared_patients(studies).is_empty()
    assert cohort.spec.ages == ("unknown",) and flow(cohort) == {"read": 59, "kept": 59}
