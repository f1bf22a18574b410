"""``cxr leaderboard``: generators side by side, made through the graph where something is missing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import polars as pl
import typer

from cxr_assets.cli_graph import given, overrides_of, publish_views, run_graph
from cxr_assets.cli_options import Cohort, Preset, Root, Sets, Storage
from cxr_assets.keys import MethodRun
from cxr_assets.resolve import find_preset, resolve
from cxr_assets.settings import Settings

FORMATS = ("table", "csv", "json", "markdown")


def leaderboard(
    cohort: Cohort = None,
    root: Root = None,
    storage: Storage = None,
    preset: Preset = None,
    sets: Sets = None,
    methods: Annotated[
        str | None, typer.Option("--methods", help="presets to compare, comma-separated, e.g. `hcn,demographic_text`")
    ] = None,
    seeds: Annotated[int | None, typer.Option("--seeds", min=1, max=99, help="trainings of each preset")] = None,
    format: Annotated[str, typer.Option("--format", help="table, csv, json or markdown")] = "table",
    only_show: Annotated[bool, typer.Option("--show", help="print what stands in storage, run nothing")] = False,
) -> None:
    """Compare generators: train, draw and measure what is missing of each preset and seed, then print who leads."""
    if format not in FORMATS:
        raise typer.BadParameter(f"--format {format!r}: choose one of {', '.join(FORMATS)}")
    if only_show:
        if methods is not None or seeds is not None:
            raise typer.BadParameter("--show prints the board that stands in storage: leave --methods and --seeds out.")
        show(resolve(cohort=cohort, storage=storage).root, format)
        return
    resolved = resolve(cohort=cohort, storage=storage, profile=preset, overrides=overrides_of(sets, root))
    chosen = list(sets or [])
    if methods is not None or seeds is not None:
        wanted = expand(methods.split(",") if methods else board_of(resolved.settings), seeds or 1)
        for key in wanted:
            find_preset("methods", MethodRun.parse(key).preset, resolved.presets)
        kept = {name: json.dumps(value) for name, value in chosen_settings(resolved.settings, wanted).items()}
        chosen += [f"{name}={value}" for name, value in kept.items()]
    resolved = given(cohort, storage, preset, chosen, root)
    run_graph(resolved, "--leaderboard")
    publish_views(resolved)
    show(resolved.root, format)


def board_of(settings: Settings) -> list[str]:
    """Method keys that the settings put on the board."""
    return settings.evaluation.leaderboard.methods or settings.synthesis.methods


def expand(names: Sequence[str], seeds: int) -> list[str]:
    """Method keys of presets with ``seeds`` seeds each: ``hcn`` with 3 is ``hcn``, ``hcn-s1``, ``hcn-s2``.

    Names that are keys with a seed already stand for their preset. Raises InputError for one that is no slug.
    """
    presets = dict.fromkeys(MethodRun.parse(name.strip()).preset for name in names)
    return [str(MethodRun(preset, seed)) for preset in presets for seed in range(seeds)]


def chosen_settings(settings: Settings, wanted: Sequence[str]) -> dict[str, Any]:
    """Settings that put these methods on the board. Methods that are there stay: arms may have been trained with them."""
    every = dict.fromkeys([*settings.synthesis.methods, *wanted])
    return {"synthesis.methods": list(every), "evaluation.leaderboard.methods": list(wanted)}


def show(root: Path, format: str) -> None:
    """Print the board that stands in storage. Raises StorageError where there is none."""
    from cxr_assets.errors import StorageError
    from cxr_assets.evaluation.leaderboard.tables import terminal
    from cxr_assets.output import print_frame
    from cxr_assets.warehouse import Store

    store = Store(root)
    made = store.manifest("generator_leaderboard")
    if made is None:
        raise StorageError(f"no generator_leaderboard under {root}. Run 'cxr leaderboard' without --show.")
    page = store.path(made.facts["page"])
    if format == "markdown":
        typer.echo(page.read_text(encoding="utf-8"), nl=False)
        return
    table = store.table("generator_leaderboard")
    print_frame(_readable(terminal(table)) if format == "table" else table, format)
    if format == "table":
        missing = made.facts["missing"]
        typer.echo(f"\ncompared   {made.facts['compared']}" + (f"; not there yet: {missing}" if missing else ""))
        typer.echo(
            f"judge      {made.facts['judge']}\npictures   {page.with_name('chart.png')}, films.png, {page.name}"
        )
        typer.echo("by group   cxr query generator_leaderboard --param attribute=race")


def _readable(table: pl.DataFrame) -> pl.DataFrame:
    """Three digits that count: a kernel distance may be a millionth."""
    figures = [name for name, dtype in table.schema.items() if dtype == pl.Float64]
    shown = {name: [None if v is None else f"{v:.3g}" for v in table[name]] for name in figures}
    return table.with_columns(pl.Series(name, values, dtype=pl.String) for name, values in shown.items())
