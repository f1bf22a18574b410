"""Who says what a film shows: the phantom's oracle, a torchxrayvision network, or the cohort's own classifier.

A judge must not have learned from synthetic films, else it would find in them what it was taught to. None of those here has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from cxr_assets.cohorts.demographics import OLDEST
from cxr_assets.errors import InputError, SettingsError
from cxr_assets.evaluation.oracle import ORACLE, Oracle
from cxr_assets.evaluation.quality import FeatureSpace, feature_space
from cxr_assets.keys import REAL, REAL_ONLY, Arm, Learner
from cxr_assets.project import Parent, Project
from cxr_assets.warehouse.manifest import folder_digest, sha256_file

BASELINE = Arm(REAL, REAL_ONLY)
_NAMED_OTHERWISE = {"effusion": "pleural_effusion"}


@dataclass(frozen=True)
class Reading:
    """What a judge says of ``n`` films: probabilities, float ``(n,)`` each, by finding.

    ``female`` probabilities and ``age_years`` are None where the judge does not say; a probe is then asked.
    """

    findings: Mapping[str, np.ndarray]
    female: np.ndarray | None = None
    age_years: np.ndarray | None = None

    @classmethod
    def join(cls, parts: Sequence[Reading]) -> Reading:
        """Readings of one judge, one after the other."""
        female = [p.female for p in parts if p.female is not None]
        ages = [p.age_years for p in parts if p.age_years is not None]
        return cls(
            {name: np.concatenate([p.findings[name] for p in parts]) for name in parts[0].findings},
            np.concatenate(female) if female else None,
            np.concatenate(ages) if ages else None,
        )


class Judge(Protocol):
    """Says what films show.

    ``name`` stands beside every figure made with it; ``age_from`` says how it comes to an age; ``size`` is the side of
    the films it learned from, None where any will do.
    """

    @property
    def name(self) -> str: ...

    @property
    def age_from(self) -> str: ...

    @property
    def size(self) -> int | None: ...

    def read(self, films: np.ndarray, features: Mapping[str, np.ndarray]) -> Reading:
        """What films, uint8 ``(n, h, w)``, show; ``features`` of the same films, by space, may save it a look."""
        ...


def bin_middles(labels: Sequence[str]) -> np.ndarray:
    """Middle of each age bin in years, float64, shape ``(bins,)``: of ``60-79`` 70.

    The open last bin is taken to be as wide as the one before: ``80-up`` after ``60-79`` has 90.

    Raises:
        InputError: a label is no age bin.
    """
    edges: list[tuple[float, float]] = []
    for label in labels:
        low, _, high = label.partition("-")
        if not (low.isdigit() and (high.isdigit() or high == "up")):
            raise InputError(f"{label!r} is no age bin; expected labels such as 40-59 and 80-up.")
        width = edges[-1][1] - edges[-1][0] if edges else OLDEST - int(low)
        edges.append((int(low), int(high) + 1 if high.isdigit() else int(low) + width))
    return np.array([(low + high) / 2 for low, high in edges], dtype=np.float64)


@dataclass(frozen=True)
class OracleJudge:
    """The phantom's oracle. It knows age by bin; the age it says is the mean of the bins' middles, by probability."""

    oracle: Oracle
    name: str = "oracle"
    age_from: str = "oracle, bin middles"
    size: int | None = None

    def read(self, films: np.ndarray, features: Mapping[str, np.ndarray]) -> Reading:
        """Findings, sex and age. Of the acquisition style that stands for race it was told nothing."""
        seen = self.oracle.judge(films)
        findings = {name: seen.findings[:, i] for i, name in enumerate(seen.names)}
        return Reading(findings, seen.female, seen.age.astype(np.float64) @ bin_middles(self.oracle.ages))


@dataclass(frozen=True)
class XrvJudge:
    """torchxrayvision's DenseNet-121: its head over the features that distances are measured in too."""

    space: FeatureSpace
    findings: tuple[str, ...]
    name: str = "xrv"
    age_from: str = ""
    size: int | None = None

    @classmethod
    def load(cls, name: str) -> XrvJudge:
        """From ``xrv:<file>.safetensors``. Raises SettingsError where the file has not the 18 published outputs."""
        from torchxrayvision.datasets import default_pathologies

        space = feature_space(name)
        outputs = space.network.network.classifier.out_features  # type: ignore[union-attr]
        if outputs != len(default_pathologies):
            raise SettingsError(
                f"{name}: its head has {outputs} outputs; a judge needs the {len(default_pathologies)} of"
                " torchxrayvision's densenet121-res224-all. Choose that one, or judge: classifier."
            )
        return cls(space, tuple(_ours(p) for p in default_pathologies), name)

    def read(self, films: np.ndarray, features: Mapping[str, np.ndarray]) -> Reading:
        """Findings by our names."""
        import torch

        values = features[self.space.name] if self.space.name in features else self.space.embed(films)
        with torch.no_grad():
            head = self.space.network.network.classifier  # type: ignore[union-attr]
            scores = head(torch.from_numpy(values).float()).sigmoid().numpy()  # type: ignore[operator]
        return Reading({name: scores[:, i] for i, name in enumerate(self.findings)})


def _ours(pathology: str) -> str:
    plain = pathology.lower().replace(" ", "_")
    return _NAMED_OTHERWISE.get(plain, plain)


@dataclass(frozen=True)
class ClassifierJudge:
    """A classifier of this cohort that learned from real films alone."""

    network: object
    findings: tuple[str, ...]
    name: str
    size: int | None
    age_from: str = ""

    def read(self, films: np.ndarray, features: Mapping[str, np.ndarray]) -> Reading:
        """Findings of the cohort."""
        import torch

        from cxr_assets.classification.classifiers import predict

        scores = predict(self.network, films, device=torch.device("cpu"))  # type: ignore[arg-type]
        return Reading({name: scores[:, i] for i, name in enumerate(self.findings)})


@dataclass(frozen=True)
class Chosen:
    """Which judge is to be used, before anything is loaded: the setting resolved, and the partitions it comes from."""

    name: str
    digest: str = ""
    parents: tuple[Parent, ...] = ()

    def open(self, project: Project) -> Judge | None:
        """The judge itself, None where the classifier is not trained."""
        if self.name == "oracle":
            return OracleJudge(Oracle.load())
        if self.name.startswith("xrv:"):
            return XrvJudge.load(self.name)
        if not self.parents:
            return None
        from cxr_assets.classification.classifiers import open_classifier

        learner = project.learners[0]
        network = open_classifier(project, BASELINE, learner)
        size = project.settings.classification.image_size
        return ClassifierJudge(network, project.grid.findings, f"classifier {learner}", size)


def judge_learner(project: Project) -> Learner | None:
    """The learner of ``real.r000`` that judges this cohort, None where another judge does."""
    return project.learners[0] if _judge_name(project) == "classifier" else None


def _judge_name(project: Project) -> str:
    """Judge of the settings, ``auto`` resolved; opens no file."""
    settings = project.settings.evaluation
    if settings.leaderboard.judge != "auto":
        return settings.leaderboard.judge
    if project.resolved.cohort == "phantom":
        return "oracle"
    return next((f for f in settings.features if f.startswith("xrv:")), "classifier")


def choose_judge(project: Project) -> Chosen:
    """The judge that the settings name; ``auto`` takes the best one that is here.

    Raises:
        SettingsError: a name that is no judge, or the oracle for a cohort that is no phantom.
    """
    name = _judge_name(project)
    if name == "oracle":
        if project.resolved.cohort != "phantom":
            raise SettingsError(
                f"evaluation.leaderboard.judge: the oracle knows phantom films alone, not {project.spec.name}."
            )
        return Chosen(name, folder_digest(ORACLE))
    if name.startswith("xrv:"):
        file = Path(name.removeprefix("xrv:")).expanduser()
        return Chosen(name, sha256_file(file) if file.is_file() else "")
    if name != "classifier":
        raise SettingsError(
            f"evaluation.leaderboard.judge {name!r} is none of auto, oracle, classifier, xrv:<file>.safetensors."
        )
    keys = {"arm": str(BASELINE), "learner": str(project.learners[0])}
    made = project.store.manifest("classifier", keys)
    return Chosen(name, "", (Parent("classifier", "evaluated_on", keys),) if made else ())
