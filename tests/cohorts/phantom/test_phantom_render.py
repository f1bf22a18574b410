from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl
import pytest
from scipy import ndimage

from cxr_assets.cohorts.phantom.config import FINDINGS, STYLES
from cxr_assets.cohorts.phantom.population import sample_requests
from cxr_assets.cohorts.phantom.render import render

Phantoms = Callable[..., tuple[pl.DataFrame, pl.DataFrame]]
SIZE = 96


def test_rendering_is_deterministic_by_seed() -> None:
    requests = sample_requests(6, 1)
    first = render(requests.studies, requests.truth, size=SIZE, seed=0)
    again = render(requests.studies, requests.truth, size=SIZE, seed=0)
    other = render(requests.studies, requests.truth, size=SIZE, seed=1)
    assert np.array_equal(first.images, again.images)
    assert not np.array_equal(first.images, other.images)


def test_a_study_does_not_depend_on_its_batch() -> None:
    requests = sample_requests(40, 2)
    whole = render(requests.studies, requests.truth, size=SIZE, seed=0)
    order = [33, 4, 17]
    part = render(requests.studies[order], requests.truth, size=SIZE, seed=0)
    assert np.array_equal(whole.images[order], part.images)
    assert np.array_equal(whole.lungs[order], part.lungs)
    for finding in FINDINGS:
        assert np.array_equal(whole.masks[finding][order], part.masks[finding])


def test_race_field_alone_changes_no_pixel(phantoms: Phantoms) -> None:
    studies, truth = phantoms(3)
    films = [
        render(studies.with_columns(race=pl.lit(race)), truth, size=SIZE, seed=0).images for race in ("asian", "white")
    ]
    assert np.array_equal(*films)


@pytest.mark.parametrize("size", [64, 100, 128, 256, 512])
def test_anatomy_is_the_same_at_any_size(phantoms: Phantoms, size: int) -> None:
    studies, truth = phantoms(1, {"pleural_effusion": 0.8, "lung_lesion": 0.9})
    here = render(studies, truth, size=size, seed=0)
    there = render(studies, truth, size=128, seed=0)
    assert here.images.shape == (1, size, size) and here.images.dtype == np.uint8 and here.lungs.dtype == np.bool_

    def small(image: np.ndarray) -> np.ndarray:
        blurred = ndimage.gaussian_filter(image.astype(float), image.shape[0] / 64)
        return ndimage.zoom(blurred, 32 / image.shape[0], order=1, grid_mode=True, mode="nearest")

    assert np.corrcoef(small(here.images[0]).ravel(), small(there.images[0]).ravel())[0, 1] > 0.985
    assert abs(here.lungs.mean() - there.lungs.mean()) < 0.01
    assert here.masks["pleural_effusion"].any() and here.masks["lung_lesion"].any()


def test_masks_are_empty_exactly_where_the_finding_is_absent() -> None:
    requests = sample_requests(60, 3, severity=(0.6, 1.0))
    drawn = render(requests.studies, requests.truth, size=SIZE, seed=0)
    for finding in FINDINGS:
        assert np.array_equal(drawn.masks[finding].any((1, 2)), requests.studies[finding].to_numpy() == 1), finding


def test_films_use_the_grey_range_and_lungs_are_darker_than_the_abdomen(phantoms: Phantoms) -> None:
    for style in STYLES:
        studies, truth = phantoms(4, style=style)
        drawn = render(studies, truth, size=SIZE, seed=0)
        lungs = drawn.images[drawn.lungs].mean()
        abdomen = drawn.images[:, int(0.86 * SIZE) : int(0.92 * SIZE), SIZE // 3 : 2 * SIZE // 3].mean()
        assert abdomen - lungs > 50, style
        assert 0.12 < drawn.lungs.mean() < 0.40


def test_patients_keep_their_anatomy_over_studies(phantoms: Phantoms) -> None:
    """Films of one patient are closer than those of two, once pose is the only thing that may vary."""
    studies, truth = phantoms(24)
    studies = studies.with_columns(patient_id=pl.lit("p") + (pl.int_range(24) // 2).cast(pl.String))
    films = render(studies, truth, size=SIZE, seed=0).images[:, 16:-10, 10:-10].astype(float)
    films = ndimage.gaussian_filter(films, (0, 1.5, 1.5)).reshape(24, -1)
    alike = np.corrcoef(films - films.mean(0))
    same = np.array([alike[2 * i, 2 * i + 1] for i in range(12)])
    others = alike[np.triu_indices(24, 2)]
    assert same.mean() > others.mean() + 0.15


def test_sex_shows_in_the_breast_region(phantoms: Phantoms) -> None:
    by_sex = []
    for sex in ("female", "male"):
        studies, truth = phantoms(16, sex=sex)
        drawn = render(studies, truth, size=SIZE, seed=0)
        low = drawn.lungs & (np.arange(SIZE)[None, :, None] > 0.52 * SIZE)
        by_sex.append(drawn.images[low].mean() - drawn.images[drawn.lungs & ~low].mean())
    assert by_sex[0] > by_sex[1] + 8


def test_old_lungs_are_lower_and_old_aortas_wider(phantoms: Phantoms) -> None:
    measured = []
    for age in (25.0, 88.0):
        studies, truth = phantoms(16, age_years=age)
        lungs = render(studies, truth, size=SIZE, seed=0).lungs
        rows = lungs.any(2).sum(1).mean()
        gap = [np.ptp(np.flatnonzero(~row[SIZE // 4 : -SIZE // 4])) for row in lungs[:, int(0.36 * SIZE)]]
        measured.append((rows, np.mean(gap)))
    assert measured[0][0] > measured[1][0] + 3
    assert measured[1][1] > measured[0][1] + 2


def test_missing_columns_and_sizes_out_of_range_are_refused(phantoms: Phantoms) -> None:
    studies, truth = phantoms(1)
    with pytest.raises(ValueError, match=r"no column \['style'\]"):
        render(studies.drop("style"), truth, size=SIZE, seed=0)
    with pytest.raises(ValueError, match="Expected 64 to 512"):
        render(studies, truth, size=32, seed=0)
