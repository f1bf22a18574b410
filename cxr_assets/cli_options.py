"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Cohort = Annotated[
    str | None,
    typer.Option("--cohort", help="a data set (`cxr config cohorts` lists them); default `CXR_COHORT` or phantom"),
]
Storage = Annotated[Path | None, typer.Option("--storage", help="data root; default `CXR_STORAGE` or storage/<cohort>")]
Root = Annotated[Path | None, typer.Option("--root", help="folder of the data set as received")]
Preset = Annotated[str | None, typer.Option("--preset", help="profile: demo, cpu, gpu24, h200, or your own")]
Sets = Annotated[
    list[str] | None, typer.Option("--set", help="any setting, e.g. `--set synthesis.steps=25`; repeatable")
]
Arms = Annotated[
    str | None, typer.Option("--arms", help="arms to run, comma-separated, e.g. `real.r000,demographic_text.r025`")
]
Methods = Annotated[
    list[str] | None,
    typer.Option(
        "--method",
        help="teach the generator in this way (`cxr config methods` lists them; `-s1` at the end is a further seed); repeatable",
    ),
]
Format = Annotated[str, typer.Option("--format", help="table, csv, json or parquet (parquet goes to stdout)")]
