"""The folder of a scorecard of anybody's predictions: tables, a page in HTML and in Markdown, and how it was made.

Both forms of the page are filled from the same sections, so that they say the same.
"""

from __future__ import annotations

import hashlib
import html
import json
import re
import secrets
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
import polars as pl

from cxr_assets.errors import InputError, StorageError
from cxr_assets.evaluation.cells import OVERALL, POOLED
from cxr_assets.evaluation.contrasts import NI_MARGIN
from cxr_assets.evaluation.figures import forest_of_groups
from cxr_assets.evaluation.metrics import NO_FINDING
from cxr_assets.plots import data_uri

if TYPE_CHECKING:
    from cxr_assets.evaluation.score_any import Scored

TEMPLATES = Path(__file__).parent
KIND = "cxr scorecard"
FILE = "scorecard.json"
HEADLINE = ("auroc", "tpr", "fpr")
_SMALL = 5
"""Groups of fewer patients are printed as '< 5': a page may be handed on."""
_MOST_ROWS = 40
_MOST_FIGURES = 6
_WORDS = {
    "no_pos": "no positives",
    "no_neg": "no negatives",
    "suppressed": "too few, not shown",
    "unstable": "too few to give an interval",
    "undefined": "undefined",
    "no_threshold": "no threshold",
    "fewer_than_two_groups": "fewer than two groups are large enough",
    "one_class": "its validate rows hold one class",
    "no_validate_rows": "no validate rows",
    "not_given": "not given",
}


@dataclass(frozen=True)
class Section:
    """A heading, sentences, one table and pictures; every cell is plain text."""

    title: str
    text: Sequence[str] = ()
    head: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    figures: Sequence[tuple[str, str]] = ()
    items: Sequence[str] = ()


def pages(scored: Scored) -> dict[str, str]:
    """``report.html`` (needs nothing beside it) and ``report.md`` (without pictures) as text."""
    parts = {"lead": lead(scored), "sections": sections(scored), "facts": scored.facts}
    out = {}
    for kind in ("html", "md"):
        environment = jinja2.Environment(
            autoescape=kind == "html", trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
        )
        environment.filters["cell"] = markdown
        template = (TEMPLATES / f"score_report.{kind}.j2").read_text(encoding="utf-8")
        out[f"report.{kind}"] = environment.from_string(template).render(**parts)
    return out


def markdown(text: object) -> str:
    """Text that is one line or cell of Markdown, whatever is in it: no line end, no markup, no tag."""
    return re.sub(r"[\\`*_\[\]|~]", r"\\\g<0>", html.escape(" ".join(str(text).split()), quote=False))


def lead(scored: Scored) -> list[str]:
    """What was found, one sentence a model, before anything else."""
    told = []
    for model in scored.facts["models"]:
        tests = _confirmatory(scored.gaps.filter(pl.col("arm") == model))
        found = tests.filter("reported").sort("p_adj", "attribute")
        for row in found.iter_rows(named=True):
            told.append(
                f"{model}: {_name(row['metric'])} differs by {row['attribute']}: worst for {row['worst_group']}, best for"
                f" {row['best_group']}; gap {span(row, 'observed')}, of which chance alone gives {number(row['null_mean'])}"
                f" (adjusted p {number(row['p_adj'])})."
            )
        if not tests.height:
            why = "no threshold" if not scored.facts["rules"] else "no two groups are large enough"
            why = why if scored.facts["attributes"] else "there are no groups to compare"
            told.append(f"{model}: no gap could be tested ({why}).")
        elif not found.height:
            told.append(
                f"{model}: no gap is larger than chance gives ({tests.height} tested, Holm-adjusted, 5 %). That does not show"
                " that there is none."
            )
    return told


def sections(scored: Scored) -> list[Section]:
    """The page in order, as a reader asks: who, how well, for whom less well, what is not known."""
    facts = scored.facts
    shown = _shown(scored)
    parts = [
        _scored_what(scored),
        Section("Know before reading", items=facts["notes"]) if facts["notes"] else None,
        _headline(facts, shown),
        _by_finding(facts, shown),
        _groups(scored, shown),
        _worst(facts, shown),
        _gaps(scored, _told_of(facts, shown)),
        _forests(facts, shown),
        _contrasts(scored),
        _left_out(facts, shown),
        _thresholds(scored),
        Section("What may not be concluded", items=_limits(scored)),
        Section("How to cite these figures", text=_citation(facts)),
    ]
    return [part for part in parts if part is not None]


def _shown(scored: Scored) -> pl.DataFrame:
    """Estimates at the primary rule and as the films are, not reweighted."""
    return scored.estimates.filter(pl.col("primary") & (pl.col("weight_scheme") == "none"))


def _told_of(facts: dict[str, Any], shown: pl.DataFrame) -> list[str]:
    """Findings that tables of groups tell of: all pooled, or each by itself where nothing could be pooled."""
    pooled = shown.filter((pl.col("finding") == POOLED) & pl.col("estimate").is_not_null())
    return [POOLED] if pooled.height else facts["findings"]


def _confirmatory(gaps: pl.DataFrame) -> pl.DataFrame:
    return gaps.filter((pl.col("family") == "confirmatory") & pl.col("p_perm").is_not_null())


def _scored_what(scored: Scored) -> Section:
    facts = scored.facts
    people = _ids(facts["settings"]["patient_id_kind"])
    rows = [
        *(
            [f"{i['role']} table", f"{i['file']}: {i['rows']} rows, SHA-256 {i['sha256'] or '–'}"]
            for i in facts["inputs"]
        ),
        ["scored (test)", f"{facts['studies']['test']} studies of {facts['patients']['test']} {people}"],
        ["validate", f"{facts['studies']['validate']} studies of {facts['patients']['validate']} {people}"],
        ["models", "; ".join(f"{m} ({len(s)} training seeds)" if len(s) > 1 else m for m, s in facts["seeds"].items())],
        ["findings", ", ".join(facts["findings"])],
        ["groups by", ", ".join(facts["attributes"]) or "nothing"],
    ]
    return Section("What was scored", head=("", ""), rows=rows)


def _headline(facts: dict[str, Any], shown: pl.DataFrame) -> Section:
    pooled = shown.filter((pl.col("attribute") == OVERALL) & (pl.col("finding") == POOLED))
    rows = [[model, *_metrics(pooled.filter(pl.col("arm") == model))] for model in facts["models"]]
    rule = facts["rules"][0] if facts["rules"] else None
    at = f"TPR and FPR pooled over findings at the rule {rule!r}" if rule else "No threshold, so no TPR and no FPR"
    text = [f"AUROC: mean over findings of disease. {at}. In brackets: 95 % intervals."]
    return Section(
        "How well each model does", text, ("model", "AUROC", "TPR (sensitivity)", "FPR (1 - specificity)"), rows
    )


def _by_finding(facts: dict[str, Any], shown: pl.DataFrame) -> Section:
    rows = []
    overall = shown.filter(pl.col("attribute") == OVERALL)
    for model in facts["models"]:
        for finding in facts["findings"]:
            own = overall.filter((pl.col("arm") == model) & (pl.col("finding") == finding))
            sizes = [str(own["n_pos"].max() or 0), str(own["n_neg"].max() or 0)] if own.height else ["0", "0"]
            rows.append([model, finding, *sizes, *_metrics(own)])
    head = ("model", "finding", "positives", "negatives", "AUROC", "TPR", "FPR")
    text = (
        [f"FPR of {NO_FINDING} is the share of ill films called healthy (underdiagnosis)."]
        if NO_FINDING in facts["findings"]
        else []
    )
    return Section("By finding", text, head, rows)


def _groups(scored: Scored, shown: pl.DataFrame) -> Section | None:
    if scored.groups.is_empty():
        return None
    facts, rows = scored.facts, []
    for attribute, group, studies, patients in scored.groups.iter_rows():
        sizes = [f"< {_SMALL}" if patients < _SMALL else str(n) for n in (studies, patients)]
        if group is None or attribute not in facts["attributes"]:
            rows.append([attribute, group or "unknown (in no group)", *sizes, *[""] * 6])
            continue
        own = shown.filter((pl.col("attribute") == attribute) & (pl.col("group") == group))
        for model, finding in product(facts["models"], _told_of(facts, shown)):
            part = own.filter((pl.col("arm") == model) & (pl.col("finding") == finding))
            enters = "yes" if part["eligible"].any() else "no"
            rows.append([attribute, group, *sizes, model, finding, *_metrics(part), enters])
    head = ("attribute", "group", "studies", "patients", "model", "finding", "AUROC", "TPR", "FPR", "large enough")
    text = [
        "Read TPR and FPR together: a group may gain in one what it loses in the other. all: findings of disease pooled."
    ]
    return Section("By group", text, head, rows)


def _worst(facts: dict[str, Any], shown: pl.DataFrame) -> Section | None:
    """The eligible group with the lowest figure, for every attribute and intersection, the lowest of all first."""
    metric = "tpr" if facts["rules"] else "auroc"
    known = shown.filter(
        (pl.col("attribute") != OVERALL)
        & pl.col("finding").is_in(_told_of(facts, shown))
        & pl.col("eligible")
        & pl.col("estimate").is_not_null()
    )
    keys = ["arm", "finding", "attribute"]
    lowest = known.filter(pl.col("metric") == metric).sort("arm", "finding", "estimate", "attribute", "group")
    worst = lowest.unique(keys, keep="first", maintain_order=True)
    if worst.is_empty():
        return None
    rows = []
    for row in worst.select(*keys, "group", "n_patients").iter_rows(named=True):
        own = known.filter(pl.col(name) == row[name] for name in (*keys, "group"))
        rows.append([*(row[name] for name in (*keys, "group")), str(row["n_patients"]), *_metrics(own)])
    text = [
        f"Lowest {_name(metric)} among the groups that are large enough. Somebody is always last: see the gaps below."
    ]
    head = ("model", "finding", "by", "group", "patients", "AUROC", "TPR", "FPR")
    return Section("Who is served worst", text, head, rows)


def _gaps(scored: Scored, findings: Sequence[str]) -> Section | None:
    if not scored.facts["attributes"]:
        return None
    chosen = scored.gaps.filter((pl.col("gap_kind") == "max_min") & (pl.col("weight_scheme") == "none"))
    ranked = chosen.filter((pl.col("metric") == "auroc") & pl.col("finding").is_in(list(findings)))
    both = [_confirmatory(chosen).with_columns(order=0), ranked.with_columns(order=1)]
    rows = [
        [
            *(row[name] for name in ("arm", "finding", "attribute")),
            _name(row["metric"]),
            span(row, "observed"),
            *(number(row[name]) for name in ("null_mean", "excess", "p_adj")),
            *(row[name] or "–" for name in ("worst_group", "best_group")),
            "yes" if row["reported"] else "not declared" if row["order"] else "no",
        ]
        for row in pl.concat(both).sort("order", "arm", "finding", "attribute", "metric").iter_rows(named=True)
    ]
    names = ("model", "finding", "by", "metric", "gap", "by chance", "excess", "p adj.", "worst group", "best group")
    text = [
        "Gap: largest less smallest figure of the groups that are large enough. Some gap always comes by chance, the more"
        " groups the larger; the excess is what remains. A gap is reported where its p, adjusted for all tests declared"
        " for this model (Holm), is at most 0.05. Not declared: for orientation, p by false-discovery rate.",
        "All other gaps (matched on prevalence and age, each group against the rest …) are in fairness_gaps.parquet.",
    ]
    return Section("Gaps between groups", text, (*names, "reported"), rows)


def _forests(facts: dict[str, Any], shown: pl.DataFrame) -> Section | None:
    if not facts["attributes"]:
        return None
    metric = "tpr" if facts["rules"] else "auroc"
    # A dollar sign would begin a formula in the picture.
    plain = shown.with_columns(pl.col("group").str.replace_all("$", r"\$", literal=True))
    wanted = list(product(facts["models"], _told_of(facts, shown)))
    figures = []
    for model, finding in wanted[:_MOST_FIGURES]:
        picture = forest_of_groups(plain.filter(pl.col("arm") == model), metric=metric, finding=finding)
        figures.append((f"{_name(metric)} by group, {model}, {finding}", data_uri(picture)))
    more = f" The first {_MOST_FIGURES} of {len(wanted)}." if len(wanted) > _MOST_FIGURES else ""
    return Section("Groups side by side", [f"Groups that are large enough, the lowest first.{more}"], figures=figures)


def _contrasts(scored: Scored) -> Section | None:
    if scored.contrasts.is_empty():
        return None
    kept = scored.contrasts.filter(
        pl.col("quantity").is_in(["overall", "max_min"])
        & (pl.col("finding") == POOLED)
        & pl.col("metric").is_in(HEADLINE)
    )
    rows = [
        [
            row["arm_a"],
            f"gap by {row['attribute']}" if row["quantity"] == "max_min" else "all films",
            _name(row["metric"]),
            number(row["value_b"]),
            number(row["value_a"]),
            span(row, "delta"),
            number(row["p_adj"]),
            "" if row["ni_pass"] is None else "yes" if row["ni_pass"] else "not shown",
            "" if row["levelling_down"] is None else "yes" if row["levelling_down"] else "no",
        ]
        for row in kept.sort(
            "arm_a", "quantity", "attribute", "metric", descending=[False, True, False, False]
        ).iter_rows(named=True)
    ]
    head = (
        "model",
        "what",
        "metric",
        scored.facts["baseline"],
        "model's",
        "change",
        "p adj.",
        "non-inferior",
        "levelled down",
    )
    text = [
        f"Each model against {scored.facts['baseline']}, draw by draw of the same patients. Non-inferior: the interval excludes"
        f" an AUROC lower by {NI_MARGIN} or more. Levelled down: the best group fell by more than the worst one rose."
    ]
    return Section("Models against each other", text, head, rows)


def _left_out(facts: dict[str, Any], shown: pl.DataFrame) -> Section | None:
    limits = facts["settings"]
    told = shown.filter(
        (pl.col("attribute") != OVERALL)
        & pl.col("finding").is_in(_told_of(facts, shown))
        & pl.col("metric").is_in(HEADLINE)
    )
    keys = ["finding", "attribute", "group"]
    cells = told.group_by(keys).agg(pl.col("n_patients", "n_pos", "n_neg").max(), pl.col("eligible").any())
    small = cells.filter(~pl.col("eligible")).sort("n_patients", *keys, descending=[True, False, False, False])
    if small.is_empty():
        return None
    rows = []
    for row in small.head(_MOST_ROWS).iter_rows(named=True):
        few = f"< {limits['suppress_below']}"
        patients = str(row["n_patients"]) if row["n_patients"] >= _SMALL else f"< {_SMALL}"
        sizes = (few if row[name] is None else str(row[name]) for name in ("n_pos", "n_neg"))
        rows.append([*(row[name] for name in keys), patients, *sizes])
    text = [
        f"{small.height} of {cells.height} groups and intersections have fewer than {limits['min_positives']} positives,"
        f" {limits['min_negatives']} negatives or {limits['min_patients']} patients, and enter no gap. Below"
        f" {limits['suppress_below']} positives or negatives their figures are not shown. Nothing here says how they are"
        f" served.{f' The {_MOST_ROWS} largest:' if small.height > _MOST_ROWS else ''}"
    ]
    head = ("finding", "by", "group", "patients", "positives", "negatives")
    return Section("Groups too small to judge", text, head, rows)


def _thresholds(scored: Scored) -> Section:
    rows = [
        [
            row["model"],
            row["seed"],
            row["finding"],
            row["rule"],
            number(row["threshold"], 4) if row["threshold"] is not None else f"– ({_WORDS[row['null_reason']]})",
            (row["fitted_on"] or "–")[:16],
        ]
        for row in scored.thresholds.iter_rows(named=True)
    ]
    text = [
        "A film is flagged if its score is at least the threshold. Fitted on: digest of the validate studies, none of which is"
        " a test study."
    ]
    return Section("Thresholds", text, ("model", "seed", "finding", "rule", "threshold", "fitted on"), rows)


def _limits(scored: Scored) -> list[str]:
    facts = scored.facts
    told = [
        "That groups are served alike because no gap is reported. Small groups have wide intervals, and the smallest none.",
        "That a gap is the model's doing alone. Groups may differ in age, view, severity and prevalence.",
        "That nobody is under-diagnosed, if labels come from reports or from another model: they may miss in the same groups."
        " Only labels that experts read for this purpose can show it.",
        "That the figures hold elsewhere. Other hospitals, devices and years have other patients.",
        "That a model is fair because a gap is narrower. See whether the worst group rose or the best one fell.",
        "That a group is a biological kind. Recorded race is what a clerk or the patient wrote down.",
    ]
    if len(facts["models"]) > 1:
        told.append("That the best of several models is as good as it looks: it was chosen on these films.")
    if not facts["rules"]:
        told.append(
            "Anything about missed or false findings: without a threshold, only the ranking of films was judged."
        )
    if facts["settings"]["patient_id_kind"] != "patient":
        told.append(
            "That intervals are wide enough: patients are not known, and films of one patient resemble each other."
        )
    if any(len(seeds) == 1 for seeds in facts["seeds"].values()):
        told.append(
            "Anything about a way of training: one training seed is one model, and the next may come out otherwise."
        )
    return told


def _citation(facts: dict[str, Any]) -> list[str]:
    chosen, kind = facts["settings"], facts["settings"]["patient_id_kind"]
    if facts["rules"] == ["given"]:
        fitted = "Thresholds were given by hand."
    elif facts["rules"]:
        rules = ", ".join(facts["rules"])
        fitted = f"Thresholds were fitted on {facts['studies']['validate']} other studies (rules {rules})."
    else:
        fitted = "No thresholds were used."
    people, tested = _ids(kind), facts["studies"]["test"]
    return [
        f"Figures of {tested} test studies of {facts['patients']['test']} {people}, mean over training seeds, with 95 %"
        f" intervals of a {kind}-cluster bootstrap (B = {chosen['replicates']}, seed {chosen['seed']}). {fitted}",
        f"Gaps are maximum less minimum over groups of at least {chosen['min_positives']} positives,"
        f" {chosen['min_negatives']} negatives and {chosen['min_patients']} {people}. Their p is from"
        f" {chosen['permutations']} exchanges of groups between those with equally many positive and negative labels,"
        " Holm-adjusted within each model.",
        f"Computed with cxr-assets {facts['versions']['cxr-assets']}; scorecard.json holds every setting and all digests.",
    ]


def _ids(kind: str) -> str:
    return "patients" if kind == "patient" else f"{kind} ids (patients are not known)"


def _metrics(rows: pl.DataFrame) -> list[str]:
    found = {row["metric"]: row for row in rows.iter_rows(named=True)}
    return [span(found.get(metric)) for metric in HEADLINE]


def _name(metric: str) -> str:
    return {"tpr": "TPR", "fpr": "FPR", "fnr": "FNR", "auroc": "AUROC"}.get(metric, metric.replace("_", " "))


def number(value: float | None, digits: int = 3) -> str:
    """A figure, or a dash where there is none."""
    return "–" if value is None else f"{value:.{digits}f}"


def span(row: dict[str, Any] | None, name: str = "estimate") -> str:
    """A figure with its interval, or a dash and why there is none."""
    if row is None or row.get(name) is None:
        reason = (row or {}).get("null_reason")
        return f"– ({_WORDS.get(reason, str(reason).replace('_', ' '))})" if reason else "–"
    if row["ci_lo"] is None:
        return f"{number(row[name])} (no interval)"
    return f"{number(row[name])} ({number(row['ci_lo'])} to {number(row['ci_hi'])})"


def refuse_folder(out: Path | str) -> Path:
    """The folder to write, resolved. Raises InputError where something is there that is not a former scorecard."""
    target = Path(out).expanduser().resolve()
    if not target.exists():
        return target
    names = {path.name for path in target.iterdir()} if target.is_dir() else {target.name}
    if not names:
        return target
    try:
        former = json.loads((target / FILE).read_text(encoding="utf-8"))
        ours = former["kind"] == KIND and names <= {FILE, *former["files"]}
    except (OSError, ValueError, KeyError, TypeError):
        ours = False
    if not ours:
        raise InputError(
            f"{target} holds something else than a former scorecard: {', '.join(sorted(names)[:5])}. Name another folder with"
            " --out; nothing was written."
        )
    return target


def write_scored(scored: Scored, out: Path | str) -> Path:
    """Write tables, pages and ``scorecard.json``; the folder appears whole, or stays as it was.

    Raises:
        InputError: where ``out`` holds anything but a former scorecard, which is replaced.
        StorageError: where it cannot be written.
    """
    target = refuse_folder(out)
    token = secrets.token_hex(4)
    hidden, aside = (target.with_name(f".{target.name}.{token}.{end}") for end in ("tmp", "old"))
    try:
        hidden.mkdir(parents=True)
        for name, frame in scored.tables().items():
            frame.write_parquet(hidden / f"{name}.parquet")
        for name, page in pages(scored).items():
            (hidden / name).write_text(page, encoding="utf-8")
        files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(hidden.iterdir())}
        text = json.dumps(scored.facts | {"kind": KIND, "files": files}, indent=1, ensure_ascii=False)
        (hidden / FILE).write_text(text + "\n", encoding="utf-8")
        if target.exists():
            target.replace(aside)
        try:
            hidden.replace(target)
        except OSError:
            if aside.exists():
                aside.replace(target)
            raise
    except OSError as error:
        raise StorageError(f"cannot write {target}: {error.strerror or error}. What was there is as it was.") from error
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
    shutil.rmtree(aside, ignore_errors=True)
    return target
