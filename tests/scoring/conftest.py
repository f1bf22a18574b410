"""Two models of the same films, scored and written once."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from cxr_assets.scoring import Scored, score, write_scored
from tests.scoring.received import FEW, ODD, noisy, received


@pytest.fixture(scope="session")
def table() -> pl.DataFrame:
    """Predictions of model ``a`` and of a worse one of an odd name."""
    return pl.concat([received(model="a"), noisy(received(), ODD)])


@pytest.fixture(scope="session")
def scored(table: pl.DataFrame) -> Scored:
    """Their scorecards; read only."""
    return score(table, **FEW)


@pytest.fixture(scope="session")
def written(scored: Scored, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of those scorecards; read only."""
    return write_scored(scored, tmp_path_factory.mktemp("out") / "card")
