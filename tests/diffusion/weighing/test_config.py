from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from cxr_assets.diffusion.weighing import FairDiffusionWeighing, TemperedSampling, Weighing

READ = TypeAdapter(Weighing).validate_python


def test_the_kind_tells_which_settings_are_read() -> None:
    kinds = ["uniform", "inverse_frequency", "group_dro", "fairdiffusion", "tempered"]
    assert [READ({"kind": kind}).kind for kind in kinds] == kinds
    assert READ({"kind": "tempered", "tau": 0.25}) == TemperedSampling(tau=0.25)


def test_fairdiffusion_stands_as_published_but_for_its_mode() -> None:
    settings = FairDiffusionWeighing()
    assert (settings.window, settings.exploit, settings.beta, settings.floor) == (30, 0.95, 0.1, 0.1)
    assert (settings.candidates, settings.mode, settings.tie) == (1024, "safe", False)


@pytest.mark.parametrize(
    "tree",
    [
        {"kind": "focal"},
        {"kind": "uniform", "eta": 1.0},
        {"kind": "group_dro", "eta": -1.0},
        {"kind": "fairdiffusion", "window": 1},
        {"kind": "fairdiffusion", "exploit": 1.1},
        {"kind": "fairdiffusion", "floor": 0.0},
        {"kind": "tempered", "tau": 1.5},
    ],
)
def test_settings_that_mean_nothing_are_refused(tree: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        READ(tree)
