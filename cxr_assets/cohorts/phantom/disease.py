"""What is truly wrong in each study: findings that go together, rise with age and stay with a patient."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from cxr_assets.cohorts.phantom.config import FINDINGS, PhantomConfig

# Loadings on a shared "congestion" and a shared "infection" factor make edema come with cardiomegaly and effusion, and
# consolidation with atelectasis and effusion.
_CONGESTION = np.array([0.55, 0.60, 0.0, 0.0, 0.0, 0.45, 0.0, 0.0])
_INFECTION = np.array([0.0, 0.15, 0.40, 0.35, 0.0, 0.25, 0.0, 0.0])
_AGE_SLOPE = np.array([0.25, 0.20, 0.0, 0.10, -0.05, 0.15, 0.15, 0.25])
# Share of a finding's own variance that stays with the patient from study to study.
_PERSISTENT = 0.4


def true_findings(
    rng: np.random.Generator, age: NDArray[np.float64], patient: NDArray[np.int64], config: PhantomConfig
) -> NDArray[np.bool_]:
    """True findings ``(N, 8)`` from a Gaussian copula with shared factors, age slopes and a persistent patient part."""
    n, patients = age.size, int(patient.max()) + 1
    mixed = np.sqrt(_PERSISTENT) * rng.standard_normal((patients, len(FINDINGS) + 2))[patient] + np.sqrt(
        1.0 - _PERSISTENT
    ) * rng.standard_normal((n, len(FINDINGS) + 2))
    own = np.sqrt(1.0 - _CONGESTION**2 - _INFECTION**2)
    z = own * mixed[:, :-2] + _CONGESTION * mixed[:, -2:-1] + _INFECTION * mixed[:, -1:]
    decades = np.clip((age - 58.0) / 18.0, -2.0, 2.0)[:, None]
    slope = config.age_effect * _AGE_SLOPE
    z = (z + slope * decades) / np.sqrt(1.0 + slope**2)
    prevalence = np.array([config.prevalence[finding] for finding in FINDINGS])
    return z > -ndtri(prevalence)


def true_severities(rng: np.random.Generator, present: NDArray[np.bool_], config: PhantomConfig) -> NDArray[np.float64]:
    """Severities ``(N, 8)``: Beta, stretched to [0.06, 1]; 0 where absent."""
    shape = np.array([config.severity[finding] for finding in FINDINGS])
    drawn = 0.06 + 0.94 * rng.beta(shape[:, 0], shape[:, 1], present.shape)
    return np.where(present, drawn, 0.0)
