from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxr_assets.plots import INLINE_LIMIT, data_uri, film_grid, loss_curve, thumbnail
from cxr_assets.progress import Progress

FILMS = np.random.default_rng(0).integers(0, 256, (5, 64, 64), dtype=np.uint8)


def opened(png: bytes) -> Image.Image:
    return Image.open(io.BytesIO(png))


def test_a_grid_holds_every_film_in_reading_order(tmp_path: Path) -> None:
    films = np.stack([np.full((64, 64), 10 * i, np.uint8) for i in range(5)])
    png = film_grid(films, tmp_path / "deep" / "grid.png", columns=2, cell=64)
    sheet = np.asarray(opened(png))
    assert sheet.shape == (3 * 64, 2 * 64)
    assert [sheet[row * 64 + 5, column * 64 + 5] for row in range(3) for column in range(2)] == [0, 10, 20, 30, 40, 255]
    assert (tmp_path / "deep" / "grid.png").read_bytes() == png


def test_captions_stand_below_their_films() -> None:
    png = film_grid(FILMS, columns=5, cell=64, captions=["chest x-ray, 63 year old black female, pleural effusion"] * 5)
    sheet = np.asarray(opened(png))
    assert sheet.shape == (64 + 26, 5 * 64)
    assert (sheet[64:] < 128).any(), "there is dark text on the strip"


def test_a_sheet_without_films_is_white() -> None:
    assert (np.asarray(opened(film_grid(FILMS[:0]))) == 255).all()


@pytest.mark.parametrize("losses", [{"a": [(1, 2.0), (2, 1.0)], "b": [(1, 3.0)]}, {"a": []}])
def test_a_loss_curve_is_the_same_picture_every_time(losses: dict[str, list[tuple[int, float]]]) -> None:
    first, second = loss_curve(losses), loss_curve(losses)
    assert first == second
    assert opened(first).width == pytest.approx(4.2 * 90 * len(losses), abs=2)


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_a_thumbnail_stays_short_enough_to_stand_inline(count: int) -> None:
    text = thumbnail(FILMS[:count])
    assert len(text) < INLINE_LIMIT
    assert text.startswith("![films](data:image/png;base64,") or (count == 0 and text == "")


def test_a_thumbnail_that_fits_nowhere_is_left_out() -> None:
    assert thumbnail(FILMS, limit=50) == ""


def test_a_data_address_holds_the_picture_itself() -> None:
    assert data_uri(b"\x00\x01") == "data:image/png;base64,AAE="


def test_progress_tells_where_a_task_ended() -> None:
    lines: list[str] = []
    with Progress(log=lines.append, every=0.0).task("draw", 10, done=4) as advance:
        advance(2, "edema")
        advance(4)
    assert lines[0] == "draw: 6/10 edema"
    assert lines[-1].startswith("draw: 10/10 in ")


def test_quiet_progress_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress(quiet=True)
    progress.say("hello")
    with progress.task("draw", 2) as advance:
        advance()
    assert capsys.readouterr() == ("", "")
