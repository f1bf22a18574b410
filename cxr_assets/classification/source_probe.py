"""Can a classifier tell synthetic films from real ones, and could it use that as a shortcut to a label?

A linear probe on the features before the last layer, scored on patients and images it did not see. That a probe finds the
source is no harm in itself; it is where the share of synthetic films differs with the label, for then "synthetic" predicts
the finding (evaluation.md §1.6).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
import torch
from torch import nn

from cxr_assets.classification.data import LabelledFilms, film_batch

PROBE = {
    "finding": pl.String,
    "label": pl.Int64,
    "n_real": pl.Int64,
    "n_synthetic": pl.Int64,
    "share_synthetic": pl.Float64,
    "auroc": pl.Float64,
    "ci_lo": pl.Float64,
    "ci_hi": pl.Float64,
    "null_reason": pl.String,
}
MOST = 500
_FOLDS = 3
_COUNTS = ["n_real", "n_synthetic", "share_synthetic"]


@torch.no_grad()
def penultimate_features(
    network: nn.Module, films: np.ndarray, *, device: torch.device, batch: int = 256
) -> np.ndarray:
    """What the last linear layer reads: float32 ``(n, width)`` of films uint8 ``(n, size, size)``, for any backbone."""
    last = [m for m in network.modules() if isinstance(m, nn.Linear)][-1]
    seen: list[np.ndarray] = []
    hook = last.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].float().cpu().numpy()))
    network.eval()
    try:
        for first in range(0, len(films), batch):
            network(film_batch(films[first : first + batch], device))
    finally:
        hook.remove()
    return np.concatenate(seen) if seen else np.empty((0, last.in_features), np.float32)


def probe_source(
    features: np.ndarray, synthetic: np.ndarray, labels: np.ndarray, owner: np.ndarray, findings: Sequence[str]
) -> pl.DataFrame:
    """AUROC of telling synthetic from real, over all films and within each label of each finding.

    Args:
        features: float ``(n, width)``; ``synthetic`` bool ``(n,)``; ``labels`` ``(n, findings)`` with NaN where unknown.
        owner: patient or image of each film, object ``(n,)``: no one's films are both learned from and scored.

    Returns:
        Columns of PROBE; ``label`` null in the first row, which is of all films. The interval is DeLong's.
    """
    from sklearn.linear_model import RidgeClassifier
    from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    groups = np.unique(owner.astype(str), return_inverse=True)[1]
    rarer = min((len(np.unique(groups[synthetic == s])) for s in (False, True)), default=0)
    scores = None
    if rarer >= _FOLDS:
        probe = make_pipeline(StandardScaler(), RidgeClassifier(alpha=10.0))
        folds = StratifiedGroupKFold(_FOLDS, shuffle=True, random_state=0)
        scores = cross_val_predict(probe, features, synthetic, groups=groups, cv=folds, method="decision_function")
    rows = [_row("all", None, np.ones(len(synthetic), bool), synthetic, scores, groups)]
    for column, finding in enumerate(findings):
        for label in (0, 1):
            rows.append(_row(finding, label, labels[:, column] == label, synthetic, scores, groups))
    return pl.DataFrame(rows, schema=PROBE)


def _row(
    finding: str,
    label: int | None,
    inside: np.ndarray,
    synthetic: np.ndarray,
    scores: np.ndarray | None,
    groups: np.ndarray,
) -> dict[str, object]:
    from cxr_assets.evaluation.delong import auroc_interval, structural_components

    made, real = int(synthetic[inside].sum()), int((~synthetic[inside]).sum())
    row: dict[str, object] = {"finding": finding, "label": label, "n_real": real, "n_synthetic": made}
    row["share_synthetic"] = made / (made + real) if made + real else None
    if scores is None or min(made, real) < 20:
        return row | {"null_reason": "too_few"}
    truth, who = synthetic[inside], groups[inside]
    found = auroc_interval(structural_components(scores[inside], truth.astype(np.float64)), (who[truth], who[~truth]))
    reason = None if np.isfinite(found.ci_lo) else "no_interval"
    if reason:
        return row | {"null_reason": reason}
    return row | {"auroc": found.auroc, "ci_lo": found.ci_lo, "ci_hi": found.ci_hi, "null_reason": None}


def probe_classifier(
    network: nn.Module, films: LabelledFilms, findings: Sequence[str], *, device: torch.device, seed: int = 0
) -> pl.DataFrame | None:
    """The probe on a training set's films, at most 500 of each source; None where there is one source only."""
    synthetic = (films.rows["origin"] == "synthetic").to_numpy()
    if synthetic.all() or not synthetic.any():
        return None
    rng = np.random.default_rng([seed, 4])
    picked = np.sort(
        np.concatenate([rng.permutation(np.flatnonzero(synthetic == source))[:MOST] for source in (False, True)])
    )
    owner = films.rows.select(pl.coalesce("patient_id", "image_id")).to_series().to_numpy()
    features = penultimate_features(network, films.films[picked], device=device)
    probed = probe_source(features, synthetic[picked], films.labels[picked], owner[picked], findings)
    return probed.drop(_COUNTS).hstack(_counts(synthetic, films.labels, findings)).select(list(PROBE))


def _counts(synthetic: np.ndarray, labels: np.ndarray, findings: Sequence[str]) -> pl.DataFrame:
    """Films of each source in the whole training set, in the order of :func:`probe_source`: the probe saw a sample."""
    cells = [np.ones(len(synthetic), bool), *(labels[:, c] == v for c in range(len(findings)) for v in (0, 1))]
    made, real = (np.array([(inside & (synthetic == s)).sum() for inside in cells]) for s in (True, False))
    share = np.divide(made, made + real, out=np.full(len(cells), np.nan), where=made + real > 0)
    return pl.DataFrame({"n_real": real, "n_synthetic": made, "share_synthetic": share}).with_columns(
        pl.col("share_synthetic").fill_nan(None)
    )


def shortcuts(probe: pl.DataFrame, *, tells: float = 0.6, differs: float = 0.1) -> list[str]:
    """Findings whose label the source gives away: it can be told (AUROC surely above 0.6) and its share differs by label."""
    pairs = probe.filter(pl.col("label") == 1).join(probe.filter(pl.col("label") == 0), on="finding", suffix="_absent")
    told = pl.max_horizontal("ci_lo", "ci_lo_absent") > tells
    apart = (pl.col("share_synthetic") - pl.col("share_synthetic_absent")).abs() > differs
    return pairs.filter((told & apart).fill_null(False))["finding"].to_list()
