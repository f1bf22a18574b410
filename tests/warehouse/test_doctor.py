"""The doctor finds each kind of damage, and finds nothing in a whole root."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from cxr_assets.errors import SettingsError, StorageError
from cxr_assets.warehouse.doctor import Problem, check_storage
from cxr_assets.warehouse.environment import check_environment
from tests.warehouse.miniature import ARM, LEARNER
from tests.warehouse.writer import Writer

STRATUM = "method=demographic_text/finding=edema/age=18-39/sex=female/race=black"
IMAGE = f"images/synthetic/{STRATUM}/{'f0' * 16}.png"


def _problems(root: Path, *, fast: bool = False) -> list[str]:
    return [str(p) for p in check_storage(root, fast=fast) if p.severity == "problem"]


def _notes(root: Path) -> list[str]:
    return [str(p) for p in check_storage(root) if p.severity == "note"]


def _flip_a_byte(root: Path, path: str) -> None:
    data = bytearray((root / path).read_bytes())
    data[-1] ^= 1
    (root / path).write_bytes(bytes(data))


def _double_a_row(root: Path) -> None:
    writer = Writer(root)
    frame = writer.rows("synthetic_images", STRATUM)
    keys = dict(part.split("=") for part in STRATUM.split("/"))
    files = {file: Path(file).stem.encode() for file in frame["file"]}
    writer.put(
        "synthetic_images",
        keys,
        parents={"adapter~demographic_text": "drawn_with"},
        files=files,
        synthetic_images=pl.concat([frame, frame.head(1)]),
    )


def _drop_an_image(root: Path) -> None:
    writer = Writer(root)
    frame = writer.rows("synthetic_images", STRATUM).filter(~pl.col("passed_quality"))
    keys = dict(part.split("=") for part in STRATUM.split("/"))
    writer.put("synthetic_images", keys, files={frame["file"][0]: b"x"}, synthetic_images=frame)


def _claim_more_rows(root: Path) -> None:
    path = root / "manifests/synthesis_plan/manifest.json"
    path.write_text(path.read_text().replace('"synthesis_plan": 3', '"synthesis_plan": 4'))


def _train_on_a_test_patient(root: Path) -> None:
    writer = Writer(root)
    rows = writer.rows("training_set_rows", f"arm={ARM}").with_columns(patient_id=pl.lit("p4"))
    writer.put("training_set", {"arm": ARM}, training_set_rows=rows)


def _point_an_edge_nowhere(root: Path) -> None:
    with Writer(root).store.writing("captions", inputs={}, config_digest="c", code_version="1") as writer:
        writer.table("captions", pl.DataFrame({"study_id": ["s0"]}))
        writer.edge("0" * 64, "base_model", "drawn_with")


def _write_an_undeclared_table(root: Path) -> None:
    Writer(root).put("captions", parents={"studies~all": "drawn_from"}, thoughts=pl.DataFrame({"x": [1]}))


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "file deleted": (lambda root: (root / IMAGE).unlink(), f"{IMAGE} is missing"),
    "byte flipped": (lambda root: _flip_a_byte(root, IMAGE), f"{IMAGE} has the right size, but not the bytes"),
    "file cut": (lambda root: (root / IMAGE).write_bytes(b""), "has 0 bytes, its manifest says 32"),
    "part garbled": (lambda root: (root / "tables/boxes/part-0.parquet").write_bytes(b"no"), "table 'boxes'"),
    "film deleted": (lambda root: (root / "images/nih/3.png").unlink(), "film images/nih/3.png is missing"),
    "film changed": (lambda root: _flip_a_byte(root, "images/nih/3.png"), "is not the one that was stored"),
    "image doubled": (_double_a_row, "stands in 2 rows"),
    "stray image": (lambda root: (root / IMAGE).with_name("x.png").write_bytes(b"x"), "x.png lies in its folder"),
    "image gone from its set": (_drop_an_image, "1 rows name images that do not exist"),
    "rows miscounted": (_claim_more_rows, "has 3 rows, its manifest says 4"),
    "provenance deleted": (
        lambda root: (root / "tables/runs/asset=report/partition=all/part-0.parquet").unlink(),
        "is missing",
    ),
    "manifest garbled": (lambda root: (root / "manifests/report/manifest.json").write_text("{"), "is not a manifest"),
    "manifest dropped": (
        lambda root: (root / "manifests/base_model/manifest.json").unlink(),
        "input base_model~all is gone",
    ),
    "manifest misplaced": (
        lambda root: (root / "manifests/report").rename(root / "manifests/reports"),
        "is the manifest of report all",
    ),
    "patient leaked": (_train_on_a_test_patient, "1 patients of the test split, such as p4, were trained on"),
    "edge to nowhere": (_point_an_edge_nowhere, "points at base_model 0000000000000000, which is not there"),
    "table not declared": (_write_an_undeclared_table, "'thoughts', which sql/schema does not declare"),
}


def test_a_whole_root_has_nothing_wrong(root: Path) -> None:
    assert check_storage(root) == []
    assert check_storage(root, fast=True) == []


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_a_problem_that_says_what(root: Path, name: str) -> None:
    damage, told = DAMAGE[name]
    damage(root)
    assert any(told in problem for problem in _problems(root)), check_storage(root)


def test_fast_reads_no_bytes(root: Path) -> None:
    _flip_a_byte(root, IMAGE)
    assert _problems(root, fast=True) == []


def test_parts_without_a_manifest_are_a_note(root: Path) -> None:
    (root / "manifests/report/manifest.json").unlink()
    assert _problems(root) == []
    assert any("tables/fairness_contrasts/part-0.parquet: belongs to no manifest" in note for note in _notes(root))


def test_a_changed_input_is_a_note_and_no_dangling_edge(root: Path) -> None:
    Writer(root).put("report", files={"reports/index.html": b"<html>"})
    keys = {"arm": ARM, "learner": LEARNER}
    writer = Writer(root)
    writer.put(
        "classifier", keys, classifier_training=writer.rows("classifier_training", f"arm={ARM}/learner={LEARNER}")
    )
    assert _problems(root) == []
    assert any(f"predictions {ARM}~{LEARNER}: is stale" in note for note in _notes(root))


def test_old_hidden_files_are_a_note_and_young_ones_nothing(root: Path) -> None:
    old, young = root / "tables/studies/.part-0.parquet.aa.tmp", root / "tables/studies/.part-0.parquet.bb.tmp"
    old.write_bytes(b"")
    young.write_bytes(b"")
    os.utime(old, (0, 0))
    notes = _notes(root)
    assert len(notes) == 1 and old.name in notes[0]


def test_problems_come_before_notes(root: Path) -> None:
    (root / "manifests/report/manifest.json").unlink()
    (root / IMAGE).unlink()
    found = check_storage(root)
    assert [p.severity for p in found] == sorted((p.severity for p in found), reverse=True)
    assert isinstance(found[0], Problem) and found[0].remedy


def test_a_root_that_is_not_there_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="no data root"):
        check_storage(tmp_path / "typo")


def test_environment_tells_versions_weights_and_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_HOME", "relative/home")
    model = tmp_path / "model"
    model.mkdir()
    (model / "model_index.json").write_text("{}")
    rows = {row.name: row for row in check_environment(tmp_path / "new", [str(model), "nobody/has-this"])}
    assert rows["torch"].ok and rows["duckdb"].value.startswith("2.")
    assert rows[f"base model {model}"].ok and not rows["base model nobody/has-this"].ok
    assert not rows["DAGSTER_HOME"].ok and "absolute" in rows["DAGSTER_HOME"].hint
    assert "GB at" in rows["free disk"].value


def test_telemetry_is_read_from_the_instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    assert not next(r for r in check_environment(tmp_path) if r.name == "telemetry of dagster").ok
    (tmp_path / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    assert next(r for r in check_environment(tmp_path) if r.name == "telemetry of dagster").ok
    (tmp_path / "dagster.yaml").write_text("telemetry: [")
    with pytest.raises(SettingsError, match="cannot be read as YAML"):
        check_environment(tmp_path)
