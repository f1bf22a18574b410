from __future__ import annotations

import pytest

from cxr_assets.cohorts.base import CurateSettings
from cxr_assets.cohorts.choices import Choices
from cxr_assets.cohorts.demographics import UNKNOWN
from cxr_assets.cohorts.labels import FINDINGS
from cxr_assets.cohorts.registry import adapter, names
from cxr_assets.errors import SettingsError
from cxr_assets.keys import Grid


@pytest.mark.parametrize("name", ["nih", "openi", "padchest", "rsna", "vindr"])
def test_a_cohort_s_facts_span_valid_strata(name: str) -> None:
    spec = adapter(name).spec
    assert spec.name == name
    assert list(spec.findings) == [finding for finding in FINDINGS if finding in spec.findings]
    assert len(Grid(spec.findings, spec.ages, spec.sexes, spec.races)) >= len(spec.findings)
    assert spec.races == (UNKNOWN,)


def test_age_bins_follow_the_scheme_where_there_are_ages() -> None:
    assert adapter("nih").spec.chosen(Choices(age_scheme="adult4")).ages[0] == "18-39"
    assert adapter("openi").spec.chosen(Choices(age_scheme="adult4")).ages == (UNKNOWN,)


def test_an_unknown_cohort_is_refused_with_the_known_ones() -> None:
    with pytest.raises(SettingsError, match=r"phantom, .*nih, openi"):
        adapter("nih14")
    assert names()[0] == "phantom"


def test_shares_that_leave_nobody_to_train_on_are_refused() -> None:
    with pytest.raises(ValueError, match="no patient is left"):
        CurateSettings(validate_share=0.5, test_share=0.5)
