"""The films of one finding, with what every learner says of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cxr_assets.evaluation.cells import Grouping, ScoredFilms
from cxr_assets.evaluation.resampling import Draws


@dataclass(frozen=True)
class Ranked:
    """Films of one finding whose truth is known and which every learner scored.

    ``rows`` int64 ``(films,)`` index the arm's films; ``scores`` float64 ``(learners, films)``; ``truth`` bool ``(films,)``;
    ``patient`` int64 ``(films,)``.
    """

    rows: np.ndarray
    scores: np.ndarray
    truth: np.ndarray
    patient: np.ndarray

    @classmethod
    def of(cls, films: ScoredFilms, column: int) -> Ranked:
        rows = np.flatnonzero(~np.isnan(films.truth[:, column]) & ~np.isnan(films.scores[:, :, column]).any(axis=0))
        return cls(rows, films.scores[:, rows, column], films.truth[rows, column] == 1, films.patient[rows])

    def member(self, grouping: Grouping, shown: np.ndarray) -> np.ndarray:
        """Group of each film, -1 for those of no group or of one that is not ``shown`` (bool, one for each group)."""
        member = grouping.member[self.rows]
        return np.where((member >= 0) & shown[np.maximum(member, 0)], member, -1)

    def ranks(
        self, draws: Draws, member: np.ndarray, groups: int, value: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """AUROC and average precision of every replicate and group, mean over learners as drawn."""
        pairs = [draws.ranks(self.patient, s, self.truth, member, groups, value) for s in self.scores]
        auroc, precision = (draws.mean(np.stack(each)) for each in zip(*pairs, strict=True))
        return auroc, precision
