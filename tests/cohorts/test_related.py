"""ChestX-ray14 and RSNA are the same films under two names: their splits must agree."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from cxr_assets.cohorts.curation import curate_studies
from cxr_assets.cohorts.related import comparable, in_other_splits, read_related
from cxr_assets.errors import InputError
from cxr_assets.project import Project
from tests.cohorts.conftest import NIH_HEADER, nih_row

PEOPLE = 30


def nih_folder(root: Path, *, films: bool, test: range) -> Path:
    """One film a patient; the patients of ``test`` are on the test list."""
    (root / "images").mkdir(parents=True)
    rng = np.random.default_rng(0)
    names = [f"{number:08d}_000.png" for number in range(1, PEOPLE + 1)]
    for name in names if films else ():
        coarse = Image.fromarray(rng.integers(0, 255, (9, 9), np.uint8))
        coarse.resize((72, 72), Image.Resampling.BICUBIC).save(root / "images" / name)
    (root / "Data_Entry_2017_v2020.csv").write_text("\n".join([NIH_HEADER, *(nih_row(name) for name in names)]))
    listed = [names[number] for number in test]
    (root / "test_list.txt").write_text("\n".join(listed))
    (root / "train_val_list.txt").write_text("\n".join(name for name in names if name not in listed))
    return root


def curated(tmp_path: Path, name: str, *, films: bool = False, test: range = range(10), **changes: object) -> Project:
    root = tmp_path / name
    folder = nih_folder(tmp_path / f"{name}-received", films=films, test=test)
    overrides = {"cohort_root": str(folder), "films.size": 64, "films.workers": 1, "curate.tables_only": not films}
    opened = Project.open(cohort="nih", storage=root, overrides=overrides | changes)
    curate_studies(opened)
    return opened


def splits(project: Project) -> dict[str, str]:
    return dict(project.store.table("studies").select("patient_id", "split").iter_rows())


def test_patients_of_one_name_in_two_splits_are_found(tmp_path: Path) -> None:
    one, two = curated(tmp_path, "one"), curated(tmp_path, "two", test=range(5, 15))
    leaks = in_other_splits(two.store.table("studies"), two.store.table("films"), read_related([one.store.root]))
    expected = {patient for patient, split in splits(two).items() if splits(one)[patient] != split}
    assert set(leaks["patient_id"]) == expected and set(leaks["by"]) == {"patient"} and len(expected) >= 10


def test_films_are_compared_where_names_are_not(tmp_path: Path) -> None:
    one, two = (
        curated(tmp_path, name, films=True, test=test) for name, test in (("one", range(5)), ("two", range(5, 9)))
    )
    related = read_related([one.store.root])
    nameless = related.studies.with_columns(namespace=pl.lit(None, pl.String))
    leaks = in_other_splits(two.store.table("studies"), two.store.table("films"), type(related)(nameless))
    assert set(leaks["by"]) == {"film"} and {f"{n:08d}" for n in range(1, 10)} <= set(leaks["patient_id"])


def test_splits_can_be_followed_so_that_nothing_leaks(tmp_path: Path) -> None:
    one = curated(tmp_path, "one")
    two = curated(tmp_path, "two", test=range(5, 15), **{"curate.follow_splits_of": [str(one.store.root)]})
    assert splits(two) == splits(one)
    assert dict(two.store.table("patients").select("patient_id", "split").iter_rows()) == splits(one)
    related = read_related([one.store.root])
    assert in_other_splits(two.store.table("studies"), two.store.table("films"), related).is_empty()


def test_following_stales_the_follower_when_the_other_is_curated_anew(tmp_path: Path) -> None:
    one = curated(tmp_path, "one")
    following = {"curate.follow_splits_of": [str(one.store.root)]}
    two = curated(tmp_path, "two", **following)
    assert not curate_studies(two).fresh
    changed = {"cohort_root": str(tmp_path / "one-received"), "curate.tables_only": True, "curate.split_seed": 5}
    curate_studies(Project.open(cohort="nih", storage=one.store.root, overrides=changed))
    assert curate_studies(two).fresh and splits(two) == splits(one)


def test_what_cannot_be_followed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no curated studies"):
        curated(tmp_path, "two", **{"curate.follow_splits_of": [str(tmp_path / "nowhere")]})


def test_a_root_that_is_not_there_is_named(tmp_path: Path) -> None:
    related = read_related([tmp_path])
    assert related.unread == (str(tmp_path),) and related.studies.is_empty()
    one = curated(tmp_path, "one")
    assert not comparable(one.store.table("studies"), one.store.table("films"), related)
