"""Scorecard of one arm: figures per group, gaps beside what chance gives, intervals by patient.

Rates, ranking and calibration of every attribute and intersection with intervals of a patient-cluster bootstrap; the gaps
between groups, raw and at equal prevalence and age, beside the gap that an exchange of groups between patients gives; and
each group against all others. Undefined is null with a reason. Definitions: :mod:`metrics`, :mod:`gaps`,
:mod:`calibration`; choices: docs/fairness.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from cxr_assets.evaluation.calibrated import score_calibration
from cxr_assets.evaluation.card import Card, Present
from cxr_assets.evaluation.cells import OVERALL, POOLED, ScoredFilms, lattice
from cxr_assets.evaluation.config import Hypothesis
from cxr_assets.evaluation.counted import Counted, Pairs, Tally
from cxr_assets.evaluation.family import adjust, declared, refuse_unknown
from cxr_assets.evaluation.matched_gaps import MatchedPool, score_matched
from cxr_assets.evaluation.metrics import NO_FINDING
from cxr_assets.evaluation.operating import score_counts
from cxr_assets.evaluation.ranked import Ranked
from cxr_assets.evaluation.ranking import Pooled, score_ranking
from cxr_assets.evaluation.resampling import Draws
from cxr_assets.evaluation.scorecard_tables import Eligibility, Scorecard
from cxr_assets.progress import Progress


def score_arm(
    films: ScoredFilms,
    thresholds: Mapping[str, np.ndarray],
    *,
    arm: str,
    attributes: Sequence[str],
    replicates: int = 1000,
    permutations: int = 1000,
    seed: int = 0,
    eligibility: Eligibility | None = None,
    evaluation_set: str = "test",
    patient_kind: str = "patient",
    age: str | None = "age_bin",
    family: Sequence[Hypothesis] | None = None,
    progress: Progress | None = None,
) -> Scorecard:
    """Scorecard of one arm, averaged over its training seeds.

    Every replicate draws training seeds first, then patients (hierarchical), with the same patient draws for every arm.

    Args:
        thresholds: by name of the rule, float64 ``(learners, findings)`` each, fitted on other films; NaN where there is
            none. The first rule is the primary one, which gaps are taken at.
        attributes: columns of ``films.people``; all their intersections are scored too.
        permutations: exchanges of groups between patients, for the gaps that chance gives.
        patient_kind: what ``patient_id`` stands for; an interval is called patient-clustered only for ``patient``.
        age: attribute whose distribution the matched gaps make equal, where it is one of the attributes.
        family: the hypotheses declared beforehand (Holm); by default the pooled TPR gap of every attribute and
            intersection.
    """
    refuse_unknown(family or (), attributes, films.findings)
    divided = lattice(films, attributes)
    card = Card(
        films=films,
        lattice=divided,
        pairs=Pairs.make(films, divided),
        draws=Draws.make(films.patients, len(films.learners), replicates, seed),
        rule=eligibility or Eligibility(),
        common={"arm": arm, "learner": "all", "evaluation_set": evaluation_set},
        unit="patient" if patient_kind == "patient" else patient_kind,
        permutations=permutations,
        seed=seed,
        ages=_codes(films, age) if age is not None and age in attributes else None,
        age_name=age,
    )
    rules = list(thresholds)
    pooled: dict[str, list[Tally]] = {rule: [] for rule in rules}
    present: Counted | None = None  # films of all pathologies, and of those that have a threshold
    judged: Counted | None = None
    mean_auroc, matched = Pooled(card), MatchedPool(card)
    with (progress or Progress(quiet=True)).task(f"scorecard of {arm}", total=len(films.findings) + 1) as advance:
        for column, finding in enumerate(films.findings):
            one = Ranked.of(films, column)
            everyone = np.ones_like(one.scores, dtype=bool)
            there = Present.of(Counted.make(card.pairs, one.rows, everyone, one.truth), card.lattice)
            flagged: np.ndarray | None = None
            for rule in rules:
                cuts = thresholds[rule][:, column]
                flags = None if np.isnan(cuts).any() else one.scores >= cuts[:, None]
                tallies = []
                if flags is not None:
                    tallies = [Tally.of(Counted.make(card.pairs, one.rows, flags, one.truth), card.draws)]
                score_counts(card, finding, rule, tallies, there, primary=rule == rules[0])
                if rule == rules[0]:
                    flagged = flags
                if tallies and finding != NO_FINDING:
                    pooled[rule] += tallies
                    if rule == rules[0]:
                        judged = there.counted if judged is None else judged + there.counted
            if finding != NO_FINDING:
                present = there.counted if present is None else present + there.counted
            score_ranking(card, finding, one, there, mean_auroc)
            score_calibration(card, finding, one, there)
            score_matched(card, finding, one, there, flagged, rules[0] if rules else None, matched)
            advance(note=finding)
        everything, profile = _all_of(card, judged), _findings_of(films)
        for rule in rules:
            score_counts(card, POOLED, rule, pooled[rule], everything, primary=rule == rules[0], profile=profile)
        if rules:
            _any_finding(card, thresholds[rules[0]], rules[0], profile)
            matched.write(everything, rules[0])
        mean_auroc.write(_all_of(card, present))
        advance()
    frame = adjust(card.gaps.frame(), declared(card.lattice) if family is None else family)
    primary = (pl.col("threshold_id").is_null() | (pl.col("threshold_id") == (rules[0] if rules else ""))) & (
        pl.col("weight_scheme") == "none"
    )
    return Scorecard(
        card.estimates.frame().with_columns(primary=primary),
        frame.with_columns(primary=primary),
        card.replicates.frame(),
        card.reliability.frame(),
    )


def _all_of(card: Card, counted: Counted | None) -> Present | None:
    return None if counted is None else Present.of(counted, card.lattice, pooled=True)


def _findings_of(films: ScoredFilms) -> np.ndarray:
    """Number of the set of findings that each patient has on any film, int64 ``(patients,)``."""
    ill = np.zeros((films.patients, len(films.findings)), dtype=bool)
    film, finding = np.nonzero(films.truth == 1)
    ill[films.patient[film], finding] = True
    by_name = ill[:, np.argsort(films.findings)]  # what is drawn must not hang on the order of findings
    return np.unique(by_name, axis=0, return_inverse=True)[1].reshape(-1)


def _any_finding(card: Card, cuts: np.ndarray, rule: str, profile: np.ndarray) -> None:
    """Ill films on which no finding is flagged: underdiagnosis in its any-finding form (evaluation.md §1.3).

    A film is ill if any pathology is known to be there, healthy if all are known to be absent; others do not count.
    """
    films = card.films
    columns = [i for i, f in enumerate(films.findings) if f != NO_FINDING and not np.isnan(cuts[:, i]).any()]
    if not columns:
        return
    truth, scores = films.truth[:, columns], films.scores[:, :, columns]
    ill, healthy = (truth == 1).any(axis=1), (truth == 0).all(axis=1)
    rows = np.flatnonzero((ill | healthy) & ~np.isnan(scores).any(axis=(0, 2)))
    flagged = np.any(scores[:, rows] >= cuts[:, None, columns], axis=2, keepdims=False)
    there = Present.of(Counted.make(card.pairs, rows, np.ones_like(flagged), ill[rows]), card.lattice)
    tally = Tally.of(Counted.make(card.pairs, rows, flagged, ill[rows]), card.draws)
    named = {"underdiagnosis_any": "fnr"}
    score_counts(card, POOLED, rule, [tally], there, primary=True, named=named, profile=profile)


def _codes(films: ScoredFilms, attribute: str) -> np.ndarray:
    """Bins of an attribute as int64, -1 where it is not known."""
    values = films.people[attribute].cast(pl.String)
    known = values.set(values.is_in(["unknown", ""]).fill_null(True), None)
    return known.rank("dense").cast(pl.Int64).fill_null(0).to_numpy() - 1


__all__ = ["NO_FINDING", "OVERALL", "Eligibility", "Hypothesis", "Scorecard", "score_arm"]
