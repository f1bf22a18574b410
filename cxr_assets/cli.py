"""The ``cxr`` command. Results go to stdout, progress and errors to stderr; 0 done, 1 stated failure, 2 wrong use."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from cxr_assets.cli_config import config_app
from cxr_assets.cli_leaderboard import leaderboard
from cxr_assets.cli_options import Arms, Cohort, Format, Methods, Preset, Root, Sets, Storage
from cxr_assets.cli_score import score
from cxr_assets.errors import CxrError
from cxr_assets.keys import REAL, REAL_ONLY, Arm, MethodRun
from cxr_assets.settings import Resolved, Settings, find_preset, resolve

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
app.command()(score)
app.command()(leaderboard)


def _overrides(sets: list[str] | None, root: Path | None) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for text in sets or []:
        name, equals, value = text.partition("=")
        if not equals:
            raise typer.BadParameter(f"--set {text!r}: write name=value, e.g. synthesis.steps=25")
        found[name.strip()] = yaml.safe_load(value)
    if root is not None:
        found["cohort_root"] = str(root.expanduser().resolve())
    return found


def _resolved(
    cohort: str | None,
    storage: Path | None,
    preset: str | None = None,
    sets: list[str] | None = None,
    root: Path | None = None,
) -> Resolved:
    """Settings of the command, remembered in ``cxr.yaml`` of the data root where they were given by hand."""
    overrides = _overrides(sets, root)
    resolved = resolve(cohort=cohort, storage=storage, profile=preset, overrides=overrides)
    if overrides or preset:
        _remember(resolved, overrides, preset)
    os.environ |= {"CXR_COHORT": resolved.cohort, "CXR_STORAGE": str(resolved.root)}
    return resolved


def _of_methods(resolved: Resolved, methods: list[str] | None) -> Resolved:
    """The same settings for other methods: each of them takes the mixes that the arms have. Remembered, so that the UI
    shows the same partitions."""
    if not methods:
        return resolved
    for name in methods:
        find_preset("methods", MethodRun.parse(name).preset, resolved.presets)
    arms = [arm for arm in map(Arm.parse, resolved.settings.arms) if not arm.is_real]
    arms = arms or [arm for arm in map(Arm.parse, Settings().arms) if not arm.is_real]
    mixes = list(dict.fromkeys(arm.mix for arm in arms))
    chosen = {
        "synthesis.methods": list(dict.fromkeys(methods)),
        "arms": [f"{REAL}.{REAL_ONLY}", *(f"{name}.{mix}" for name in dict.fromkeys(methods) for mix in mixes)],
    }
    _remember(resolved, chosen, None)
    for name in (
        "CXR_SYNTHESIS__METHODS",
        "CXR_ARMS",
    ):  # the command line wins, in the processes that it starts as well
        os.environ.pop(name, None)
    return resolve(cohort=resolved.cohort, storage=resolved.root)


def _remember(resolved: Resolved, overrides: dict[str, Any], preset: str | None) -> None:
    """Write what was given on the command line beside the data, so that the UI and the next command use the same."""
    from cxr_assets.settings import merge_yaml

    resolved.root.mkdir(parents=True, exist_ok=True)
    merge_yaml(resolved.root / "cxr.yaml", overrides | ({"profile": preset} if preset else {}))


def _instance(resolved: Resolved) -> dict[str, str]:
    """Environment of a Dagster process: its home under the data root, made on first use, telemetry off."""
    home = resolved.root / "dagster"
    home.mkdir(parents=True, exist_ok=True)
    if not (home / "dagster.yaml").exists():
        (home / "dagster.yaml").write_text((_checkout() / "dagster_project" / "dagster.yaml").read_text())
    return {
        # glibc gives large tensors back to the system after each step, and faults every page in again at the next: keep
        # them. Other C libraries ignore these names.
        "MALLOC_MMAP_THRESHOLD_": "4294967296",
        "MALLOC_TRIM_THRESHOLD_": "4294967296",
        **os.environ,
        "DAGSTER_HOME": str(home),
        "CXR_COHORT": resolved.cohort,
        "CXR_STORAGE": str(resolved.root),
        "DAGSTER_DISABLE_TELEMETRY": "yes",
    }


def _checkout() -> Path:
    return Path(__file__).resolve().parent.parent


def _graph(resolved: Resolved, *arguments: str) -> None:
    """Run the graph in a process of its own: the library itself knows nothing of Dagster."""
    from cxr_assets.project import Project

    Project.open(cohort=resolved.cohort, storage=resolved.root).grid  # noqa: B018 (what cannot run is said here, in a line)
    environment = _instance(resolved) | {"CXR_PROGRESS": "terminal"}
    done = subprocess.run(
        [sys.executable, "-m", "dagster_project.run", *arguments], env=environment, cwd=_checkout(), check=False
    )
    if done.returncode:
        raise typer.Exit(1)


@app.command()
def demo(storage: Storage = None, preset: Preset = None, sets: Sets = None, arms: Arms = None) -> None:
    """Run the whole graph on the phantom cohort and print its scorecard; run it again and it reuses what is fresh."""
    _run_and_show(_resolved("phantom", storage, preset, sets), arms)


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
    _run_and_show(_of_methods(_resolved(cohort, storage, preset, sets, root), method), arms)


def _run_and_show(resolved: Resolved, arms: str | None) -> None:
    from cxr_assets.evaluation.summary import print_summary

    _graph(resolved, *(["--arms", arms] if arms else []))
    _publish(resolved)
    print_summary(resolved.root)


def _publish(resolved: Resolved) -> None:
    from cxr_assets.warehouse.connect import publish

    publish(resolved.root)


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
    resolved = _resolved(cohort, storage, preset, [*(sets or []), *chosen], root)
    _graph(resolved, "--until", "cohort")
    _publish(resolved)
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
    resolved = _resolved(cohort, storage)
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
    resolved = _of_methods(_resolved(cohort, storage, preset, sets), method)
    chosen = ["--findings", ",".join(finding)] if finding else []
    _graph(resolved, "--until", "images", *(["--arms", arms] if arms else []), *chosen)
    _publish(resolved)


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
    print_frame(run_query(_resolved(cohort, storage).root, name, params), format)


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

    tree = trace(_resolved(cohort, storage).root, kind, id, all=all)
    typer.echo(to_json(tree) if format == "json" else to_text(tree))


@app.command()
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

    resolved = _resolved(cohort, data_root)
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


@app.command()
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

    resolved = _resolved(cohort, storage)
    typer.echo(write_standalone(resolved.root, standalone) if standalone else publish(resolved.root))


@app.command()
def ui(
    cohort: Cohort = None, storage: Storage = None, port: Annotated[int, typer.Option(help="port on 127.0.0.1")] = 3000
) -> None:
    """Serve the graph on 127.0.0.1 with its history under the data root."""
    resolved = _resolved(cohort, storage)
    environment = _instance(resolved)
    _publish(resolved)
    dagster = str(Path(sys.executable).parent / "dagster")
    if not (resolved.root / "dagster" / "pools_set").exists():  # once: afterwards the limit is the user's
        subprocess.run(
            [dagster, "instance", "concurrency", "set", "gpu", "1"],
            env=environment,
            cwd=_checkout(),
            check=True,
            capture_output=True,
        )
        (resolved.root / "dagster" / "pools_set").touch()
    command = [dagster, "dev", "-w", "workspace.yaml", "-h", "127.0.0.1", "-p", str(port)]
    raise typer.Exit(subprocess.run(command, env=environment, cwd=_checkout(), check=False).returncode)


@app.command("pretrain-phantom")
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
