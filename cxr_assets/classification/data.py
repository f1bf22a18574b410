"""Films and label matrices for training and prediction."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
import torch
from torch import Tensor, nn

from cxr_assets.cohorts.choices import STATED, LabelPolicy
from cxr_assets.cohorts.film_reader import read_films
from cxr_assets.project import Project


@dataclass(frozen=True)
class LabelledFilms:
    """Films with their labels.

    ``films`` uint8 ``(n, size, size)``; ``labels`` float32 ``(n, findings)``, NaN where a label must not count;
    ``weights`` float32 ``(n,)``; ``rows`` one row a film (study_id, patient_id, …).
    """

    films: np.ndarray
    labels: np.ndarray
    weights: np.ndarray
    rows: pl.DataFrame

    def __len__(self) -> int:
        return len(self.films)


def label_matrix(studies: list[str], values: pl.DataFrame, names: tuple[str, ...], policy: LabelPolicy) -> np.ndarray:
    """Labels of studies under a policy: float32 ``(n, findings)`` with 0, 1 and NaN (does not count).

    A finding that ``values`` has no column for, and a study that it has no row for, do not count.
    """
    order = pl.DataFrame({"study_id": studies}, schema={"study_id": pl.String})
    known = values.with_columns(known=True)
    rows = order.join(known, on="study_id", how="left", maintain_order="left")
    labels = np.full((len(studies), len(names)), np.nan, dtype=np.float32)
    columns = [column for column, name in enumerate(names) if name in values.columns]
    labels[:, columns] = policy.matrix(rows, tuple(names[column] for column in columns))
    labels[rows["known"].is_null().to_numpy()] = np.nan
    return labels


def training_films(project: Project, rows: pl.DataFrame) -> LabelledFilms:
    """Films and labels of a training set's rows, real and synthetic."""
    s = project.settings.classification
    names = project.grid.findings
    real = rows.filter(pl.col("origin") == "real")
    labels = np.full((rows.height, len(names)), np.nan, dtype=np.float32)
    is_real = (rows["origin"] == "real").to_numpy()
    labels[is_real] = label_matrix(
        real["study_id"].to_list(),
        project.finding_values(),
        names,
        project.label_policy,
    )
    shown = rows.filter(pl.col("origin") == "synthetic")["labels"].str.split("|")
    labels[~is_real] = np.array([[name in asked for name in names] for asked in shown], np.float32).reshape(
        -1, len(names)
    )
    films = read_films(project.store, rows["file"].to_list(), s.image_size)
    return LabelledFilms(films, labels, rows["weight"].to_numpy().astype(np.float32), rows)


def evaluation_films(project: Project, split: str) -> LabelledFilms:
    """Films of a real split with their labels as they stand: unmentioned and uncertain ones do not count as truth.

    Where a cohort's documents say that a label is never left blank (ChestX-ray14), there is no blank to begin with.
    """
    s = project.settings.classification
    studies = project.filmed(split)
    if sources := project.settings.choices.truth_from:
        studies = studies.filter(pl.col("label_source").is_in(sources))
    studies = studies.sort("study_id").select("study_id", "patient_id", "image_file")
    labels = label_matrix(
        studies["study_id"].to_list(),
        project.finding_values(),
        project.grid.findings,
        STATED,
    )
    films = read_films(project.store, studies["image_file"].to_list(), s.image_size)
    return LabelledFilms(films, labels, np.ones(len(films), np.float32), studies)


def film_batch(films: np.ndarray, device: torch.device) -> Tensor:
    """Films, uint8 ``(n, h, w)``, as a classifier reads them: float32 ``(n, 1, h, w)`` in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(films)).to(device)[:, None].float().div_(127.5).sub_(1.0)


def augment(films: Tensor, generator: torch.Generator, *, shift: float = 0.06, gain: float = 0.15) -> Tensor:
    """Small shifts and exposure changes, drawn on the CPU. Never a flip: the heart does not change sides.

    Args:
        shift: largest shift along each axis, share of the side.
        gain: standard deviation of the contrast factor.
    """
    n, _, height, width = films.shape
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = 1.0
    theta[:, :, 2] = (torch.rand(n, 2, generator=generator) * 2 - 1) * 2 * shift
    grid = nn.functional.affine_grid(theta.to(films), [n, 1, height, width], align_corners=False)
    moved = nn.functional.grid_sample(films, grid, padding_mode="border", align_corners=False)
    factor = 1 + gain * torch.randn((n, 1, 1, 1), generator=generator)
    offset = 0.1 * torch.randn((n, 1, 1, 1), generator=generator)
    return (moved * factor.to(films) + offset.to(films)).clamp(-1, 1)
