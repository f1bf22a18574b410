"""The ``report`` asset: one HTML page that needs nothing beside it, and the paired contrasts between arms."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import polars as pl

from cxr_assets.classification.classifiers import learner_keys, training_config
from cxr_assets.cohorts.film_reader import read_films
from cxr_assets.evaluation.cells import ScoredFilms, lay_out
from cxr_assets.evaluation.contrasts import contrast_arms
from cxr_assets.evaluation.curves import gap_against_auroc, reliability_curves
from cxr_assets.evaluation.figures import forest_of_groups, gap_by_arm, intersection_map
from cxr_assets.evaluation.limits import limits
from cxr_assets.evaluation.words import ids, tell
from cxr_assets.keys import REAL, REAL_ONLY, Arm
from cxr_assets.plots import data_uri, film_grid
from cxr_assets.project import Made, Parent, Project, config_digest
from cxr_assets.synthesis.quality_report import PASS_RATE

CODE_VERSION = "3"
BASELINE = str(Arm(REAL, REAL_ONLY))
TEMPLATE = Path(__file__).with_name("report.html.j2")


def scored_arms(project: Project) -> list[Arm]:
    """Arms whose scorecard holds under the present settings, in key order.

    One that was read from other predictions or studies, or whose classifiers were trained by other settings, is left out:
    set beside the others, the settings would look like an effect of the arm.
    """
    return [arm for arm in project.arms if _in_force(project, arm)]


def _in_force(project: Project, arm: Arm) -> bool:
    card = project.store.manifest("fairness_scorecard", {"arm": str(arm)})
    if card is None:
        return False
    learners = [learner_keys(arm, learner) for learner in project.learners]
    parents = [Parent("studies", ""), *(Parent("predictions", "", keys) for keys in learners)]
    if card.inputs != {p.name: project.store.digest(p.asset, p.keys) for p in parents}:
        return False
    trained = [project.store.manifest("classifier", keys) for keys in learners]
    return all(c is not None and c.config_digest == config_digest(training_config(project)) for c in trained)


def write_report(project: Project) -> Made:
    """Contrast all scored arms with real only and write the page; arms without a scorecard are named as not run."""
    arms = scored_arms(project)
    parents = [Parent("fairness_scorecard", "summarised_from", {"arm": str(a)}) for a in arms]
    extra = [Parent(asset, "summarised_from", keys) for asset, keys in _others(project, arms)]
    step = project.step(
        "report",
        parents=[Parent("studies", "summarised_from"), *parents, *extra],
        code_version=CODE_VERSION,
        config={"template": TEMPLATE.read_text()},
    )
    if made := step.claim():
        return made
    tables = {
        name: [project.store.table(name, {"arm": str(a)}) for a in arms]
        for name in ("fairness_estimates", "fairness_gaps", "fairness_replicates", "fairness_reliability")
    }
    has_baseline = any(str(a) == BASELINE for a in arms)
    films = {str(a): _films(project, a) for a in arms}
    contrasts = contrast_arms(tables["fairness_replicates"], BASELINE, films) if has_baseline else None
    told = limits(project)
    pictures = paint(arms, tables)
    page = render(project, arms, tables, contrasts, told, pictures)
    with step.writing() as writer:
        if contrasts is not None:
            writer.table("fairness_contrasts", contrasts)
        writer.bytes("reports/index.html", page.encode())
        for picture in pictures:
            writer.bytes(f"reports/{picture.name}.png", picture.png)
        writer.facts |= {"arms": [str(a) for a in arms], "page": "reports/index.html", "kilobytes": len(page) // 1024}
        writer.facts["limits"] = told
        writer.facts["pictures"] = [p.name for p in pictures]
    return step.made()


def _films(project: Project, arm: Arm) -> ScoredFilms:
    """What an arm's learners said of the test films."""
    predictions = pl.concat(
        [project.store.table("predictions", learner_keys(arm, learner)) for learner in project.learners]
    )
    people = predictions.select("study_id").unique()
    return lay_out(predictions, people, project.grid.findings)


def _others(project: Project, arms: list[Arm]) -> list[tuple[str, dict[str, str]]]:
    sets = {a.method for a in arms if not a.is_real}
    found = [("synthetic_set", {"method": m}) for m in sorted(sets)]
    return [*found, *([("disease_regions", {})] if project.store.manifest("disease_regions") else [])]


def subject_of(gaps: pl.DataFrame) -> tuple[str, str] | None:
    """The attribute and group that the page is about: the baseline's reported gap with the largest excess.

    Where nothing is reported, the group of any intersection of two that is furthest below the others, shown as such.
    """
    confirmed = gaps.filter(pl.col("family") == "confirmatory").sort("excess", descending=True, nulls_last=True)
    chosen = confirmed.filter(pl.col("reported"))
    pairs = chosen.filter(pl.col("attribute").str.count_matches("×") <= 1)
    for frame in (pairs, chosen, confirmed):
        if frame.height:
            return frame["attribute"][0], frame["worst_group"][0]
    return None


def headline(estimates: pl.DataFrame, gaps: pl.DataFrame, subject: tuple[str, str] | None) -> dict[str, Any]:
    """Figures of one arm for the first table: AUROC and TPR over all films, and the subject's distance to the others."""
    overall = {
        r["metric"]: r
        for r in estimates.filter(
            (pl.col("attribute") == "all") & (pl.col("finding") == "all") & pl.col("primary")
        ).iter_rows(named=True)
    }
    own = None
    if subject:
        rows = gaps.filter(
            (pl.col("gap_kind") == "group_vs_rest")
            & (pl.col("attribute") == subject[0])
            & (pl.col("worst_group") == subject[1])
        )
        own = rows.row(0, named=True) if rows.height else None
    return {
        "auroc": overall.get("auroc"),
        "tpr": overall.get("tpr"),
        "fpr": overall.get("fpr"),
        "subject": own,
        "tested": gaps.filter((pl.col("family") == "confirmatory") & pl.col("p_adj").is_not_null()).height,
        "reported": gaps.filter(pl.col("reported")).sort("p_adj", "attribute").to_dicts(),
    }


def lineage(project: Project, arms: list[Arm]) -> list[dict[str, Any]]:
    """What each arm's scorecard came from, by digest."""
    rows = []
    for arm in arms:
        for learner in project.learners:
            keys = {"arm": str(arm), "learner": str(learner)}
            classifier = project.store.manifest("classifier", keys)
            training = project.store.manifest("training_set", {"arm": str(arm)})
            adapter = None if arm.is_real else project.store.manifest("adapter", {"method": arm.method})
            if classifier and training:
                rows.append(
                    {
                        "arm": str(arm),
                        "learner": str(learner),
                        "classifier": classifier.digest[:16],
                        "training_set": training.digest[:16],
                        "real": training.facts["real"],
                        "synthetic": training.facts["synthetic"],
                        "adapter": adapter.digest[:16] if adapter else "–",
                        "base": adapter.facts["base_id"][:16] if adapter else "–",
                        "terms": classifier.terms,
                        "run": classifier.run_id[:12],
                    }
                )
    return rows


def _probes(project: Project, arms: list[Arm]) -> list[dict[str, Any]]:
    """What each mixed classifier's features give away of where a film came from."""
    rows = []
    for arm in arms:
        for learner in project.learners:
            manifest = project.store.manifest("classifier", learner_keys(arm, learner))
            if manifest and "shortcuts" in manifest.facts:
                facts = manifest.facts
                rows.append(
                    {
                        "arm": str(arm),
                        "learner": str(learner),
                        "auroc": facts["source_auroc"],
                        "shortcuts": facts["shortcuts"],
                    }
                )
    return rows


def film_grids(project: Project, arms: list[Arm]) -> list[dict[str, str]]:
    """Real training films beside synthetic ones of each method, with what they were asked to show."""
    studies = project.filmed("train")
    captions = project.store.table("captions").select("study_id", "caption")
    real = studies.join(captions, on="study_id", how="left").sort("image_digest").head(16)
    grids = [("Real training films", real["image_file"].to_list(), real["caption"].fill_null("").to_list())]
    for method in sorted({a.method for a in arms if not a.is_real}):
        images = (
            project.store.table("synthetic_set", {"method": method}).filter(pl.col("passed_quality")).sort("image_id")
        )
        grids.append((f"Synthetic films of {method}", images["file"].to_list()[:16], images["prompt"].to_list()[:16]))
    return [
        {
            "title": title,
            "src": data_uri(film_grid(read_films(project.store, files, 112), columns=8, captions=texts, cell=112)),
        }
        for title, files, texts in grids
        if files
    ]


@dataclass(frozen=True)
class Picture:
    """A plot of the page, which also stands beside it as a file."""

    name: str
    title: str
    png: bytes


def paint(arms: list[Arm], tables: dict[str, list[pl.DataFrame]]) -> list[Picture]:
    """The plots of the page: gap before and after, groups, intersections, calibration, and gap against accuracy."""
    if not arms:
        return []
    estimates, gaps = tables["fairness_estimates"], tables["fairness_gaps"]
    first = next((i for i, a in enumerate(arms) if str(a) == BASELINE), 0)
    subject = subject_of(gaps[first])
    found = []
    if subject:
        attribute, group = subject
        picture = gap_by_arm(pl.concat(gaps), attribute=attribute, group=group)
        found.append(Picture("gap_by_arm", f"{group} against all others, before and after", picture))
        picture = gap_against_auroc(pl.concat(tables["fairness_replicates"]), pl.concat(gaps), attribute=attribute)
        found.append(Picture("gap_against_auroc", "Fairness against accuracy, arm by arm", picture))
    title = f"True-positive rate by group, {arms[first]}"
    found.append(Picture("groups", title, forest_of_groups(estimates[first], metric="tpr")))
    attributes = estimates[first]["attribute"].unique(maintain_order=True).to_list()
    for pair in (a for a in attributes if a.count("×") == 1):
        name = f"intersections_{pair.replace('×', '_')}"
        found.append(
            Picture(name, f"Intersections of {pair}, {arms[first]}", intersection_map(estimates[first], attribute=pair))
        )
    for attribute in (a for a in attributes if "×" not in a and a != "all"):
        picture = reliability_curves(tables["fairness_reliability"][first], attribute=attribute)
        found.append(Picture(f"reliability_{attribute}", f"Calibration by {attribute}, {arms[first]}", picture))
    return found


def render(
    project: Project,
    arms: list[Arm],
    tables: dict[str, list[pl.DataFrame]],
    contrasts: pl.DataFrame | None,
    told: list[str],
    pictures: list[Picture],
) -> str:
    """The page as text; ``told`` is what the cohort does not allow."""
    estimates, gaps = tables["fairness_estimates"], tables["fairness_gaps"]
    first = next((i for i, a in enumerate(arms) if str(a) == BASELINE), 0)
    subject = subject_of(gaps[first]) if arms else None
    shown = None
    if contrasts is not None:
        kept = (pl.col("quantity") == "overall") | (pl.col("quantity") == "max_min") & (pl.col("metric") == "tpr")
        if subject:
            kept |= (
                (pl.col("quantity") == "group_vs_rest")
                & (pl.col("attribute") == subject[0])
                & (pl.col("group") == subject[1])
            )
        shown = contrasts.filter(kept).to_dicts()
    quality = [
        project.store.table("synthetic_quality", {"method": m}).filter(pl.col("metric") != PASS_RATE)
        for m in sorted({a.method for a in arms if not a.is_real})
    ]
    planted = project.store.path("tables/planted_disparity/part-0.parquet")
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters |= {"figure": _figure, "significant": _significant, "span": _span, "verdict": _verdict}
    studies = project.store.table("studies")
    return environment.from_string(TEMPLATE.read_text()).render(
        spec=project.spec,
        ids=ids(project.spec.patient_id_kind),
        cohort=project.resolved.cohort,
        studies=studies,
        arms=[str(a) for a in arms],
        baseline=BASELINE,
        limits=told,
        missing=[str(a) for a in project.arms if a not in arms],
        subject=subject,
        figures=[{"title": p.title, "src": data_uri(p.png)} for p in pictures],
        words=tell(estimates[first], gaps[first]) if arms else [],
        contrasts=shown,
        heads=[{"arm": str(a), **headline(e, g, subject)} for a, e, g in zip(arms, estimates, gaps, strict=True)],
        quality=pl.concat(quality).to_dicts() if quality else [],
        lineage=lineage(project, arms),
        grids=film_grids(project, arms),
        planted=pl.read_parquet(planted, hive_partitioning=False, glob=False).to_dicts() if planted.exists() else [],
        sources=project.store.table("sources").filter(pl.col("release") != "film").to_dicts(),
        probe=_probes(project, arms),
        regions=project.store.table("region_recall").to_dicts() if project.store.manifest("disease_regions") else [],
        splits=studies.group_by("split")
        .agg(pl.len().alias("studies"), pl.n_unique("patient_id").alias("patients"))
        .sort("split")
        .to_dicts(),
        learners=[str(x) for x in project.learners],
        settings=project.settings,
    )


def _figure(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _significant(value: float | None) -> str:
    """Three significant figures: distances of feature spaces differ by orders of magnitude."""
    return "–" if value is None else f"{value:.3g}"


def _verdict(change: dict[str, Any], now: dict[str, Any] | None) -> str:
    """What became of a group's distance to the others; ``now`` is that distance in the arm itself."""
    low, high, before = change["ci_lo"], change["ci_hi"], change["value_b"]
    if low is None or high is None or before is None or low <= 0 <= high:
        return "not distinguishable from no change"
    if now is not None and now["ci_lo"] is not None and (now["ci_lo"] > 0 > before or now["ci_hi"] < 0 < before):
        return "turned round: the group is now " + ("ahead of" if before < 0 else "behind") + " the others"
    narrower = low > 0 if before < 0 else high < 0
    return ("narrower" if narrower else "wider") + ", interval excludes 0"


def _span(row: dict[str, Any] | None, name: str = "estimate") -> str:
    if row is None or row.get(name) is None:
        reason = (row or {}).get("null_reason") or "not eligible"
        return f"– ({reason})"
    low, high = _figure(row["ci_lo"]), _figure(row["ci_hi"])
    return f"{_figure(row[name])} ({low} to {high})"
