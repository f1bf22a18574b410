from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import numpy as np
from PIL import Image

from cxr_assets.captions.wording import Wording
from cxr_assets.diffusion.conditioners.config import ConditionerConfig
from cxr_assets.diffusion.config import MethodPreset
from cxr_assets.diffusion.sampling import SamplerSettings
from cxr_assets.keys import Stratum
from cxr_assets.synthesis.composers import image_request
from cxr_assets.synthesis.image_rows import ATTEMPTS, IMAGES, DrawnWith, attempt_row, image_row, png_bytes
from cxr_assets.synthesis.trials import Attempt, Kept

REQUEST = image_request(Stratum("edema", "40-59", "female", "black"), 0, {}, seed=0)
PLAIN = MethodPreset(title="says everything")
SILENT = MethodPreset(title="says findings", wording=Wording(trained_with=()))
BY = DrawnWith("m", PLAIN, "base", "adapter", SamplerSettings())


def test_everything_that_decides_an_image_is_in_its_name() -> None:
    other = Stratum("edema", "40-59", "female", "white")
    changes: list[dict[str, Any]] = [
        {"run": 1},
        {"k": 1},
        {"index": 1},
        {"labels": ("edema", "fibrosis")},
        {"stratum": other},
    ]
    requests = [REQUEST, *(replace(REQUEST, **change) for change in changes)]
    guided = MethodPreset(title="g", conditioner=ConditionerConfig(kind="hcn"), demographic_guidance=2.0)
    drawn_by: list[dict[str, Any]] = [
        {"method": "n"},
        {"base_id": "b"},
        {"adapter_id": "a"},
        {"sampler": SamplerSettings(steps=99)},
        {"preset": SILENT},
        {"preset": guided},
        {"preset": guided.model_copy(update={"demographic_guidance": 3.0})},
    ]
    names = [BY.image_id(r) for r in requests] + [replace(BY, **change).image_id(REQUEST) for change in drawn_by]
    assert len(set(names)) == len(names) == 13 and all(len(name) == 32 for name in names)
    assert replace(BY, sampler=SamplerSettings(batch=7)).image_id(REQUEST) == names[0]


def test_people_whom_only_a_conditioner_is_told_of_have_names_of_their_own() -> None:
    silent = replace(BY, preset=SILENT)
    older = replace(REQUEST, age_years=59)
    assert older.prompt(SILENT) == REQUEST.prompt(SILENT) and silent.image_id(older) != silent.image_id(REQUEST)


def test_rows_have_the_columns_of_their_tables() -> None:
    kept = Kept(replace(REQUEST, k=2, source_study="s9"), np.zeros((4, 8), np.uint8), "dark")
    row = image_row(kept, BY, data=b"x", file="f.png", cohort="phantom", caption_policy="labels", terms="generated")
    assert list(row) == list(IMAGES)
    assert (row["k"], row["source_study"], row["prompt_id"]) == (2, "s9", REQUEST.prompt_id)
    assert (row["width"], row["height"], row["passed_quality"], row["reject_reason"]) == (8, 4, False, "dark")
    tried = attempt_row(Attempt(kept.request, None), BY)
    assert list(tried) == list(ATTEMPTS) and tried["accepted"] and tried["reason"] is None
    assert (tried["image_id"], tried["seed"]) == (row["image_id"], row["seed"])


def test_a_png_gives_the_film_back() -> None:
    film = np.arange(64, dtype=np.uint8).reshape(8, 8)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(png_bytes(film)))), film)
    assert png_bytes(film) == png_bytes(film.copy())
