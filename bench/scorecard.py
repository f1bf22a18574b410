"""How long a scorecard takes, beside fairlearn and scikit-learn on the same rows in the same process.

Three figures (docs/results/scorecard.md): count metrics of 1 M rows × 40 cells × 1,000 patient draws, AUROC by patient
draws and DeLong at 1 M rows, and everything for 14 findings × 40 cells at 200,000 rows.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable, Sequence

import numpy as np
import polars as pl

from cxr_assets.evaluation.cells import ScoredFilms, lattice
from cxr_assets.evaluation.counted import Counted, Pairs, by_group
from cxr_assets.evaluation.delong import compare, structural_components
from cxr_assets.evaluation.fairness import score_arm
from cxr_assets.evaluation.metrics import COUNT_METRICS
from cxr_assets.evaluation.resampling import Draws, percentile_interval
from cxr_assets.progress import Progress

ATTRIBUTES = {"sex": 2, "race": 4, "age_bin": 5}
FILMS_A_PATIENT = 5.8


def made_up(rows: int, findings: int, seed: int = 0) -> ScoredFilms:
    """Films of patients with some six films each, in 2 × 4 × 5 = 40 cells."""
    rng = np.random.default_rng(seed)
    patients = int(rows / FILMS_A_PATIENT)
    patient = np.unique(np.sort(rng.integers(0, patients, rows)), return_inverse=True)[1]
    patients = int(patient.max()) + 1
    people = {name: rng.integers(0, many, patients)[patient].astype(str) for name, many in ATTRIBUTES.items()}
    truth = (rng.random((rows, findings)) < rng.uniform(0.05, 0.3, findings)).astype(np.float64)
    logit = rng.normal(np.where(truth == 1, 0.2, -2.0), 1.1)
    scores = 1 / (1 + np.exp(-logit))
    frame = pl.DataFrame({"study_id": [f"s{i:07d}" for i in range(rows)], **people})
    return ScoredFilms(tuple(f"finding_{i}" for i in range(findings)), ("s0",), scores[None], truth, patient, frame)


def timed(work: Callable[[], object]) -> tuple[float, object]:
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def count_metrics(rows: int, replicates: int, seconds: float) -> None:
    """Every count metric of the 40 finest cells with intervals, beside MetricFrame's point estimate times replicates."""
    from fairlearn.metrics import MetricFrame, false_positive_rate, selection_rate, true_positive_rate

    films = made_up(rows, 1)

    def ours() -> np.ndarray:
        cells = lattice(films, list(ATTRIBUTES))
        pairs = Pairs.make(films, cells)
        draws = Draws.make(films.patients, 1, replicates, 0)
        present = films.truth[:, 0] == 1
        counted = Counted.make(pairs, np.arange(rows), films.scores[:, :, 0] >= 0.5, present)
        counts = by_group(counted.resampled(draws)[0], cells.groupings[-1])
        assert counts.shape[1] == 40
        for metric in COUNT_METRICS.values():
            percentile_interval(metric(counts)[1:])
        return counts

    ours()  # compile
    own, counts = timed(ours)
    groups = films.people.select(pl.concat_str(sorted(ATTRIBUTES), separator="×")).to_series().to_numpy()
    flagged, truth = (films.scores[0, :, 0] >= 0.5).astype(int), films.truth[:, 0].astype(int)
    rates = {"tpr": true_positive_rate, "fpr": false_positive_rate, "flag_rate": selection_rate}
    rng = np.random.default_rng(0)
    spent, done = 0.0, 0
    while spent < seconds:
        picked = rng.integers(0, rows, rows)
        took, _ = timed(
            lambda picked=picked: (
                MetricFrame(
                    metrics=rates,
                    y_true=truth[picked],
                    y_pred=flagged[picked],
                    sensitive_features=groups[picked],
                ).by_group
            )
        )
        spent, done = spent + took, done + 1
    theirs = spent / done * replicates
    print(f"count metrics  {rows:,} rows x 40 cells x {replicates} draws: {own:.2f} s (limit 10)")
    print(
        f"  fairlearn MetricFrame, 3 of the 6 metrics: {spent / done:.1f} s a replicate ({done} run): {theirs:,.0f} s"
    )
    print(f"  ratio {theirs / own:,.0f} (limit 1,000)")
    sample = np.asarray(counts)[0]
    whole = MetricFrame(metrics=rates, y_true=truth, y_pred=flagged, sensitive_features=groups).by_group
    worst = max(np.abs(COUNT_METRICS[k](sample) - whole[k].to_numpy()).max() for k in rates)
    print(f"  largest difference to fairlearn: {worst:.1e}")


def ranking(rows: int, replicates: int) -> None:
    """AUROC of patient draws beside scikit-learn's with sample weights, and DeLong's paired comparison."""
    from sklearn.metrics import roc_auc_score

    films = made_up(rows, 1)
    truth, scores = films.truth[:, 0], films.scores[0, :, 0]
    draws = Draws.make(films.patients, 1, replicates, 0)
    everyone = np.zeros(rows, dtype=np.int64)
    draws.ranks(films.patient[:100], scores[:100], truth[:100], everyone[:100], 1)  # compile
    own, (auroc, _) = timed(lambda: draws.ranks(films.patient, scores, truth, everyone, 1))  # type: ignore[misc]
    theirs = 0.0
    for replicate in range(5):
        weight = draws.by_patient[films.patient, replicate]
        took, value = timed(lambda weight=weight: roc_auc_score(truth, scores, sample_weight=weight))
        theirs += took / 5
        assert abs(float(value) - auroc[replicate, 0]) < 1e-9  # type: ignore[arg-type]
    each = own / (replicates + 1)
    print(f"AUROC  {rows:,} rows: {each * 1e3:.1f} ms a patient draw with average precision (limit 25)")
    print(f"  scikit-learn {theirs * 1e3:.0f} ms a draw; ratio {theirs / each:.1f} (limit 8)")
    other = np.clip(scores + np.random.default_rng(1).normal(0, 0.05, rows), 0, 1)
    took, result = timed(lambda: compare(structural_components(scores, truth), structural_components(other, truth)))
    print(f"DeLong, paired, {rows:,} rows: {took:.2f} s (limit 1); {result}")


def everything(rows: int, findings: int, replicates: int) -> None:
    """A whole scorecard, all tables."""
    films = made_up(rows, findings)
    cuts = {rule: np.full((1, findings), at) for rule, at in (("f1", 0.5), ("youden", 0.3), ("sensitivity90", 0.2))}
    took, card = timed(
        lambda: score_arm(
            films, cuts, arm="made_up", attributes=list(ATTRIBUTES), replicates=replicates, progress=Progress()
        )
    )
    rows_out = card.estimates.height, card.gaps.height  # type: ignore[attr-defined]
    print(f"everything  {rows:,} rows x {findings} findings x 40 cells: {took:.0f} s (limit 120), rows {rows_out}")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--replicates", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=60.0, help="time given to fairlearn's replicates")
    parser.add_argument("--only", choices=["counts", "ranking", "everything"])
    chosen = parser.parse_args(arguments)
    if chosen.only in (None, "counts"):
        count_metrics(chosen.rows, chosen.replicates, chosen.seconds)
    if chosen.only in (None, "ranking"):
        ranking(chosen.rows, min(chosen.replicates, 200))
    if chosen.only in (None, "everything"):
        everything(chosen.rows // 5, 14, chosen.replicates)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"peak memory {peak:.2f} GiB")


if __name__ == "__main__":
    main()
