"""How much label noise, in one group alone, would explain the gap between it and another.

Mutual contamination (Scott et al. 2013, COLT; Menon et al. 2015, ICML): of the films labelled positive a share ``a`` is
really negative, of those labelled negative a share ``b`` is really positive, and within a true class the wrong labels
fall regardless of the score. Then, at any threshold and with clean figures on the right,

- ``TPR_obs = (1 - a) TPR + a FPR``
- ``FPR_obs = (1 - b) FPR + b TPR``
- ``AUROC_obs - 1/2 = (1 - a - b) (AUROC - 1/2)``

Each is solved for the share that would make the worst group's clean figure equal to the reference group's. A share is
not a finding about the labels: it is how bad they would have to be.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from cxr_assets.errors import InputError

KINDS = {
    "tpr": "labelled_positives_really_negative",
    "fpr": "labelled_negatives_really_positive",
    "auroc": "sum_of_both_shares",
}


@dataclass(frozen=True)
class NoiseToExplain:
    """Noise that would explain a gap.

    ``share`` in [0, 1] of what ``kind`` names; ``under_labelled_rate`` in [0, 1], for FPR: the same noise as a share of
    the true positives. Both None with ``null_reason``: ``cannot_explain`` (no share in [0, 1] does it: the gap is
    reversed, or the classifier does not tell the classes apart that far) or ``undefined_input``.
    """

    kind: str
    share: float | None
    under_labelled_rate: float | None = None
    null_reason: str | None = None


def noise_to_explain(
    metric: str,
    worst: float | None,
    reference: float | None,
    *,
    fpr: float | None = None,
    tpr: float | None = None,
    n_pos: int | None = None,
    n_neg: int | None = None,
) -> NoiseToExplain:
    """Share of wrong labels in the worst group that would make its true figure that of the reference group.

    - ``tpr``: ``a = (TPR_ref - TPR_obs) / (TPR_ref - FPR)``, negatives taken as clean
    - ``fpr``: ``b = (FPR_obs - FPR_ref) / (TPR - FPR_ref)``, positives taken as clean (under-labelling); of the true
      positives ``b n_neg / (b n_neg + n_pos)`` are then labelled negative
    - ``auroc``: ``a + b = 1 - (AUROC_obs - 1/2) / (AUROC_ref - 1/2)``

    Args:
        metric: ``tpr``, ``fpr`` or ``auroc``.
        worst, reference: the metric in the worst group, as observed, and in the reference group, in [0, 1].
        fpr: false-positive rate of the worst group; needed for ``tpr``.
        tpr: true-positive rate of the worst group; needed for ``fpr``.
        n_pos, n_neg: films of the worst group labelled positive and negative; without them no under-labelled rate.
    """
    if metric not in KINDS:
        raise InputError(f"label noise: no formula for the metric {metric!r}. Known: {', '.join(KINDS)}.")
    kind = KINDS[metric]
    other = {"tpr": fpr, "fpr": tpr, "auroc": 0.5}[metric]
    if worst is None or reference is None or other is None or not all(map(math.isfinite, (worst, reference, other))):
        return NoiseToExplain(kind, None, null_reason="undefined_input")
    # One line for all three: what the figure lost, over what it loses when every label of the class is wrong.
    lost, most = (worst - reference, other - reference) if metric == "fpr" else (reference - worst, reference - other)
    if most <= 0 or not 0 <= lost <= most:
        return NoiseToExplain(kind, None, null_reason="cannot_explain")
    share = lost / most
    if metric != "fpr" or n_pos is None or n_neg is None or share * n_neg + n_pos == 0:
        return NoiseToExplain(kind, share)
    return NoiseToExplain(kind, share, share * n_neg / (share * n_neg + n_pos))
