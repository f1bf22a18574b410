from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from cxr_assets.classification.classifiers import learner_keys, predict_test, train_classifier
from cxr_assets.classification.mixing import ROWS, allocation, choose, mix_training_set
from cxr_assets.errors import CheckError, InputError, StorageError
from cxr_assets.keys import MIXES, Arm, Learner
from cxr_assets.project import Project
from cxr_assets.synthesis.plan import plan_synthesis
from tests.helpers import METHOD, tiny_project, write_table

Open = Callable[..., Project]
REAL = Arm("real", "r000")
LEARNER = Learner("small_cnn", 0)


def arm_of(mix: str) -> Arm:
    return Arm(METHOD, mix)


def pretend_drawn(project: Project, rejected: str = "") -> pl.DataFrame:
    """A synthetic set as the plan asks for it; images of the ``rejected`` finding did not pass."""
    films = project.store.table("studies")["image_file"].drop_nulls()
    plan = project.store.table("synthesis_plan")
    rows = [
        {
            "image_id": f"{row['stratum']}-{i}",
            "stratum": row["stratum"],
            "index": i,
            "labels": row["finding"],
            "file": films[i % len(films)],
            "passed_quality": row["finding"] != rejected,
        }
        for row in plan.iter_rows(named=True)
        for i in range(row["planned"])
    ]
    frame = pl.DataFrame(rows)
    write_table(project, "synthetic_set", {"method": METHOD}, synthetic_set=frame)
    return frame


@pytest.fixture
def mixed(ready: Open) -> Project:
    """A project whose plan holds as many images as the largest mix asks for."""
    project = ready(
        synthesis__max_ratio=1.0,
        classification__steps=4,
        classification__batch=8,
        classification__validate_every=2,
        classification__image_size=32,
        classification__synthetic_weight=0.5,
    )
    plan_synthesis(project)
    pretend_drawn(project)
    return project


def rows_of(project: Project, arm: Arm) -> pl.DataFrame:
    mix_training_set(project, arm)
    return project.store.table("training_set_rows", {"arm": str(arm)})


def images(project: Project, arm: Arm) -> set[str]:
    return set(rows_of(project, arm)["image_id"].drop_nulls())


@pytest.mark.parametrize("kind", ["r", "e"])
def test_a_small_mix_is_part_of_a_larger_one(mixed: Project, kind: str) -> None:
    sets = [images(mixed, arm_of(f"{kind}{percent}")) for percent in ("010", "025", "050", "100")]
    assert all(small < large for small, large in itertools.pairwise(sets))
    assert [len(s) for s in sets] == [4, 9, 18, 37], "shares of 37 real studies"


def test_targeted_images_go_to_empty_strata_and_even_ones_to_all(mixed: Project) -> None:
    real = {row["stratum"]: row["real"] for row in mixed.store.table("synthesis_plan").iter_rows(named=True)}
    targeted = rows_of(mixed, arm_of("r100"))["stratum"].drop_nulls()
    even = rows_of(mixed, arm_of("e100"))["stratum"].drop_nulls()
    assert {real[s] for s in targeted} == {0}
    assert len(set(even)) == len(even) and {real[s] for s in even} != {0}


def test_allocation_on_known_counts() -> None:
    real = np.array([10, 0, 4, 4])
    assert allocation(arm_of("r100"), real, 10, 99).tolist() == [0, 6, 2, 2]
    assert allocation(arm_of("e100"), real, 8, 99).tolist() == [2, 2, 2, 2]
    assert allocation(arm_of("r010"), real, 1000, 0).sum() == 100
    assert allocation(arm_of("only"), real, 8, 7).tolist() == [7, 7, 7, 7]


def test_the_first_images_by_index_are_chosen() -> None:
    table = pl.DataFrame({"stratum": ["a", "b", "a", "a"], "index": [2, 0, 0, 1], "image_id": ["a2", "b0", "a0", "a1"]})
    assert choose(table, {"a": 2, "b": 5})["image_id"].to_list() == ["a0", "a1", "b0"]
    assert choose(table, {"a": 0, "b": 0}).is_empty()


def test_real_films_are_all_there_unless_the_mix_is_synthetic_only(mixed: Project) -> None:
    train = mixed.store.table("studies").filter(pl.col("split") == "train")
    for mix in ("r000", *MIXES):
        rows = rows_of(mixed, REAL if mix == "r000" else arm_of(mix))
        assert rows.schema == pl.Schema(ROWS)
        real = rows.filter(pl.col("origin") == "real")
        assert set(real["study_id"]) == (set() if mix == "only" else set(train["study_id"]))
        synthetic = rows.filter(pl.col("origin") == "synthetic")
        assert synthetic["study_id"].null_count() == synthetic["patient_id"].null_count() == synthetic.height
        assert set(real["weight"]) <= {1.0} and set(synthetic["weight"]) <= {0.5}
    assert images(mixed, arm_of("only")) == set(mixed.store.table("synthetic_set", {"method": METHOD})["image_id"])
    assert images(mixed, REAL) == set()


def test_images_that_did_not_pass_are_never_mixed_in(mixed: Project) -> None:
    frame = pretend_drawn(mixed, rejected="edema")
    chosen = images(mixed, arm_of("only"))
    assert chosen == set(frame.filter(pl.col("passed_quality"))["image_id"])


def test_a_mix_beyond_the_plan_is_refused(ready: Open) -> None:
    project = ready(synthesis__max_ratio=0.25)
    plan_synthesis(project)
    pretend_drawn(project)
    assert len(images(project, arm_of("r025"))) == 9
    with pytest.raises(InputError, match=r"Raise synthesis\.max_ratio"):
        mix_training_set(project, arm_of("r050"))
    assert mix_training_set(project, arm_of("only")).fresh


def test_a_mix_without_its_synthetic_set_names_it(ready: Open) -> None:
    with pytest.raises(StorageError, match="Materialise synthetic_set first"):
        mix_training_set(ready(synthesis__max_ratio=1.0), arm_of("r010"))


def test_a_training_set_is_made_once(mixed: Project) -> None:
    assert mix_training_set(mixed, arm_of("r010")).fresh
    assert not mix_training_set(mixed, arm_of("r010")).fresh
    pretend_drawn(mixed, rejected="edema")
    assert mix_training_set(mixed, arm_of("r010")).fresh


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, ready_root: Path, tiny_base: Path) -> Iterator[Project]:
    """A classifier on real and one on mixed films, with their predictions."""
    import shutil

    root = Path(shutil.copytree(ready_root, tmp_path_factory.mktemp("trained") / "root"))
    project = tiny_project(
        root,
        tiny_base,
        synthesis__max_ratio=1.0,
        classification__steps=4,
        classification__batch=8,
        classification__validate_every=2,
        classification__image_size=32,
    )
    plan_synthesis(project)
    pretend_drawn(project)
    for arm in (REAL, arm_of("r025")):
        mix_training_set(project, arm)
        train_classifier(project, arm, LEARNER)
        predict_test(project, arm, LEARNER)
    yield project


def test_predictions_hold_every_test_film_and_known_finding_once(trained: Project) -> None:
    studies = trained.store.table("studies").filter(pl.col("split") == "test")
    table = trained.store.table("predictions", learner_keys(REAL, LEARNER))
    assert table.height == studies.height * len(trained.grid.findings)
    assert not table.select("study_id", "finding").is_duplicated().any()
    assert table["score"].is_between(0, 1).all() and set(table["truth"]) <= {0, 1}
    assert table["classifier_id"].n_unique() == 1


def test_thresholds_are_tied_to_the_validation_rows(trained: Project) -> None:
    from cxr_assets.classification.thresholds import RULES, rows_digest

    table = trained.store.table("thresholds", learner_keys(REAL, LEARNER))
    validate = trained.store.table("studies").filter(pl.col("split") == "validate")
    assert set(table["fitted_on"]) == {rows_digest(validate["study_id"].to_list())}
    assert set(table["rule"]) == set(RULES)
    for rule in RULES:
        assert table.filter(pl.col("rule") == rule)["finding"].to_list() == list(trained.grid.findings)


def test_training_and_predicting_again_finds_what_is_there(trained: Project) -> None:
    assert not train_classifier(trained, REAL, LEARNER).fresh
    assert not predict_test(trained, REAL, LEARNER).fresh


def test_a_classifier_trained_again_from_scratch_has_the_same_weights(
    trained: Project, tmp_path: Path, tiny_base: Path
) -> None:
    import shutil

    root = Path(shutil.copytree(trained.store.root, tmp_path / "again"))
    shutil.rmtree(root / "work")
    shutil.rmtree(root / "manifests" / "classifier")
    other = Project(trained.resolved, type(trained.store)(root), trained.progress)
    again, before = (
        train_classifier(other, REAL, LEARNER),
        trained.store.manifest("classifier", learner_keys(REAL, LEARNER)),
    )
    assert before is not None and again.fresh and again.manifest.digest == before.digest


@pytest.mark.parametrize("table", ["training_set_rows", "adapter_training_rows"])
def test_a_test_patient_in_training_is_refused(trained: Project, tmp_path: Path, table: str) -> None:
    import shutil

    root = Path(shutil.copytree(trained.store.root, tmp_path / "leaking"))
    project = Project(trained.resolved, type(trained.store)(root), trained.progress)
    arm = arm_of("r025")
    keys = {"arm": str(arm)} if table == "training_set_rows" else {"method": METHOD}
    patient = project.store.table("studies").filter(pl.col("split") == "test")["patient_id"][0]
    leaked = project.store.table(table, keys).with_columns(pl.lit(patient).alias("patient_id"))
    project.store.put_frame(
        "/".join(["tables", table, *(f"{k}={v}" for k, v in keys.items()), "part-0.parquet"]), leaked
    )
    shutil.rmtree(root / "manifests" / "predictions")
    with pytest.raises(CheckError, match=f"such as {patient}"):
        predict_test(project, arm, LEARNER)
    if table == "adapter_training_rows":
        assert predict_test(project, REAL, LEARNER).fresh, "an arm without synthetic films never met the adapter"


def test_a_composer_decides_whom_its_mixes_are_of(ready: Open) -> None:
    project = ready(synthesis__composer="natural", synthesis__max_ratio=1.0)
    plan_synthesis(project)
    pretend_drawn(project)
    planned = project.store.table("synthesis_plan").select("stratum", "planned")
    made = mix_training_set(project, arm_of("r050"))
    assert made.manifest.facts["synthetic"] == made.manifest.facts["synthetic_wanted"], (
        "nothing is asked of empty strata"
    )
    rows = project.store.table("training_set_rows", {"arm": str(arm_of("r050"))}).filter(
        pl.col("origin") == "synthetic"
    )
    taken = planned.join(rows.group_by("stratum").len(), on="stratum", how="left").fill_null(0)
    assert (taken["len"] <= taken["planned"]).all()
    assert (taken["len"] - taken["planned"] / 2).abs().max() <= 1.5, "half of every stratum"
