"""The methods there are: every preset in a folder of presets, in a line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from cxr_assets.diffusion.config import MethodPreset
from cxr_assets.resolve import load_preset


def listing(folders: Sequence[Path]) -> pl.DataFrame:
    """One row a preset, the first folder that has a name wins.

    Returns:
        Columns method, title, text (attributes in captions), conditioner, weighing, tune, steps, source; all text.
    """
    names = sorted({path.stem for folder in folders for path in (folder / "methods").glob("*.yaml")})
    rows = []
    for name in names:
        preset = load_preset("methods", name, MethodPreset, tuple(folders))
        tuned = preset.tune if preset.text_encoder == "frozen" else f"{preset.tune}, text encoder {preset.text_encoder}"
        rows.append(
            {
                "method": name,
                "title": preset.title,
                "text": ", ".join(preset.caption_attributes) or "-",
                "conditioner": preset.conditioner.kind,
                "weighing": preset.weighing.kind,
                "tune": tuned,
                "steps": str(preset.train.steps),
                "source": preset.source,
            }
        )
    return pl.DataFrame(rows)
