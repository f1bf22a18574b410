from __future__ import annotations

import numpy as np
import pytest

from cxr_assets.diffusion.weighing import Groups
from cxr_assets.errors import InputError

SCHEMA = Groups({"sex": ("female", "male"), "race": ("asian", "black", "white")})


def test_values_lie_one_attribute_after_the_other_and_cells_with_the_last_fastest() -> None:
    assert SCHEMA.offsets.tolist() == [0, 2] and SCHEMA.cells == 6
    assert SCHEMA.labels == ["sex=female", "sex=male", "race=asian", "race=black", "race=white"]
    assert SCHEMA.cell_of(np.array([[0, 0], [0, 2], [1, 0], [1, -1], [-1, 2]])).tolist() == [0, 2, 3, -1, -1]
    assert SCHEMA.cell_counts(np.array([[1, 2], [1, 2], [0, 0], [0, -1]])).tolist() == [1, 0, 0, 0, 0, 2]


def test_the_unknown_is_summed_nowhere() -> None:
    groups, losses = np.array([[0, 1], [1, -1], [-1, 1], [-1, -1]]), np.array([1.0, 2.0, 4.0, 8.0])
    sums, counts = SCHEMA.value_sums(groups, losses)
    assert sums.tolist() == [1.0, 2.0, 0.0, 5.0, 0.0] and counts.tolist() == [1, 1, 0, 2, 0]
    sums, counts = SCHEMA.cell_sums(groups, losses)
    assert sums.tolist() == [0.0, 1.0, 0.0, 0.0, 0.0, 0.0] and counts.sum() == 1


def test_cells_add_up_to_values_where_all_is_known() -> None:
    rng = np.random.default_rng(0)
    groups, losses = rng.integers(0, [2, 3], size=(40, 2)), rng.random(40)
    for cells, values in zip(SCHEMA.cell_sums(groups, losses), SCHEMA.value_sums(groups, losses), strict=True):
        assert SCHEMA.marginals(cells) == pytest.approx(values)


def test_a_gap_is_the_difference_of_the_extreme_means() -> None:
    sums, counts = np.array([1.0, 0.2, 1.2, 0.35, 0.1]), np.array([2, 1, 2, 1, 1])
    assert SCHEMA.gaps(sums, counts) == pytest.approx([0.3, 0.5])


def test_fewer_than_two_groups_have_no_gap() -> None:
    assert SCHEMA.gaps(np.array([1.0, 0, 0, 2.0, 0]), np.array([2, 0, 0, 1, 0])).tolist() == [0.0, 0.0]
    assert SCHEMA.gaps(np.zeros(5), np.zeros(5, dtype=np.int64)).tolist() == [0.0, 0.0]


def test_a_mean_that_is_no_number_counts_as_absent() -> None:
    gaps = SCHEMA.gaps(np.array([np.nan, 0.2, 0.6, np.inf, 0.1]), np.ones(5, dtype=np.int64))
    assert gaps == pytest.approx([0.0, 0.5])


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (np.zeros((4, 3), dtype=np.int64), r"shape \(batch, 2\)"),
        (np.zeros((4, 2)), "whole numbers"),
        (np.array([[0, 3]]), "'race' has the values 0 to 2"),
        (np.array([[-2, 0]]), "'sex' has the values 0 to 1"),
    ],
)
def test_groups_that_name_no_value_are_refused(groups: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        SCHEMA.check(groups)


def test_sums_of_another_axis_and_losses_of_another_batch_are_refused() -> None:
    with pytest.raises(InputError, match="same controller's tally"):
        SCHEMA.gaps(np.zeros(6), np.zeros(6))
    with pytest.raises(InputError, match="one loss per example"):
        SCHEMA.value_sums(np.zeros((2, 2), dtype=np.int64), np.zeros((2, 1)))


@pytest.mark.parametrize("values", [{}, {"sex": ()}, {"sex": ("male", "male")}])
def test_a_schema_without_values_is_refused(values: dict[str, tuple[str, ...]]) -> None:
    with pytest.raises(InputError):
        Groups(values)
