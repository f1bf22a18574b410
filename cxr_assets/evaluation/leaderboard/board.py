"""The ``generator_leaderboard`` asset: every method and seed that has drawn its images, measured and set side by side."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from cxr_assets.classification.data import label_matrix
from cxr_assets.cohorts.choices import STATED
from cxr_assets.cohorts.film_reader import read_films
from cxr_assets.diffusion.held_out import held_out, holdout_parents
from cxr_assets.errors import SettingsError, StorageError, did_you_mean
from cxr_assets.evaluation.leaderboard.diversity import diversity
from cxr_assets.evaluation.leaderboard.fidelity import fidelity
from cxr_assets.evaluation.leaderboard.films import Seen, halves, look, method_films, real_films
from cxr_assets.evaluation.leaderboard.groups import group_names
from cxr_assets.evaluation.leaderboard.held_out import compare_held_out
from cxr_assets.evaluation.leaderboard.judges import Chosen, choose_judge
from cxr_assets.evaluation.leaderboard.metrics import SCORES
from cxr_assets.evaluation.leaderboard.plots import REAL_ROW, chart, film_sheet, shared_requests
from cxr_assets.evaluation.leaderboard.probes import Reader
from cxr_assets.evaluation.leaderboard.ranking import leaders, standings
from cxr_assets.evaluation.leaderboard.recoverability import Asked, recoverability
from cxr_assets.evaluation.leaderboard.tables import TEMPLATE, markdown
from cxr_assets.evaluation.leaderboard.throughput import measured_facts, throughput
from cxr_assets.evaluation.quality import feature_space
from cxr_assets.keys import MethodRun, Stratum
from cxr_assets.project import Made, Parent, Project
from cxr_assets.warehouse.manifest import digest_json

CODE_VERSION = "1"
FOLDER = "reports/leaderboard"
STYLE_SPACE = "random"
"""Probes read it beside the configured spaces: a trained network may have learned not to see how a film was taken."""
SHEET_COLUMNS = 8
CELL = 80


def methods_of_board(project: Project) -> list[str]:
    """Method keys to compare, in order. Raises SettingsError for one that is not among synthesis.methods."""
    chosen = project.settings.evaluation.leaderboard.methods
    for method in chosen or ():
        if method not in project.methods:
            raise SettingsError(
                f"evaluation.leaderboard.methods: {method!r} is not among synthesis.methods."
                f"{did_you_mean(method, project.methods)} Add it there, or leave it out."
            )
    return list(dict.fromkeys(chosen or project.methods))


def make_leaderboard(project: Project) -> Made:
    """Measure every method whose synthetic set holds images, rank presets over their seeds, and write tables and pictures.

    Raises:
        StorageError: no method has a synthetic set yet.
    """
    settings = project.settings.evaluation
    wanted = methods_of_board(project)
    found = [m for m in wanted if _has_films(project, m)]
    if not found:
        raise StorageError(
            f"generator_leaderboard: none of {', '.join(wanted)} has a synthetic set with images that passed under"
            f" {project.store.root}. Materialise synthetic_set first."
        )
    chosen = choose_judge(project)
    facts = {m: measured_facts(project, m) for m in found}
    sets = [Parent("synthetic_set", "summarised_from", {"method": m}) for m in found]
    step = project.step(
        "generator_leaderboard",
        parents=[Parent("studies", "evaluated_on"), *holdout_parents(project), *sets, *chosen.parents],
        code_version=CODE_VERSION,
        config={
            "methods": wanted,
            "findings": project.grid.findings,
            "features": settings.features,
            "attributes": settings.attributes,
            "seed": settings.seed,
            "films": settings.leaderboard.films,
            "min_films": settings.leaderboard.min_films,
            "judge": [chosen.name, chosen.digest],
            "resolution": project.settings.diffusion.resolution,
            "template": TEMPLATE.read_text(encoding="utf-8"),
        }
        | project.settings.choices.demographics
        | project.settings.choices.films,
        extra_inputs={"speed": digest_json(facts)},
    )
    if made := step.claim():
        return made
    images = {m: project.store.table("synthetic_set", {"method": m}) for m in found}
    scores, judge = measure(project, chosen, images, facts)
    table, cells = standings(scores), compare_held_out(scores, seed=settings.seed)
    missing = [m for m in wanted if m not in found]
    told = {
        "cohort": project.resolved.cohort,
        "judge": judge,
        "compared": found,
        "missing": missing,
        "sets": {s.keys["method"]: step.inputs[s.name][:16] for s in sets},
    }
    with step.writing() as writer:
        writer.table("generator_scores", scores)
        writer.table("generator_leaderboard", table)
        writer.table("generator_cells", cells)
        writer.bytes(f"{FOLDER}/chart.png", chart(scores, table))
        writer.bytes(f"{FOLDER}/films.png", sheet_of(project, images))
        writer.bytes(f"{FOLDER}/leaderboard.md", markdown(table, told, cells).encode())
        writer.facts |= {
            "compared": ", ".join(found),
            "missing": ", ".join(missing),
            "judge": judge,
            "page": f"{FOLDER}/leaderboard.md",
            "named_best": leaders(table),
        }
    return step.made()


def _has_films(project: Project, method: str) -> bool:
    keys = {"method": method}
    if project.store.manifest("synthetic_set", keys) is None:
        return False
    return bool(project.store.table("synthetic_set", keys)["passed_quality"].any())


def measure(
    project: Project, chosen: Chosen, images: dict[str, pl.DataFrame], facts: dict[str, dict[str, float | None]]
) -> tuple[pl.DataFrame, str]:
    """All scores of all methods, and the judge's name. Each film is read once, the real ones once for all methods."""
    settings = project.settings.evaluation
    least, most = settings.leaderboard.min_films, settings.leaderboard.films
    size = project.settings.diffusion.resolution
    measured = list(dict.fromkeys(settings.features))
    spaces = [feature_space(name) for name in dict.fromkeys([*measured, STYLE_SPACE])]
    judge = chosen.open(project)
    with project.progress.task("look at films", len(images) + 3) as advance:

        def seen(rows: pl.DataFrame, what: str, *, judged: bool = True) -> Seen:
            looked = look(project.store, rows, spaces, judge if judged else None, size=size)
            advance(1, what)
            return looked

        train = seen(real_films(project, "train", most=2 * most), "real train", judged=False)
        reader = Reader.fit(judge, seen(real_films(project, "validate", most=most), "real validate", judged=False))
        test = seen(real_films(project, "test", most=most), "real test")
        drawn = {m: seen(method_films(frame, seed=settings.seed, most=most), m) for m, frame in images.items()}
    groups = list(group_names(project.grid, settings.attributes, held_out(project)))
    findings = project.grid.findings
    half = halves(train.rows["patient_id"].to_list(), settings.seed)
    positives = project.findings().filter(pl.col("value") == 1).select("study_id", "finding")
    asked = {m: Asked(s, asked_labels(s.rows, findings)) for m, s in drawn.items()}
    rows = [
        *fidelity(drawn, train, half, measured, groups, least=least),
        *diversity(drawn, train, positives, measured, groups, least=least),
        *recoverability(asked, Asked(test, _true_labels(project, test)), reader, groups, findings, least=least),
        *throughput(facts),
    ]
    return score_frame(rows), judge.name if judge else "nobody"


def score_frame(rows: list[dict[str, Any]]) -> pl.DataFrame:
    """Rows with preset and seed of their method, in a fixed order: the columns of SCORES."""
    runs = {row["method"]: MethodRun.parse(row["method"]) for row in rows}
    named = [row | {"preset": runs[row["method"]].preset, "seed": runs[row["method"]].seed} for row in rows]
    return pl.DataFrame([{name: row[name] for name in SCORES} for row in named], schema=SCORES)


def asked_labels(films: pl.DataFrame, findings: tuple[str, ...]) -> dict[str, np.ndarray]:
    """What synthetic films were asked to show, 1.0 or 0.0 by finding; ``labels`` holds findings joined by ``|``."""
    shown = films["labels"].fill_null("").str.split("|").to_list()
    return {f: np.array([f in labels for labels in shown], dtype=np.float64) for f in findings}


def _true_labels(project: Project, test: Seen) -> dict[str, np.ndarray]:
    findings = project.grid.findings
    matrix = label_matrix(test.rows["study_id"].to_list(), project.finding_values(), findings, STATED)
    return {f: matrix[:, i].astype(np.float64) for i, f in enumerate(findings)}


def sheet_of(project: Project, images: dict[str, pl.DataFrame]) -> bytes:
    """The same requests as every method drew them, below a real training film of each stratum; PNG."""
    requests = shared_requests(images, most=SHEET_COLUMNS)
    positives = project.findings().filter(pl.col("value") == 1).select("study_id", "finding")
    real = project.filmed("train").join(positives, on="study_id").sort("study_id")
    firsts = real.unique(["finding", "age_bin", "sex", "race"], keep="first", maintain_order=True)
    files: dict[str, list[str | None]] = {REAL_ROW: [_real_file(firsts, Stratum.parse(s)) for s, _ in requests]}
    for method, frame in images.items():
        held = {(s, i): f for s, i, f in frame.select("stratum", "index", "file").iter_rows()}
        files[method] = [held[request] for request in requests]
    films: dict[str, list[np.ndarray | None]] = {
        name: [None if f is None else read_films(project.store, [f], CELL)[0] for f in row]
        for name, row in files.items()
    }
    words = [Stratum.parse(s) for s, _ in requests]
    return film_sheet(films, [f"{s.finding} {s.age} {s.sex} {s.race}".replace("_", " ") for s in words], cell=CELL)


def _real_file(firsts: pl.DataFrame, stratum: Stratum) -> str | None:
    of = {"finding": stratum.finding, "age_bin": stratum.age, "sex": stratum.sex, "race": stratum.race}
    found = firsts.filter(*(pl.col(name) == value for name, value in of.items()))["image_file"]
    return found[0] if len(found) else None
