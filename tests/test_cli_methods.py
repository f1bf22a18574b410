"""Methods on the command line: what they are, and what naming one changes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cxr_assets.cli_graph import of_methods
from cxr_assets.diffusion.methods import listing
from cxr_assets.errors import InputError, SettingsError
from cxr_assets.resolve import PRESETS, resolve
from tests.test_cli import cxr


def test_methods_are_listed_with_their_sources(tmp_path: Path) -> None:
    own = tmp_path / "presets" / "methods"
    own.mkdir(parents=True)
    (own / "hcn.yaml").write_text("title: My HCN\nconditioner: {kind: hcn}\n")
    (own / "mine.yaml").write_text("title: Mine\n")
    done = cxr("config", "methods", "--format", "json", root=tmp_path)
    rows = {row["method"]: row for row in json.loads(done.stdout)}
    assert set(rows) == {path.stem for path in (PRESETS / "methods").glob("*.yaml")} | {"mine"}
    assert rows["hcn"]["title"] == "My HCN", "one beside cxr.yaml comes first"
    assert (
        rows["fairdiffusion"]["weighing"] == "fairdiffusion"
        and rows["roentgen_v2"]["tune"] == "full, text encoder full"
    )
    assert all(row["source"] for name, row in rows.items() if name not in ("hcn", "mine"))


def test_a_preset_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "methods").mkdir()
    (tmp_path / "methods" / "odd.yaml").write_text("title: Odd\nconditioner: {kind: magic}\n")
    with pytest.raises(SettingsError, match=r"odd\.yaml"):
        listing([tmp_path])


def test_naming_methods_gives_each_of_them_the_mixes_of_the_arms(tmp_path: Path) -> None:
    resolved = resolve(
        storage=tmp_path, overrides={"arms": ["real.r000", "demographic_text.r025", "demographic_text.only"]}
    )
    assert of_methods(resolved, None) is resolved
    (tmp_path / "cxr.yaml").write_text("arms: [real.r000, demographic_text.r025, demographic_text.only]\n")
    chosen = of_methods(resolve(storage=tmp_path), ["hcn", "hcn-s1", "hcn"])
    assert chosen.settings.synthesis.methods == ["hcn", "hcn-s1"]
    assert chosen.settings.arms == ["real.r000", "hcn.r025", "hcn.only", "hcn-s1.r025", "hcn-s1.only"]
    assert resolve(storage=tmp_path).settings == chosen.settings, "the UI and the next command see the same"


@pytest.mark.parametrize(
    ("name", "fault"), [("hcm", "no method preset"), ("hcn-s0", "further seeds"), ("Bad Name", "not a slug")]
)
def test_a_method_that_is_none_is_refused_and_nothing_is_kept(tmp_path: Path, name: str, fault: str) -> None:
    with pytest.raises((SettingsError, InputError), match=fault):
        of_methods(resolve(storage=tmp_path), ["hcn", name])
    assert not (tmp_path / "cxr.yaml").exists()
