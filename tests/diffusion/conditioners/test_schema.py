from __future__ import annotations

from typing import Any

import pytest
import torch

from cxr_assets.cohorts.demographics import RACES
from cxr_assets.diffusion.conditioners.schema import DemographicSchema
from cxr_assets.errors import InputError

SCHEMA = DemographicSchema()


def test_words_become_indices_in_the_order_of_the_schema() -> None:
    batch = SCHEMA.encode([0, 17.9, 18, 39, 40, 80, 120], ["female", "male"] * 3 + ["male"], [*RACES, "asian", "black"])
    assert batch.age_bin.tolist() == [0, 0, 1, 1, 2, 4, 4]
    assert batch.years.tolist() == pytest.approx([0, 17.9, 18, 39, 40, 80, 120])
    assert batch.sex.tolist() == [0, 1, 0, 1, 0, 1, 1]
    assert batch.race.tolist() == [0, 1, 2, 3, 4, 0, 1]
    assert batch.known.all() and batch.known.shape == (7, 3)
    turned = DemographicSchema(sexes=("male", "female"), races=RACES[::-1])
    assert turned.encode([1], ["female"], ["other"]).sex.item() == 1
    assert turned.encode([1], ["female"], ["other"]).race.item() == 0


def test_the_bin_of_an_age_hangs_on_the_edges() -> None:
    assert SCHEMA.age_bin(19) == 1
    assert DemographicSchema(age_edges=(0, 20, 40, 60, 80)).age_bin(19) == 0


def test_unknown_is_masked_and_never_a_default() -> None:
    batch = SCHEMA.encode([None, 0.0], ["unknown", ""], [None, "white"])
    assert batch.known.tolist() == [[False, False, False], [True, False, True]]
    assert batch.sex.tolist() == [0, 0] and batch.race.tolist() == [0, 3]
    assert batch.sex.dtype == batch.race.dtype == batch.age_bin.dtype == torch.int64
    assert batch.years.dtype == torch.float32 and batch.known.dtype == torch.bool


@pytest.mark.parametrize(
    ("row", "word"),
    [
        ((50, "Female", "white"), "Female"),
        ((50, "female", "caucasian"), "caucasian"),
        ((-1, "female", "white"), "-1"),
        ((121, "female", "white"), "121"),
        ((float("nan"), "female", "white"), "nan"),
    ],
)
def test_what_the_schema_does_not_know_is_refused_by_name(row: tuple[Any, Any, Any], word: str) -> None:
    with pytest.raises(InputError, match=word):
        SCHEMA.encode(*([value] for value in row))


def test_columns_of_unequal_length_are_refused() -> None:
    with pytest.raises(InputError, match="2 ages, 1 sexes"):
        SCHEMA.encode([1, 2], ["male"], ["white"])


@pytest.mark.parametrize(
    "changed", [{"age_edges": (0, 40, 40)}, {"age_edges": ()}, {"sexes": ("male", "male")}, {"races": ("unknown",)}]
)
def test_a_schema_that_contradicts_itself_is_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        DemographicSchema(**changed)


def test_a_cell_is_written_as_in_a_stratum() -> None:
    assert SCHEMA.cell(63, "female", "black") == "60-79.female.black"
    assert SCHEMA.cell(95, None, "") == "80-up.unknown.unknown"


def test_every_cell_is_there_once() -> None:
    cells = SCHEMA.every_cell()
    assert len(cells) == 5 * 2 * 5 and cells.known.all()
    assert len(torch.stack([cells.age_bin, cells.sex, cells.race], dim=1).unique(dim=0)) == 50


def test_the_digest_hangs_on_order_and_not_on_number_types() -> None:
    assert DemographicSchema(age_edges=(0.0, 18.0, 40.0, 60.0, 80.0)).digest() == SCHEMA.digest()
    assert DemographicSchema(races=RACES[::-1]).digest() != SCHEMA.digest()


def test_dropped_rows_know_nothing() -> None:
    batch = SCHEMA.encode([30, 40], ["male", None], ["white", "black"])
    assert batch.without(torch.tensor([True, False])).known.tolist() == [[False] * 3, [True, False, True]]
    assert batch.without(None) is batch
