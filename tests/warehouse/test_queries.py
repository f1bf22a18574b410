"""Named queries: their columns are a promise, their parameters are checked."""

from __future__ import annotations

import re
from pathlib import Path

import polars as pl
import pytest

from cxr_assets.errors import InputError, StorageError
from cxr_assets.warehouse.queries import Query, list_queries, run_query

PROMISED = {
    "gap_by_arm": "arm finding attribute metric observed null_mean excess ci_lo ci_hi p_perm worst_group",
    "worst_subgroup": "arm finding attribute group metric estimate ci_lo ci_hi n_pos n_patients",
    "intersectional_tpr": "arm finding attribute group estimate ci_lo ci_hi n_pos n_patients eligible null_reason",
    "stratum_coverage": "method finding age sex race real planned images quarantined state",
    "label_prevalence": "split finding attribute group studies positives negatives prevalence",
    "image_provenance": "image_id method stratum prompt seed adapter_id run_id git_commit file sha256 terms",
    "quarantine": "source row column reason",
    "arm_contrasts": "arm baseline quantity metric delta ci_lo ci_hi p p_adj ni_pass",
    "synthetic_quality": "method quantity metric features value floor n null_reason",
    "gap_explained": "arm finding attribute metric observed matched_observed matched_null_reason noise_to_explain",
    "operating_points": "arm finding attribute group rule tpr fpr ppv npv flag_rate",
    "cells_not_shown": "arm finding attribute group reason n_images n_patients",
    "cohort_composition": "split age sex race studies patients",
    "terms": "terms what items files bytes terms_url",
}


@pytest.mark.parametrize("query", list_queries(), ids=lambda query: query.name)
def test_every_query_opens_with_a_question_and_runs_on_an_empty_root(query: Query, tmp_path: Path) -> None:
    assert query.question.endswith("?") and query.grain.startswith("One row per ")
    assert {p.name for p in query.parameters} == set(re.findall(r"\$(\w+)", query.sql))
    assert run_query(tmp_path, query.name).is_empty()


@pytest.mark.parametrize("name", PROMISED)
def test_promised_columns_are_there_and_hold_rows(name: str, shared_root: Path) -> None:
    found = run_query(shared_root, name)
    assert set(PROMISED[name].split()) <= set(found.columns)
    assert found.height > 0


def test_gap_by_arm_holds_no_single_groups(shared_root: Path) -> None:
    assert run_query(shared_root, "gap_by_arm", {"metric": "tpr"}).height == 2


def test_worst_subgroup_passes_over_groups_that_are_too_small(shared_root: Path) -> None:
    found = run_query(shared_root, "worst_subgroup", {"arm": "real.r000"})
    assert found.select("attribute", "group").rows() == [("race×sex", "black×female"), ("sex", "female")]


def test_coverage_tells_missing_short_and_complete_apart(shared_root: Path) -> None:
    found = run_query(shared_root, "stratum_coverage")
    assert found.select("age", "images", "quarantined", "state").rows() == [
        ("18-39", 2, 1, "complete"),
        ("40-59", 2, 1, "short"),
        ("60-79", 0, 0, "missing"),
    ]
    assert run_query(shared_root, "stratum_coverage", {"state": "short"}).height == 1


def test_prevalence_leaves_unmentioned_labels_out(shared_root: Path) -> None:
    found = run_query(shared_root, "label_prevalence", {"attribute": "all"})
    shown = {
        row["split"]: (row["positives"], row["unmentioned"], row["prevalence"]) for row in found.iter_rows(named=True)
    }
    assert shown == {"train": (2, 0, pytest.approx(2 / 3)), "validate": (1, 0, 1.0), "test": (1, 1, 1.0)}


def test_provenance_of_one_image(shared_root: Path) -> None:
    found = run_query(shared_root, "image_provenance", {"image_id": "f0" * 16})
    row = found.row(0, named=True)
    assert (found.height, row["run_id"], row["adapter_patients"], row["stale"]) == (1, "run-1", 2, False)


def test_results_keep_their_types_without_rows(tmp_path: Path) -> None:
    schema = run_query(tmp_path, "gap_by_arm").schema
    assert [schema["arm"], schema["observed"], schema["reported"]] == [pl.String(), pl.Float64(), pl.Boolean()]


def test_an_unknown_query_names_the_nearest(shared_root: Path) -> None:
    with pytest.raises(InputError, match="Did you mean gap_by_arm"):
        run_query(shared_root, "gaps_by_arm")


def test_an_unknown_parameter_names_the_nearest(shared_root: Path) -> None:
    with pytest.raises(InputError, match=r"no parameter 'findings'. Did you mean finding"):
        run_query(shared_root, "gap_by_arm", {"findings": "edema"})


@pytest.mark.parametrize("value", ["Edema'; drop table x --", "EDEMA"])
def test_a_value_that_is_no_slug_is_refused(shared_root: Path, value: str) -> None:
    with pytest.raises(InputError, match="is no slug"):
        run_query(shared_root, "stratum_coverage", {"finding": value})


def test_text_is_bound_and_never_read_as_sql(shared_root: Path) -> None:
    assert run_query(shared_root, "gap_by_arm", {"arm": "' or 1=1 --"}).is_empty()


def test_a_query_file_without_its_opening_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "bare.sql"
    file.write_text("-- Only a question?\n-- param x: colour, default any\nselect 1")
    with pytest.raises(StorageError, match="opens with its question"):
        Query.read(file)
