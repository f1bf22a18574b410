"""Drawing with what a method has learned: conditioners, two scales, few steps."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from pydantic import ValidationError

from cxr_assets.diffusion.config import MethodPreset
from cxr_assets.diffusion.generator import Generator
from cxr_assets.diffusion.sampling import Ask, SamplerSettings
from cxr_assets.errors import InputError
from tests.diffusion.lessons import teaching
from tests.helpers import CPU

SETTINGS = SamplerSettings(steps=2, batch=3, resolution=64)
PROMPT = "chest x-ray, edema"
PEOPLE = [
    Ask(PROMPT, 5, 50.0, "female", "black"),
    Ask(PROMPT, 5, 50.0, "female", "white"),
    Ask(PROMPT, 5, 50.0, "male", "black"),
    Ask(PROMPT, 5, None, None, None),
    Ask(PROMPT, 5, 85.0, "female", "black"),
]


@cache
def taught(kind: str, route: str = "token") -> Generator:
    """A generator whose conditioner has learned enough to show."""
    train = {"steps": 6, "learning_rate": 2e-2}
    return teaching(conditioner={"kind": kind, "route": route}, train=train).run()


def drawn(generator: Generator, asks: list[Ask] | None = None, **changed: object) -> np.ndarray:
    sampler = generator.sampler(SETTINGS.model_copy(update=changed), device=CPU)
    return np.stack([film for _, film in sampler.draw_all((None, ask) for ask in asks or PEOPLE)])


@pytest.mark.parametrize(("kind", "route"), [("demographic_encoder", "token"), ("hcn", "both"), ("compdiff", "time")])
def test_the_person_shows_through_the_conditioner_alone(kind: str, route: str) -> None:
    films = drawn(taught(kind, route))
    assert len({film.tobytes() for film in films}) == len(PEOPLE), "one prompt and one seed, five people"


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_a_film_does_not_depend_on_who_else_is_in_the_batch(batch: int) -> None:
    for guidance in (None, 2.0):
        generator = taught("compdiff", "both")
        preset = generator.preset.model_copy(update={"demographic_guidance": guidance})
        guided = Generator(generator.bundle, preset, generator.conditioner)
        difference = np.abs(drawn(guided).astype(int) - drawn(guided, batch=batch))
        assert difference.max() <= 1 and (difference > 0).mean() < 0.01


def test_two_equal_scales_are_one() -> None:
    generator = taught("hcn", "both")
    preset = generator.preset.model_copy(update={"demographic_guidance": SETTINGS.guidance})
    two = drawn(Generator(generator.bundle, preset, generator.conditioner))
    assert np.abs(two.astype(int) - drawn(generator)).max() <= 1
    stronger = generator.preset.model_copy(update={"demographic_guidance": 9.0})
    other = drawn(Generator(generator.bundle, stronger, generator.conditioner))
    assert np.abs(other[:3].astype(int) - two[:3]).max() > 1
    assert np.abs(other[3].astype(int) - two[3]).max() <= 1, "nobody is guided nowhere"


def test_without_guidance_there_is_no_negative_half() -> None:
    films = drawn(taught("hcn", "both"), guidance=1.0)
    assert len({film.tobytes() for film in films}) == len(PEOPLE)


def test_few_steps_are_for_adapters_made_for_them() -> None:
    generator = taught("none")
    with pytest.raises(InputError, match="few_step: true"):
        drawn(generator, sampler="lcm")
    preset = generator.preset.model_copy(update={"few_step": True})
    distilled = Generator(generator.bundle, preset)
    films = drawn(distilled, sampler="lcm", steps=3)
    again = drawn(distilled, [PEOPLE[4], PEOPLE[0]], sampler="lcm", steps=3)
    assert np.array_equal(films[0], again[1]), "the noise that its steps add is the film's own"


def test_guidance_of_demographics_needs_someone_who_carries_them() -> None:
    with pytest.raises(ValidationError, match="needs a conditioner"):
        MethodPreset(title="x", demographic_guidance=2.0)
    with pytest.raises(ValidationError, match="one scale"):
        MethodPreset.model_validate(
            {"title": "x", "demographic_guidance": 2.0, "few_step": True, "conditioner": {"kind": "hcn"}}
        )
    with pytest.raises(ValidationError, match="time route"):
        MethodPreset.model_validate(
            {"title": "x", "conditioner": {"kind": "hcn", "route": "both"}, "train": {"compile": True}}
        )


def test_prompts_leave_out_what_is_carried() -> None:
    person = {"age": 63.0, "sex": "female", "race": "black"}
    words = {
        "none": "chest x-ray, 63 year old black female, edema",
        "hcn": "chest x-ray, edema",
        "compdiff": "chest x-ray, edema",
        "demographic_encoder": "chest x-ray, edema",
    }
    for kind, text in words.items():
        preset = MethodPreset.model_validate({"title": "x", "conditioner": {"kind": kind}})
        assert preset.prompt(["edema"], **person) == text
    aged = MethodPreset.model_validate({"title": "x", "conditioner": {"kind": "hcn", "encode_age": False}})
    assert aged.prompt(
        ["edema"], **person
    ) == "chest x-ray, 63 year old patient, edema" and aged.caption_attributes == ("age",)
    label = MethodPreset.model_validate({"title": "x", "wording": {"trained_with": [], "asked_with": ["sex"]}})
    assert label.prompt(["edema"], **person) == "chest x-ray, female, edema" and label.caption_attributes == ()
