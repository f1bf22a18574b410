"""Settings of the phantom cohort: how many, how common, how plain, and which disparity is planted."""

from __future__ import annotations

from pydantic import BaseModel, Field, model_validator

FINDINGS: tuple[str, ...] = (
    "cardiomegaly",
    "edema",
    "consolidation",
    "atelectasis",
    "pneumothorax",
    "pleural_effusion",
    "lung_lesion",
    "fibrosis",
)
AGE_BINS: tuple[str, ...] = ("00-39", "40-59", "60-79", "80-up")
SEXES: tuple[str, ...] = ("female", "male")
RACES: tuple[str, ...] = ("asian", "black", "hispanic", "white")
STYLES: tuple[str, ...] = ("direct_digital", "film_scan", "portable_grid", "edge_enhanced")
USUAL_STYLE: dict[str, str] = {
    "asian": "edge_enhanced",
    "black": "portable_grid",
    "hispanic": "film_scan",
    "white": "direct_digital",
}
AGE_EDGES: tuple[float, ...] = (40.0, 60.0, 80.0)

_ATTRIBUTES: dict[str, tuple[str, ...]] = {"age_bin": AGE_BINS, "sex": SEXES, "race": RACES}


class Disparity(BaseModel, frozen=True, extra="forbid"):
    """What is planted: a subgroup that training data holds too few of and labels too rarely.

    Attributes:
        enabled: False leaves shares natural and labels of every group equally noisy.
        subgroup: conjunction over ``age_bin``, ``sex`` and ``race``.
        representation: share in [0, 1] of train and validate patients that are in the subgroup.
        under_labelled: probability that a true finding of a train or validate study of the subgroup is labelled 0.
    """

    enabled: bool = True
    subgroup: dict[str, str] = Field(default_factory=lambda: {"race": "black", "sex": "female"})
    representation: float = Field(default=0.08, ge=0.0, le=1.0)
    under_labelled: float = Field(default=0.75, ge=0.0, le=1.0)

    @model_validator(mode="after")
    def _known_subgroup(self) -> Disparity:
        for attribute, value in self.subgroup.items():
            allowed = _ATTRIBUTES.get(attribute)
            if allowed is None or value not in allowed:
                expected = {name: list(values) for name, values in _ATTRIBUTES.items()}
                raise ValueError(f"disparity.subgroup: {attribute}={value!r} is unknown. Expected one of {expected}.")
        if not self.subgroup:
            raise ValueError("disparity.subgroup is empty. Expected at least one of age_bin, sex, race.")
        return self


class PhantomConfig(BaseModel, frozen=True, extra="forbid"):
    """Everything that decides the phantom cohort, down to the pixel.

    Attributes:
        studies: number of studies over all splits.
        seed: of population and pixels.
        size: side of the square images in pixels, 64 to 512.
        label_noise: mean rate at which train and validate labels flip in every group; a missed positive is twice as
            likely as a false one.
        split: share of patients by split.
        prevalence: share of studies with each finding.
        severity: Beta parameters of each finding's severity among the present.
        contrast_gain: factor on the visibility of each sign; 1 is the look that the docs show.
        age_effect: how strongly findings grow commoner with age. 0 (the default) keeps every group's prevalence alike,
            so that no disparity comes of who is ill; 1 is lifelike, and opens gaps between age bins of its own. What style
            (which goes with race) and build (which goes with sex) do to a classifier stays: docs/phantom.md.
        style_correlation: probability that a study is acquired in the usual style of its race.
        race_share: natural shares of ``RACES``.
    """

    studies: int = Field(default=6000, ge=1)
    seed: int = 0
    size: int = Field(default=128, ge=64, le=512)
    label_noise: float = Field(default=0.03, ge=0.0, le=0.4)
    disparity: Disparity = Disparity()
    split: dict[str, float] = Field(default_factory=lambda: {"train": 0.6, "validate": 0.1, "test": 0.3})
    prevalence: dict[str, float] = Field(
        default_factory=lambda: {
            "cardiomegaly": 0.28,
            "edema": 0.24,
            "consolidation": 0.22,
            "atelectasis": 0.24,
            "pneumothorax": 0.18,
            "pleural_effusion": 0.28,
            "lung_lesion": 0.20,
            "fibrosis": 0.19,
        }
    )
    severity: dict[str, tuple[float, float]] = Field(
        # Small or faint signs are drawn from higher severities, plain ones from lower, which levels their difficulty.
        default_factory=lambda: {
            "cardiomegaly": (1.4, 2.2),
            "edema": (1.6, 1.9),
            "consolidation": (1.6, 1.9),
            "atelectasis": (1.6, 1.8),
            "pneumothorax": (1.6, 1.9),
            "pleural_effusion": (1.5, 2.2),
            "lung_lesion": (2.4, 1.6),
            "fibrosis": (2.4, 1.4),
        }
    )
    contrast_gain: dict[str, float] = Field(default_factory=lambda: {finding: 1.0 for finding in FINDINGS})
    age_effect: float = Field(default=0.0, ge=0.0, le=2.0)
    style_correlation: float = Field(default=0.85, ge=0.0, le=1.0)
    race_share: tuple[float, float, float, float] = (0.13, 0.2, 0.19, 0.48)

    @model_validator(mode="after")
    def _complete(self) -> PhantomConfig:
        for name in ("prevalence", "severity", "contrast_gain"):
            if set(getattr(self, name)) != set(FINDINGS):
                raise ValueError(f"{name}: findings {sorted(getattr(self, name))}. Expected exactly {list(FINDINGS)}.")
        if set(self.split) != {"train", "validate", "test"} or abs(sum(self.split.values()) - 1.0) > 1e-6:
            raise ValueError(f"split: {self.split}. Expected shares of train, validate and test that sum to 1.")
        if min(self.split.values()) < 0.0:
            raise ValueError(f"split: {self.split}. Expected no negative share.")
        if abs(sum(self.race_share) - 1.0) > 1e-6 or min(self.race_share) < 0.0:
            raise ValueError(f"race_share: {self.race_share}. Expected four shares that sum to 1.")
        return self
