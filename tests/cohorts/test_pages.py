"""Pages that list choices, checks and terms list those that there are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cxr_assets.checks import BLOCKING, CHECKS
from cxr_assets.cohorts.choices import LABEL_POLICIES, LabelPolicy
from cxr_assets.cohorts.demographics import AGE_SCHEMES
from cxr_assets.cohorts.study_checks import STUDY_CHECKS
from cxr_assets.exports.forms import FORMS, NEED_BOXES
from cxr_assets.warehouse.terms import MAY_EXPORT, STRICTNESS

DOCS = Path(__file__).parents[2] / "docs"
CAPTIONS = "captions_are_clean"


def rows(page: str) -> list[list[str]]:
    """Cells of every row of every table of a page."""
    lines = (DOCS / page).read_text(encoding="utf-8").splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]


def test_the_page_of_checks_numbers_them_as_the_code_does_and_says_which_block() -> None:
    listed = {
        match[1]: (row[0], row[3])
        for row in rows("checks.md")
        if len(row) == 5 and (match := re.match(r"`(\w+)`", row[1]))
    }
    numbers = {name: check.__doc__.split("]")[0] + "]" for name, check in STUDY_CHECKS.items() if check.__doc__}
    numbers[CAPTIONS] = "[18]"
    assert CAPTIONS in CHECKS["captions"]
    assert listed == {name: (number, "yes" if name in BLOCKING else "no") for name, number in numbers.items()}


def test_the_page_of_choices_has_every_scheme_with_its_bins() -> None:
    listed = {row[0].strip("`"): row[1] for row in rows("choices.md") if len(row) == 3 and row[0].startswith("`")}
    for name, scheme in AGE_SCHEMES.items():
        lows = [str(int(edge)) for edge in scheme.edges]
        said = listed[name].replace("as `adult4`", "18–39, 40–59, 60–79, 80+")
        assert [re.split(r"[–+]", part.strip().removeprefix("then "))[0] for part in said.split(",")] == lows


@pytest.mark.parametrize("policy", LABEL_POLICIES.values(), ids=LABEL_POLICIES)
def test_the_page_of_choices_says_how_each_policy_reads(policy: LabelPolicy) -> None:
    words = {None: "not at all", 0: "negative", 1: "positive"}
    (row,) = [row for row in rows("choices.md") if len(row) == 3 and row[0] == f"`{policy.name}`" and "–" not in row[1]]
    assert row[2] == words[policy.read("edema", None)]
    assert row[1].startswith(words[policy.read("edema", -1)])
    assert ("negative elsewhere" in row[1]) == (policy.read("edema", -1) != policy.read("pneumonia", -1))


def test_the_page_of_exports_has_every_form_and_every_tag() -> None:
    listed = {row[0].strip("`"): row for row in rows("exports.md")}
    assert {form: "box" in listed[form][2] for form in FORMS} == {form: form in NEED_BOXES for form in FORMS}
    said = {tag: row[1] for row in rows("exports.md") if len(row) == 3 for tag in re.findall(r"`([\w-]+)`", row[0])}
    assert {tag: said[tag] for tag in STRICTNESS} == {
        tag: "yes" if tag in MAY_EXPORT else "refused" for tag in STRICTNESS
    }
