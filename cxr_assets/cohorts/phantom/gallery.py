"""Picture of the phantom for the docs: each finding by severity, ages and sexes, acquisition styles, look-alikes.

Run as ``python -m cxr_assets.cohorts.phantom.gallery OUT.png``.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from PIL import Image, ImageDraw, ImageFont

from cxr_assets.cohorts.phantom.config import FINDINGS, STYLES, USUAL_STYLE
from cxr_assets.cohorts.phantom.render import render

_TILE, _LABEL, _CAPTION = 128, 116, 15
_COLUMNS = 6
_SEVERITIES = (("low", 0.25), ("mid", 0.55), ("high", 0.95))


@dataclass(frozen=True)
class Cell:
    """One film of the grid and what is written under it."""

    caption: str
    finding: str | None = None
    severity: float = 0.0
    age: float = 50.0
    sex: str = "female"
    style: str = "direct_digital"
    view: str = "PA"


def layout() -> list[tuple[str, list[Cell]]]:
    """Rows of the grid: title and six cells."""
    ages = (24.0, 37.0, 50.0, 63.0, 76.0, 89.0)
    rows = [
        (
            "no finding",
            [Cell(f"{a:.0f} y, {s}", age=a, sex=s) for a, s in zip(ages, ("female", "male") * 3, strict=True)],
        )
    ]
    for finding in FINDINGS:
        cells = [
            Cell(f"{name} {severity:.2f}, {sex}", finding, severity, 50.0, sex)
            for name, severity in _SEVERITIES
            for sex in ("female", "male")
        ]
        rows.append((finding.replace("_", " "), cells))
    for sex in ("female", "male"):
        rows.append((f"age, {sex}", [Cell(f"{age:.0f} years", age=age, sex=sex) for age in (20, 38, 50, 65, 79, 92)]))
    race_of = {style: race for race, style in USUAL_STYLE.items()}
    styles = [Cell(f"{style.replace('_', ' ')}", style=style) for style in STYLES]
    styles += [
        Cell("portable grid, AP", style="portable_grid", view="AP"),
        Cell("film scan, AP", style="film_scan", view="AP"),
    ]
    usual = ", ".join(f"{race_of[style]}" for style in STYLES)
    return [*rows, (f"style (usual of: {usual})", styles)]


def draw_grid(seed: int = 0) -> Image.Image:
    """The labelled grid as a greyscale image."""
    rows = layout()
    cells = [cell for _, row in rows for cell in row]
    studies = pl.DataFrame(
        {
            "study_id": [f"gallery-{i:03d}" for i in range(len(cells))],
            # One patient a column within a finding makes severities comparable.
            "patient_id": [f"gallery-p{(i % _COLUMNS) % 2 if c.finding else i}" for i, c in enumerate(cells)],
            "age_years": [float(cell.age) for cell in cells],
            "sex": [cell.sex for cell in cells],
            "style": [cell.style for cell in cells],
            "view": [cell.view for cell in cells],
        }
    )
    truth = pl.DataFrame(
        [(f"gallery-{i:03d}", c.finding, True, c.severity) for i, c in enumerate(cells) if c.finding],
        schema={"study_id": pl.String, "finding": pl.String, "present": pl.Boolean, "severity": pl.Float64},
        orient="row",
    )
    films = render(studies, truth, size=_TILE, seed=seed).images
    return _assemble(rows, films)


def _assemble(rows: list[tuple[str, list[Cell]]], films: np.ndarray) -> Image.Image:
    """Paste films (uint8, ``(N, tile, tile)``, row by row) under their titles and captions."""
    height = _TILE + _CAPTION
    grid = Image.new("L", (_LABEL + _COLUMNS * (_TILE + 2), len(rows) * height), 255)
    draw, font = ImageDraw.Draw(grid), ImageFont.load_default(size=11)
    film = iter(films)
    for r, (title, cells) in enumerate(rows):
        top = r * height
        lines = _wrap(title, 17)
        draw.multiline_text((5, top + _TILE // 2 - 7 * len(lines)), "\n".join(lines), fill=0, font=font)
        for c, cell in enumerate(cells):
            left = _LABEL + c * (_TILE + 2)
            grid.paste(Image.fromarray(next(film)), (left, top))
            draw.text((left + 3, top + _TILE), cell.caption, fill=60, font=font)
    return grid


def _wrap(text: str, width: int) -> list[str]:
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + len(word) > width and lines[-1]:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


def main(arguments: list[str] | None = None) -> None:
    """Write the grid to the path given; 40 grey levels keep the file small."""
    parser = argparse.ArgumentParser(description="Draw the phantom's gallery.")
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    draw_grid(options.seed).quantize(40, dither=Image.Dither.NONE).save(options.out, optimize=True)


if __name__ == "__main__":
    main()
