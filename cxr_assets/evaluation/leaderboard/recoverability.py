"""Whether what was asked for can be read off the films: findings, sex, recorded race and age (evaluation.md §2.3)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from cxr_assets.cohorts.demographics import UNKNOWN
from cxr_assets.evaluation.leaderboard.films import Seen
from cxr_assets.evaluation.leaderboard.groups import members
from cxr_assets.evaluation.leaderboard.judges import Judge
from cxr_assets.evaluation.leaderboard.metrics import ALL, score
from cxr_assets.evaluation.leaderboard.probes import MIN_OF_A_CLASS, Answer, Reader
from cxr_assets.evaluation.metrics import NO_FINDING

ATTRIBUTE_OF = {"sex_accuracy": "sex", "sex_auroc": "sex", "race_accuracy": "race", "age_error": "age_years"}
NO_JUDGE = "no judge: the classifier of real.r000 is not trained"


@dataclass(frozen=True)
class Figure:
    """One figure over some films: null with a reason where it is undefined."""

    value: float | None
    n: int
    null_reason: str | None = None


@dataclass(frozen=True)
class Asked:
    """Films with the truth they are held against: what was asked of synthetic ones, what is recorded of real ones.

    ``labels`` float by finding, shape ``(n,)`` each: 1, 0, or NaN where it does not count.
    """

    seen: Seen
    labels: Mapping[str, np.ndarray]


def auroc(truth: np.ndarray, scores: np.ndarray, *, least: int = MIN_OF_A_CLASS) -> Figure:
    """AUROC of scores against 0/1 truth, NaN left out; null with fewer than ``least`` films of either class."""
    from sklearn.metrics import roc_auc_score

    known = ~np.isnan(truth)
    positive, n = int(truth[known].sum()), int(known.sum())
    if positive < least or n - positive < least:
        return Figure(None, n, f"{positive} positive and {n - positive} negative films; {least} of each are needed")
    return Figure(float(roc_auc_score(truth[known], scores[known])), n)


def recovered(
    asked: Asked,
    answers: Mapping[str, Answer],
    judge: Judge | None,
    inside: np.ndarray,
    findings: Sequence[str],
    *,
    least: int,
) -> dict[tuple[str, str, str], Figure]:
    """All figures of one group of films, by (metric, finding, who says so).

    Args:
        answers: what is read of each attribute in all of the films.
        inside: the group, bool, shape ``(n,)``.
        least: fewer films in the group, and no figure of sex, race or age is given.
    """
    found = dict(_findings(asked, judge, inside, findings))
    for metric, attribute in ATTRIBUTE_OF.items():
        answer, column = answers[attribute], asked.seen.rows[attribute]
        known = inside & (column.is_not_null() & (column.cast(pl.String) != UNKNOWN)).fill_null(value=False).to_numpy()
        n = int(known.sum())
        if answer.values is None:
            figure = Figure(None, n, answer.null_reason)
        elif n < least:
            figure = Figure(None, n, f"{n} films; {least} are needed")
        else:
            figure = _attribute(metric, column.to_numpy()[known], answer.values[known])
        found[metric, ALL, answer.by] = figure
    return found


def _attribute(metric: str, wanted: np.ndarray, seen: np.ndarray) -> Figure:
    n = len(wanted)
    if metric == "sex_auroc":
        return auroc((wanted == "female").astype(np.float64), seen)
    if metric == "sex_accuracy":
        return Figure(float(((seen > 0.5) == (wanted == "female")).mean()), n)
    if metric == "race_accuracy":
        return Figure(float((seen == wanted).mean()), n)
    return Figure(float(np.abs(seen - wanted.astype(np.float64)).mean()), n)


def _findings(
    asked: Asked, judge: Judge | None, inside: np.ndarray, findings: Sequence[str]
) -> Iterator[tuple[tuple[str, str, str], Figure]]:
    """AUROC of each finding, then their mean over pathologies: "no finding" is their absence, not another one."""
    reading = asked.seen.reading
    by = judge.name if judge else "none"
    if reading is None:
        reason = NO_JUDGE if judge is None else "no films"
        yield ("label_auroc", ALL, by), Figure(None, int(inside.sum()), reason)
        return
    values = []
    for finding in findings:
        if finding not in reading.findings or finding not in asked.labels:
            continue
        figure = auroc(asked.labels[finding][inside], reading.findings[finding][inside])
        yield ("label_auroc", finding, by), figure
        if figure.value is not None and finding != NO_FINDING:
            values.append(figure.value)
    mean = float(np.mean(values)) if values else None
    why = None if values else "no finding with enough films of both classes that the judge knows"
    yield ("label_auroc", ALL, by), Figure(mean, int(inside.sum()), why)


def recoverability(
    methods: Mapping[str, Asked],
    real: Asked,
    reader: Reader,
    groups: Sequence[tuple[str, str]],
    findings: Sequence[str],
    *,
    least: int,
) -> list[dict[str, Any]]:
    """Rows of the scores: every method's figures overall and by group, beside the same on real films as ``ceiling``.

    The mean over findings is taken over those that a group has a figure for, so a group's mean is compared between
    methods, which were asked for the same, and not between groups.
    """
    rows = []
    judge, beside = reader.judge, reader.answers(real.seen)
    answers = {method: reader.answers(asked.seen) for method, asked in methods.items()}
    for attribute, group in groups:
        inside = members(real.seen.rows, attribute, group)
        top = recovered(real, beside, judge, inside, findings, least=least)
        for method, asked in methods.items():
            inside = members(asked.seen.rows, attribute, group)
            own = recovered(asked, answers[method], judge, inside, findings, least=least)
            for (metric, finding, by), figure in own.items():
                best = top.get((metric, finding, by))
                rows.append(
                    score(
                        method,
                        metric,
                        figure.value,
                        n=figure.n,
                        finding=finding,
                        features=by,
                        attribute=attribute,
                        group=group,
                        ceiling=best.value if best else None,
                        null_reason=figure.null_reason,
                    )
                )
    return rows
