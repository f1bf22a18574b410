"""The datasheet stands alone, names nobody, counts out no small cell, and shows hostile text as text."""

from __future__ import annotations

import html
import re
from html.parser import HTMLParser
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from cxr_assets.cohorts.choices import Choices
from cxr_assets.cohorts.curation import curate_studies
from cxr_assets.cohorts.datasheet import (
    FOLDER,
    _markdown,
    composition,
    facts_of,
    render,
    typical_films,
    without_small,
    write_datasheet,
)
from cxr_assets.cohorts.profile import prevalence_by_group
from cxr_assets.cohorts.study_checks import STUDY_CHECKS, CheckedCohort, run_check
from cxr_assets.project import Project
from tests.cohorts.conftest import NIH_HEADER, nih_row
from tests.cohorts.test_study_checks import FAULTS, cohort, complaint, studies, values

HOSTILE = "a/<script>alert(1)</script>|b`c\\|[d](http://e)\n| f"
PATIENTS = [f"{number:08d}" for number in range(71, 79)]
PNG = b"\x89PNG"


class Page(HTMLParser):
    """Tags of a page, and every address that it would fetch or link to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "action")]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Eight patients, two films each; one film is damaged, one is missing, one row is unusable, one age is absurd."""
    root = tmp_path_factory.mktemp("nih")
    (root / "images").mkdir()
    rng = np.random.default_rng(0)
    names = [f"{patient}_{visit:03d}.png" for patient in PATIENTS for visit in range(2)]
    for name in names[:-1]:
        Image.fromarray(rng.integers(0, 255, (48, 48), np.uint8)).save(root / "images" / name)
    (root / "images" / names[0]).write_bytes(b"no film")
    rows = [
        nih_row(name, "Edema" if number % 3 else "No Finding", age=str(30 + number), sex="FM"[number % 4 == 3])
        for number, name in enumerate(names)
    ]
    rows[2] = nih_row(names[2], "<script>alert(1)</script>")
    rows[4] = nih_row(names[4], "Hernia", age="414")
    (root / "Data_Entry_2017_v2020.csv").write_text("\n".join([NIH_HEADER, *rows]))
    opened = Project.open(
        cohort="nih",
        storage=tmp_path_factory.mktemp("root"),
        overrides={"cohort_root": str(root), "films.size": 32, "films.workers": 1},
    )
    curate_studies(opened)
    return opened


@pytest.fixture(scope="module")
def pages(project: Project) -> dict[str, str]:
    write_datasheet(project)
    return {kind: project.store.path(f"{FOLDER}/index.{kind}").read_text() for kind in ("html", "md")}


def without_pictures(page: str) -> str:
    return re.sub(r"data:image/png;base64,[A-Za-z0-9+/=]+", "", page)


def test_the_html_page_needs_nothing_beside_it(pages: dict[str, str]) -> None:
    page = Page(pages["html"])
    assert len(page.addresses) == 3
    assert all(address.startswith("data:image/png;base64,") for address in page.addresses)
    assert not {"script", "link", "iframe", "object", "form", "a"} & set(page.tags)
    assert "url(" not in pages["html"] and "@import" not in pages["html"]


def test_the_markdown_page_has_its_pictures_beside_it(project: Project, pages: dict[str, str]) -> None:
    pictures = re.findall(r"!\[\w+\]\(([^)]*)\)", pages["md"])
    assert sorted(pictures) == ["films.png", "missingness.png", "prevalence.png"]
    assert all(project.store.path(f"{FOLDER}/{picture}").read_bytes().startswith(PNG) for picture in pictures)


@pytest.mark.parametrize("kind", ["html", "md"])
def test_no_patient_and_no_film_is_named_on_the_page(pages: dict[str, str], kind: str) -> None:
    text = without_pictures(pages[kind])
    assert "corrupt film" in text or "unreadable film" in text
    assert [patient for patient in PATIENTS if patient in text or str(int(patient)) + "_" in text] == []


@pytest.mark.parametrize("name", STUDY_CHECKS)
@pytest.mark.parametrize("kind", ["html", "md"])
def test_a_failed_check_names_nobody_on_the_page(name: str, kind: str) -> None:
    page = page_of(FAULTS[name], kind)
    assert "look" in page and re.findall(r"\b[pse]\d\d\b", page) == []


def test_the_page_counts_what_was_curated(project: Project, pages: dict[str, str]) -> None:
    facts = project.store.manifest("datasheet").facts  # type: ignore[union-attr]
    assert (facts["studies"], facts["patients"]) == (15, 8)
    assert "<b>15</b> studies of <b>8</b> patients" in pages["html"].replace("\n", " ")
    assert "nih-open" in pages["md"] and "nih-open" in pages["html"]


def test_a_datasheet_that_stands_is_found_and_another_choice_writes_it_anew(project: Project) -> None:
    write_datasheet(project)
    assert not write_datasheet(project).fresh
    chosen = project.resolved.settings.model_copy(update={"choices": Choices(age_scheme="nm2021")})
    other = Project.open(
        cohort="nih",
        storage=project.store.root,
        overrides={"cohort_root": str(chosen.cohort_root), "choices.age_scheme": "nm2021"},
    )
    assert write_datasheet(other).fresh
    assert "20-39" in project.store.path(f"{FOLDER}/index.md").read_text()
    assert write_datasheet(project).fresh


def test_small_cells_are_not_counted_out() -> None:
    frame = pl.DataFrame(
        {
            "patient_id": ["p1"] * 9 + [f"q{n}" for n in range(5)] + ["r"],
            "sex": ["female"] * 9 + ["male"] * 5 + [None],
        }
    )
    assert composition(frame, "sex") == [("female", "9", "< 5"), ("male", "5", "5"), ("unknown", "< 5", "< 5")]


def test_the_share_of_a_small_subgroup_is_not_drawn() -> None:
    frame = studies(sex=["male"] * 4 + ["female"] * 36)
    seen = frame.with_columns(age_bin=pl.lit("00-39"), race="race5")
    drawn = without_small(prevalence_by_group(seen, values(), ("edema",)), seen).filter(attribute="sex")
    assert dict(drawn.select("group", "prevalence").iter_rows()) == {"female": pytest.approx(8 / 36), "male": None}


def hostile() -> CheckedCohort:
    """A cohort whose file names, complaints and forms are made to break a page."""
    base = cohort()
    named = [HOSTILE] * 2
    return cohort(
        sources=base.sources.with_columns(path=pl.lit(HOSTILE), release=pl.lit(HOSTILE)),
        waterfall=base.waterfall.with_columns(source=pl.Series(named)),
        quarantine=complaint(f"{HOSTILE}: {HOSTILE}").with_columns(source=pl.lit(HOSTILE), value=pl.lit(HOSTILE)),
    )


def page_of(checked: CheckedCohort, kind: str) -> str:
    outcomes = [run_check(name, checked) for name in STUDY_CHECKS]
    told = facts_of(checked, outcomes, choices=Choices().demographics, terms="cc-by")
    return render(kind, told, {"prevalence": PNG, "missingness": PNG})


def test_hostile_text_is_text_in_html() -> None:
    page = page_of(hostile(), "html")
    parsed = Page(page)
    assert "script" not in parsed.tags and "a" not in parsed.tags
    assert html.escape(HOSTILE) in page


def fields(line: str) -> int:
    """Cells of a table's line: a bar after an even number of backslashes parts two of them."""
    return sum(1 for bar in re.finditer(r"(\\*)\|", line) if len(bar[1]) % 2 == 0) - 1


def tables(page: str) -> list[list[str]]:
    found: list[list[str]] = [[]]
    for line in page.splitlines():
        if line.startswith("|"):
            found[-1].append(line)
        elif found[-1]:
            found.append([])
    return [table for table in found if table]


@pytest.mark.parametrize("checked", [cohort(), hostile(), *FAULTS.values()])
def test_every_row_of_a_markdown_table_has_the_cells_of_its_header(checked: CheckedCohort) -> None:
    found = tables(page_of(checked, "md"))
    assert len(found) >= 5
    for table in found:
        assert {fields(line) for line in table} == {fields(table[0])}, table


def test_hostile_text_is_no_markup_in_markdown() -> None:
    page = page_of(hostile(), "md")
    assert "<script" not in page and not re.search(r"(?<!\\)\]\(http", page) and "\n| f |" not in page


@given(st.text(max_size=40))
def test_any_text_is_one_cell(text: str) -> None:
    cell = _markdown(text)
    assert len(cell.splitlines()) <= 1 and "<" not in cell and fields(f"|{cell}|") == 1


def test_files_of_one_study_each_are_counted_and_not_named() -> None:
    base = cohort().sources
    one = {"path": ["files/p10/p00/s00.txt", "files/p10/p01/s02.txt"], "source_id": ["b" * 64, "c" * 64]}
    single = pl.concat([base, base]).with_columns(pl.Series(name, texts) for name, texts in one.items())
    single = single.with_columns(rows_read=pl.lit(1, pl.Int64), rows_kept=pl.Series([1, 0]), release=pl.lit("report"))
    page = page_of(cohort(sources=pl.concat([base, single])), "md")
    assert "| 2 files of one study each | 2 | 1 | report |" in page and "s00.txt" not in page


def test_laterals_are_no_typical_films() -> None:
    checked = cohort(studies(view=["LATERAL"] * 6 + ["PA"] * 34))
    shown, captions = typical_films(checked)
    assert shown[2:] == ["images/6.png", "images/7.png"] and captions[2] == "Edema female 00-39"


def test_numbers_that_are_no_patients_are_not_called_so() -> None:
    checked: Any = cohort()
    spec = checked.spec.model_copy(update={"patient_id_kind": "image"})
    page = page_of(CheckedCohort(spec, checked.studies, checked.tables, {}, checked.related), "md")
    assert "ids that are no patients (image)" in page
