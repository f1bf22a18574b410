from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cxr_assets.cohorts import film_decode
from cxr_assets.cohorts.base import CurateSettings
from cxr_assets.cohorts.film_decode import UnusableFilm, decode_film
from cxr_assets.cohorts.films import add_films, import_films
from cxr_assets.cohorts.registry import adapter
from cxr_assets.cohorts.schema import conform
from cxr_assets.errors import SettingsError, StorageError
from cxr_assets.warehouse import Store
from tests.cohorts.conftest import nih_row, write_film


def png(pixels: np.ndarray | Image.Image, *, form: str = "PNG", **options: object) -> bytes:
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    buffer = io.BytesIO()
    image.save(buffer, format=form, **options)
    return buffer.getvalue()


def read(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def stored(data: bytes, *, size: int = 32, fit: film_decode.Fit = "pad") -> np.ndarray:
    image = Image.open(io.BytesIO(decode_film(data, size=size, fit=fit).png))
    assert image.mode == "L" and image.size == (size, size)
    return np.asarray(image)


def studies_of(paths: Sequence[str | None]) -> pl.DataFrame:
    rows = {
        "cohort": "nih",
        "patient_id_kind": "patient",
        "split": "train",
        "label_source": "nlp_report",
        "label_granularity": "image",
        "terms": "nih-open",
    }
    frame = pl.DataFrame({"study_id": [f"s{index}" for index in range(len(paths))], "source_path": list(paths)})
    return conform(
        frame.with_columns(pl.lit("p").alias("patient_id"), **{n: pl.lit(v) for n, v in rows.items()}), "studies"
    )


RAMP = np.tile(np.arange(32, dtype=np.uint8) * 8, (32, 1))


def test_an_eight_bit_film_of_the_right_size_is_unchanged() -> None:
    assert (stored(png(RAMP)) == RAMP).all()


def test_alpha_is_ignored() -> None:
    rgba = np.stack([RAMP, RAMP, RAMP, np.zeros_like(RAMP)], axis=-1)
    assert (stored(png(rgba)) == RAMP).all()


def test_colour_becomes_luminance() -> None:
    red = np.zeros((32, 32, 3), np.uint8)
    red[..., 0] = 200
    assert set(np.unique(stored(png(red)))) == {60}


def test_a_palette_is_looked_up() -> None:
    assert np.abs(stored(png(Image.fromarray(RAMP).convert("P"))).astype(int) - RAMP).max() <= 1


def test_sixteen_bits_keep_their_order_and_are_not_cut_off() -> None:
    deep = np.linspace(0, 4095, 64 * 64).reshape(64, 64).astype(np.uint16)
    deep[0, 0] = 65535
    film = stored(png(deep), size=64)
    body = film.reshape(-1)[1:].astype(int)
    assert (np.diff(body) >= 0).all()
    assert film[0, 0] == 255 and body.max() < 255 and body.max() - body.min() > 200
    assert len(np.unique(body)) > 200


def test_a_flat_deep_film_is_black_not_a_failure() -> None:
    assert stored(png(np.full((32, 32), 3000, np.uint16))).max() == 0


@pytest.mark.parametrize(("fit", "expected"), [("pad", (16, 0.5)), ("crop", (0, 1.0))])
def test_the_aspect_is_kept(fit: film_decode.Fit, expected: tuple[int, float]) -> None:
    tall = np.full((64, 32), 200, np.uint8)
    film = stored(png(tall), size=64, fit=fit)
    inside = film > 100
    assert np.argmax(inside[32]) == expected[0]
    assert abs(inside.mean() - expected[1]) < 0.05
    place = decode_film(png(tall), size=64, fit=fit).placement
    assert (place.source_width, place.source_height, place.offset_x) == (32, 64, float(expected[0]))


def test_shrinking_averages_instead_of_skipping() -> None:
    checkers = (np.indices((256, 256)).sum(axis=0) % 2 * 255).astype(np.uint8)
    assert np.abs(stored(png(checkers)).astype(int) - 127).max() <= 2


def test_a_large_jpeg_is_placed_by_its_own_size() -> None:
    data = png(np.full((600, 800), 90, np.uint8), form="JPEG")
    film = decode_film(data, size=40, fit="pad")
    assert film.placement.source_width == 800 and film.placement.scale_x == 0.05 and film.placement.offset_y == 5


def test_stored_bytes_hold_nothing_but_pixels() -> None:
    data = png(Image.fromarray(RAMP), icc_profile=b"x" * 200, dpi=(300, 300))
    assert decode_film(data, size=32, fit="pad").png == decode_film(png(RAMP), size=32, fit="pad").png


@pytest.mark.parametrize(
    "data", [b"", b"not a film", png(RAMP)[:-40], png(RAMP)[:60], png(RAMP, form="GIF"), png(RAMP, form="TIFF")]
)
def test_what_is_no_whole_film_is_unusable(data: bytes) -> None:
    with pytest.raises(UnusableFilm, match="corrupt film"):
        decode_film(data, size=16, fit="pad")


def test_a_decompression_bomb_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(film_decode, "LARGEST_PIXELS", 1000)
    with pytest.raises(UnusableFilm, match="film too large: 32 x 32"):
        decode_film(png(RAMP), size=16, fit="pad")


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 400), st.integers(0, 255))
def test_a_changed_byte_gives_a_film_or_a_stated_fault(position: int, value: int) -> None:
    data = bytearray(png(RAMP))
    data[position % len(data)] = value
    try:
        assert decode_film(bytes(data), size=16, fit="pad").png
    except UnusableFilm as fault:
        assert "film" in str(fault)


def test_one_bad_film_does_not_stop_the_rest(tmp_path: Path) -> None:
    root, store = tmp_path / "cohort", Store(tmp_path / "store")
    write_film(root / "a.png")
    write_film(root / "c.png", width=100, height=50)
    (root / "b.png").write_bytes((root / "a.png").read_bytes()[:200])
    write_film(tmp_path / "outside.png")
    (root / "link.png").symlink_to(tmp_path / "outside.png")
    studies = studies_of(["a.png", "b.png", "c.png", "../outside.png", "link.png", "gone.png", None, "."])
    done = import_films(studies, root, store, size=32)
    assert done.studies["image_digest"].is_not_null().to_list() == [True, False, True, *[False] * 5]
    reasons = done.quarantine.select("value", pl.col("reason").str.split(":").list.first()).rows()
    assert reasons == [
        ("s1", "corrupt film"),
        ("s3", "film outside"),
        ("s4", "film outside"),
        ("s5", "unreadable film"),
        ("s7", "unreadable film"),
    ]
    first = done.studies.row(0, named=True)
    file = store.path(first["image_file"])
    assert first["image_file"] == f"images/nih/{first['image_digest'][:2]}/{first['image_digest']}.png"
    assert read(file).shape == (first["height"], first["width"]) == (32, 32)
    assert not list(store.root.rglob(".*.tmp"))


def test_a_second_import_decodes_nothing_and_gives_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, store = tmp_path / "cohort", Store(tmp_path / "store")
    for name in "abc":
        write_film(root / f"{name}.png")
    studies = studies_of(["a.png", "b.png", "c.png"])
    first = import_films(studies, root, store, size=32)
    stamps = {path: path.stat().st_mtime_ns for path in store.path("images").rglob("*.png")}

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("decoded again")

    monkeypatch.setattr("cxr_assets.cohorts.film_worker.decode_film", refuse)
    second = import_films(studies, root, store, size=32)
    assert second.studies.equals(first.studies) and second.placements.equals(first.placements)
    assert {path: path.stat().st_mtime_ns for path in store.path("images").rglob("*.png")} == stamps


def test_a_film_that_was_lost_or_cut_short_is_made_again(tmp_path: Path) -> None:
    root, store = tmp_path / "cohort", Store(tmp_path / "store")
    write_film(root / "a.png")
    studies = studies_of(["a.png"])
    file = store.path(import_films(studies, root, store, size=32).studies["image_file"][0])
    whole = file.read_bytes()
    file.write_bytes(b"")
    (file.parent / ".left.png.1234.tmp").write_bytes(b"x")
    store.path("work/films/nih.parquet").write_bytes(b"broken")
    import_films(studies, root, store, size=32)
    assert file.read_bytes() == whole
    assert not list(file.parent.glob(".*.tmp"))


def test_sizes_and_fits_live_side_by_side(tmp_path: Path) -> None:
    root, store = tmp_path / "cohort", Store(tmp_path / "store")
    write_film(root / "a.png", width=80)
    studies = studies_of(["a.png"])
    digests = [
        import_films(studies, root, store, size=size, fit=fit).studies["image_digest"][0]
        for size, fit in ((32, "pad"), (16, "pad"), (32, "crop"), (32, "pad"))
    ]
    assert digests[0] == digests[3] and len(set(digests)) == 3


def test_workers_give_what_one_process_gives(tmp_path: Path) -> None:
    root = tmp_path / "cohort"
    names = [f"f{index}.png" for index in range(20)]
    for name in names:
        write_film(root / name, width=16, height=16)
    (root / names[3]).write_bytes(b"broken")
    lines: list[str] = []
    one = import_films(studies_of(names), root, Store(tmp_path / "one"), size=8)
    two = import_films(studies_of(names), root, Store(tmp_path / "two"), size=8, workers=2, progress=lines.append)
    assert two.studies.equals(one.studies) and two.quarantine.equals(one.quarantine)
    assert lines[-1] == "films of nih: 20 of 20"


def test_no_studies_and_wrong_settings(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    assert import_films(studies_of([]), tmp_path, store, size=32).studies.is_empty()
    for wrong in ({"size": 4}, {"size": 32, "workers": 0}, {"size": 32, "fit": "stretch"}):
        with pytest.raises(SettingsError, match="expected size >= 8"):
            import_films(studies_of(["a.png"]), tmp_path, store, **wrong)


def test_a_store_that_cannot_be_written_is_stated_not_quarantined(tmp_path: Path) -> None:
    write_film(tmp_path / "cohort" / "a.png")
    (tmp_path / "store" / "images").mkdir(parents=True)
    (tmp_path / "store" / "images" / "nih").write_text("a file where a folder must be")
    with pytest.raises(StorageError, match="Run again"):
        import_films(studies_of(["a.png"]), tmp_path / "cohort", Store(tmp_path / "store"), size=32)


def test_boxes_move_with_their_films(nih_root, tmp_path: Path) -> None:
    rows = [nih_row(), nih_row("00000008_000.png"), nih_row("00000009_000.png")]
    boxes = [f"{row.split(',')[0]},Effusion,512,256,128,64" for row in rows]
    root = nih_root(rows, films=["00000007_000.png"], boxes=boxes)
    write_film(root / "images" / "00000008_000.png", width=1024, height=1024)
    curated = adapter("nih").curate(root, settings=CurateSettings())
    done = add_films(curated, root, Store(tmp_path / "store"), size=128)
    assert done.boxes.select("study_id", "x", "y", "width", "height").rows() == [
        ("00000007_000", 64.0, 32.0, 16.0, 8.0),
        ("00000008_000", 64.0, 32.0, 16.0, 8.0),
    ]
    reasons = set(done.quarantine["reason"].str.split(":").list.first())
    assert reasons == {"missing film", "box without film"}
    images = done.study_sources.filter(role="image").join(done.sources, on="source_id")
    assert sorted(images["path"]) == ["images/00000007_000.png", "images/00000008_000.png"]
    for source in ("films", "boxes on films"):
        steps = dict(done.waterfall.filter(source=source).select("step", "rows").iter_rows())
        assert steps["read"] == steps["kept"] + sum(n for step, n in steps.items() if step.startswith("dropped"))


def test_the_real_films_are_all_stored(shared_data: Path, tmp_path: Path) -> None:
    root = shared_data / "nih-chestxray14"
    curated = adapter("nih").curate(root, settings=CurateSettings())
    rgba = ["00000773_001", "00001054_002"]
    some = pl.concat([curated.studies.head(40), curated.studies.filter(pl.col("study_id").is_in(rgba))]).unique(
        "study_id"
    )
    done = import_films(some, root, Store(tmp_path), size=64)
    assert done.quarantine.is_empty() and done.studies["image_digest"].n_unique() == some.height
    for file in done.studies.filter(pl.col("study_id").is_in(rgba))["image_file"]:
        assert read(tmp_path / file).std() > 20


@pytest.mark.parametrize(
    ("mode", "kind", "form"), [("L", "PNG", "PNG L"), ("RGBA", "PNG", "PNG RGBA"), ("L", "JPEG", "JPEG L")]
)
def test_what_a_film_was_received_as_is_kept(mode: str, kind: str, form: str) -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((8, 8), np.uint8)).convert(mode).save(buffer, kind)
    assert decode_film(buffer.getvalue(), size=8, fit="pad").received_as == form
