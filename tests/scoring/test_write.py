"""The folder: written whole or not at all, over nothing but a former scorecard, byte for byte the same."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from cxr_assets.errors import InputError, StorageError
from cxr_assets.scoring import Scored, score, write, write_scored
from tests.scoring.received import FEW, FILES, ODD


def test_order_and_library_change_not_a_byte(table: pl.DataFrame, written: Path, tmp_path: Path) -> None:
    shuffled = table.sample(fraction=1, shuffle=True, seed=1).select(reversed(table.columns))
    again = write_scored(score(shuffled.to_pandas(), **FEW), tmp_path / "again")
    for name in FILES:
        assert (again / name).read_bytes() == (written / name).read_bytes(), name


def test_the_folder_holds_every_table_and_two_pages(written: Path, scored: Scored, table: pl.DataFrame) -> None:
    assert {path.name for path in written.iterdir()} == FILES
    for name, frame in scored.tables().items():
        assert pl.read_parquet(written / f"{name}.parquet").equals(frame)
    facts = json.loads((written / "scorecard.json").read_text())
    assert set(facts["files"]) == FILES - {"scorecard.json"} and facts["models"] == ["a", ODD]
    assert facts["rows"]["received"] == table.height and facts["settings"]["replicates"] == FEW["replicates"]


@pytest.fixture
def unpainted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages take seconds to paint; what is in them is tested beside."""
    monkeypatch.setattr(write, "pages", lambda _: {"report.html": "<p>page</p>", "report.md": "page"})


@pytest.mark.usefixtures("unpainted")
def test_a_former_scorecard_is_replaced_and_anything_else_is_left_alone(scored: Scored, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    assert {path.name for path in write_scored(scored, empty).iterdir()} == FILES
    assert {path.name for path in write_scored(scored, empty).iterdir()} == FILES
    (empty / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"something else than a former scorecard: .*notes.txt"):
        write_scored(scored, empty)
    assert (empty / "notes.txt").read_text() == "mine"
    other = tmp_path / "other"
    other.mkdir()
    (other / "scorecard.json").write_text('{"kind": "something"}')
    with pytest.raises(InputError, match="something else"):
        write_scored(scored, other)
    with pytest.raises(InputError, match="something else"):
        write_scored(scored, other / "scorecard.json")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "other"]


@pytest.mark.usefixtures("unpainted")
def test_a_failure_leaves_the_former_scorecard_and_nothing_else(
    scored: Scored, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = write_scored(scored, tmp_path / "card")
    before = (target / "report.html").read_bytes()

    def full(*arguments: object) -> dict[str, str]:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(write, "pages", full)
    with pytest.raises(StorageError, match="No space left"):
        write_scored(scored, target)
    assert (target / "report.html").read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["card"]


@pytest.mark.usefixtures("unpainted")
def test_a_scorecard_that_cannot_take_its_place_gives_it_back(
    scored: Scored, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, move = write_scored(scored, tmp_path / "card"), Path.replace

    def refused(path: Path, to: Path) -> Path:
        if path.suffix == ".tmp":
            raise OSError(13, "Permission denied")
        return move(path, to)

    monkeypatch.setattr(Path, "replace", refused)
    with pytest.raises(StorageError, match="Permission denied"):
        write_scored(scored, target)
    assert {p.name for p in target.iterdir()} == FILES and [p.name for p in tmp_path.iterdir()] == ["card"]
