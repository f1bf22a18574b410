"""``cxr doctor``, ``cxr warehouse``, ``cxr pretrain-phantom``: whether all is whole, and what is made once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from cxr_assets.cli_graph import given
from cxr_assets.cli_options import Cohort, Storage


def doctor(
    storage_check: Annotated[
        bool, typer.Option("--storage-check", "--storage", help="check every manifest, digest and row count")
    ] = False,
    fast: Annotated[bool, typer.Option("--fast", help="compare sizes, not digests")] = False,
    base: Annotated[
        bool, typer.Option("--base", help="which base model would be used, and why each other one would not")
    ] = False,
    cohort: Cohort = None,
    data_root: Annotated[Path | None, typer.Option("--data-root", help="data root to check")] = None,
) -> None:
    """What is installed and found here; with --storage, whether the data root is whole (exit code 1 if not); with --base,
    which base model would be used (exit code 1 if none can be). Nothing is downloaded."""
    from cxr_assets.diffusion.candidates import prospects, read_candidates
    from cxr_assets.warehouse.doctor import check_storage
    from cxr_assets.warehouse.environment import check_environment

    resolved = given(cohort, data_root)
    chosen = resolved.settings.diffusion
    if base:
        found = prospects(
            chosen.base_model, revision=chosen.revision, offline=chosen.offline, start=chosen.pretrain.start
        )
        for prospect in found:
            typer.echo(f"{'!' if prospect.state == 'unfit' else ' '} {prospect}")
        if all(prospect.state == "unfit" for prospect in found):
            typer.echo("no base model can be used here", err=True)
            raise typer.Exit(1)
    if not storage_check:
        if not base:
            models = [str(candidate) for candidate in read_candidates(chosen.base_model, chosen.revision)]
            for row in check_environment(resolved.root, models):
                typer.echo(f"{' ' if row.ok else '!'} {row.name:<24} {row.value}  {row.hint}".rstrip())
        return
    problems = check_storage(resolved.root, fast=fast)
    for problem in problems:
        typer.echo(str(problem))
    bad = [p for p in problems if p.severity == "problem"]
    typer.echo(f"{resolved.root}: {len(bad)} problems, {len(problems) - len(bad)} notes", err=True)
    if bad:
        raise typer.Exit(1)


def warehouse(
    standalone: Annotated[
        Path | None, typer.Option("--standalone", help="write one DuckDB file with the tables inside")
    ] = None,
    cohort: Cohort = None,
    storage: Storage = None,
) -> None:
    """Publish warehouse.duckdb (views over the tables), or a file to hand to somebody."""
    from cxr_assets.warehouse.connect import publish
    from cxr_assets.warehouse.connect import standalone as write_standalone

    resolved = given(cohort, storage)
    typer.echo(write_standalone(resolved.root, standalone) if standalone else publish(resolved.root))


def pretrain_phantom(
    work: Annotated[Path, typer.Option(help="folder of films and checkpoints; run again to go on")] = Path(
        "storage/pretrain-phantom"
    ),
    out: Annotated[Path | None, typer.Option(help="where the base model goes; default: the shipped one")] = None,
    oracle_out: Annotated[Path | None, typer.Option(help="where its judge goes; default: beside --out")] = None,
    films: Annotated[int, typer.Option(help="films to learn from")] = 32_000,
    start: Annotated[str | None, typer.Option(help="go on from this base model: 'phantom' or a folder")] = None,
    vae_steps: Annotated[int, typer.Option()] = 2500,
    unet_steps: Annotated[int, typer.Option()] = 3600,
    vae_learning_rate: Annotated[float, typer.Option()] = 1e-3,
    unet_learning_rate: Annotated[float, typer.Option()] = 1e-3,
    unet_ema: Annotated[float, typer.Option(help="decay of the averaged weights")] = 0.999,
    oracle_steps: Annotated[int, typer.Option()] = 1500,
    device: Annotated[str, typer.Option()] = "auto",
    compile: Annotated[bool, typer.Option(help="torch.compile; needs a C++ compiler")] = False,
) -> None:
    """Draw phantom films and pretrain the phantom base model and its oracle; resumes where it was stopped."""
    from cxr_assets.diffusion.bundle import PHANTOM_BASE
    from cxr_assets.diffusion.config import PretrainSettings
    from cxr_assets.diffusion.device import pick_device
    from cxr_assets.evaluation.oracle import ORACLE
    from cxr_assets.progress import Progress
    from cxr_assets.synthesis.phantom_base import PhantomBaseSettings
    from cxr_assets.synthesis.phantom_base import pretrain_phantom as pretrain

    training = PretrainSettings(
        start=start,
        vae_steps=vae_steps,
        unet_steps=unet_steps,
        vae_learning_rate=vae_learning_rate,
        unet_learning_rate=unet_learning_rate,
        unet_ema=unet_ema,
        compile=compile,
    )
    settings = PhantomBaseSettings(films=films, oracle_steps=oracle_steps)
    record = pretrain(
        settings,
        training,
        folder=work,
        device=pick_device(device),
        out=out or PHANTOM_BASE,
        oracle_out=oracle_out or (out.with_name(f"{out.name}-oracle") if out else ORACLE),
        progress=Progress(),
    )
    typer.echo(json.dumps(record["samples"], indent=1))
