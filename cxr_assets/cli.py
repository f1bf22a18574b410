"""The ``cxr`` command. Results go to stdout, progress and errors to stderr; 0 done, 1 stated failure, 2 wrong use."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from cxr_assets.cli_config import config_app
from cxr_assets.cli_graph import checkout, given, instance, of_methods, publish_views, run_graph
from cxr_assets.cli_leaderboard import leaderboard
from cxr_assets.cli_options import Arms, Cohort, Format, Methods, Preset, Root, Sets, Storage
from cxr_assets.cli_score import score
from cxr_assets.cli_upkeep import doctor, pretrain_phantom, warehouse
from cxr_assets.errors import CxrError
from cxr_assets.resolve import Resolved

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    help=(
        "Fair chest-X-ray classifiers trained with diffusion-synthesised images.\n\n"
        "Start with `cxr demo`; then `cxr query`, `cxr audit` and `make ui`. One data root holds one cohort: `--storage`,"
        " `CXR_STORAGE`, or `storage/<cohort>`."
    ),
)
app.add_typer(config_app, name="config")


@app.command()
def demo(storage: Storage = None, preset: Preset = None, sets: Sets = None, arms: Arms = None) -> None:
    """Run the whole graph on the phantom cohort and print its scorecard; run it again and it reuses what is fresh."""
    _run_and_show(given("phantom", storage, preset, sets), arms)


@app.command()
def run(
    cohort: Cohort = None,
    root: Root = None,
    storage: Storage = None,
    preset: Preset = None,
    sets: Sets = None,
    arms: Arms = None,
    method: Methods = None,
) -> None:
    """Run the whole graph on a cohort: `cxr run --cohort nih --root /data/ChestX-ray14`."""
    _run_and_show(of_methods(given(cohort, storage, preset, sets, root), method), arms)


def _run_and_show(resolved: Resolved, arms: str | None) -> None:
    from cxr_assets.evaluation.summary import print_summary

    run_graph(resolved, *(["--arms", arms] if arms else []))
    publish_views(resolved)
    print_summary(resolved.root)


@app.command()
def ingest(
    cohort: Cohort = None,
    root: Root = None,
    storage: Storage = None,
    preset: Preset = None,
    sets: Sets = None,
    tables_only: Annotated[
        bool | None, typer.Option("--tables-only/--with-films", help="read tables and reports alone; look for no film")
    ] = None,
) -> None:
    """Curate a cohort only: studies, findings, boxes, reports, films and captions."""
    chosen = [] if tables_only is None else [f"curate.tables_only={str(tables_only).lower()}"]
    resolved = given(cohort, storage, preset, [*(sets or []), *chosen], root)
    run_graph(resolved, "--until", "cohort")
    publish_views(resolved)
    typer.echo(
        f"curated {resolved.cohort} under {resolved.root}; try: cxr query label_prevalence --cohort {resolved.cohort}"
    )


@app.command()
def export(
    out: Annotated[Path, typer.Argument(help="folder to write; it must not be there yet")],
    form: Annotated[
        str, typer.Option("--form", help="webdataset, roentgen, imagefolder, yolo or coco")
    ] = "imagefolder",
    what: Annotated[str, typer.Option("--what", help="real or synthetic")] = "synthetic",
    split: Annotated[str | None, typer.Option("--split", help="real films of one split: train, validate, test")] = None,
    method: Annotated[str | None, typer.Option("--method", help="synthetic images of one method")] = None,
    despite_terms: Annotated[
        str | None,
        typer.Option(
            "--despite-terms", help="who decided, and where it is written, that these rows may leave; it is logged"
        ),
    ] = None,
    cohort: Cohort = None,
    storage: Storage = None,
) -> None:
    """Write images for other programs, with their terms; rows that their terms keep here are refused (docs/exports.md)."""
    from cxr_assets.exports.write import export as write_export
    from cxr_assets.project import Project

    if what not in ("real", "synthetic"):
        raise typer.BadParameter(f"--what {what!r}: choose real or synthetic")
    resolved = given(cohort, storage)
    project = Project.open(cohort=resolved.cohort, storage=resolved.root)
    kind: Any = what
    done = write_export(project, kind, form, out, split=split, method=method, despite=despite_terms)
    typer.echo(f"exported {done.images} {what} images to {done.folder}; terms: {done.terms} (TERMS.md there)")


@app.command()
def synthesize(
    cohort: Cohort = None,
    storage: Storage = None,
    preset: Preset = None,
    sets: Sets = None,
    arms: Arms = None,
    method: Methods = None,
    finding: Annotated[list[str] | None, typer.Option("--finding", help="draw this finding alone; repeatable")] = None,
) -> None:
    """Train missing adapters and draw every stratum that is missing or stale, without a server."""
    resolved = of_methods(given(cohort, storage, preset, sets), method)
    chosen = ["--findings", ",".join(finding)] if finding else []
    run_graph(resolved, "--until", "images", *(["--arms", arms] if arms else []), *chosen)
    publish_views(resolved)


@app.command()
def query(
    name: Annotated[str | None, typer.Argument(help="a file of sql/queries; none lists them")] = None,
    param: Annotated[list[str] | None, typer.Option("--param", help="parameter, e.g. `--param finding=edema`")] = None,
    format: Format = "table",
    cohort: Cohort = None,
    storage: Storage = None,
) -> None:
    """Ask a named question of the warehouse in SQL."""
    from cxr_assets.output import print_frame
    from cxr_assets.warehouse.queries import list_queries, run_query

    if name is None:
        for found in list_queries():
            typer.echo(f"{found.name:<22} {found.question}")
        return
    params = dict(p.split("=", 1) for p in param or [] if "=" in p)
    if len(params) != len(param or []):
        raise typer.BadParameter("--param takes name=value")
    print_frame(run_query(given(cohort, storage).root, name, params), format)


@app.command()
def audit(
    kind: Annotated[str, typer.Argument(help="image, patient, adapter or classifier")],
    id: Annotated[str, typer.Argument(help="its id; a unique beginning is enough")],
    all: Annotated[bool, typer.Option("--all", help="list every derived image, not only how many")] = False,
    format: Annotated[str, typer.Option("--format", help="tree or json")] = "tree",
    cohort: Cohort = None,
    storage: Storage = None,
) -> None:
    """Where something came from and what was made of it."""
    from cxr_assets.warehouse.audit import audit as trace
    from cxr_assets.warehouse.audit import to_json, to_text

    tree = trace(given(cohort, storage).root, kind, id, all=all)
    typer.echo(to_json(tree) if format == "json" else to_text(tree))


@app.command()
def ui(
    cohort: Cohort = None, storage: Storage = None, port: Annotated[int, typer.Option(help="port on 127.0.0.1")] = 3000
) -> None:
    """Serve the graph on 127.0.0.1 with its history under the data root."""
    resolved = given(cohort, storage)
    environment = instance(resolved)
    publish_views(resolved)
    dagster = str(Path(sys.executable).parent / "dagster")
    if not (resolved.root / "dagster" / "pools_set").exists():  # once: afterwards the limit is the user's
        subprocess.run(
            [dagster, "instance", "concurrency", "set", "gpu", "1"],
            env=environment,
            cwd=checkout(),
            check=True,
            capture_output=True,
        )
        (resolved.root / "dagster" / "pools_set").touch()
    command = [dagster, "dev", "-w", "workspace.yaml", "-h", "127.0.0.1", "-p", str(port)]
    raise typer.Exit(subprocess.run(command, env=environment, cwd=checkout(), check=False).returncode)


app.command()(leaderboard)
app.command()(score)
app.command()(doctor)
app.command()(warehouse)
app.command("pretrain-phantom")(pretrain_phantom)


def main() -> None:
    """Entry point: stated failures end with one line on stderr and exit code 1."""
    try:
        app()
    except CxrError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except OSError as error:  # a data root that is read-only or full, before any asset could say so
        print(f"error: the disk refused: {error}. --storage names the data root.", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
