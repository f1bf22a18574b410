from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxr_assets.captions.sections import caption_body


@pytest.mark.parametrize(
    ("section", "body"),
    [
        ("No acute disease.", "No acute disease."),
        ("1. Clear lungs. 2. Normal heart size.", "Clear lungs. Normal heart size."),
        (
            "Stable since the prior study on XXXX. No effusion or pneumothorax seen.",
            "Stable since the prior study on. No effusion or pneumothorax seen.",
        ),
        (
            "Two views of the chest x-XXXX show clear lungs and heart",
            "Two views of the chest show clear lungs and heart",
        ),
        ("Compared to ___, no change in the heart and lungs.", "Compared to, no change in the heart and lungs."),
        (
            "Read by [** Dr A. Name **] in the morning, lungs are clear today.",
            "Read by in the morning, lungs are clear today.",
        ),
        ("Clear lungs. . No\n effusion", "Clear lungs. No effusion"),
        ("T8 fracture, 3.5 cm mass", "T8 fracture, 3.5 cm mass"),
    ],
)
def test_marks_and_list_numbers_go_and_words_stay(section: str, body: str) -> None:
    assert caption_body(section).text == body


def test_a_fifth_of_marks_is_the_limit() -> None:
    assert caption_body("XXXX one two three four").text == "one two three four"
    refused = caption_body("XXXX one two three")
    assert refused.text is None and refused.reason == "de-identified: 25% of the words are marks"


@pytest.mark.parametrize("section", ["", " \n", ".", "1.", "- 2 -"])
def test_an_empty_section_has_no_body(section: str) -> None:
    assert caption_body(section).reason == "empty section"


@given(st.text(max_size=80))
def test_no_mark_survives(section: str) -> None:
    body = caption_body(section).text
    assert body is None or ("XX" not in body and "__" not in body and body == " ".join(body.split()))
