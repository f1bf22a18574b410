from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import polars as pl
import pytest
from PIL import Image

from cxr_assets.checks import check_partition
from cxr_assets.describe import LARGEST_PICTURE, describe, shrunk
from cxr_assets.errors import SettingsError, StorageError
from cxr_assets.evaluation.leaderboard.board import asked_labels, make_leaderboard, methods_of_board
from cxr_assets.evaluation.leaderboard.metrics import METRICS, SCORES
from cxr_assets.evaluation.leaderboard.ranking import STANDINGS
from cxr_assets.project import Project
from cxr_assets.warehouse.connect import declared_tables
from cxr_assets.warehouse.doctor import check_storage
from cxr_assets.warehouse.queries import run_query
from tests.evaluation.leaderboard.conftest import give_set, requests
from tests.helpers import write_table

Open = Callable[..., Project]
OVERALL = (pl.col("attribute") == "all") & (pl.col("finding") == "all")


def test_a_generator_of_real_films_beats_one_of_noise_and_stands_at_the_ceiling(made: Project) -> None:
    table = made.store.table("generator_leaderboard").filter(OVERALL)
    best = {r["metric"] for r in table.filter(pl.col("verdict") == "best", pl.col("preset") == "good").to_dicts()}
    assert best >= {"label_auroc", "sex_accuracy", "coverage"}
    assert not table.filter(pl.col("verdict") == "best", pl.col("preset") == "bad").height
    scores = made.store.table("generator_scores").filter(OVERALL, pl.col("method") == "good")
    for row in scores.filter(pl.col("metric").is_in(["label_auroc", "sex_accuracy", "race_accuracy"])).to_dicts():
        assert row["value"] == row["ceiling"], row["metric"]
    (age,) = scores.filter(pl.col("metric") == "age_error").to_dicts()
    assert age["value"] == pytest.approx(age["ceiling"], abs=0.6), "requests are in whole years"
    (distance,) = scores.filter(pl.col("metric") == "kernel_distance").to_dicts()
    noise = made.store.table("generator_scores").filter(OVERALL, pl.col("metric") == "kernel_distance")
    assert abs(distance["value"]) < 0.1 * noise.filter(pl.col("method") == "bad")["value"].item()


def test_every_score_has_a_value_or_a_reason_and_methods_share_its_number_of_films(made: Project) -> None:
    scores = made.store.table("generator_scores")
    assert (scores["value"].is_null() == scores["null_reason"].is_not_null()).all()
    assert scores["null_reason"].drop_nulls().str.len_chars().min() > 10
    distances = scores.filter(pl.col("metric") == "kernel_distance", pl.col("value").is_not_null())
    assert distances.group_by("attribute", "group").agg(pl.n_unique("n"))["n"].max() == 1
    assert distances["n"].min() >= 10 and {"all", "sex"} <= set(distances["attribute"]) <= {
        "all",
        "sex",
        "race",
        "race×sex",
    }
    assert set(scores["metric"]) == set(METRICS) and set(scores["method"]) == {"good", "good-s1", "bad", "bad-s1"}


def test_methods_without_images_are_named_and_no_error(made: Project) -> None:
    manifest = made.store.manifest("generator_leaderboard")
    assert manifest is not None
    assert (manifest.facts["compared"], manifest.facts["missing"]) == ("good, good-s1, bad, bad-s1", "absent")
    assert set(manifest.inputs) >= {"studies~all", "synthetic_set~good", "synthetic_set~bad-s1"}


def test_a_board_without_any_images_is_refused(board: Open) -> None:
    project = board()
    with pytest.raises(StorageError, match="none of good, good-s1, bad, bad-s1, absent has a synthetic set"):
        make_leaderboard(project)
    give_set(project, "good", requests(project).with_columns(passed_quality=pl.lit(False)))
    with pytest.raises(StorageError, match="images that passed"):
        make_leaderboard(project)


def test_the_board_is_narrowed_by_its_own_setting(board: Open) -> None:
    assert methods_of_board(board(evaluation__leaderboard__methods=["bad", "good", "bad"])) == ["bad", "good"]
    with pytest.raises(SettingsError, match=r"'goood' is not among synthesis\.methods\. Did you mean good"):
        methods_of_board(board(evaluation__leaderboard__methods=["goood"]))


def test_a_second_run_finds_the_board_and_a_new_set_makes_it_anew(made: Project) -> None:
    again = make_leaderboard(made)
    assert not again.fresh
    give_set(made, "absent", requests(made, skip=3))
    fresh = make_leaderboard(made)
    assert fresh.fresh and fresh.manifest.facts["missing"] == ""


def test_the_same_sets_give_the_same_bytes(made: Project) -> None:
    first = made.store.manifest("generator_leaderboard")
    made.store.manifest_path("generator_leaderboard").unlink()
    assert first is not None and make_leaderboard(made).manifest.digest == first.digest


def test_a_faster_training_is_seen(made: Project) -> None:
    write_table(made, "adapter", {"method": "good"})
    path = made.store.manifest_path("adapter", {"method": "good"})
    manifest = made.store.manifest("adapter", {"method": "good"})
    assert manifest is not None
    facts = {"training_seconds": 60.0, "images_per_second": 8.0, "peak_memory_mib": 900}
    path.write_text(manifest.model_copy(update={"facts": facts}).model_dump_json())
    assert make_leaderboard(made).fresh
    scores = made.store.table("generator_scores").filter(pl.col("method") == "good", pl.col("value").is_not_null())
    found = dict(scores.select("metric", "value").iter_rows())
    assert (found["training_seconds"], found["trained_per_second"], found["peak_memory_mib"]) == (60.0, 8.0, 900.0)
    assert "drawn_per_second" not in found


def test_tables_are_as_the_schema_declares_them_and_the_query_answers(made: Project) -> None:
    declared = {d.table: list(d.columns) for d in declared_tables()}
    for name, columns in (("generator_scores", SCORES), ("generator_leaderboard", STANDINGS)):
        types = {pl.String: "VARCHAR", pl.Float64: "DOUBLE", pl.Int64: "BIGINT"}
        assert declared[name] == [(column, types[kind]) for column, kind in columns.items()]  # type: ignore[index]
        assert made.store.table(name).schema == pl.Schema(columns)
    answer = run_query(made.store.root, "generator_leaderboard", {"metric": "label_auroc"})
    assert answer["preset"].to_list() == ["good", "bad"], "the best first"
    by_group = run_query(made.store.root, "generator_leaderboard", {"attribute": "race×sex", "metric": "coverage"})
    assert by_group.height == 2 * 2 * len(made.grid.races)
    assert [p for p in check_storage(made.store.root) if p.severity == "problem"] == []


def test_the_ui_shows_chart_films_and_table_and_the_checks_hold(made: Project) -> None:
    board = make_leaderboard(made)
    told = describe(made, board)
    assert set(told.markdown()) == {"chart", "films"} and told.tables["standings"].height > 5
    assert "| preset |" in told.inline["by_preset"]
    outcomes = {o.name: o for o in check_partition(made, board.manifest)}
    assert outcomes["equal_numbers_of_films"].passed and outcomes["equal_numbers_of_films"].facts["figures"] > 5
    assert not outcomes["every_method_compared"].passed
    assert outcomes["every_method_compared"].facts["missing"] == "absent"


def test_uneven_numbers_of_films_fail_the_check(made: Project) -> None:
    scores = made.store.table("generator_scores")
    changed = scores.with_columns(n=pl.when(pl.col("method") == "bad").then(pl.col("n") + 1).otherwise("n"))
    manifest = make_leaderboard(made).manifest
    write_table(made, "generator_leaderboard", {}, generator_scores=changed)
    (uneven, _) = check_partition(made, manifest)
    assert not uneven.passed and uneven.blocking and uneven.facts["uneven"] == uneven.facts["figures"]


def test_a_picture_too_large_for_an_event_is_shrunk_until_it_fits() -> None:
    noise, out = np.random.default_rng(0).integers(0, 256, (600, 600), dtype=np.uint8), io.BytesIO()
    Image.fromarray(noise).save(out, "PNG")
    small = shrunk(out.getvalue(), LARGEST_PICTURE)
    assert len(small) < LARGEST_PICTURE and Image.open(io.BytesIO(small)).size == (300, 300)
    assert shrunk(small, LARGEST_PICTURE) == small


def test_labels_asked_for_are_split_at_their_bars() -> None:
    found = asked_labels(pl.DataFrame({"labels": ["edema|fibrosis", "no_finding", None]}), ("edema", "no_finding"))
    assert found["edema"].tolist() == [1.0, 0.0, 0.0] and found["no_finding"].tolist() == [0.0, 1.0, 0.0]
