from __future__ import annotations

from pathlib import Path

import pytest

from cxr_assets.diffusion.candidates import PHANTOM_BASE as LOADED
from cxr_assets.errors import SettingsError
from cxr_assets.warehouse.environment import PHANTOM_BASE, EnvironmentRow, check_environment

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def base_row(model: str) -> EnvironmentRow:
    return next(row for row in check_environment(None, [model]) if row.name == f"base model {model}")


@pytest.fixture
def snapshot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One commit of a hub model, tagged v1, in the local cache."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    kept = tmp_path / "models--some--body"
    folder = kept / "snapshots" / COMMIT
    folder.mkdir(parents=True)
    (folder / "model_index.json").write_text("{}")
    (kept / "refs").mkdir()
    (kept / "refs" / "v1").write_text(COMMIT)
    return folder


def test_both_layers_mean_the_same_shipped_base_model() -> None:
    assert PHANTOM_BASE == LOADED
    assert base_row("phantom") == EnvironmentRow("base model phantom", str(LOADED))


def test_a_hub_model_is_looked_for_at_its_revision(snapshot: Path) -> None:
    for revision in ("v1", COMMIT):
        row = base_row(f"some/body@{revision}")
        assert row.ok and row.value == str(snapshot)
    for missing in ("some/body", "some/body@v2", "other/body@v1"):
        row = base_row(missing)
        assert not row.ok and "cxr doctor --base" in row.hint


def test_scratch_and_folders_are_told_apart_from_hub_models(tmp_path: Path) -> None:
    assert base_row("scratch").value == "trained from the cohort"
    row = base_row(str(tmp_path / "no@where"))
    assert not row.ok and "not in" in row.value
    with pytest.raises(SettingsError, match="neither a folder nor a hub id"):
        base_row("a/b/c")
