from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxr_assets.captions.headers import ReadPrompt, read_prompt
from cxr_assets.cohorts.demographics import RACES, SEXES

MUST_BE = {
    "60 year old CAUCASIAN male. Edema.": ReadPrompt("Edema.", 60.0, "male", "white"),
    "55 year old WHITE female. Blackened area.": ReadPrompt("Blackened area.", 55.0, "female", "white"),
    "52.0 year old White female. Effusion.": ReadPrompt("Effusion.", 52.0, "female", "white"),
    "Effusion, normal heart": ReadPrompt("Effusion, normal heart"),
    "Small effusion. Stable.": ReadPrompt("Small effusion. Stable."),
    "Compared to 2 years prior, stable.": ReadPrompt("Compared to 2 years prior, stable."),
    "8 month old WHITE male. Clear.": ReadPrompt("Clear.", 8 / 12, "male", "white"),
    "60 year old OTHER male. Clear.": ReadPrompt("Clear.", 60.0, "male", "other"),
}


@pytest.mark.parametrize("text", MUST_BE)
def test_prompts_that_were_misread_are_read_as_they_must_be(text: str) -> None:
    assert read_prompt(text) == MUST_BE[text]


@pytest.mark.parametrize("age", ["0", "7", "52.0", "63.5", "90", "120"])
def test_every_person_of_the_vocabulary_comes_back(age: str) -> None:
    bodies = ("No acute disease.", "", "Effusion. 3 year old fracture of a white bone.\nStable.")
    for race, sex, body in product((*RACES, None), (*SEXES, None), bodies):
        words = " ".join(filter(None, [race and race.upper(), sex]))
        text = f"{age} year old {words}. {body}" if words else f"{age} year old. {body}"
        assert read_prompt(text) == ReadPrompt(body, float(age), sex, race)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("63-year-old woman. Clear.", ReadPrompt("Clear.", 63.0, "female")),
        ("63 year old patient. Clear.", ReadPrompt("Clear.", 63.0)),
        ("45 year old BLACK/AFRICAN AMERICAN F. Clear.", ReadPrompt("Clear.", 45.0, "female", "black")),
        ("200 year old WHITE male. Clear.", ReadPrompt("200 year old WHITE male. Clear.")),
        ("10 day old male. Clear.", ReadPrompt("Clear.", 10 / 365.25, "male")),
        ("A 60 year old WHITE male. Clear.", ReadPrompt("A 60 year old WHITE male. Clear.")),
    ],
)
def test_headers_in_other_words(text: str, expected: ReadPrompt) -> None:
    assert read_prompt(text) == expected


def test_a_race_that_nobody_knows_is_unknown_and_said() -> None:
    found = read_prompt("60 year old MARTIAN male. Clear.")
    assert (found.race, found.sex, found.body) == (None, "male", "Clear.") and "martian" in found.warnings[0]


@given(st.text(max_size=80))
def test_no_text_is_lost_or_changed(text: str) -> None:
    found = read_prompt(text)
    assert text.endswith(found.body)
    assert found.body == text or found.age is not None


@given(
    st.floats(0, 120, allow_nan=False).map(lambda x: round(x, 2)),
    st.sampled_from(SEXES),
    st.sampled_from(RACES),
    st.text(max_size=40),
)
def test_a_header_is_read_whatever_follows_it(age: float, sex: str, race: str, body: str) -> None:
    found = read_prompt(f"{age} year old {race.upper()} {sex}. {body}")
    assert (found.age, found.sex, found.race) == (age, sex, race) and body.endswith(found.body)
