from __future__ import annotations

import numpy as np
import polars as pl

from cxr_assets.evaluation.leaderboard.diversity import diversity, mean_distance, strata_of_patients
from cxr_assets.evaluation.leaderboard.films import Seen

CELL = {"age_bin": "40-59", "sex": "female", "race": "white"}
STRATUM = "edema.40-59.female.white"


def drawn(values: list[float], stratum: str = STRATUM) -> Seen:
    rows = pl.DataFrame({"stratum": [stratum] * len(values)}).with_columns(pl.lit(v).alias(k) for k, v in CELL.items())
    return Seen(rows, {"space": np.array(values)[:, None]})


def real(values: list[float], patients: list[str]) -> tuple[Seen, pl.DataFrame]:
    ids = [f"s{i}" for i in range(len(values))]
    rows = pl.DataFrame({"study_id": ids, "patient_id": patients}).with_columns(
        pl.lit(v).alias(k) for k, v in CELL.items()
    )
    return Seen(rows, {"space": np.array(values)[:, None]}), pl.DataFrame({"study_id": ids, "finding": "edema"})


def measured(
    methods: dict[str, Seen], films: tuple[Seen, pl.DataFrame], least: int = 2
) -> dict[str, dict[str, object]]:
    rows = diversity(methods, *films, ["space"], [("all", "all")], least=least)
    return {r["method"]: r for r in rows}


def test_the_mean_distance_of_three_films_by_hand() -> None:
    assert mean_distance(np.array([[0.0], [1.0], [3.0]])) == 2.0


def test_images_half_as_far_apart_as_real_films_are_half_as_varied() -> None:
    found = measured({"a": drawn([0.0, 1.0]), "b": drawn([5.0, 7.0])}, real([0.0, 2.0], ["p", "q"]))
    assert (found["a"]["value"], found["b"]["value"], found["a"]["ceiling"], found["a"]["n"]) == (0.5, 1.0, 1.0, 2)


def test_the_same_image_again_and_again_has_no_variety() -> None:
    assert measured({"a": drawn([1.0] * 9)}, real([0.0, 2.0], ["p", "q"]))["a"]["value"] == 0.0


def test_two_films_of_a_patient_are_not_what_images_are_held_against() -> None:
    films = real([0.0, 0.1, 2.0], ["p", "p", "q"])
    kept = strata_of_patients(films[0].rows.with_row_index("row"), films[1])
    assert kept.rows() == [(0, STRATUM), (2, STRATUM)]
    assert measured({"a": drawn([0.0, 2.0])}, films)["a"]["value"] == 1.0


def test_a_stratum_that_one_method_lacks_enters_for_none() -> None:
    other = "fibrosis.40-59.female.white"
    found = measured({"a": drawn([0.0, 1.0]), "b": drawn([0.0, 1.0], other)}, real([0.0, 2.0], ["p", "q"]))
    assert found["a"]["value"] is None and str(found["a"]["null_reason"]).startswith("0 images in strata")


def test_too_few_images_get_a_reason() -> None:
    found = measured({"a": drawn([0.0, 1.0])}, real([0.0, 2.0], ["p", "q"]), least=3)["a"]
    assert found["value"] is None and found["null_reason"] is not None and found["ceiling"] is None


def test_real_films_without_demographics_show_no_stratum() -> None:
    films, positives = real([0.0, 2.0], ["p", "q"])
    unknown = films.rows.with_columns(race=pl.lit(None, pl.String)).with_row_index("row")
    assert strata_of_patients(unknown, positives).is_empty()
    assert strata_of_patients(films.rows.with_row_index("row"), positives).height == 2
