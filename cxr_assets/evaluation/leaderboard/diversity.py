"""How much the images of one stratum differ, against how much real films of it do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from cxr_assets.evaluation.leaderboard.films import Seen
from cxr_assets.evaluation.leaderboard.groups import members
from cxr_assets.evaluation.leaderboard.metrics import score


def mean_distance(features: np.ndarray) -> float:
    """Mean Euclidean distance of all pairs, float64 ``(n, d)``, n at least 2. Its expectation does not depend on n."""
    from scipy.spatial.distance import pdist

    return float(pdist(features).mean())


def _by_stratum(strata: Sequence[str]) -> dict[str, np.ndarray]:
    found = pl.DataFrame({"stratum": strata}, schema={"stratum": pl.String}).with_row_index("row")
    parts = found.group_by("stratum", maintain_order=True).agg("row")
    return {s: np.array(rows) for s, rows in parts.iter_rows() if len(rows) > 1}


def strata_of_patients(films: pl.DataFrame, positives: pl.DataFrame) -> pl.DataFrame:
    """One row a real film and stratum that it shows, one film a patient: two films of a person are alike by themselves.

    Args:
        films: study_id, patient_id, age_bin, sex, race, with their position as ``row``.
        positives: study_id, finding.
    """
    shown = films.join(positives, on="study_id").drop_nulls(["age_bin", "sex", "race"])
    keyed = shown.with_columns(stratum=pl.concat_str("finding", "age_bin", "sex", "race", separator="."))
    return (
        keyed.sort("row").unique(["stratum", "patient_id"], keep="first", maintain_order=True).select("row", "stratum")
    )


def diversity(
    methods: Mapping[str, Seen],
    real: Seen,
    positives: pl.DataFrame,
    spaces: Sequence[str],
    groups: Sequence[tuple[str, str]],
    *,
    least: int,
) -> list[dict[str, Any]]:
    """Rows of the scores: mean distance within a stratum over that of real films of it; 1 for films as varied as real.

    The mean distances of strata are averaged before they are divided, each stratum counting once. Only strata that all
    methods and the real films have two or more films of enter, so that all are held against the same.

    Args:
        positives: study_id and finding of the real films that show it.
        least: images in such strata that a group needs.
    """
    at = strata_of_patients(real.rows.with_row_index("row"), positives)
    reals = {s: at["row"].to_numpy()[rows] for s, rows in _by_stratum(at["stratum"].to_list()).items()}
    own = {m: _by_stratum(seen.rows["stratum"].to_list()) for m, seen in methods.items()}
    shared = [s for s in reals if all(s in strata for strata in own.values())]
    first = {s: next(iter(own.values()))[s][0] for s in shared} if own else {}
    within: dict[tuple[str, str], dict[str, float]] = {}
    for space in spaces:
        within[space, ""] = {s: mean_distance(real.features[space][reals[s]]) for s in shared}
        for method, seen in methods.items():
            within[space, method] = {s: mean_distance(seen.features[space][own[method][s]]) for s in shared}
    rows = []
    for attribute, group in groups:
        # Every image of a stratum is of one cell, so its first tells whether the stratum is in the group.
        inside = members(next(iter(methods.values())).rows, attribute, group)
        chosen = [s for s in shared if inside[first[s]]]
        for space in spaces:
            beside = np.mean([within[space, ""][s] for s in chosen]) if chosen else 0.0
            for method in methods:
                n = sum(len(own[method][s]) for s in chosen)
                enough = n >= least and beside > 0
                value = float(np.mean([within[space, method][s] for s in chosen]) / beside) if enough else None
                rows.append(
                    score(
                        method,
                        "diversity",
                        value,
                        n=n,
                        features=space,
                        attribute=attribute,
                        group=group,
                        ceiling=1.0 if enough else None,
                        null_reason=f"{n} images in strata with two or more films of every method and of real patients;"
                        f" {least} are needed",
                    )
                )
    return rows
