from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxr_assets.captions import Prompt, PromptTemplate
from cxr_assets.cohorts.demographics import RACES, SEXES
from cxr_assets.cohorts.labels import FINDINGS
from cxr_assets.errors import InputError

TEMPLATE = PromptTemplate()


@pytest.mark.parametrize(
    ("findings", "person", "text"),
    [
        (
            ["pleural_effusion", "edema"],
            {"age": 63.9, "sex": "female", "race": "black"},
            "chest x-ray, 63 year old black female, pleural effusion and edema",
        ),
        (["no_finding"], {"age": 0.4}, "chest x-ray, 0 year old patient, no finding"),
        ([], {}, "chest x-ray"),
        (["edema"], {}, "chest x-ray, edema"),
        ([], {"sex": "male", "race": "unknown"}, "chest x-ray, male"),
        (
            ["edema", "hernia", "fracture"],
            {"race": "other"},
            "chest x-ray, other-race patient, edema, hernia and fracture",
        ),
    ],
)
def test_known_prompts(findings: list[str], person: dict[str, object], text: str) -> None:
    assert TEMPLATE.render(findings, **person) == text


@given(
    st.lists(st.sampled_from(FINDINGS), unique=True),
    st.none() | st.integers(0, 120),
    st.none() | st.sampled_from(SEXES),
    st.none() | st.sampled_from(RACES),
    st.sampled_from(["chest x-ray", "CXR (frontal)"]),
)
def test_parsing_gives_back_what_was_rendered(
    findings: list[str], age: int | None, sex: str | None, race: str | None, subject: str
) -> None:
    template = PromptTemplate(subject)
    assert template.parse(template.render(findings, age=age, sex=sex, race=race)) == Prompt(
        tuple(findings), age, sex, race
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "chest x-ray,",
        "a chest x-ray",
        "chest x-ray, edema ",
        "Chest x-ray, edema",
        "chest x-ray, 063 year old male",
        "chest x-ray, 121 year old male",
        "chest x-ray, 63 year old",
        "chest x-ray, patient",
        "chest x-ray, female, oedema",
        "chest x-ray, edema and edema",
        "chest x-ray, edema, hernia",
        "chest x-ray, edema and hernia and fracture",
        "chest x-ray, no edema",
        "chest x-ray, 63 year old caucasian male",
    ],
)
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(InputError):
        TEMPLATE.parse(text)


@given(st.text(max_size=60))
def test_any_text_is_refused_or_round_trips(text: str) -> None:
    try:
        prompt = TEMPLATE.parse(f"chest x-ray{text}")
    except InputError:
        return
    assert TEMPLATE.render(prompt.findings, age=prompt.age, sex=prompt.sex, race=prompt.race) == f"chest x-ray{text}"


@pytest.mark.parametrize(
    ("findings", "person"),
    [
        (["oedema"], {}),
        (["edema", "edema"], {}),
        ([], {"age": 121}),
        ([], {"age": float("nan")}),
        ([], {"sex": "M"}),
        ([], {"race": "x"}),
    ],
)
def test_what_cannot_be_said_is_refused(findings: list[str], person: dict[str, object]) -> None:
    with pytest.raises(InputError, match="prompt:"):
        TEMPLATE.render(findings, **person)


@given(st.integers(1, 3), st.data())
def test_ages_with_decimals_come_back_too(decimals: int, data: st.DataObject) -> None:
    template = PromptTemplate(decimals=decimals)
    age = data.draw(st.integers(0, 120 * 10**decimals)) / 10**decimals
    assert template.parse(template.render(["edema"], age=age, sex="male")) == Prompt(("edema",), age, "male")


def test_an_age_is_never_rounded_up() -> None:
    assert PromptTemplate(decimals=1).render(age=17.99) == "chest x-ray, 17.9 year old patient"
    assert PromptTemplate(decimals=2).render(age=0.67) == "chest x-ray, 0.67 year old patient", "8 months"
