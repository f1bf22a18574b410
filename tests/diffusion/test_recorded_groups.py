from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cxr_assets.diffusion.config import MethodPreset
from cxr_assets.diffusion.recorded_groups import groups_of, who_is_weighed
from cxr_assets.diffusion.teaching import Teaching
from cxr_assets.diffusion.weighing import InverseFrequencyWeighing, make_controller
from cxr_assets.errors import InputError
from cxr_assets.resolve import load_preset
from tests.diffusion.lessons import FILMS, SCHEMA, lesson, small
from tests.helpers import CPU, tiny_bundle


def test_films_are_weighed_by_what_the_cohort_records() -> None:
    people = SCHEMA.encode([30.0, 70.0, 70.0, None], ["female", "male", "male", "male"], [None] * 4)
    groups, indices = groups_of(people, SCHEMA)
    assert groups.names == ["age", "sex"] and indices.shape == (4, 2)
    assert (groups.cell_of(indices) >= 0).tolist() == [True, True, True, False]
    weights = make_controller(InverseFrequencyWeighing(), groups, groups.cell_counts(indices), seed=0).weights(
        indices, np.random.default_rng(0)
    )
    assert "over age, sex; 1 films do not say them all" in who_is_weighed("inverse_frequency", groups, indices)
    assert weights.tolist() == pytest.approx([1.5, 0.75, 0.75, 1.0]), (
        "without race there is still something to weigh by"
    )


def test_where_nobody_says_anything_a_weighing_is_refused(tmp_path: Path) -> None:
    nobody = SCHEMA.encode([None] * FILMS, [None] * FILMS, [None] * FILMS)
    assert groups_of(nobody, SCHEMA)[0].names == ["age", "sex", "race"]
    unknown = replace(lesson(tiny_bundle(), MethodPreset(title="Plain")), people=nobody)
    for method, refused in (("demographic_text", False), ("inverse_frequency", True), ("balanced_sampler", True)):
        preset = small(load_preset("methods", method, MethodPreset))
        with pytest.raises(InputError, match="none of 12 training films") if refused else nullcontext():
            Teaching(tiny_bundle(), preset, unknown, CPU, tmp_path, "")
