"""Films of a table are found whatever its paths look like, and nothing outside the folder is ever followed."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cxr_assets.cohorts.film_folder import is_inside
from cxr_assets.cohorts.films import add_films
from cxr_assets.cohorts.table.places import find, index_films
from cxr_assets.errors import InputError
from cxr_assets.warehouse import Store
from tests.cohorts.conftest import write_film
from tests.cohorts.table_tools import adds_up, curate, film, folder, kinds, save

PATHS = {"tables": "data.csv", "columns": {"patient_id": "p", "path": "f"}}


def places(root: Path, *paths: str, **changes: object) -> tuple[list[str | None], list[str]]:
    text = "p,f\n" + "".join(f'{i},"{path}"\n' for i, path in enumerate(paths))
    cohort = curate(folder(root, text, PATHS, **changes), tables_only=False)
    return cohort.studies.sort("patient_id")["source_path"].to_list(), [kind for *_, kind in kinds(cohort)]


def test_paths_may_be_bare_nested_absolute_or_of_another_system(tmp_path: Path) -> None:
    for name in ("films/a.png", "films/sub/b.PNG", "films/c.png", "d.jpg", "e", "1.2.840.17"):
        write_film((tmp_path / name).with_suffix(".png")).rename(tmp_path / name)
    given = ("a.png", "sub\\b.PNG", f"{tmp_path}/films/c.png", "./d.jpg", "e", "1.2.840.17")
    found, odd = places(tmp_path, *given, roots=["films", "."])
    assert found == ["films/a.png", "films/sub/b.PNG", "films/c.png", "d.jpg", "e", "1.2.840.17"] and odd == []


def test_a_name_without_its_suffix_and_one_in_another_case_are_found(tmp_path: Path) -> None:
    write_film(tmp_path / "x" / "a.png")
    write_film(tmp_path / "x" / "B.png")
    assert places(tmp_path, "a", "b.PNG") == (["x/a.png", "x/B.png"], ["film name differs in case"])


def test_a_name_that_several_films_have_means_none_of_them(tmp_path: Path) -> None:
    for name in ("x/a.png", "y/a.png", "x/b.jpg", "x/b.png"):
        write_film((tmp_path / name).with_suffix(".png")).rename(tmp_path / name)
    found, odd = places(tmp_path, "a.png", "b", "x/a.png")
    assert found == [None, None, "x/a.png"] and odd == ["duplicate film name"] * 2


def test_names_that_differ_in_case_only_are_told(tmp_path: Path) -> None:
    write_film(tmp_path / "a.png")
    write_film(tmp_path / "A.png")
    assert places(tmp_path, "a.png") == (["a.png"], ["film name clash"])


def test_a_nested_path_is_never_matched_by_its_last_part_alone(tmp_path: Path) -> None:
    write_film(tmp_path / "p1" / "view1.png")
    assert places(tmp_path, "p2/view1.png") == ([None], ["missing film"])


def test_the_last_part_is_taken_where_that_is_said(tmp_path: Path) -> None:
    write_film(tmp_path / "films" / "a.png")
    columns = {"patient_id": "p", "path": {"column": "f", "parser": "name"}}
    assert places(tmp_path, "/elsewhere/on/a/disk/a.png", columns=columns) == (["films/a.png"], [])


def test_two_rows_never_share_a_film(tmp_path: Path) -> None:
    write_film(tmp_path / "x" / "a.png")
    assert places(tmp_path, "a.png", "x/a.png") == (["x/a.png"], ["duplicate film"])


def test_links_are_followed_inside_the_folder_only(tmp_path: Path) -> None:
    root = tmp_path / "root"
    write_film(tmp_path / "outside.png")
    write_film(root / "deep" / "inside.png")
    (root / "out.png").symlink_to(tmp_path / "outside.png")
    (root / "in.png").symlink_to(root / "deep" / "inside.png")
    (root / "away").symlink_to(tmp_path)
    found, odd = places(root, "out.png", "in.png", "away/outside.png")
    assert found == [None, "in.png", None] and sorted(odd) == ["film outside", "missing film"]


def test_a_root_that_is_not_there_stops_the_run_but_not_without_films(tmp_path: Path) -> None:
    root = folder(tmp_path, "p,f\n1,a.png\n", PATHS, roots=["gone"])
    with pytest.raises(InputError, match="gone is no folder inside"):
        curate(root, tables_only=False)
    assert kinds(curate(root)) == []


def test_a_row_without_a_path_is_kept_without_a_film(tmp_path: Path) -> None:
    assert places(tmp_path, "") == ([None], ["missing film"])


def test_dicom_and_png_films_of_one_table_are_stored_alike(tmp_path: Path) -> None:
    root = tmp_path / "root"
    save(root / "a.dcm", film())
    save(root / "b", film())
    write_film(root / "c.png", width=32, height=32)
    (root / "d.dcm").write_bytes(b"no film")
    cohort = curate(folder(root, "p,f\n1,a.dcm\n2,b\n3,c.png\n4,d.dcm\n", PATHS), tables_only=False)
    done = add_films(cohort, root, Store(tmp_path / "store"), size=32)
    assert done.studies["image_digest"].is_not_null().to_list() == [True, True, True, False]
    assert done.studies["image_digest"][0] == done.studies["image_digest"][1]
    assert kinds(done) == [(None, "source_path", "corrupt film")] and adds_up(done)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(alphabet='ab./\\~%$ \n\r\x00\ufeffé:",;', max_size=14))
def test_no_path_leads_out_of_the_folder(tmp_path: Path, path: str) -> None:
    root = tmp_path / "root"
    write_film(root / "a" / "b.png")
    write_film(tmp_path / "b.png")
    folder(root, f'p,f\n1,"{path}"\n'.encode(), PATHS)
    try:
        cohort = curate(root, tables_only=False)
    except InputError:  # the only row was dropped
        return
    for place in cohort.studies["source_path"].drop_nulls():
        assert is_inside((root / place).resolve(), root.resolve())


def test_a_hundred_thousand_paths_take_seconds(tmp_path: Path) -> None:
    for index in range(2000):
        (tmp_path / f"{index}.png").touch()
    index = index_films(tmp_path, ["."], cohort="table")
    start = time.perf_counter()
    assert sum(find(index, f"{number}.png", beside=(".",)).place is not None for number in range(100_000)) == 2000
    assert time.perf_counter() - start < 10
