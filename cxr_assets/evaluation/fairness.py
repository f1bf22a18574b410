"""Scorecard of one arm: figures per group, gaps beside what chance gives, intervals by patient.

Rates, ranking and calibration of every attribute and intersection with intervals of a patient-cluster bootstrap; the gaps
between groups, raw and at equal prevalence and age, beside the gap that an exchange of groups between patients gives; and
each group against all others. Undefined is null with a reason. Definitions: :mod:`metrics`, :mod:`gaps`,
:mod:`calibration`; choices: docs/fairness.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import polars as pl

from cxr_assets.evaluation.calibrated import score_calibration
from cxr_assets.evaluation.card import Card, Present
from cxr_assets.evaluation.cells import OVERALL, POOLED, ScoredFilms, lattice, recorded
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

_WORTH_TWO = 20_000
"""Films from which two findings are scored at once: one is laid out while the other is in compiled loops."""


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
    whole = _Part(card, {rule: [] for rule in rules}, Pooled(card), MatchedPool(card))
    at_once = 2 if len(films.patient) >= _WORTH_TWO else 1
    with (
        (progress or Progress(quiet=True)).task(f"scorecard of {arm}", total=len(films.findings) + 1) as advance,
        ThreadPoolExecutor(at_once) as pool,
    ):
        parts = pool.map(lambda column: _score_finding(card.blank(), column, thresholds), range(len(films.findings)))
        for finding, part in zip(films.findings, parts, strict=True):
            whole.extend(part, pathology=finding != NO_FINDING)
            advance(note=finding)
        _score_pooled(whole, thresholds)
        advance()
    frame = adjust(card.gaps.frame(), declared(divided) if family is None else family)
    primary = (pl.col("threshold_id").is_null() | (pl.col("threshold_id") == (rules[0] if rules else ""))) & (
        pl.col("weight_scheme") == "none"
    )
    return Scorecard(
        card.estimates.frame().with_columns(primary=primary),
        frame.with_columns(primary=primary),
        card.replicates.frame(),
        card.reliability.frame(),
    )


@dataclass
class _Part:
    """What scoring one finding leaves behind, or several: rows, and what is averaged over the pathologies at last.

    ``present``: films of the pathologies; ``judged``: of those that have a threshold at the primary rule.
    """

    card: Card
    tallies: dict[str, list[Tally]]
    auroc: Pooled
    matched: MatchedPool
    present: Counted | None = None
    judged: Counted | None = None

    def extend(self, part: _Part, *, pathology: bool) -> None:
        """Take in a finding; No Finding gives rows alone."""
        self.card.extend(part.card)
        if not pathology:
            return
        for rule, tallies in part.tallies.items():
            self.tallies[rule] += tallies
        self.auroc.extend(part.auroc)
        self.matched.extend(part.matched)
        for name in ("present", "judged"):
            own, other = getattr(self, name), getattr(part, name)
            setattr(self, name, other if own is None else own if other is None else own + other)


def _score_finding(card: Card, column: int, thresholds: Mapping[str, np.ndarray]) -> _Part:
    """All rows of one finding."""
    finding, one = card.films.findings[column], Ranked.of(card.films, column)
    everyone = np.ones_like(one.scores, dtype=bool)
    there = Present.of(Counted.make(card.pairs, one.rows, everyone, one.truth), card.lattice)
    part = _Part(card, {}, Pooled(card), MatchedPool(card), present=there.counted)
    primary: str | None = None
    flagged: np.ndarray | None = None
    for rule, of_findings in thresholds.items():
        cuts = of_findings[:, column]
        flags = None if np.isnan(cuts).any() else one.scores >= cuts[:, None]
        tallies = []
        if flags is not None:
            tallies = [Tally.of(Counted.make(card.pairs, one.rows, flags, one.truth), card.draws)]
        score_counts(card, finding, rule, tallies, there, primary=primary is None)
        part.tallies[rule] = tallies
        if primary is None:
            primary, flagged = rule, flags
            part.judged = None if flags is None else there.counted
    score_ranking(card, finding, one, there, part.auroc)
    score_calibration(card, finding, one, there)
    score_matched(card, finding, one, there, flagged, primary, part.matched)
    return part


def _score_pooled(whole: _Part, thresholds: Mapping[str, np.ndarray]) -> None:
    """Rows over all pathologies."""
    card = whole.card
    judged, present = (
        None if counted is None else Present.of(counted, card.lattice, pooled=True)
        for counted in (whole.judged, whole.present)
    )
    profile = _findings_of(card.films)
    for at, (rule, tallies) in enumerate(whole.tallies.items()):
        score_counts(card, POOLED, rule, tallies, judged, primary=at == 0, profile=profile)
    for rule in list(thresholds)[:1]:
        _any_finding(card, thresholds[rule], rule, profile)
        whole.matched.write(judged, rule)
    whole.auroc.write(present)


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
    return recorded(films.people[attribute]).rank("dense").cast(pl.Int64).fill_null(0).to_numpy() - 1


__all__ = ["NO_FINDING", "OVERALL", "Eligibility", "Hypothesis", "Scorecard", "score_arm"]
