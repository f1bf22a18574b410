"""DICOM pixels are shown as the standard says: known answers for each step, and the constructed files."""

from __future__ import annotations

import csv
import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom import Dataset, dcmread
from pydicom.uid import JPEG2000Lossless, RLELossless

from cxr_assets.cohorts.film_decode import UnusableFilm, decode_film
from tests.cohorts.table_tools import RAMP, film

DEEP = np.linspace(0, 4095, 32 * 32).reshape(32, 32).astype(np.uint16)


def data_of(made: Dataset) -> bytes:
    buffer = io.BytesIO()
    made.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def shown(pixels: np.ndarray = RAMP, **tags: Any) -> np.ndarray:
    data = data_of(film(pixels, **tags))
    return np.asarray(Image.open(io.BytesIO(decode_film(data, size=32, fit="pad").png))).astype(int)


def test_eight_bits_without_a_window_are_the_greys_that_stand_there() -> None:
    assert (shown() == RAMP).all()


def test_monochrome1_is_turned_round_within_its_range() -> None:
    assert (shown(PhotometricInterpretation="MONOCHROME1") == 255 - RAMP.astype(int)).all()


def test_an_inverse_presentation_acts_as_monochrome1_and_both_together_as_one() -> None:
    once = shown(PresentationLUTShape="INVERSE")
    assert (once == 255 - RAMP.astype(int)).all()
    assert (shown(PresentationLUTShape="INVERSE", PhotometricInterpretation="MONOCHROME1") == once).all()


WINDOW = {"bits": 12, "WindowCenter": 2048, "WindowWidth": 1000}


def test_a_linear_window_is_that_of_the_standard() -> None:
    y = np.clip(((DEEP - 2047.5) / 999 + 0.5) * 255, 0, 255)
    assert np.abs(shown(DEEP, **WINDOW) - y).max() <= 0.51


def test_a_linear_exact_window_is_that_of_the_standard() -> None:
    y = np.clip(((DEEP - 2048.0) / 1000 + 0.5) * 255, 0, 255)
    assert np.abs(shown(DEEP, **WINDOW, VOILUTFunction="LINEAR_EXACT") - y).max() <= 0.51


def test_a_sigmoid_window_is_that_of_the_standard() -> None:
    y = 255 / (1 + np.exp(-4 * (DEEP - 2048.0) / 1000))
    assert np.abs(shown(DEEP, **WINDOW, VOILUTFunction="SIGMOID") - y).max() <= 0.51


def test_of_several_windows_the_first_is_taken() -> None:
    several = {"bits": 12, "WindowCenter": [2048, 100], "WindowWidth": [1000, 10]}
    assert (shown(DEEP, **several) == shown(DEEP, **WINDOW)).all()


def test_rescale_goes_before_the_window() -> None:
    rescaled = {"RescaleSlope": 2, "RescaleIntercept": -1000, "bits": 12, "WindowCenter": 3096, "WindowWidth": 2000}
    assert np.abs(shown(DEEP, **rescaled) - shown(DEEP, **WINDOW)).max() <= 1


def test_a_falling_rescale_turns_the_film_round_in_its_window() -> None:
    falling = shown(DEEP, RescaleSlope=-1, RescaleIntercept=4095, bits=12, WindowCenter=2048, WindowWidth=1000)
    assert falling[0, 0] == 255 and falling[-1, -1] == 0 and (np.diff(falling.ravel()) <= 0).all()


@pytest.mark.parametrize(
    "useless",
    [
        {"WindowCenter": 2048, "WindowWidth": 0},
        {"WindowCenter": 99999, "WindowWidth": 10},
        {"WindowCenter": 2048, "WindowWidth": 100, "VOILUTFunction": "CUBIC"},
        {"WindowCenter": None, "WindowWidth": None},
    ],
)
def test_without_a_usable_window_nothing_is_cut_off(useless: dict[str, Any]) -> None:
    tags = {name: value for name, value in useless.items() if value is not None}
    seen = shown(DEEP, bits=12, **tags)
    assert (seen == shown(DEEP, bits=12)).all()
    assert (np.diff(seen.ravel()) >= 0).all() and len(np.unique(seen)) > 240


def table(entries: np.ndarray, *, first: int = 0, depth: int = 16) -> list[Dataset]:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [len(entries) % 2**16, first, depth])
    item.add_new(
        "LUTData",
        "OW" if len(entries) > 20 else "US",
        entries.astype("<u2").tobytes() if len(entries) > 20 else entries.tolist(),
    )
    return [item]


def test_a_voi_table_goes_before_a_window() -> None:
    falling = np.linspace(65535, 0, 4096)
    seen = shown(DEEP, **WINDOW, VOILUTSequence=table(falling))
    assert np.abs(seen - 255 * (1 - DEEP / 4095)).max() <= 1


def test_a_table_of_more_entries_than_its_depth_can_count_does_not_wrap() -> None:
    seen = shown(DEEP, bits=12, VOILUTSequence=table(np.linspace(0, 255, 4096), depth=8))
    assert (np.diff(seen.ravel()) >= 0).all() and seen.max() == 255


def test_values_beyond_a_table_take_its_ends() -> None:
    seen = shown(
        np.arange(16, dtype=np.uint8).repeat(64).reshape(32, 32), VOILUTSequence=table(np.array([0, 10, 20]), first=7)
    )
    assert seen.ravel()[::64].tolist() == [0] * 8 + [128] + [255] * 7


def test_a_modality_table_of_twelve_bits_is_read() -> None:
    falling = np.linspace(4095, 0, 4096)
    seen = shown(DEEP, bits=12, ModalityLUTSequence=table(falling, depth=12), WindowCenter=2048, WindowWidth=4096)
    assert np.abs(seen - 255 * (1 - DEEP / 4095)).max() <= 1


def test_bits_beyond_those_stored_do_not_count() -> None:
    dirty = DEEP | np.uint16(0xF000)
    assert (shown(dirty, **WINDOW) == shown(DEEP, **WINDOW)).all()


def test_signed_values_keep_their_order() -> None:
    signed = (DEEP.astype(np.int16) - 2048).astype(np.int16)
    seen = shown(signed, bits=12, WindowCenter=0, WindowWidth=1000)
    assert np.abs(seen - shown(DEEP, **WINDOW)).max() <= 1


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("window", [{}, {"WindowCenter": 2048, "WindowWidth": 1000}])
def test_padding_is_black_and_does_not_move_the_greys_of_the_film(photometric: str, window: dict[str, int]) -> None:
    padded = DEEP.copy()
    padded[:, :8] = 65535
    seen = shown(padded, PixelPaddingValue=65535, PhotometricInterpretation=photometric, **window)
    assert (seen[:, :8] == 0).all()
    assert np.ptp(seen[:, 8:]) > 240 and len(np.unique(seen[:, 8:])) > 50


def test_a_range_of_padding_is_black() -> None:
    padded = DEEP.copy()
    padded[:, :4], padded[:, 4:8] = 65535, 65000
    limits = {"PixelPaddingValue": 65535, "PixelPaddingRangeLimit": 64999}
    assert (shown(padded, **limits, WindowCenter=2048, WindowWidth=1000)[:, :8] == 0).all()


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, RLELossless])
def test_compressed_pixels_give_what_plain_ones_give(syntax: str) -> None:
    made = film(DEEP, bits=12, WindowCenter=2048, WindowWidth=1000)
    plain = decode_film(data_of(made), size=32, fit="pad")
    made.compress(syntax, generate_instance_uid=False)
    assert decode_film(data_of(made), size=32, fit="pad").digest == plain.digest


@pytest.mark.parametrize(
    ("tags", "kind"),
    [
        ({"NumberOfFrames": 2}, "multi-frame film: 2 frames"),
        ({"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3}, "colour film: RGB"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "colour film: PALETTE COLOR"),
        ({"BurnedInAnnotation": "YES"}, "burned-in annotation"),
        ({"PixelData": None}, "corrupt film"),
        ({"Rows": 9999}, "corrupt film"),
    ],
)
def test_films_that_are_refused(tags: dict[str, Any], kind: str) -> None:
    with pytest.raises(UnusableFilm, match=kind):
        shown(**tags)


def test_a_large_film_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cxr_assets.cohorts.film_dicom.LARGEST_PIXELS", 1000)
    with pytest.raises(UnusableFilm, match="film too large: 32 x 32"):
        shown()


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 3000), st.integers(0, 255), st.integers(0, 3000))
def test_a_changed_or_cut_file_gives_a_film_or_a_stated_fault(position: int, value: int, cut: int) -> None:
    data = bytearray(CHANGED)
    data[position % len(data)] = value
    try:
        assert decode_film(bytes(data)[: len(data) - cut % 400], size=16, fit="pad").png
    except UnusableFilm as fault:
        assert "film" in str(fault) or "annotation" in str(fault)


CHANGED = data_of(film(DEEP, **WINDOW, PixelPaddingValue=0))


def test_the_decoder_of_pictures_does_not_import_the_reader_of_dicom() -> None:
    code = "import sys, cxr_assets.cohorts.film_worker; sys.exit('pydicom' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_constructed_files_look_like_the_films_that_they_were_made_of(shared_data: Path) -> None:
    with (shared_data / "parsers" / "dicom" / "manifest.csv").open() as rows:
        for row in csv.DictReader(rows):
            path = shared_data / "parsers" / "dicom" / row["file"]
            decoded = decode_film(path.read_bytes(), size=256, fit="pad")
            seen = np.asarray(Image.open(io.BytesIO(decoded.png))).astype(int)
            with Image.open(shared_data / "nih-chestxray14" / "images" / row["source_png"]) as picture:
                source = np.asarray(picture.convert("L")).astype(int)
            inside = dcmread(path).pixel_array != dcmread(path).get("PixelPaddingValue", -1)
            alike = 0.96 if "window" in row["file"] else 0.999  # the window of that file cuts off both ends
            assert np.corrcoef(seen[inside], source[inside])[0, 1] > alike, row["file"]
            assert (seen[~inside] == 0).all()
            if row["bits_of_values"] == "8":
                assert (seen == source).all(), row["file"]
