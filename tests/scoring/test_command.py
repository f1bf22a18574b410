"""``cxr score``: what the command reads, writes, prints and refuses."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import polars as pl
from typer.testing import CliRunner

from cxr_assets.cli import app
from cxr_assets.errors import InputError
from cxr_assets.scoring import Scored
from tests.scoring.received import received


def invoke(*arguments: object) -> Any:
    few = [
        "--replicates",
        40,
        "--permutations",
        149,
        "--min-positives",
        20,
        "--min-negatives",
        20,
        "--min-patients",
        15,
    ]
    return CliRunner().invoke(app, ["score", *map(str, [*arguments, *few, "--suppress-below", 10])])


def test_the_command_writes_what_the_function_returns(table: pl.DataFrame, scored: Scored, tmp_path: Path) -> None:
    text = table.rename({"patient_id": "MRN"}).write_csv()
    (tmp_path / "preds.csv.gz").write_bytes(gzip.compress(b"\xef\xbb\xbf" + text.encode()))
    done = invoke(tmp_path / "preds.csv.gz", "--out", tmp_path / "card", "--map", "patient_id=MRN")
    assert done.exit_code == 0, done.output
    assert "found      a: TPR differs by" in done.output and str(tmp_path / "card" / "report.html") in done.output
    for name, frame in scored.tables().items():
        assert pl.read_parquet(tmp_path / "card" / f"{name}.parquet").equals(frame)
    facts = json.loads((tmp_path / "card" / "scorecard.json").read_text())
    assert facts["inputs"][0]["file"] == "preds.csv.gz" and len(facts["inputs"][0]["sha256"]) == 64
    assert str(tmp_path) not in (tmp_path / "card" / "scorecard.json").read_text()


def test_the_command_reads_a_wide_table_with_a_mapping_and_attributes_from_a_file(tmp_path: Path) -> None:
    table = received()
    wide = table.drop("sex", "race").pivot(on="finding", values=["score", "truth"])
    wide.write_parquet(tmp_path / "wide.parquet")
    table.select("patient_id", "sex", "race").unique().write_csv(tmp_path / "people.tsv", separator="\t")
    (tmp_path / "map.yaml").write_text("score_columns: score_{finding}\ntruth_columns: truth_{finding}\n")
    done = invoke(
        *(tmp_path / "wide.parquet", "--out", tmp_path / "card", "--mapping", tmp_path / "map.yaml"),
        *("--attributes-from", tmp_path / "people.tsv", "--attributes", "sex", "--threshold", "edema=0.4"),
        *("--threshold", "fibrosis=0.5"),
    )
    assert done.exit_code == 0, done.output
    facts = json.loads((tmp_path / "card" / "scorecard.json").read_text())
    assert facts["attributes"] == ["sex"] and facts["rules"] == ["given"]
    assert [i["file"] for i in facts["inputs"]] == ["wide.parquet", "people.tsv"]


def test_machines_are_told_in_json(tmp_path: Path) -> None:
    received().write_parquet(tmp_path / "preds.parquet")
    done = invoke(tmp_path / "preds.parquet", "--out", tmp_path / "card", "--format", "json")
    told = json.loads(done.stdout)
    gaps = pl.read_parquet(tmp_path / "card" / "fairness_gaps.parquet").filter("reported")
    assert [row["attribute"] for row in told["reported"]] == gaps["attribute"].to_list()
    assert told["report"] == str(tmp_path / "card" / "report.html") and told["settings"]["permutations"] == 149
    assert invoke(tmp_path / "preds.parquet", "--out", tmp_path / "card", "--format", "xml").exit_code == 2


def test_only_what_was_declared_is_reported(tmp_path: Path) -> None:
    received().write_parquet(tmp_path / "preds.parquet")
    done = invoke(
        tmp_path / "preds.parquet", "--out", tmp_path / "card", "--declare", "sex*race:edema", "--declare", "sex"
    )
    assert done.exit_code == 0, done.output
    gaps = pl.read_parquet(tmp_path / "card" / "fairness_gaps.parquet").filter(pl.col("family") == "confirmatory")
    assert sorted(set(gaps.select("attribute", "finding", "metric").rows())) == [
        ("race×sex", "edema", "tpr"),
        ("sex", "all", "tpr"),
    ]
    for wrong, told in (("sexx", "sexx"), ("sex:edema:youden", "youden"), ("sex:odema", "odema")):
        done = invoke(tmp_path / "preds.parquet", "--out", tmp_path / "other", "--declare", wrong)
        assert done.exit_code == 1 and told in str(done.exception) and not (tmp_path / "other").exists()
    assert invoke(tmp_path / "preds.parquet", "--out", tmp_path / "other", "--declare", "sex::").exit_code == 2


def test_wrong_use_of_the_command_is_told_before_anything_is_read(tmp_path: Path) -> None:
    for wrong in (("--map", "patient_id"), ("--threshold", "edema=high"), ("--threshold", "high")):
        done = invoke(tmp_path / "absent.csv", "--out", tmp_path / "card", *wrong)
        assert done.exit_code == 2, (wrong, done.output)
    shutil.copy(__file__, tmp_path / "mine.py")
    done = invoke(tmp_path / "absent.csv", "--out", tmp_path)
    assert done.exit_code == 1 and "something else than a former scorecard" in str(done.exception)
    done = invoke(tmp_path / "absent.csv", "--out", tmp_path / "card")
    assert done.exit_code == 1 and isinstance(done.exception, InputError)
    assert not (tmp_path / "card").exists()


def test_the_help_teaches_the_columns() -> None:
    done = CliRunner().invoke(app, ["score", "--help"], env={"COLUMNS": "200"})
    assert done.exit_code == 0
    for word in ("patient_id", "study_id", "truth", "--patient-id-kind", "--attributes-from", "--threshold"):
        assert word in done.output, word
