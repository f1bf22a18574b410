from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from cxr_assets.cohorts.phantom.config import FINDINGS
from cxr_assets.errors import SettingsError
from cxr_assets.evaluation.oracle import Oracle
from cxr_assets.keys import Stratum
from cxr_assets.settings import SynthesisSettings
from cxr_assets.synthesis.composers import image_request
from cxr_assets.synthesis.quality import (
    CopyGate,
    first_fault,
    gates_of,
    judge_gate,
    open_judge,
    quality_config,
    quality_fault,
    saturation_fault,
)
from cxr_assets.synthesis.requests import ImageRequest

GREY = np.full((8, 8), 90, np.uint8)


def asked(finding: str = "edema", index: int = 0) -> ImageRequest:
    return image_request(Stratum(finding, "40-59", "female", "black"), index, {}, seed=0)


class Sees:
    """A judge that sees one finding at a known probability, and edema and fibrosis alone."""

    findings = ("edema", "fibrosis")

    def __init__(self, **seen: float) -> None:
        self.seen = seen

    def judge(self, films: np.ndarray) -> Any:
        return SimpleNamespace(findings=np.array([[self.seen.get(f, 0.0) for f in self.findings]] * len(films)))


def test_a_film_without_contrast_is_refused() -> None:
    assert quality_fault(GREY, 0.05) == "contrast 0.000 below 0.05"
    assert quality_fault(np.array([[0, 255]], np.uint8), 0.05) is None
    assert quality_fault(np.array([[0, 255]], np.uint8), 0.5) is None, "half the range is its standard deviation"


def test_a_film_of_black_and_white_is_refused() -> None:
    film = np.array([[0, 255, 1, 254]], np.uint8)
    assert saturation_fault(film, 0.5) is None
    assert saturation_fault(film, 0.49) == "saturation 0.500 above 0.49"
    assert saturation_fault(np.zeros((4, 4), np.uint8), 1.0) is None


def test_the_second_of_two_equal_films_is_a_copy_and_a_retried_one_is_none_of_itself() -> None:
    gate = CopyGate()
    assert gate(GREY, asked()) is None
    assert gate(GREY + 1, asked(index=1)) is None
    assert gate(GREY.copy(), asked(index=2)) == f"copy of {asked().prompt_id}"
    assert gate(GREY, asked()) is None
    assert gate(GREY.reshape(4, 16), asked(index=3)) is None, "the same bytes of another shape are another film"
    assert CopyGate()(GREY, asked(index=2)) is None, "another stratum knows nothing of this one"


def test_a_film_is_refused_whose_first_label_is_not_seen() -> None:
    gate = judge_gate(Sees(edema=0.4, fibrosis=0.9), 0.5)
    assert gate(GREY, asked("edema")) == "edema seen at 0.400, below 0.5"
    assert gate(GREY, asked("fibrosis")) is None
    assert gate(GREY, asked("no_finding")) is None, "the judge has no opinion of it"
    assert judge_gate(Sees(edema=0.5), 0.5)(GREY, asked("edema")) is None


def test_the_first_gate_that_refuses_says_why_and_later_ones_are_not_asked() -> None:
    calls: list[str] = []

    def says(name: str, answer: str | None) -> Any:
        return lambda film, request: calls.append(name) or answer

    assert first_fault([says("a", None), says("b", "dark"), says("c", "late")], GREY, asked()) == "dark"
    assert calls == ["a", "b"] and first_fault([says("a", None)], GREY, asked()) is None


def test_settings_decide_the_gates() -> None:
    split = np.tile(np.array([[0, 200]], np.uint8), (8, 4))
    request = asked()
    assert first_fault(gates_of(SynthesisSettings(), None), split, request) is None
    assert "contrast" in str(first_fault(gates_of(SynthesisSettings(min_contrast=0.9), None), split, request))
    assert "saturation" in str(first_fault(gates_of(SynthesisSettings(max_saturation=0.4), None), split, request))
    judged = gates_of(SynthesisSettings(judge="oracle", judge_threshold=0.3), Sees(edema=0.2))
    assert first_fault(judged, split, request) == "edema seen at 0.200, below 0.3"
    gates = gates_of(SynthesisSettings(), None)
    assert first_fault(gates, split, request) is None
    assert str(first_fault(gates, split, asked(index=1))).startswith("copy of")
    refused = gates_of(SynthesisSettings(judge="oracle"), Sees())
    assert [first_fault(refused, split, asked(index=i)) for i in (0, 1)] == ["edema seen at 0.000, below 0.5"] * 2


def test_the_oracle_judges_the_phantom_alone() -> None:
    chosen = SynthesisSettings(judge="oracle")
    with pytest.raises(SettingsError, match="cohort is 'nih'"):
        quality_config(chosen, "nih")
    config = quality_config(chosen, "phantom")
    assert len(config["judge"]) == 64 and config["judge_threshold"] == 0.5
    assert "judge" not in quality_config(SynthesisSettings(), "nih")
    assert open_judge(SynthesisSettings()) is None
    judge = open_judge(chosen)
    assert isinstance(judge, Oracle) and judge.findings == FINDINGS
    assert judge_gate(judge, 1.1)(GREY, asked()) is not None, "no probability is that high"


def test_what_decides_who_passes_is_in_the_settings_of_a_stratum() -> None:
    plain = quality_config(SynthesisSettings(), "phantom")
    for changed in ({"min_contrast": 0.1}, {"max_saturation": 0.1}, {"retries": 1}, {"judge": "oracle"}):
        assert quality_config(SynthesisSettings(**changed), "phantom") != plain  # type: ignore[arg-type]
    assert quality_config(SynthesisSettings(judge_threshold=0.9), "phantom") == plain, "there is no judge"
