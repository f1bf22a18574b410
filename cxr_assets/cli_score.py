"""``cxr score``: the scorecard of anybody's predictions, without a data root."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from cxr_assets.evaluation.config import Hypothesis
    from cxr_assets.scoring import Scored

_TABLE, _FITTING, _GROUPS, _STATISTICS = "Which column is what", "Thresholds", "Groups", "Statistics"


def score(
    predictions: Annotated[
        Path, typer.Argument(help="table of predictions: .parquet, .csv or .tsv (text may be .gz), any separator")
    ],
    out: Annotated[
        Path, typer.Option("--out", help="folder to write; a former scorecard there is replaced, anything else refused")
    ],
    mapping: Annotated[
        Path | None,
        typer.Option("--mapping", help="YAML that says which column is what (docs/score.md)", rich_help_panel=_TABLE),
    ] = None,
    maps: Annotated[
        list[str] | None,
        typer.Option("--map", help="one column, e.g. `--map patient_id=PatientID`; repeatable", rich_help_panel=_TABLE),
    ] = None,
    finding: Annotated[
        str | None,
        typer.Option("--finding", help="name of the finding, where the table is of one", rich_help_panel=_TABLE),
    ] = None,
    score_columns: Annotated[
        str | None,
        typer.Option("--score-columns", help="one row a study: e.g. `score_{finding}`", rich_help_panel=_TABLE),
    ] = None,
    truth_columns: Annotated[
        str | None,
        typer.Option("--truth-columns", help="with it, e.g. `truth_{finding}`", rich_help_panel=_TABLE),
    ] = None,
    patient_id_kind: Annotated[
        str,
        typer.Option(
            "--patient-id-kind",
            help="study or image where nobody knows whose film is whose; intervals are then named so",
            rich_help_panel=_TABLE,
        ),
    ] = "patient",
    attributes: Annotated[
        str | None,
        typer.Option(
            "--attributes",
            help="columns that make groups, e.g. `sex,race,age_bin`; `age` is put into bins; `none` for no groups",
            rich_help_panel=_GROUPS,
        ),
    ] = None,
    attributes_from: Annotated[
        Path | None,
        typer.Option(
            "--attributes-from", help="second table that has them, with study_id or patient_id", rich_help_panel=_GROUPS
        ),
    ] = None,
    threshold: Annotated[
        list[str] | None,
        typer.Option(
            "--threshold", help="given by hand, e.g. `--threshold edema=0.4`, or one for all", rich_help_panel=_FITTING
        ),
    ] = None,
    rule: Annotated[
        list[str] | None,
        typer.Option(
            "--rule",
            help="how to fit on validate rows: f1, youden, sensitivity90; repeatable, gaps are taken at the first",
            rich_help_panel=_FITTING,
        ),
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option("--baseline", help="model that others are held against; default: the first by name"),
    ] = None,
    declare: Annotated[
        list[str] | None,
        typer.Option(
            "--declare",
            help="gap declared before anybody looked, e.g. `race*sex` (TPR over all findings), `sex:edema`, `sex:edema:auroc`;"
            " repeatable; only these are ever reported; default: TPR over all findings by every attribute and intersection",
            rich_help_panel=_STATISTICS,
        ),
    ] = None,
    replicates: Annotated[
        int, typer.Option("--replicates", min=1, help="draws of patients for intervals", rich_help_panel=_STATISTICS)
    ] = 1000,
    permutations: Annotated[
        int, typer.Option("--permutations", min=1, help="for the gap that chance gives", rich_help_panel=_STATISTICS)
    ] = 1000,
    seed: Annotated[int, typer.Option("--seed", min=0, help="of all draws", rich_help_panel=_STATISTICS)] = 0,
    min_positives: Annotated[
        int, typer.Option("--min-positives", min=1, help="a group needs to enter a gap", rich_help_panel=_STATISTICS)
    ] = 50,
    min_negatives: Annotated[int, typer.Option("--min-negatives", min=1, rich_help_panel=_STATISTICS)] = 50,
    min_patients: Annotated[
        int, typer.Option("--min-patients", min=1, help="of either class", rich_help_panel=_STATISTICS)
    ] = 30,
    suppress_below: Annotated[
        int,
        typer.Option(
            "--suppress-below", min=0, help="fewer patients of either class: no figure", rich_help_panel=_STATISTICS
        ),
    ] = 20,
    format: Annotated[str, typer.Option("--format", help="text or json: what is printed; files are the same")] = "text",
) -> None:
    """Score anybody's predictions: figures by group with intervals by patient, gaps beside what chance gives, a report.

    One row for every study and finding, with the columns `patient_id, study_id, finding, score, truth` and, if you have
    them, `split` (validate, test), `model`, `seed`, `sex`, `race`, `age`. Thresholds are fitted on validate rows and used
    on test rows.

    `cxr score predictions.csv --out scorecard`
    """
    from cxr_assets.classification.thresholds import RULES
    from cxr_assets.evaluation.scorecard_tables import Eligibility
    from cxr_assets.progress import Progress
    from cxr_assets.scoring import score as compute
    from cxr_assets.scoring import write_scored
    from cxr_assets.scoring.mapping import read_mapping
    from cxr_assets.scoring.write import refuse_folder

    if format not in ("text", "json"):
        raise typer.BadParameter(f"--format {format!r}: choose text or json")
    refuse_folder(out)
    named = {
        "columns": dict(_pair(text, "--map", "patient_id=PatientID") for text in maps) if maps else None,
        "finding": finding,
        "score_columns": score_columns,
        "truth_columns": truth_columns,
    }
    chosen = None
    if attributes is not None:
        chosen = [] if attributes.strip() == "none" else [a.strip() for a in attributes.split(",") if a.strip()]
    scored = compute(
        predictions,
        attributes_table=attributes_from,
        attributes=chosen,
        mapping=read_mapping(mapping, **named),
        thresholds=_given(threshold) if threshold else None,
        rules=rule or RULES,
        patient_id_kind=patient_id_kind,
        baseline=baseline,
        replicates=replicates,
        permutations=permutations,
        seed=seed,
        family=_declared(declare) if declare else None,
        eligibility=Eligibility(min_positives, min_negatives, min_patients, suppress_below),
        progress=Progress(),
    )
    _print(scored, write_scored(scored, out), as_json=format == "json")


def _pair(text: str, option: str, example: str) -> tuple[str, str]:
    name, equals, value = (part.strip() for part in text.partition("="))
    if not (name and equals and value):
        raise typer.BadParameter(f"{option} {text!r}: write name=value, e.g. {option} {example}")
    return name, value


def _declared(texts: list[str]) -> list[Hypothesis]:
    from cxr_assets.evaluation.config import Hypothesis

    try:
        return [Hypothesis.parse(text) for text in texts]
    except ValueError as error:
        raise typer.BadParameter(f"--declare {error}") from None


def _given(texts: list[str]) -> float | dict[str, float]:
    """One number for all findings, or a number for each that is named."""
    try:
        if len(texts) == 1 and "=" not in texts[0]:
            return float(texts[0])
        pairs = (_pair(text, "--threshold", "edema=0.4") for text in texts)
        return {finding: float(value) for finding, value in pairs}
    except ValueError:
        raise typer.BadParameter("--threshold takes numbers: --threshold edema=0.4, or --threshold 0.5") from None


def _print(scored: Scored, folder: Path, *, as_json: bool) -> None:
    """What was found, one line a model, and where to read on."""
    from cxr_assets.scoring.report import lead

    if as_json:
        told = {
            "found": lead(scored),
            "reported": scored.gaps.filter("reported").to_dicts(),
            "report": str(folder / "report.html"),
        }
        typer.echo(json.dumps(scored.facts | told, indent=1, ensure_ascii=False))
        return
    for note in scored.facts["notes"]:
        typer.echo(f"note       {note}")
    for sentence in lead(scored):
        typer.echo(f"found      {sentence}")
    typer.echo(f"report     {folder / 'report.html'}")
