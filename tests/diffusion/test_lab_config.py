"""The documented configuration files are run, not only printed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from accelerate.commands.config.config_args import load_config_from_file

from cxr_assets.captions.caption_studies import caption_studies
from cxr_assets.classification.backbones import BACKBONES
from cxr_assets.cohorts.curation import curate_studies
from cxr_assets.cohorts.registry import cohort_spec
from cxr_assets.diffusion.adapters import method_preset, train_adapter
from cxr_assets.diffusion.base import base_identity, make_base_model, tokenizer_of
from cxr_assets.diffusion.bundle import build_bundle, save_bundle
from cxr_assets.diffusion.cache import cache_latents
from cxr_assets.diffusion.candidates import GONE, read_candidates
from cxr_assets.diffusion.config import BundleSpec, MethodPreset
from cxr_assets.keys import Arm
from cxr_assets.project import Project
from cxr_assets.resolve import PRESETS, find_preset, flatten, load_preset, merge_yaml, read_yaml, resolve
from cxr_assets.settings import Settings
from cxr_assets.synthesis.draw import draw_strata, stratum_keys
from cxr_assets.synthesis.plan import plan_synthesis
from tests.helpers import CAPTIONS, QUIET

DOCS = Path(__file__).parents[2] / "docs"
LAB = DOCS / "sd15.yaml"
SD15 = BundleSpec(
    resolution=64,
    vae_widths=(8, 8, 8, 16),
    unet_widths=(16, 32),
    text_width=768,
    text_layers=1,
    text_heads=12,
    latent_channels=4,
    groups=4,
)
"""SD 1.5 in all that a configuration sees: f8 VAE with 4 channels, text states 768 wide, one text encoder."""
SMALLER: dict[str, Any] = {
    "films.size": 64,
    "films.workers": 1,
    "diffusion.resolution": 64,
    "diffusion.accelerate": None,
    "adapter_training.steps": 2,
    "adapter_training.batch": 4,
    "synthesis.steps": 2,
    "synthesis.per_stratum": 1,
    "synthesis.max_ratio": 0.0,
}
PHANTOM: dict[str, Any] = {"phantom.studies": 60, "phantom.size": 64, "cohort_root": None, "device": "cpu"}


def lab_root(folder: Path, **changes: Any) -> Path:
    """A data root whose cxr.yaml is the lab's, changed in the names given."""
    folder.mkdir()
    (folder / "cxr.yaml").write_text(LAB.read_text(encoding="utf-8"), encoding="utf-8")
    if changes:
        merge_yaml(folder / "cxr.yaml", changes)
    return folder


def test_every_key_of_the_lab_configuration_is_a_setting_that_takes_effect(tmp_path: Path) -> None:
    root = lab_root(tmp_path / "root")
    resolved = resolve(cohort="chexpert", storage=root, environ={})
    written = flatten(read_yaml(LAB))
    assert find_preset("profiles", written.pop("profile")).is_file()
    found = flatten(resolved.settings.model_dump(mode="json"))
    assert {name: found.get(name, "no such setting") for name in written} == written
    assert {resolved.origins[name] for name in written} == {str(root / "cxr.yaml")}


def test_what_the_lab_configuration_names_exists(tmp_path: Path) -> None:
    settings = resolve(cohort="chexpert", storage=lab_root(tmp_path / "root"), environ={}).settings
    assert set(settings.findings or ()) <= set(cohort_spec("chexpert").findings)
    assert set(settings.classification.backbones) <= set(BACKBONES)
    assert settings.diffusion.accelerate is not None and (DOCS.parent / settings.diffusion.accelerate).is_file()
    for method in settings.synthesis.methods:
        load_preset("methods", method, MethodPreset)
    methods = {arm.method for arm in map(Arm.parse, settings.arms) if not arm.is_real}
    assert methods == set(settings.synthesis.methods), "every method taught is scored"
    hub, folder = read_candidates(settings.diffusion.base_model)
    assert hub.fixed and hub.name not in GONE and folder.kind == "folder"


def test_every_line_of_the_lab_configuration_that_names_a_setting_is_explained() -> None:
    lines = LAB.read_text(encoding="utf-8").splitlines()
    named = [line for line in lines if not line.startswith("#") and ":" in line.partition("#")[0]]
    assert len(named) > 40 and [line for line in named if not line.partition("#")[2].strip()] == []


def test_the_lab_configuration_runs_to_synthetic_films_on_a_small_model(tmp_path: Path) -> None:
    base = tmp_path / "sd15"
    save_bundle(build_bundle(SD15, CAPTIONS), base)
    pinned = read_yaml(LAB)["diffusion"]["base_model"][0]
    small = SMALLER | PHANTOM | {"diffusion.base_model": [pinned, str(base)], "diffusion.offline": True}
    root = lab_root(tmp_path / "root", **small)
    project = Project.open(cohort="phantom", storage=root, progress=QUIET)
    curate_studies(project)
    caption_studies(project, tokenizer_of(project), tokenizer_id=base_identity(project))
    make_base_model(project)
    manifest = project.store.manifest("base_model")
    assert manifest is not None
    facts = manifest.facts
    assert (facts["family"], facts["source"], len(facts["passed_over"])) == ("sd1", str(base), 1)
    cache_latents(project)
    plan_synthesis(project)
    strata = list(project.grid)[:2]
    for method in project.methods:
        preset = method_preset(project, method)
        assert (preset.train.steps, preset.train.precision) == (2, "bf16")
        train_adapter(project, method)
        for _, made in draw_strata(project, method, strata):
            assert made.fresh
        images = pl.concat([project.store.table("synthetic_images", stratum_keys(method, s)) for s in strata])
        assert images.height >= 2 and set(images["base_id"]) == {facts["base_id"]}
        assert set(images["sampler"]) == {"dpmpp_2m"} and set(images["guidance"]) == {4.0}
        worded = images["prompt"].str.contains("year old").all()
        assert worded is (method != "hcn"), "the token carries what the text does not say"


PROMISED = {"1gpu": (1, 1), "4gpu": (1, 4), "8gpu": (1, 8), "2nodes-0": (2, 16), "2nodes-1": (2, 16)}


@pytest.mark.parametrize("name", PROMISED)
def test_accelerate_reads_each_documented_configuration(name: str) -> None:
    found = load_config_from_file(str(DOCS / "accelerate" / f"{name}.yaml"))
    assert (found.num_machines, found.num_processes) == PROMISED[name]
    assert found.distributed_type.value == ("NO" if found.num_processes == 1 else "MULTI_GPU")
    assert found.mixed_precision == "no" and not found.use_cpu, "the project decides on precision itself"


def test_no_documented_configuration_is_left_out_of_the_tests() -> None:
    assert {path.stem for path in (DOCS / "accelerate").glob("*.yaml")} == set(PROMISED)
    text = (DOCS / "gpus.md").read_text(encoding="utf-8")
    assert all(f"accelerate/{name}.yaml" in text for name in PROMISED)


def test_the_two_machines_differ_in_their_rank_alone() -> None:
    first, second = (yaml.safe_load((DOCS / "accelerate" / f"2nodes-{rank}.yaml").read_text()) for rank in (0, 1))
    assert (first.pop("machine_rank"), second.pop("machine_rank")) == (0, 1)
    assert first == second


def test_every_method_preset_is_told_of_in_the_docs() -> None:
    text = (DOCS / "methods.md").read_text(encoding="utf-8")
    methods = {path.stem for path in (PRESETS / "methods").glob("*.yaml")}
    assert {name for name in methods if f"`{name}`" not in text} == set()


def test_the_preset_that_the_docs_show_is_one() -> None:
    text = (DOCS / "methods.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"^```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    preset = MethodPreset.model_validate(yaml.safe_load(shown))
    assert preset.demographic_guidance == 2.0 and preset.conditioner.kind == "hcn"


@pytest.mark.parametrize("page", ["methods.md", "gpus.md"])
def test_dotted_settings_in_the_docs_exist(page: str) -> None:
    known = flatten(Settings().model_dump())
    sections = {name.rpartition(".")[0] for name in known}
    roots = {name.partition(".")[0] for name in known}
    named = set(re.findall(r"`([a-z_]+(?:\.[a-z_]+)+)(?::[^`]*)?`", (DOCS / page).read_text(encoding="utf-8")))
    named = {n for n in named if n.partition(".")[0] in roots and not n.endswith((".yaml", ".md", ".json"))}
    assert named and {n for n in named if n not in known and n not in sections} == set()
