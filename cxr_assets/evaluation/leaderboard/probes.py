"""Small linear probes that read sex, recorded race and age off features, where the judge does not say.

They are fitted on real validation films and their figures on real test films stand beside those on synthetic ones. What a
probe recovers of race may be equipment, site or exposure: it says that the generator carries it, not what it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from cxr_assets.evaluation.leaderboard.films import Seen
from cxr_assets.evaluation.leaderboard.judges import Judge

PROBE = "probe"
MIN_OF_A_CLASS = 5
_STRENGTH = 0.1  # few films, many features: weak weights


@dataclass(frozen=True)
class Answer:
    """What is read of an attribute in ``n`` films, by whom. ``values`` is None with a reason where nobody can say.

    ``values``: probability of female, recorded race as text, or age in years, shape ``(n,)``.
    """

    by: str
    values: np.ndarray | None
    null_reason: str | None = None


@dataclass(frozen=True)
class Probe:
    """A fitted probe of one attribute, or why there is none."""

    attribute: str
    model: Any = None
    null_reason: str | None = None

    def read(self, features: Mapping[str, np.ndarray]) -> Answer:
        """The attribute of films with these features."""
        if self.model is None:
            return Answer(PROBE, None, self.null_reason)
        x = stacked(features)
        if not len(x):
            return Answer(PROBE, np.empty(0))
        if self.attribute == "sex":
            return Answer(PROBE, self.model.predict_proba(x)[:, list(self.model.classes_).index("female")])
        return Answer(PROBE, self.model.predict(x))


def stacked(features: Mapping[str, np.ndarray]) -> np.ndarray:
    """All spaces side by side, in name order, float64 ``(n, widths)``. One space may be blind to what another sees."""
    return np.concatenate([features[name] for name in sorted(features)], axis=1)


def fit_probe(attribute: str, seen: Seen) -> Probe:
    """Fit a probe of ``sex``, ``race`` (logistic, classes weighted alike) or ``age_years`` (ridge) on films where it is known.

    There is none, with a reason, for fewer than two classes of MIN_OF_A_CLASS films, or as few films with an age. Classes
    that are smaller are left out of the fit.
    """
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    target = seen.rows[attribute]
    kept = target.is_not_null()
    if attribute != "age_years":
        counts = target.drop_nulls().value_counts().filter(pl.col("count") >= MIN_OF_A_CLASS)
        kept &= target.is_in(counts[attribute].implode()).fill_null(value=False)
    known = target.filter(kept)
    x = stacked(seen.features)[kept.to_numpy()]
    if attribute == "age_years":
        if len(known) < 2 * MIN_OF_A_CLASS:
            reason = f"{len(known)} real validate films with an age; a probe needs {2 * MIN_OF_A_CLASS}"
            return Probe(attribute, null_reason=reason)
        return Probe(attribute, make_pipeline(StandardScaler(), Ridge(alpha=len(x))).fit(x, known.to_numpy()))
    if known.n_unique() < 2:
        reason = f"real validate films have fewer than two groups of {attribute} with {MIN_OF_A_CLASS} films; no probe"
        return Probe(attribute, null_reason=reason)
    logistic = LogisticRegression(C=_STRENGTH, class_weight="balanced", max_iter=2000)
    return Probe(attribute, make_pipeline(StandardScaler(), logistic).fit(x, known.to_list()))


@dataclass(frozen=True)
class Reader:
    """Reads every attribute: by the judge where it says, else by a probe."""

    judge: Judge | None
    probes: Mapping[str, Probe]

    @classmethod
    def fit(cls, judge: Judge | None, validate: Seen) -> Reader:
        """Probes for all attributes, on real validation films."""
        return cls(judge, {name: fit_probe(name, validate) for name in ("sex", "race", "age_years")})

    def sex(self, seen: Seen) -> Answer:
        """Probability of female."""
        if self.judge is not None and seen.reading is not None and seen.reading.female is not None:
            return Answer(self.judge.name, seen.reading.female)
        return self.probes["sex"].read(seen.features)

    def race(self, seen: Seen) -> Answer:
        """Recorded race as text: always a probe's, as no judge here knows it."""
        return self.probes["race"].read(seen.features)

    def age_years(self, seen: Seen) -> Answer:
        """Age in years."""
        if self.judge is not None and seen.reading is not None and seen.reading.age_years is not None:
            return Answer(self.judge.age_from, seen.reading.age_years)
        return self.probes["age_years"].read(seen.features)

    def answers(self, seen: Seen) -> dict[str, Answer]:
        """Every attribute of the same films, by the name of its column."""
        return {"sex": self.sex(seen), "race": self.race(seen), "age_years": self.age_years(seen)}
