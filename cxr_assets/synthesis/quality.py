"""Gates of quality control: each looks at one film and its request, and says why it cannot be used, or None."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from cxr_assets.errors import SettingsError
from cxr_assets.settings import SynthesisSettings
from cxr_assets.synthesis.requests import ImageRequest
from cxr_assets.warehouse.manifest import folder_digest

Gate = Callable[[np.ndarray, ImageRequest], str | None]
"""Takes a film, uint8, shape ``(h, w)``."""


class Judge(Protocol):
    """What the oracle is to a gate."""

    @property
    def findings(self) -> tuple[str, ...]: ...

    def judge(self, films: np.ndarray, /) -> Any: ...


def quality_fault(film: np.ndarray, min_contrast: float) -> str | None:
    """Why an image cannot be used, or None. Contrast is the standard deviation of grey values in [0, 1]."""
    contrast = float(film.std()) / 255.0
    return f"contrast {contrast:.3f} below {min_contrast:g}" if contrast < min_contrast else None


def saturation_fault(film: np.ndarray, max_saturation: float) -> str | None:
    """Why an image cannot be used, or None. Saturation is the share of pixels that are 0 or 255."""
    share = float(((film == 0) | (film == 255)).mean())
    return f"saturation {share:.3f} above {max_saturation:g}" if share > max_saturation else None


class CopyGate:
    """Refuses a film whose pixels are those of an earlier film of its stratum.

    It remembers what it lets through, so it comes last, and a stratum has its own.
    """

    def __init__(self) -> None:
        self._seen: dict[bytes, str] = {}

    def __call__(self, film: np.ndarray, request: ImageRequest) -> str | None:
        digest = hashlib.sha256(repr(film.shape).encode() + film.tobytes()).digest()
        other = self._seen.setdefault(digest, request.prompt_id)
        return None if other == request.prompt_id else f"copy of {other}"


def judge_gate(judge: Judge, threshold: float) -> Gate:
    """A gate that refuses a film whose first label is not seen; one that the judge does not know passes."""

    def gate(film: np.ndarray, request: ImageRequest) -> str | None:
        if request.labels[0] not in judge.findings:
            return None
        seen = float(judge.judge(film[None]).findings[0, judge.findings.index(request.labels[0])])
        return f"{request.labels[0]} seen at {seen:.3f}, below {threshold:g}" if seen < threshold else None

    return gate


def first_fault(gates: Sequence[Gate], film: np.ndarray, request: ImageRequest) -> str | None:
    """What the first gate that refuses a film says, None where all let it pass."""
    return next((fault for gate in gates if (fault := gate(film, request)) is not None), None)


def open_judge(settings: SynthesisSettings) -> Judge | None:
    """The judge as configured, None for none."""
    if settings.judge == "none":
        return None
    from cxr_assets.evaluation.oracle import Oracle

    return Oracle.load()


def gates_of(settings: SynthesisSettings, judge: Judge | None) -> list[Gate]:
    """Gates for one stratum, the cheap ones first."""
    gates: list[Gate] = [
        lambda film, _: quality_fault(film, settings.min_contrast),
        lambda film, _: saturation_fault(film, settings.max_saturation),
    ]
    if judge is not None:
        gates.append(judge_gate(judge, settings.judge_threshold))
    return [*gates, CopyGate()]


def quality_config(settings: SynthesisSettings, cohort: str) -> dict[str, Any]:
    """Everything that decides which films pass, as a manifest's settings hold it.

    Raises:
        SettingsError: the oracle is asked to judge films of patients.
    """
    config: dict[str, Any] = {
        "min_contrast": settings.min_contrast,
        "max_saturation": settings.max_saturation,
        "retries": settings.retries,
    }
    if settings.judge == "oracle":
        if cohort != "phantom":
            raise SettingsError(
                f"synthesis.judge: the oracle knows phantom films alone, and the cohort is {cohort!r}. Set it to none."
            )
        from cxr_assets.evaluation.oracle import ORACLE

        config |= {"judge": folder_digest(ORACLE), "judge_threshold": settings.judge_threshold}
    return config
