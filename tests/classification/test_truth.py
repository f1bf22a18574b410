from __future__ import annotations

from pathlib import Path

import pytest

from cxr_assets.classification.classifiers import training_config
from cxr_assets.classification.data import evaluation_films
from cxr_assets.cohorts.curation import curate_studies
from cxr_assets.errors import SettingsError
from cxr_assets.project import Project
from tests.cohorts.test_related import nih_folder


def test_films_are_scored_on_the_label_sources_chosen(tmp_path: Path) -> None:
    folder = nih_folder(tmp_path / "received", films=True, test=range(4))
    overrides = {"cohort_root": str(folder), "films.size": 32, "films.workers": 1}

    def opened(**choices: object) -> Project:
        return Project.open(cohort="nih", storage=tmp_path / "root", overrides=overrides | choices)

    curate_studies(opened())
    assert len(evaluation_films(opened(), "test")) == 4
    assert len(evaluation_films(opened(**{"choices.truth_from": ["nlp_report"]}), "test")) == 4
    radiologists = opened(**{"choices.truth_from": ["radiologist_image", "radiologist_report"]})
    assert len(evaluation_films(radiologists, "test")) == 0
    assert training_config(radiologists) != training_config(opened()), "another truth is another classifier"
    with pytest.raises(SettingsError, match="'radiologist'"):
        opened(**{"choices.truth_from": ["radiologist"]})
