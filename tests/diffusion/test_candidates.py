from __future__ import annotations

import string
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxr_assets.diffusion.bundle import load_bundle
from cxr_assets.diffusion.candidates import (
    GONE,
    PHANTOM_BASE,
    Candidate,
    fetch,
    find,
    prospects,
    read_candidate,
    read_candidates,
)
from cxr_assets.diffusion.model_files import files_needed, look_into
from cxr_assets.errors import InputError, SettingsError
from cxr_assets.resolve import PRESETS, read_yaml
from tests.diffusion.base_models import COMMIT, UNFIT, changed, copied, halved, in_cache, pickled

LETTERS = string.ascii_letters + string.digits
WORDS = st.text(LETTERS, min_size=1, max_size=12)
HUB_IDS = st.builds(lambda a, b: f"{a}/{b}", WORDS, st.builds(lambda a, b: f"{a}-{b}", WORDS, WORDS))
REVISIONS = st.one_of(st.text("0123456789abcdef", min_size=40, max_size=40), WORDS, st.just("refs/pr/3"))
HUB = "somebody/some-model"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty hub cache, and a hub that must not be asked."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))

    def asked(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError("the hub was asked")

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", asked)
    monkeypatch.setattr("huggingface_hub.snapshot_download", asked)
    return tmp_path / "hub"


@given(HUB_IDS, st.none() | REVISIONS)
def test_a_hub_id_is_read_back_as_it_is_written(name: str, revision: str | None) -> None:
    candidate = Candidate("hub", name, revision)
    assert read_candidate(str(candidate)) == candidate


@given(HUB_IDS, st.none() | REVISIONS, REVISIONS)
def test_the_default_revision_is_for_hub_ids_without_one(name: str, own: str | None, default: str) -> None:
    assert read_candidate(str(Candidate("hub", name, own)), default).revision == (own or default)


@given(st.sampled_from(["/", "./", "../", "~/"]), st.text(LETTERS + "@-_ /.", min_size=1, max_size=30))
def test_a_path_keeps_its_at_sign(start: str, rest: str) -> None:
    candidate = read_candidate(start + rest, "main")
    assert (candidate.kind, candidate.name, candidate.revision) == ("folder", start + rest, None)


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused_and_read_the_same_way_again(text: str) -> None:
    try:
        candidate = read_candidate(text)
    except SettingsError as error:
        assert repr(text) in str(error) and "Write phantom" in str(error)
    else:
        assert str(candidate) == text and read_candidate(str(candidate)) == candidate


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "no base model"),
        ("a/b/c", "namespace"),
        ("a/b@", "nothing follows the @"),
        ("a/b@x y", "neither a commit nor a tag"),
        ("a/b@x@y", "neither a commit nor a tag"),
        ("phantom@main", "phantom has no revisions"),
        ("some model", "alphanumeric"),
    ],
)
def test_what_is_no_base_model_is_refused_in_words(text: str, told: str) -> None:
    with pytest.raises(SettingsError, match=told):
        read_candidate(text)


def test_a_folder_that_is_there_goes_before_a_hub_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert read_candidate("models/sd15").kind == "hub"
    (tmp_path / "models" / "sd15").mkdir(parents=True)
    assert read_candidate("models/sd15").kind == "folder"
    assert read_candidate("models/sd15@main") == Candidate("hub", "models/sd15", "main")


def test_scratch_is_no_fallback() -> None:
    assert [c.kind for c in read_candidates(["scratch"])] == ["scratch"]
    with pytest.raises(SettingsError, match="scratch stands alone"):
        read_candidates([HUB, "scratch"])
    with pytest.raises(SettingsError, match="empty"):
        read_candidates([])


@pytest.mark.parametrize("kind", UNFIT)
def test_a_model_that_cannot_work_is_refused_before_it_is_loaded(kind: str, tmp_path: Path, tiny_base: Path) -> None:
    make, told = UNFIT[kind]
    with pytest.raises(InputError, match=told):
        look_into(make(copied(tiny_base, tmp_path / "model")))


@pytest.mark.parametrize(("width", "family"), [(768, "sd1"), (1024, "sd2"), (32, "own")])
def test_the_family_is_told_by_the_width_of_the_text(width: int, family: str, tmp_path: Path, tiny_base: Path) -> None:
    folder = copied(tiny_base, tmp_path / "model")
    changed(folder, "unet/config.json", cross_attention_dim=width)
    changed(folder, "text_encoder/config.json", hidden_size=width)
    assert look_into(folder).family == family
    changed(folder, "scheduler/scheduler_config.json", prediction_type="v_prediction")
    assert look_into(folder).prediction_type == "v_prediction"


def test_an_old_scheduler_that_does_not_say_predicts_noise(tmp_path: Path, tiny_base: Path) -> None:
    folder = copied(tiny_base, tmp_path / "model")
    (folder / "scheduler" / "scheduler_config.json").write_text('{"_class_name": "PNDMScheduler"}')
    assert look_into(folder).prediction_type == "epsilon"


def test_of_a_hub_repository_only_one_variant_and_no_pickle_is_needed() -> None:
    parts = {"unet": "diffusion_pytorch_model", "vae": "diffusion_pytorch_model", "text_encoder": "model"}
    plain = [f"{part}/{stem}.safetensors" for part, stem in parts.items()]
    other = [f"{part}/{stem}{end}" for part, stem in parts.items() for end in (".fp16.safetensors", ".bin")]
    more = ["v1-5-pruned.ckpt", "safety_checker/model.safetensors", "unet/diffusion_pytorch_model.non_ema.safetensors"]
    kept = ["model_index.json", "scheduler/scheduler_config.json", "tokenizer/merges.txt", "unet/config.json"]
    assert files_needed([*plain, *other, *more, *kept], where=HUB) == tuple(sorted([*plain, *kept]))
    fp16 = [name for name in other if "fp16" in name]
    assert files_needed([*plain[:2], *other, *kept], where=HUB) == tuple(sorted([*fp16, *kept])), "one format for all"
    pieces = [
        "unet/diffusion_pytorch_model-00001-of-00002.safetensors",
        "unet/diffusion_pytorch_model.safetensors.index.json",
    ]
    assert files_needed([*pieces, *plain[1:]], where=HUB) == tuple(sorted([*pieces, *plain[1:]]))
    with pytest.raises(SettingsError, match=f"{HUB}/unet holds no safetensors"):
        files_needed(plain[1:] + pieces[1:], where=HUB)


def test_what_lies_beside_a_model_is_no_part_of_its_identity(tmp_path: Path, tiny_base: Path) -> None:
    folder = copied(tiny_base, tmp_path / "model")
    before = look_into(folder)
    (folder / "unet" / "diffusion_pytorch_model.non_ema.safetensors").write_bytes(b"more")
    (folder / "safety_checker").mkdir()
    (folder / "safety_checker" / "config.json").write_text("{}")
    after = look_into(folder)
    assert (after.digest, after.bytes) == (before.digest, before.bytes) and after.bytes > 10_000
    changed(folder, "scheduler/scheduler_config.json", beta_start=0.001)
    assert look_into(folder).digest != before.digest


def test_a_cached_commit_asks_nobody(cache: Path, tiny_base: Path) -> None:
    in_cache(cache, HUB, tiny_base)
    found = fetch(read_candidate(f"{HUB}@{COMMIT}"))
    assert found.commit == COMMIT and found.digest == look_into(tiny_base).digest
    bundle = load_bundle(f"{HUB}@{COMMIT}")
    assert (bundle.commit, bundle.source, bundle.base_id) == (COMMIT, f"{HUB}@{COMMIT}", found.digest)
    assert find(read_candidate(HUB)).commit == COMMIT, "the newest one that was asked for"
    with pytest.raises(SettingsError, match="not in the local cache"):
        fetch(read_candidate(f"{HUB}@v2"), offline=True)


def test_each_entry_has_its_own_revision(cache: Path, tmp_path: Path, tiny_base: Path) -> None:
    other = "f" * 40
    in_cache(cache, HUB, tiny_base)
    in_cache(
        cache, HUB, changed(copied(tiny_base, tmp_path / "b"), "unet/config.json", _note="b"), commit=other, branch="b"
    )
    bundles = [load_bundle(f"{HUB}@{name}", offline=True) for name in ("main", "b", other)]
    assert [b.commit for b in bundles] == [COMMIT, other, other]
    assert bundles[0].base_id != bundles[1].base_id == bundles[2].base_id
    assert load_bundle([f"{HUB}@gone", HUB], revision=other, offline=True).commit == other, (
        "the default is the second's"
    )


def test_a_download_takes_what_is_needed_at_the_commit_that_is_asked_for(
    cache: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [p.relative_to(tiny_base).as_posix() for p in tiny_base.rglob("*") if p.is_file()]
    asked: list[Any] = []

    def listed(self: Any, repository: str, *, revision: str | None) -> Any:
        asked.append((repository, revision))
        files = [*names, "unet/diffusion_pytorch_model.bin", "v1.ckpt"]
        return SimpleNamespace(siblings=[SimpleNamespace(rfilename=name) for name in files])

    def downloaded(repository: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        asked.append(sorted(allow_patterns))
        return str(in_cache(cache, repository, tiny_base))

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", listed)
    monkeypatch.setattr("huggingface_hub.snapshot_download", downloaded)
    assert fetch(read_candidate(f"{HUB}@v1")).commit == COMMIT
    assert asked == [(HUB, "v1"), sorted(names)]


def test_a_hub_that_does_not_answer_leaves_the_cache(
    cache: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import httpx

    def down(*args: Any, **kwargs: Any) -> Any:
        raise httpx.ConnectError("no route to host")

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", down)
    with pytest.raises(SettingsError, match="no route to host"):
        fetch(read_candidate(HUB))
    gone = next(iter(GONE))
    with pytest.raises(SettingsError, match=f"no route to host {gone} has left the hub; .*{GONE[gone][0]}"):
        fetch(read_candidate(gone))
    in_cache(cache, HUB, tiny_base)
    in_cache(cache, gone, tiny_base)
    assert fetch(read_candidate(HUB)).commit == fetch(read_candidate(gone)).commit == COMMIT


def test_prospects_say_of_each_candidate_what_would_become_of_it(cache: Path, tmp_path: Path, tiny_base: Path) -> None:
    pickle = pickled(copied(tiny_base, tmp_path / "pickle"), "unet")
    in_cache(cache, HUB, tiny_base)
    gone = "runwayml/stable-diffusion-v1-5"
    wanted = [gone, str(tmp_path / "none"), str(pickle), f"{HUB}@{COMMIT}", "phantom", "other/model"]
    found = prospects(wanted, offline=True)
    assert [p.state for p in found] == ["unfit", "unfit", "unfit", "used", "spare", "unfit"]
    for prospect, told in zip(
        found,
        ["kept as stable-diff", "no folder", "pickled", "is used", "another comes first", "nothing may be downloaded"],
        strict=True,
    ):
        assert told in prospect.why
    used = str(found[3])
    assert COMMIT in used and "family own" in used and "predicts epsilon" in used and " MB" in used
    assert load_bundle(wanted, offline=True).source == str(found[3].candidate), "loading agrees"
    assert [p.state for p in prospects(["other/model", "phantom"])] == ["download", "spare"]
    assert [p.state for p in prospects([gone, "phantom"])] == ["unfit", "used"]


def test_pickles_in_the_cache_are_no_verdict_on_the_hub(cache: Path, tiny_base: Path) -> None:
    pickled(in_cache(cache, HUB, tiny_base), "vae")
    assert prospects([HUB])[0].state == "download"
    (offline,) = prospects([HUB], offline=True)
    assert offline.state == "unfit" and "pickled" in offline.why


def test_scratch_goes_on_from_what_is_here(tmp_path: Path) -> None:
    assert prospects(["scratch"])[0].state == "used"
    (going_on,) = prospects(["scratch"], start="phantom")
    assert going_on.state == "used" and "going on from phantom" in going_on.why
    assert prospects(["scratch"], start=str(tmp_path / "none"))[0].state == "unfit"


def test_the_shipped_base_model_is_whole() -> None:
    (found,) = prospects(["phantom"])
    assert found.files is not None and found.files.folder == PHANTOM_BASE and found.files.family == "own"


@pytest.mark.parametrize("profile", ["gpu24", "h200"])
def test_profiles_name_models_that_are_kept_and_pin_them(profile: str) -> None:
    named = read_candidates(read_yaml(PRESETS / "profiles" / f"{profile}.yaml")["diffusion"]["base_model"])
    assert named[0].fixed and not {c.name for c in named} & set(GONE)


def test_a_variant_is_said(tmp_path: Path, tiny_base: Path) -> None:
    assert look_into(tiny_base).variant is None
    assert look_into(halved(copied(tiny_base, tmp_path / "model"), "unet")).variant == "fp16"
