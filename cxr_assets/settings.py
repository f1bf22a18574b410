"""What can be set, with its default: one frozen tree of models. :mod:`cxr_assets.resolve` says where values come from."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from cxr_assets.cohorts.base import CurateSettings
from cxr_assets.cohorts.choices import Choices
from cxr_assets.cohorts.phantom.config import PhantomConfig
from cxr_assets.diffusion.config import Precision, PretrainSettings, SamplerName, TrainingPrecision
from cxr_assets.evaluation.config import Hypothesis


class Frozen(BaseModel):
    """Base of every settings model: immutable, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class FilmSettings(Frozen):
    """How films are stored."""

    size: int = Field(128, ge=32, le=2048, description="side of the stored square films, pixels")
    fit: Literal["pad", "crop"] = "pad"
    workers: int = Field(2, ge=1)


class CaptionSettings(Frozen):
    """What a generator is told about a film."""

    policy: Literal["auto", "labels", "impression"] = Field(
        "auto", description="auto: the report's impression where a cohort is its reports (openi), else the labels"
    )


class RegionSettings(Frozen):
    """Disease-region detector (YOLOv8)."""

    enabled: bool = True
    architecture: str = "yolov8n.yaml"
    weights: Path | None = Field(None, description="folder with detector.safetensors to use instead of training one")
    image_size: int = 128
    epochs: int = 4
    batch: int = 32
    max_films: int = Field(1500, description="films used for training the detector")
    predict_films: int | None = Field(None, description="films it is run on, test films first; null for all")
    confidence: float = 0.2
    seed: int = 0


class HoldoutSettings(Frozen):
    """Cells (age × sex × race) that generators may not learn from, to see whether they draw them all the same."""

    cells: int = Field(0, ge=0, description="how many; 0 for none")
    least_pair: int = Field(200, ge=1, description="training films left of every pair of a held-out cell's values")
    least_single: int = Field(1000, ge=1, description="training films left of every single value")
    repeat: int = Field(
        0, ge=0, description="0 takes the first set of cells, 1 a second one that shares none with it, …"
    )
    seed: int = 0


class DiffusionSettings(Frozen):
    """The base model and how films enter it."""

    base_model: list[str] = Field(
        default=["phantom"],
        min_length=1,
        description=(
            "tried in order: phantom, a folder in diffusers' format, hub ids with @revision or without (cxr doctor --base);"
            " [scratch], alone, trains one"
        ),
    )
    revision: str | None = Field(None, description="commit or tag of the hub ids that name none")
    offline: bool = Field(False, description="take hub models from the local cache only")
    accelerate: Path | None = Field(
        None, description="configuration of accelerate (docs/gpus.md); training then runs in the processes it describes"
    )
    resolution: int = 128
    precision: Precision = "fp32"
    pretrain: PretrainSettings = PretrainSettings()
    holdout: HoldoutSettings = HoldoutSettings()


class AdapterOverrides(Frozen):
    """What a profile changes in the training of every method's preset."""

    steps: int | None = Field(None, ge=1)
    batch: int | None = Field(None, ge=1)
    learning_rate: float | None = None
    precision: TrainingPrecision | None = None
    checkpoint_every: int | None = None


class SynthesisSettings(Frozen):
    """How many images, of whom and what, how they are drawn, and which of them are good enough."""

    methods: list[str] = Field(default=["demographic_text"])
    composer: Literal["targeted", "natural", "balanced", "counterfactual", "label_only", "all_label_combinations"] = (
        Field(
            "targeted",
            description="targeted: most where real positives are fewest; natural: training studies once more; balanced: as"
            " many of every age, sex and race, findings equally often; counterfactual: each study's labels and noise in every"
            " age, sex and race; label_only: natural, asking for no age, sex or race; all_label_combinations: every label set"
            " of the training studies, evenly",
        )
    )
    per_stratum: int = Field(4, ge=1, description="images planned for every stratum; composer targeted alone")
    max_ratio: float = Field(1.0, ge=0, le=4, description="largest mix planned for, synthetic images per real study")
    min_support: int = Field(
        5, ge=1, description="training studies that a label set needs; composer all_label_combinations alone"
    )
    sampler: SamplerName = Field("dpmpp_2m", description="lcm is for methods that say few_step")
    steps: int = Field(20, ge=1)
    guidance: float = Field(3.0, ge=1.0)
    negative_prompt: str = Field("", description="what guidance leads away from; empty: from no text")
    batch: int = Field(32, ge=1)
    seed: int = 0
    precision: Precision = "fp32"
    min_contrast: float = Field(0.05, description="grey-level standard deviation below which an image is refused")
    max_saturation: float = Field(
        0.6, ge=0, le=1, description="share of black (0) and white (255) pixels above which an image is refused"
    )
    judge: Literal["none", "oracle"] = Field(
        "none", description="oracle: refuse an image whose first finding is not seen in it; phantom alone"
    )
    judge_threshold: float = Field(
        0.5, ge=0, le=1, description="probability of its first finding below which the judge refuses an image"
    )
    retries: int = Field(
        3, ge=0, description="further attempts, each with its own seed, at an image that is refused; then quarantine"
    )
    runs_per_tick: int = Field(8, ge=1, description="runs that one tick of the schedule or sensor may ask for")


class ClassificationSettings(Frozen):
    """Training of finding classifiers."""

    backbones: list[str] = Field(default=["small_cnn"])
    seeds: int = Field(2, ge=1)
    image_size: int = 64
    steps: int = 900
    batch: int = 64
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    validate_every: int = 100
    precision: Precision = "fp32"
    synthetic_weight: float = Field(1.0, gt=0, description="loss weight of a synthetic film beside a real one")
    threshold_rule: Literal["f1", "youden", "sensitivity90"] = Field(
        "f1", description="operating point that gaps are taken at; the others are reported beside it"
    )


class LeaderboardSettings(Frozen):
    """How generators are set beside each other."""

    methods: list[str] | None = Field(
        None, description="method keys to compare, each with its seed (hcn, hcn-s1); null for all of synthesis.methods"
    )
    judge: str = Field(
        "auto",
        description=(
            "who reads findings off synthetic films: oracle (phantom), xrv:<file>.safetensors, classifier (real.r000);"
            " auto: the oracle on the phantom, else an xrv of evaluation.features, else the classifier"
        ),
    )
    films: int = Field(2000, ge=20, description="most films of a method, and of each half of the real ones")
    min_films: int = Field(20, ge=10, description="films a side that a group needs to get a figure")


class EvaluationSettings(Frozen):
    """Intervals and eligibility (evaluation.md §1.4)."""

    replicates: int = Field(1000, ge=100, description="bootstrap draws of whole patients")
    permutations: int = Field(1000, ge=100, description="exchanges of groups between patients: what chance gives")
    family: list[Hypothesis] | None = Field(
        default=None,
        description="hypotheses declared beforehand (Holm); null: the pooled TPR gap of every attribute and intersection",
    )
    min_positives: int = Field(50, description="films that a group needs to enter a gap")
    min_negatives: int = Field(50, description="the same")
    min_patients: int = Field(30, description="patients of either class that a group needs to enter a gap")
    suppress_below: int = Field(20, description="fewer patients of either class: no figure is shown")
    attributes: list[str] = Field(default=["age_bin", "sex", "race"])
    features: list[str] = Field(
        default=["random"], description="feature spaces of distances: oracle, random, xrv:<file>.safetensors"
    )
    leaderboard: LeaderboardSettings = LeaderboardSettings()
    seed: int = 0


class Settings(Frozen):
    """Everything that decides what the assets hold."""

    device: str = Field("auto", description="auto, cpu, cuda or mps")
    cohort_root: Path | None = Field(None, description="folder of the data set as received; the phantom needs none")
    related_roots: list[Path] = Field(
        default=[],
        description="data roots of cohorts that share films with this one; checked for patients in two splits",
    )
    findings: list[str] | None = Field(
        None, description="findings to work on, in the cohort's order; null for all it has"
    )
    choices: Choices = Choices()
    curate: CurateSettings = CurateSettings()
    phantom: PhantomConfig = PhantomConfig()
    films: FilmSettings = FilmSettings()
    captions: CaptionSettings = CaptionSettings()
    regions: RegionSettings = RegionSettings()
    diffusion: DiffusionSettings = DiffusionSettings()
    adapter_training: AdapterOverrides = AdapterOverrides()
    synthesis: SynthesisSettings = SynthesisSettings()
    classification: ClassificationSettings = ClassificationSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    arms: list[str] = Field(
        default=["real.r000", "demographic_text.r025", "demographic_text.e025", "demographic_text.only"],
        description="arms that cxr demo and cxr run train and score",
    )
