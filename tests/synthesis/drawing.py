"""What a test draws, and what then lies in the data root."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import polars as pl
import pytest
from PIL import Image

from cxr_assets.keys import Stratum
from cxr_assets.project import Made, Project
from cxr_assets.synthesis import draw as draw_module
from cxr_assets.synthesis.draw import draw_strata, stratum_keys
from cxr_assets.synthesis.quality import Gate
from tests.helpers import METHOD

Open = Callable[..., Project]


def drawn(project: Project, strata: list[Stratum]) -> list[tuple[Stratum, Made]]:
    return list(draw_strata(project, METHOD, strata))


def rows(project: Project, strata: list[Stratum]) -> pl.DataFrame:
    return pl.concat([project.store.table("synthetic_images", stratum_keys(METHOD, s)) for s in strata])


def files(project: Project) -> dict[str, bytes]:
    folder = project.store.root / "images" / "synthetic"
    return {project.store.relative(p): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def first(project: Project, n: int = 6) -> list[Stratum]:
    return list(project.grid)[:n]


def refuse(monkeypatch: pytest.MonkeyPatch, gate: Gate) -> None:
    """Quality control is this gate alone."""
    monkeypatch.setattr(draw_module, "gates_of", lambda *_: [gate])


def attempts(project: Project, strata: list[Stratum]) -> pl.DataFrame:
    return pl.concat([project.store.table("synthetic_attempts", stratum_keys(METHOD, s)) for s in strata])


def films(project: Project) -> dict[str, np.ndarray]:
    """Stored synthetic films by file, int64."""
    return {name: np.asarray(Image.open(io.BytesIO(data)), dtype=np.int64) for name, data in files(project).items()}
