from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from cxr_assets.cli import app
from cxr_assets.diffusion.config import MethodPreset
from cxr_assets.errors import InputError, SettingsError
from cxr_assets.resolve import PRESETS, Resolved, find_preset, load_preset, resolve


def settings_of(root: Path, yaml: str = "", environ: dict[str, str] | None = None, **overrides: Any) -> Resolved:
    if yaml:
        (root / "cxr.yaml").write_text(yaml)
    changed = {name.replace("__", "."): value for name, value in overrides.items()}
    return resolve(storage=root, environ=environ or {}, overrides=changed)


def profile(root: Path, text: str, name: str = "mine") -> None:
    (root / "presets" / "profiles").mkdir(parents=True)
    (root / "presets" / "profiles" / f"{name}.yaml").write_text(text)


def test_later_layers_win_and_every_value_knows_where_it_came_from(tmp_path: Path) -> None:
    profile(tmp_path, "synthesis: {steps: 1, batch: 1, guidance: 1.5, seed: 1}")
    resolved = settings_of(
        tmp_path,
        "profile: mine\nsynthesis: {steps: 2, batch: 2, guidance: 2.5}",
        {"CXR_SYNTHESIS__STEPS": "3", "CXR_SYNTHESIS__BATCH": "3"},
        synthesis__steps=4,
    )
    s = resolved.settings.synthesis
    assert (s.steps, s.batch, s.guidance, s.seed) == (4, 3, 2.5, 1)
    assert resolved.origins == {
        "synthesis.steps": "command line",
        "synthesis.batch": "environment",
        "synthesis.guidance": str(tmp_path / "cxr.yaml"),
        "synthesis.seed": "profile mine",
    }
    assert s.per_stratum == 4, "what nobody sets stays at its default"


@pytest.mark.parametrize(
    ("yaml", "environ", "overrides", "near"),
    [
        ("synthesis: {step: 2}", {}, {}, "synthesis.steps"),
        ("sinthesis: {steps: 2}", {}, {}, "synthesis.steps"),
        ("", {"CXR_SYNTHESIS__GUIDENCE": "2"}, {}, "synthesis.guidance"),
        ("", {}, {"classification.back_bones": []}, "classification.backbones"),
        ("", {}, {"synthesis": {"stebs": 2}}, "synthesis.steps"),
    ],
)
def test_an_unknown_setting_is_refused_with_the_nearest_one(
    tmp_path: Path, yaml: str, environ: dict[str, str], overrides: dict[str, Any], near: str
) -> None:
    (tmp_path / "cxr.yaml").write_text(yaml)
    with pytest.raises(SettingsError, match=f"Did you mean '{near}'"):
        resolve(storage=tmp_path, environ=environ, overrides=overrides)


def test_two_underscores_in_the_environment_go_one_level_down(tmp_path: Path) -> None:
    environ = {
        "CXR_CHOICES__AGE_SCHEME": "adult4",
        "CXR_SYNTHESIS__METHODS": "[demographic_text, other]",
        "CXR_DEVICE": "cpu",
    }
    s = settings_of(tmp_path, environ=environ).settings
    assert (s.choices.age_scheme, s.synthesis.methods, s.device) == ("adult4", ["demographic_text", "other"], "cpu")


def test_variables_that_steer_the_process_are_no_settings(tmp_path: Path) -> None:
    resolved = resolve(environ={"CXR_STORAGE": str(tmp_path), "CXR_COHORT": "nih", "CXR_RUN_ID": "x", "HOME": "/"})
    assert (resolved.cohort, resolved.root) == ("nih", tmp_path.resolve())
    assert set(resolved.origins.values()) <= {"profile cpu"}


@pytest.mark.parametrize("layer", ["environment", "command line"])
def test_a_mapping_given_for_a_section_keeps_the_sections_other_values(tmp_path: Path, layer: str) -> None:
    environ = {"CXR_SYNTHESIS": "{steps: 3}"} if layer == "environment" else {}
    overrides = {"synthesis": {"steps": 3}} if layer == "command line" else {}
    (tmp_path / "cxr.yaml").write_text("synthesis: {batch: 7}")
    resolved = resolve(storage=tmp_path, environ=environ, overrides=overrides)
    assert (resolved.settings.synthesis.steps, resolved.settings.synthesis.batch) == (3, 7)
    assert resolved.origins["synthesis.steps"] == layer


@pytest.mark.parametrize("yaml", ["synthesis: 5", "synthesis:", "synthesis: {steps: many}", "synthesis: {steps: 0}"])
def test_a_value_that_does_not_fit_is_refused_in_words(tmp_path: Path, yaml: str) -> None:
    with pytest.raises(SettingsError, match="synthesis"):
        settings_of(tmp_path, yaml, {"CXR_SYNTHESIS__BATCH": "3"})


@pytest.mark.parametrize("yaml", ["- a list", "synthesis: {steps: ", "a: b: c"])
def test_a_file_that_is_no_mapping_is_named(tmp_path: Path, yaml: str) -> None:
    with pytest.raises(SettingsError, match=r"cxr\.yaml"):
        settings_of(tmp_path, yaml)


def test_keys_of_the_users_own_pass_where_a_setting_is_a_mapping(tmp_path: Path) -> None:
    resolved = settings_of(tmp_path, "phantom: {disparity: {subgroup: {race: asian}}}")
    assert resolved.settings.phantom.disparity.subgroup == {"race": "asian"}


def test_settings_cannot_be_changed_afterwards(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        settings_of(tmp_path).settings.device = "cuda"  # type: ignore[misc]


def test_a_preset_beside_the_users_settings_goes_before_the_built_in_one(tmp_path: Path) -> None:
    folders = settings_of(tmp_path).presets
    assert find_preset("methods", "demographic_text", folders) == PRESETS / "methods" / "demographic_text.yaml"
    own = tmp_path / "presets" / "methods" / "demographic_text.yaml"
    own.parent.mkdir(parents=True)
    own.write_text("title: Mine\nlora: {rank: 2}\n")
    preset = load_preset("methods", "demographic_text", MethodPreset, folders)
    assert (preset.title, preset.lora.rank) == ("Mine", 2)


def test_a_preset_that_nobody_has_lists_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="demographic_text"):
        find_preset("methods", "no_such", settings_of(tmp_path).presets)
    with pytest.raises(InputError, match="not a slug"):
        find_preset("methods", "../profiles/demo")
    with pytest.raises(SettingsError, match="demo"):
        resolve(storage=tmp_path, profile="no-such", environ={})


def test_a_preset_with_an_unknown_key_names_its_file(tmp_path: Path) -> None:
    (tmp_path / "methods").mkdir()
    (tmp_path / "methods" / "odd.yaml").write_text("title: Odd\nlora: {rang: 2}\n")
    with pytest.raises(SettingsError, match=r"odd\.yaml"):
        load_preset("methods", "odd", MethodPreset, (tmp_path,))


@pytest.mark.parametrize("path", sorted((PRESETS / "methods").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_built_in_method_is_a_valid_preset(path: Path) -> None:
    assert load_preset("methods", path.stem, MethodPreset).title


@pytest.mark.parametrize("path", sorted((PRESETS / "profiles").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_built_in_profile_resolves(path: Path, tmp_path: Path) -> None:
    assert resolve(storage=tmp_path, profile=path.stem, environ={}).root == tmp_path.resolve()


def test_a_secret_is_neither_kept_nor_echoed(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="env:NAME") as caught:
        resolve(cohort="table", storage=tmp_path, overrides={"curate.options.site_salt": "hunter2"})
    assert "hunter2" not in str(caught.value) and caught.value.__cause__ is None
    done = CliRunner().invoke(
        app,
        ["ingest", "--cohort", "table", "--storage", str(tmp_path / "r"), "--set", "curate.options.site_salt=hunter2"],
    )
    assert done.exit_code != 0 and not (tmp_path / "r" / "cxr.yaml").exists()
    pointed = resolve(cohort="table", storage=tmp_path, overrides={"curate.options.site_salt": "env:SALT"})
    assert pointed.settings.curate.options == {"site_salt": "env:SALT"}
