from __future__ import annotations

from collections.abc import Callable

import polars as pl
import pytest

from cxr_assets.checks import check_partition
from cxr_assets.classification.mixing import mix_training_set
from cxr_assets.errors import InputError
from cxr_assets.keys import Arm
from cxr_assets.project import Project
from cxr_assets.synthesis.composers import COMPOSERS
from cxr_assets.synthesis.plan import plan_synthesis, train_size
from cxr_assets.synthesis.requests import REQUESTS, image_seed, template_version
from tests.helpers import METHOD, write_table

Open = Callable[..., Project]


def requests(project: Project) -> pl.DataFrame:
    return project.store.table("synthesis_requests")


@pytest.mark.parametrize("composer", ["targeted", *COMPOSERS])
def test_a_plan_has_one_row_an_image_and_counts_them_by_stratum(ready: Open, composer: str) -> None:
    project = ready(synthesis__composer=composer, synthesis__max_ratio=2.0, synthesis__min_support=2)
    made = plan_synthesis(project)
    rows, plan = requests(project), project.store.table("synthesis_plan")
    assert rows.schema == pl.Schema(REQUESTS) and rows["prompt_id"].n_unique() == rows.height > 0
    assert plan["stratum"].to_list() == [str(s) for s in project.grid]
    counted = dict(rows.group_by("stratum").len().iter_rows())
    assert {s: n for s, n in plan.select("stratum", "planned").iter_rows() if n} == counted
    assert made.manifest.facts["images"] == rows.height and made.manifest.facts["composer"] == composer
    assert made.manifest.facts["unplanned_strata"] == len(project.grid) - len(counted)
    assert set(rows["template_version"]) == {template_version()} and set(rows["composer"]) == {composer}
    assert set(rows["k"]) == {0} == set(rows["run"])
    for seed_id, seed in rows.select("seed_id", "seed").head(20).iter_rows():
        assert seed == image_seed(0, seed_id, 0)
    sources = rows["source_study"].drop_nulls()
    train = project.filmed("train")["study_id"]
    assert set(sources) <= set(train)
    assert (sources.len() == 0) == (composer in {"targeted", "all_label_combinations"})
    assert all(outcome.passed for outcome in check_partition(project, made.manifest))


def test_budgets_are_relative_to_training_films(ready: Open) -> None:
    project = ready(synthesis__composer="natural", synthesis__max_ratio=1.5)
    plan_synthesis(project)
    assert requests(project).height == round(1.5 * train_size(project))


def test_a_plan_is_made_once_and_anew_when_what_it_looks_at_changes(ready: Open) -> None:
    natural = {"synthesis__composer": "natural", "synthesis__max_ratio": 1.0}
    assert not plan_synthesis(ready()).fresh
    assert plan_synthesis(ready(**natural)).fresh
    assert not plan_synthesis(ready(**natural, synthesis__per_stratum=7)).fresh, "natural does not look at it"
    assert not plan_synthesis(ready(**natural, synthesis__min_support=7)).fresh
    assert plan_synthesis(ready(**natural, synthesis__seed=1)).fresh
    assert plan_synthesis(ready(synthesis__per_stratum=7)).fresh


def test_a_plan_that_would_be_empty_is_refused_and_the_old_one_stands(ready: Open) -> None:
    before = ready().store.manifest("synthesis_plan")
    project = ready(synthesis__composer="balanced", synthesis__max_ratio=0.5)
    with pytest.raises(InputError, match="18 images"):
        plan_synthesis(project)
    assert project.store.manifest("synthesis_plan") == before


@pytest.mark.parametrize("composer", ["natural", "balanced"])
def test_mixes_take_what_a_plan_with_empty_strata_holds(ready: Open, composer: str) -> None:
    project = ready(synthesis__composer=composer, synthesis__max_ratio=1.0)
    plan_synthesis(project)
    rows = requests(project)
    assert rows["stratum"].n_unique() < len(project.grid)
    film = project.filmed("train")["image_file"][0]
    drawn = rows.select("stratum", "index", "labels", image_id="prompt_id", file=pl.lit(film))
    drawn = drawn.with_columns(passed_quality=pl.int_range(pl.len()) != 3)
    write_table(project, "synthetic_set", {"method": METHOD}, synthetic_set=drawn)
    for mix in ("only", "r025", "e100"):
        made = mix_training_set(project, Arm(METHOD, mix))
        chosen = project.store.table("training_set_rows", {"arm": f"{METHOD}.{mix}"})["image_id"].drop_nulls()
        assert drawn["image_id"][3] not in set(chosen), "what was set aside is in no mix"
        assert made.manifest.facts["synthetic"] == len(chosen) <= made.manifest.facts["synthetic_wanted"]
        if mix == "only":
            assert len(chosen) == rows.height - 1
