"""Random parameters of patients and studies, drawn per id so that no image depends on its batch."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import ndtri

from cxr_assets.cohorts.phantom.config import FINDINGS

# float32 at run time, like ``fields.Field``.
Array: TypeAlias = NDArray[Any]

# Order is part of the look: append, never insert, reorder or remove, even where no sign uses a name (any longer).
PATIENT_DRAWS: tuple[str, ...] = (
    "width", "apex", "dome", "dome_difference", "wall_level", "ctr", "heart_right", "heart_level", "heart_shape",
    "rib_pitch", "rib_phase", "rib_drop", "rib_width", "anterior_phase", "anterior_drop", "clavicle_angle",
    "clavicle_level", "clavicle_bow", "clavicle_thickness", "knob", "knob_level", "tissue", "shoulder", "neck",
    "breast_size", "breast_level", "hilum_level", "hilum_size", "vertebra", "bone", "scapula", "trachea", "aging",
    "nipple", "fat_pad", "unfolding", "calcification", "bubble",
)  # fmt: skip
STUDY_DRAWS: tuple[str, ...] = (
    "rotation", "shift_x", "shift_y", "scale", "turn", "inspiration", "exposure", "contrast", "noise", "marker_x",
    "marker_y", "marker_kind", "border", "poor_inspiration", "skin_fold", "fold_side", "fold_x", "fold_angle",
    "vessels", "nipple_side", "nipple_show", "scapula_show", "device", "device_x",
    "effusion_side", "effusion_both", "effusion_curve", "pneumothorax_side", "pneumothorax_apical",
    "atelectasis_side", "atelectasis_level", "atelectasis_tilt", "atelectasis_kind", "atelectasis_thickness",
    "consolidation_side", "consolidation_zone", "consolidation_x", "consolidation_shape", "consolidation_size",
    "lesion_side", "lesion_x", "lesion_y", "lesion_lobes", "lesion_phase", "lesion_second",
    "edema_asymmetry", "edema_level", "fibrosis_asymmetry", "fibrosis_upper", "cardiomegaly_shape", "bubble_show",
    "lookalike_haze", "haze_x", "haze_y",
)  # fmt: skip
TREE_ROOTS, TREE_LEVELS = 8, 5
TREE_SEGMENTS = TREE_ROOTS * (2**TREE_LEVELS - 1)


def _generator(seed: int, kind: str, identity: str) -> np.random.Generator:
    digest = hashlib.blake2b(f"{seed}/{kind}/{identity}".encode(), digest_size=16).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest, "little")))


class Draws:
    """Named uniform draws of a batch; every method returns float32 of shape ``(N,)``."""

    def __init__(self, names: tuple[str, ...], values: NDArray[np.float64]) -> None:
        self._column = {name: values[:, i] for i, name in enumerate(names)}

    def uniform(self, name: str, low: float, high: float) -> Array:
        """Values in [low, high)."""
        return (low + (high - low) * self._column[name]).astype(np.float32)

    def normal(self, name: str, mean: float, sd: float) -> Array:
        """Normal values cut at 2.2 standard deviations, so that no anatomy is impossible."""
        z = ndtri(np.clip(self._column[name], 1e-9, 1.0 - 1e-9))
        return (mean + sd * np.clip(z, -2.2, 2.2)).astype(np.float32)

    def take(self, index: NDArray[np.intp]) -> Draws:
        """The draws of some rows."""
        taken = Draws((), np.empty((0, 0)))
        taken._column = {name: values[index] for name, values in self._column.items()}
        return taken

    def chance(self, name: str, probability: float) -> Array:
        """1 with the probability, else 0."""
        return (self._column[name] < probability).astype(np.float32)

    def side(self, name: str) -> Array:
        """-1 for the patient's right (image left), +1 for the patient's left, equally likely."""
        return np.where(self._column[name] < 0.5, -1.0, 1.0).astype(np.float32)


@dataclass(frozen=True)
class Batch:
    """What the drawing steps know of a batch of N studies.

    Attributes:
        patient, study: named draws.
        age: years, float32 ``(N,)``; female, ap: 0/1 float32 ``(N,)``; style: names.
        severity: finding -> float32 ``(N,)`` in [0, 1], 0 where absent.
        gain: finding -> factor on visibility.
        tree: standard normal values of the vessel trees, ``(N, 2, TREE_SEGMENTS, 3)``.
        warp: knots of the anatomical distortion, ``(N, 2, 7, 7)``.
        coarse, medium, fine: texture knots ``(N, 3, 12, 12)``, ``(N, 2, 30, 30)``, ``(N, 2, 62, 62)``.
        grain: one generator per study for pixel noise.
    """

    patient: Draws
    study: Draws
    age: Array
    female: Array
    ap: Array
    style: list[str]
    severity: dict[str, Array]
    gain: dict[str, float]
    tree: Array
    warp: Array
    coarse: Array
    medium: Array
    fine: Array
    grain: list[np.random.Generator]

    def take(self, index: NDArray[np.intp]) -> Batch:
        """The rows ``index`` as a batch of their own."""
        return Batch(
            patient=self.patient.take(index),
            study=self.study.take(index),
            age=self.age[index],
            female=self.female[index],
            ap=self.ap[index],
            style=[self.style[i] for i in index],
            severity={finding: values[index] for finding, values in self.severity.items()},
            gain=self.gain,
            tree=self.tree[index],
            warp=self.warp[index],
            coarse=self.coarse[index],
            medium=self.medium[index],
            fine=self.fine[index],
            grain=[self.grain[i] for i in index],
        )


def severity_matrix(studies: pl.DataFrame, truth: pl.DataFrame) -> Array:
    """True severities, float32 in [0, 1], shape ``(N, 8)`` in the order of ``FINDINGS``; 0 where absent."""
    row = {study_id: i for i, study_id in enumerate(studies["study_id"].to_list())}
    column = {finding: j for j, finding in enumerate(FINDINGS)}
    matrix = np.zeros((len(row), len(FINDINGS)), np.float32)
    wanted = truth.filter(pl.col("study_id").is_in(list(row)) & pl.col("present"))
    for study_id, finding, severity in wanted.select("study_id", "finding", "severity").iter_rows():
        matrix[row[study_id], column[finding]] = severity
    return matrix


def study_draws(studies: pl.DataFrame, seed: int) -> Draws:
    """The study-level draws alone, for those who need to know a side without drawing an image."""
    values = [_generator(seed, "study", s).random(len(STUDY_DRAWS)) for s in studies["study_id"].to_list()]
    return Draws(STUDY_DRAWS, np.asarray(values).reshape(-1, len(STUDY_DRAWS)))


def draw_batch(studies: pl.DataFrame, severity: Array, *, seed: int, gain: dict[str, float]) -> Batch:
    """Draw all random parameters of a batch.

    Args:
        studies: rows with study_id, patient_id, age_years, sex, style, view.
        severity: shape ``(N, 8)`` of the same rows.
        seed: of the cohort.
        gain: finding -> factor on visibility.

    Returns:
        Batch; a row depends on nothing but the seed, its ids and its own values.
    """
    patient, tree, warp = [], [], []
    for patient_id in studies["patient_id"].to_list():
        rng = _generator(seed, "patient", patient_id)
        patient.append(rng.random(len(PATIENT_DRAWS)))
        tree.append(rng.standard_normal((2, TREE_SEGMENTS, 3), dtype=np.float32))
        warp.append(rng.standard_normal((2, 7, 7), dtype=np.float32))
    study, coarse, medium, fine, grain = [], [], [], [], []
    for study_id in studies["study_id"].to_list():
        rng = _generator(seed, "study", study_id)
        study.append(rng.random(len(STUDY_DRAWS)))
        texture = _generator(seed, "texture", study_id)
        coarse.append(texture.standard_normal((3, 12, 12), dtype=np.float32))
        medium.append(texture.standard_normal((2, 30, 30), dtype=np.float32))
        fine.append(texture.standard_normal((2, 62, 62), dtype=np.float32))
        grain.append(texture)
    return Batch(
        patient=Draws(PATIENT_DRAWS, np.asarray(patient)),
        study=Draws(STUDY_DRAWS, np.asarray(study)),
        age=studies["age_years"].to_numpy().astype(np.float32),
        female=(studies["sex"] == "female").to_numpy().astype(np.float32),
        ap=(studies["view"] == "AP").to_numpy().astype(np.float32),
        style=studies["style"].to_list(),
        severity={finding: severity[:, j] for j, finding in enumerate(FINDINGS)},
        gain=gain,
        tree=np.stack(tree),
        warp=np.stack(warp),
        coarse=np.stack(coarse),
        medium=np.stack(medium),
        fine=np.stack(fine),
        grain=grain,
    )
