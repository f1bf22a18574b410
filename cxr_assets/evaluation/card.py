"""Rows of a scorecard: figures of groups with their intervals, and gaps between them with their null."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from cxr_assets.evaluation import gaps
from cxr_assets.evaluation.cells import OVERALL, Grouping, Lattice, ScoredFilms
from cxr_assets.evaluation.counted import Counted, Pairs
from cxr_assets.evaluation.label_noise import NoiseToExplain
from cxr_assets.evaluation.metrics import NEEDS_NEGATIVES, NEEDS_POSITIVES
from cxr_assets.evaluation.permutation import Exchange, null_of
from cxr_assets.evaluation.resampling import Draws, bca_interval, interval, percentile_interval
from cxr_assets.evaluation.scorecard_tables import ESTIMATES, GAPS, RELIABILITY, REPLICATES, Eligibility, Rows

_REASON = "<U24"


@dataclass(frozen=True)
class Sizes:
    """What each group of a grouping holds of one finding, int64 ``(groups,)`` each.

    ``people`` ``(2, groups)``: patients with a positive film, and with a negative one.
    """

    images: np.ndarray
    patients: np.ndarray
    positives: np.ndarray
    negatives: np.ndarray
    people: np.ndarray

    @property
    def smaller(self) -> np.ndarray:
        """Patients who have the rarer class."""
        return self.people.min(axis=0)


@dataclass(frozen=True)
class Present:
    """Films of one finding before any threshold: positives and negatives of each patient, and sizes by attribute."""

    counted: Counted
    sizes: Mapping[str, Sizes]

    @classmethod
    def of(cls, counted: Counted, lattice: Lattice, *, pooled: bool = False) -> Present:
        """From counts in which every film is flagged: positives stand as tp, negatives as fp.

        Args:
            pooled: counts run over findings, so that a film is one image however often it is counted.
        """
        pairs = counted.pairs
        classes = counted.counts.mean(axis=1)[:, [0, 2]]
        some = classes.sum(axis=1) > 0
        films = np.bincount(pairs.of_film, minlength=len(pairs.patient))
        sizes = {}
        for grouping in lattice.groupings:
            groups = len(grouping.groups)
            member = grouping.of_cell[pairs.cell]
            inside = member >= 0
            positives, negatives = (
                np.rint(np.bincount(member[inside], classes[inside, k], groups)).astype(np.int64) for k in (0, 1)
            )
            images = positives + negatives
            if pooled:
                images = np.bincount(member[inside], films[inside], groups).astype(np.int64)
            key = np.where(inside, pairs.patient * groups + member, 0)
            people = np.zeros((3, pairs.patients * groups), dtype=bool)
            for there, has in zip(people, (some, classes[:, 0] > 0, classes[:, 1] > 0), strict=True):
                there[key[inside & has]] = True
            patients, *either = people.reshape(3, -1, groups).sum(axis=1)
            sizes[grouping.attribute] = Sizes(images, patients, positives, negatives, np.stack(either))
        return cls(counted, sizes)


@dataclass
class Card:
    """One arm being scored: what was resampled, and the tables as they fill."""

    films: ScoredFilms
    lattice: Lattice
    pairs: Pairs
    draws: Draws
    rule: Eligibility
    common: dict[str, str]
    unit: str
    permutations: int
    seed: int
    ages: np.ndarray | None
    age_name: str | None
    estimates: Rows = field(default_factory=lambda: Rows(ESTIMATES))
    gaps: Rows = field(default_factory=lambda: Rows(GAPS))
    replicates: Rows = field(default_factory=lambda: Rows(REPLICATES))
    reliability: Rows = field(default_factory=lambda: Rows(RELIABILITY))

    @property
    def b_reps(self) -> int:
        return self.draws.replicates - 1

    def eligible(self, sizes: Sizes) -> np.ndarray:
        """Groups that may enter a gap, bool ``(groups,)``; one too small to be shown may not, whatever the other rules."""
        rule = self.rule
        enough = (sizes.positives >= rule.min_positives) & (sizes.negatives >= rule.min_negatives)
        return enough & (sizes.smaller >= max(rule.min_patients, rule.suppress_below))

    def blank(self) -> Card:
        """The same films and draws, tables empty."""
        return replace(
            self, estimates=Rows(ESTIMATES), gaps=Rows(GAPS), replicates=Rows(REPLICATES), reliability=Rows(RELIABILITY)
        )

    def extend(self, other: Card) -> None:
        """Append the rows of another card."""
        for name in ("estimates", "gaps", "replicates", "reliability"):
            getattr(self, name).extend(getattr(other, name))

    def exchange(self, present: Present, profile: np.ndarray | None = None) -> Exchange:
        """Exchanges of groups between patients with alike numbers of positives and negatives (:class:`Exchange`)."""
        counts = present.counted.by_patient().mean(axis=1)[:, [0, 2]]
        return Exchange.make(self.lattice, self.films.patient, counts, self.permutations, self.seed, profile)

    def figures(
        self,
        grouping: Grouping,
        finding: str,
        metric: str,
        values: np.ndarray,
        sizes: Sizes,
        *,
        threshold_id: str | None = None,
        ends: tuple[np.ndarray, np.ndarray] | None = None,
        method: str | None = None,
        reasons: np.ndarray | None = None,
        weight_scheme: str = "none",
        effective: np.ndarray | None = None,
    ) -> None:
        """One row a group.

        Args:
            values: the sample first, then replicates, shape ``(replicates + 1, groups)``.
            ends: interval that does not come from the replicates.
            reasons: why a figure is undefined, str ``(groups,)``, empty where it is defined.
        """
        hidden = self._hidden(grouping, sizes)
        low, high = np.full((2, len(hidden)), np.nan) if ends is None else ends
        if ends is None:
            told = ~hidden & np.isfinite(values[0])
            low[told], high[told] = percentile_interval(values[1:, told])
        reason = self._reasons(grouping, metric, values[0], sizes)
        if reasons is not None:
            reason = np.where((reason == "") | (reason == "undefined"), reasons, reason)
        reason[(reason == "") & ~np.isfinite(low)] = "unstable"  # no figure stands without its interval
        gone = reason != ""
        self.estimates.add(
            len(grouping.groups),
            **self.common,
            finding=finding,
            attribute=grouping.attribute,
            group=grouping.groups,
            metric=metric,
            threshold_id=threshold_id,
            n_images=sizes.images,
            n_patients=sizes.patients,
            n_pos=[None if h else int(n) for h, n in zip(hidden, sizes.positives, strict=True)],
            n_neg=[None if h else int(n) for h, n in zip(hidden, sizes.negatives, strict=True)],
            estimate=np.where(gone, np.nan, values[0]),
            ci_lo=np.where(gone, np.nan, low),
            ci_hi=np.where(gone, np.nan, high),
            ci_method=method or f"{self.unit}_bootstrap_percentile",
            b_reps=0 if ends is not None else self.b_reps,
            null_reason=[r or None for r in reason.tolist()],
            eligible=self.eligible(sizes),
            weight_scheme=weight_scheme,
            effective_n=sizes.images if effective is None else effective,
        )

    def _hidden(self, grouping: Grouping, sizes: Sizes) -> np.ndarray:
        """Groups so small that their counts could tell of a person."""
        return (sizes.smaller < self.rule.suppress_below) & (grouping.attribute != OVERALL)

    def _reasons(self, grouping: Grouping, metric: str, value: np.ndarray, sizes: Sizes) -> np.ndarray:
        reason = np.full(len(value), "", dtype=_REASON)
        reason[~np.isfinite(value)] = "undefined"
        if metric in NEEDS_NEGATIVES:
            reason[sizes.negatives == 0] = "no_neg"
        if metric in NEEDS_POSITIVES:
            reason[sizes.positives == 0] = "no_pos"
        reason[self._hidden(grouping, sizes)] = "suppressed"  # last: that there is none would tell of a person too
        return reason

    def gap(
        self,
        grouping: Grouping,
        finding: str,
        metric: str,
        kind: str,
        values: np.ndarray | None,
        *,
        groups: int,
        threshold_id: str | None = None,
        worst: str | None = None,
        best: str | None = None,
        null: np.ndarray | None = None,
        influence: np.ndarray | None = None,
        noise: NoiseToExplain | None = None,
        weight_scheme: str = "none",
        effective: float | None = None,
        reason: str | None = None,
    ) -> None:
        """One gap; ``values`` the sample first, then replicates; ``null`` the same for permutations."""
        row: dict[str, object] = {"null_reason": reason or ("fewer_than_two_groups" if values is None else None)}
        if noise is not None:
            row |= {
                "noise_to_explain": noise.share,
                "noise_kind": noise.kind,
                "under_labelled_rate": noise.under_labelled_rate,
                "noise_reason": noise.null_reason,
            }
        if values is not None:
            low, high = interval(values[1:])
            bca = (None, None) if influence is None else bca_interval(values, influence)
            mean, p = (None, None) if null is None else null_of(null)
            missing = "unstable" if low is None else "no_null" if null is not None and p is None else None
            row |= {
                "null_reason": reason or missing,
                "observed": float(values[0]),
                "ci_lo": low,
                "ci_hi": high,
                "bca_lo": bca[0],
                "bca_hi": bca[1],
                "ci_method": f"{self.unit}_bootstrap_percentile",
                "b_reps": len(values) - 1,
                "null_mean": mean,
                "excess": None if mean is None else float(values[0]) - mean,
                "p_perm": p,
            }
        self.gaps.add(
            1,
            **self.common,
            finding=finding,
            attribute=grouping.attribute,
            metric=metric,
            threshold_id=threshold_id,
            gap_kind=kind,
            groups=groups,
            family="exploratory",
            worst_group=worst,
            best_group=best,
            reported=False,
            weight_scheme=weight_scheme,
            effective_n=effective,
            **row,
        )

    def max_min(
        self,
        grouping: Grouping,
        finding: str,
        metric: str,
        values: np.ndarray,
        sizes: Sizes,
        *,
        threshold_id: str | None = None,
        null: np.ndarray | None = None,
        influence: Callable[[int], np.ndarray] | None = None,
        noise: Callable[[int, int], NoiseToExplain | None] | None = None,
        weight_scheme: str = "none",
        effective: np.ndarray | None = None,
    ) -> np.ndarray | None:
        """The max–min gap over eligible groups; returns its replicates, None where fewer than two groups enter.

        Args:
            null: figures of every group when groups are exchanged, the sample first, ``(permutations + 1, groups)``.
            influence: of each patient on a group's figure; gives the BCa interval beside the percentile one.
            noise: label noise that would explain the distance of the worst group to the best.
        """
        eligible = self.eligible(sizes)
        shown = gaps.usable(values, eligible)
        named = {"threshold_id": threshold_id, "weight_scheme": weight_scheme}
        if shown.sum() < 2:
            why = None if eligible.sum() < 2 else "undefined"
            self.gap(grouping, finding, metric, "max_min", None, groups=int(shown.sum()), reason=why, **named)  # type: ignore[arg-type]
            return None
        worst, best = gaps.ends(values, shown, metric)
        high, low = (worst, best) if values[0, worst] > values[0, best] else (best, worst)
        spread = gaps.max_min(values, shown)
        self.gap(
            grouping,
            finding,
            metric,
            "max_min",
            spread,
            groups=int(shown.sum()),
            worst=grouping.groups[worst],
            best=grouping.groups[best],
            null=None if null is None else gaps.max_min(null, shown),
            influence=None if influence is None else influence(high) - influence(low),
            noise=None if noise is None else noise(worst, best),
            effective=None if effective is None else float(effective[shown].min()),
            **named,  # type: ignore[arg-type]
        )
        return spread

    def keep(
        self, grouping: Grouping, finding: str, group: str, metric: str, quantity: str, values: np.ndarray
    ) -> None:
        """Keep replicates, so that arms can be compared draw by draw."""
        self.replicates.add(
            len(values),
            arm=self.common["arm"],
            finding=finding,
            attribute=grouping.attribute,
            group=group,
            metric=metric,
            quantity=quantity,
            replicate=np.arange(len(values)),
            value=values.astype(np.float64),
        )
