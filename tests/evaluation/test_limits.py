from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxr_assets.captions.caption_studies import caption_studies
from cxr_assets.cohorts.curation import curate_studies
from cxr_assets.diffusion.base import tokenizer_of
from cxr_assets.evaluation.limits import limits
from cxr_assets.evaluation.report import write_report
from cxr_assets.project import Project

MAPPING = """
title: A ward's own films
terms: cc-by
terms_url: https://example.org/terms
attribution: A ward
tables: films.csv
roots: [films]
columns:
  patient_id: patient
  path: file
  sex: sex
{findings}
"""


def project(tmp_path: Path, findings: str = "") -> Project:
    """Twelve films of twelve patients, curated and captioned."""
    root = tmp_path / "ward"
    (root / "films").mkdir(parents=True)
    rng = np.random.default_rng(0)
    lines = ["patient,file,sex,edema"]
    for number in range(12):
        Image.fromarray(rng.integers(0, 255, (40, 40), np.uint8)).save(root / "films" / f"{number}.png")
        lines.append(f"p{number},{number}.png,{'mf'[number % 2]},{'yes' if number < 6 else 'no'}")
    (root / "films.csv").write_text("\n".join(lines))
    (root / "cohort.yaml").write_text(MAPPING.format(findings=findings))
    opened = Project.open(
        cohort="table",
        storage=tmp_path / "root",
        overrides={"cohort_root": str(root), "films.size": 32, "films.workers": 1},
    )
    curate_studies(opened)
    caption_studies(opened, tokenizer_of(opened), tokenizer_id="test")
    return opened


def test_a_table_without_a_finding_ends_in_a_report_that_says_what_it_could_not_do(tmp_path: Path) -> None:
    opened = project(tmp_path)
    told = limits(opened)
    assert told[0].startswith("No finding is mapped") and "age, recorded race" in told[1] and "No boxes" in told[2]
    made = write_report(opened)
    page = opened.store.path("reports/index.html").read_text()
    assert all(limit in page for limit in told) and made.manifest.facts["arms"] == []
    assert "does synthetic data close the gap" not in page


@pytest.mark.parametrize(
    ("words", "known"), [("positive: ['yes'], negative: ['no']", True), ("positive: ['yes']", False)]
)
def test_a_finding_whose_test_films_lack_a_label_is_named(tmp_path: Path, words: str, known: bool) -> None:
    unknown = "" if known else "\non_unknown: 'null'"
    opened = project(tmp_path, f"findings: {{edema: {{column: edema, {words}}}}}{unknown}")
    test = opened.filmed("test").join(opened.finding_values(), on="study_id")["edema"].to_list()
    assert (any("No AUROC for edema" in limit for limit in limits(opened))) == ({0, 1} - set(test) != set())
    assert not any("No finding" in limit for limit in limits(opened))
