"""Captions that would name a person or a day, or overrun the encoder, fail the check; words of the field do not."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxr_assets.captions.budget import CLIP_TOKENS
from cxr_assets.captions.clean import clean_captions

FATES = pl.DataFrame({"fate": ["used", "used", "dropped"]})
CLEAN = "chest x-ray, 63 year old black female, small left effusion, ratio 1/2, T8-9, 3.5 cm"


def captions(*texts: str, tokens: list[int | None] | None = None, source: str = "impression") -> pl.DataFrame:
    columns = {"caption": texts, "source": [source] * len(texts), "tokens": tokens or [20] * len(texts)}
    return pl.DataFrame(columns, schema={"caption": pl.String, "source": pl.String, "tokens": pl.Int64})


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        ("seen by ___ today", "with_marks"),
        ("XXXX catheter", "with_marks"),
        ("XXX-year-old", "with_marks"),
        ("[**Hospital 3**] film", "with_marks"),
        ("unchanged since 03/12/2019", "with_dates"),
        ("unchanged since 3.12.19", "with_dates"),
        ("film of 2019-03-12", "with_dates"),
        ("film of 2180-05-06", "with_dates"),
        ("at 10:30 PM", "with_dates"),
        ("at 9:05am", "with_dates"),
        ("discussed with Dr. Smith", "with_names"),
        ("discussed with Dr Smith", "with_names"),
        ("Mrs. Jones has an effusion", "with_names"),
        ("read by A. Reader, MD", "with_names"),
        ("read by A. Reader, M.D.", "with_names"),
    ],
)
def test_what_names_a_person_or_a_day_fails(text: str, fact: str) -> None:
    passed, facts = clean_captions(captions(CLEAN, text), FATES)
    assert not passed
    assert {name: facts[name] for name in ("with_marks", "with_dates", "with_names")} == {
        "with_marks": 0,
        "with_dates": 0,
        "with_names": 0,
        fact: 1,
    }


@pytest.mark.parametrize(
    "text",
    [
        CLEAN,
        "2-3 mm nodule",
        "T10/T11 fracture",
        "16-18 ribs",
        "drain",
        "1.5 x 2.25 cm",
        "ratio 1:2",
        "COPD",
        "12:30 position",
    ],
)
def test_words_of_the_field_are_clean(text: str) -> None:
    passed, facts = clean_captions(captions(text), FATES)
    assert passed, facts


def test_an_earlier_film_is_counted_and_no_fault() -> None:
    texts = (
        "unchanged compared to the prior",
        "Compared with earlier",
        "since the previous film",
        "In comparison with the study of",
        "As on the prior chest radiograph",
        "no change",
    )
    passed, facts = clean_captions(captions(*texts), FATES)
    assert passed and facts["speaks_of_an_earlier_film"] == 5


@pytest.mark.parametrize(("tokens", "passed"), [(CLIP_TOKENS, True), (CLIP_TOKENS + 1, False)])
def test_the_budget_is_that_of_the_encoder(tokens: int, passed: bool) -> None:
    found, facts = clean_captions(captions(CLEAN, CLEAN, tokens=[30, tokens]), FATES)
    assert found == passed and facts["over_budget"] == int(not passed) and facts["tokens_100%"] == tokens


def test_captions_that_were_not_measured_are_judged_by_their_words() -> None:
    passed, facts = clean_captions(captions(CLEAN, tokens=[None]), FATES)
    assert passed and not any(name.startswith("tokens_") for name in facts)


def test_fates_and_sources_are_counted_out() -> None:
    passed, facts = clean_captions(captions(CLEAN, CLEAN, source="labels"), FATES)
    assert passed and (facts["fate_used"], facts["fate_dropped"], facts["from_labels"]) == (2, 1, 2)


def test_no_captions_at_all_pass() -> None:
    passed, facts = clean_captions(captions(), FATES.clear())
    assert passed and facts["with_names"] == 0


@given(st.text(max_size=40), st.text(max_size=40), st.sampled_from(["___", "XXXX", "[**", " 1/2/20 ", " Dr. Who "]))
def test_an_unclean_word_is_found_wherever_it_stands(before: str, after: str, word: str) -> None:
    passed, _ = clean_captions(captions(f"{before} {word} {after}"), FATES)
    assert not passed
