"""Pictures for people: film grids and curves, as PNG, and thumbnails small enough to stand inline in the UI."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

INLINE_LIMIT = 950


def film_grid(
    films: np.ndarray,
    path: Path | None = None,
    *,
    columns: int = 8,
    captions: Sequence[str] | None = None,
    cell: int = 128,
) -> bytes:
    """Films, uint8 ``(n, h, w)``, side by side with a caption under each; returns the PNG and writes it if asked."""
    rows = max(1, -(-len(films) // columns))
    strip = 26 if captions else 0
    sheet = Image.new("L", (columns * cell, rows * (cell + strip)), 255)
    draw = ImageDraw.Draw(sheet)
    for index, film in enumerate(films):
        x, y = index % columns * cell, index // columns * (cell + strip)
        sheet.paste(Image.fromarray(film).resize((cell, cell)), (x, y))
        if captions:
            for line, text in enumerate(_wrap(captions[index], cell // 6)[:2]):
                draw.text((x + 2, y + cell + 1 + 12 * line), text, fill=0, font_size=10)
    return _png(sheet, path)


def _wrap(text: str, width: int) -> list[str]:
    text = text.removeprefix("chest x-ray, ")
    lines, line = [], ""
    for word in text.split():
        if line and len(line) + len(word) + 1 > width:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}".strip()
    return [*lines, line]


def _png(image: Image.Image, path: Path | None) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(buffer.getvalue())
    return buffer.getvalue()


def loss_curve(losses: Mapping[str, Sequence[tuple[int, float]]], path: Path | None = None) -> bytes:
    """One panel a network: loss over steps on a logarithmic scale."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.2 * len(losses), 2.8), dpi=90, layout="constrained")
    for number, (name, points) in enumerate(losses.items()):
        axes = figure.add_subplot(1, len(losses), number + 1)
        if points:
            steps, values = zip(*points, strict=True)
            axes.plot(steps, values, linewidth=0.8)
            axes.set_yscale("log")
        axes.set(title=name, xlabel="step", ylabel="loss")
        axes.grid(alpha=0.3)
    return figure_png(figure, path)


def curves(panels: Mapping[str, Mapping[str, Sequence[tuple[int, float]]]], path: Path | None = None) -> bytes:
    """One panel a quantity, one line a name: values over steps."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.6 * max(1, len(panels)), 3.0), dpi=90, layout="constrained")
    for number, (title, lines) in enumerate(panels.items()):
        axes = figure.add_subplot(1, len(panels), number + 1)
        for name, points in lines.items():
            axes.plot(*zip(*points, strict=True), linewidth=0.9, label=name)
        axes.set(title=title, xlabel="step")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=6, loc="best")
    return figure_png(figure, path)


def heatmap(cells: Mapping[str, Mapping[str, float | None]], *, title: str, path: Path | None = None) -> bytes:
    """Shares as coloured cells with their figures: one row a key of ``cells``, one column a key of its mapping.

    Cells that are None are left grey: nothing is known there.
    """
    from matplotlib.figure import Figure

    rows, columns = list(cells), list(dict.fromkeys(name for row in cells.values() for name in row))
    shares = np.array([[cells[r].get(c) for c in columns] for r in rows], dtype=float).reshape(len(rows), len(columns))
    figure = Figure(figsize=(2.2 + 0.62 * len(columns), 1.3 + 0.3 * len(rows)), dpi=90, layout="constrained")
    axes = figure.add_subplot()
    axes.set_facecolor("0.85")
    axes.imshow(
        np.ma.masked_invalid(shares),
        cmap="Blues",
        vmin=0,
        vmax=max(0.01, np.nanmax(shares, initial=0.01)),
        aspect="auto",
    )
    axes.set_xticks(range(len(columns)), columns, rotation=40, ha="right", fontsize=8)
    axes.set_yticks(range(len(rows)), rows, fontsize=8)
    axes.set_title(title, fontsize=10)
    middle = 0.6 * max(0.01, np.nanmax(shares, initial=0.01))
    for (y, x), share in np.ndenumerate(shares):
        if np.isfinite(share):
            colour = "white" if share > middle else "black"
            axes.text(x, y, f"{share:.2f}", ha="center", va="center", fontsize=7, color=colour)
    return figure_png(figure, path)


def figure_png(figure: object, path: Path | None = None) -> bytes:
    """PNG bytes of a matplotlib figure, reproducible (no date, no version inside)."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})  # type: ignore[attr-defined]
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(buffer.getvalue())
    return buffer.getvalue()


def data_uri(png: bytes, kind: str = "image/png") -> str:
    """``data:`` address of a picture."""
    return f"data:{kind};base64,{base64.b64encode(png).decode()}"


def thumbnail(films: np.ndarray, *, limit: int = INLINE_LIMIT) -> str:
    """Markdown of a tiny strip of films that the Dagster UI shows inline (it does so below 1,000 characters)."""
    for side in (20, 16, 12, 8) if len(films) else ():
        strip = np.concatenate(
            [np.asarray(Image.fromarray(f).resize((side, side))) // 32 * 32 for f in films[:4]], axis=1
        )
        buffer = io.BytesIO()
        Image.fromarray(strip).quantize(8).save(buffer, "PNG", optimize=True)
        text = f"![films]({data_uri(buffer.getvalue())})"
        if len(text) < limit:
            return text
    return ""
