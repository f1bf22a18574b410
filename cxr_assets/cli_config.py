"""``cxr config``: settings and where each comes from, the cohorts that are known, the tables that they end in."""

from __future__ import annotations

from typing import Annotated

import typer

from cxr_assets.cli_options import Cohort, Preset, Storage
from cxr_assets.resolve import flatten, resolve

config_app = typer.Typer(no_args_is_help=True, help="Settings, cohorts and tables.")


@config_app.command("schema")
def config_schema() -> None:
    """Print the tables that every cohort ends in, column by column, as Markdown."""
    from cxr_assets.cohorts.schema_page import schema_page

    typer.echo(schema_page(), nl=False)


@config_app.command("show")
def config_show(cohort: Cohort = None, storage: Storage = None, preset: Preset = None) -> None:
    """Print every setting, its value and where it comes from."""
    resolved = resolve(cohort=cohort, storage=storage, profile=preset)
    for name, value in flatten(resolved.settings.model_dump(mode="json")).items():
        origin = next(
            (o for key, o in resolved.origins.items() if name == key or name.startswith(f"{key}.")), "default"
        )
        typer.echo(f"{name:<44} {value!s:<40} {origin}")


@config_app.command("cohorts")
def config_cohorts(format: Annotated[str, typer.Option("--format", help="table or json")] = "table") -> None:
    """List the data sets that have an adapter: their findings, what is recorded of a patient, terms, and their page."""
    import polars as pl

    from cxr_assets.cohorts.registry import listing
    from cxr_assets.output import print_frame

    if format not in ("table", "json"):
        raise typer.BadParameter(f"--format {format!r}: choose table or json")
    frame = listing()
    if format == "table":
        findings, recorded = pl.col("findings").list.len(), pl.col("recorded").list.join(", ")
        frame = frame.with_columns(findings.replace({0: None}), recorded.replace({"": None}))
    print_frame(frame, format)


@config_app.command("methods")
def config_methods(
    format: Annotated[str, typer.Option("--format", help="table or json")] = "table",
    cohort: Cohort = None,
    storage: Storage = None,
) -> None:
    """List the ways to teach a generator: the built-in presets, and those beside the cohort's cxr.yaml."""
    from cxr_assets.diffusion.methods import listing
    from cxr_assets.output import print_frame

    if format not in ("table", "json"):
        raise typer.BadParameter(f"--format {format!r}: choose table or json")
    print_frame(listing(resolve(cohort=cohort, storage=storage).presets), format)
