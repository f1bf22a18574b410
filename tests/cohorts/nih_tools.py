"""Curating a tiny ChestX-ray14 folder and looking at what came of its rows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl

from cxr_assets.cohorts.base import CuratedCohort, CurateSettings
from cxr_assets.cohorts.registry import adapter

Make = Callable[..., Path]
DATA = "Data_Entry_2017_v2020.csv"


def curate(root: Path, **changes: object) -> CuratedCohort:
    return adapter("nih").curate(root, settings=CurateSettings(**changes))


def flow(cohort: CuratedCohort, source: str = DATA) -> dict[str, int]:
    return dict(cohort.waterfall.filter(pl.col("source") == source).select("step", "rows").iter_rows())


def kinds(cohort: CuratedCohort) -> list[tuple[int, str, str, str]]:
    frame = cohort.quarantine.select("row", "column", "value", pl.col("reason").str.split(":").list.first())
    return list(frame.iter_rows())
