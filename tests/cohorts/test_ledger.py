"""What is kept is counted where it ends up, and rows that are lost on the way stop the run."""

from __future__ import annotations

import polars as pl
import pytest

from cxr_assets.cohorts.delimited import ROW
from cxr_assets.cohorts.ledger import Ledger
from cxr_assets.cohorts.registry import cohort_spec
from cxr_assets.errors import InputError


def ledger() -> Ledger:
    """An account of five rows, one of them dropped."""
    made = Ledger(cohort_spec("nih"))
    made.open("t.csv", rows=5)
    rows = pl.DataFrame({ROW: [2, 3, 4, 5, 6], "x": ["a", "b", "b", "c", "d"]})
    made.sift(rows, pl.col("x") == "a", source="t.csv", column="x", kind="odd", hint="no a")
    return made


def steps(made: Ledger) -> dict[str, int]:
    return dict(made.waterfall().select("step", "rows").iter_rows())


def test_kept_is_what_was_counted_or_what_is_left() -> None:
    made = ledger()
    assert steps(made) == {"read": 5, "dropped: odd": 1, "kept": 4}
    made.close("t.csv", kept=4)
    assert steps(made) == {"read": 5, "dropped: odd": 1, "kept": 4}


@pytest.mark.parametrize("kept", [3, 5, 0])
def test_rows_that_do_not_add_up_are_refused(kept: int) -> None:
    with pytest.raises(InputError, match=f"rows of t.csv do not add up: 5 read, 1 dropped, {kept} kept"):
        ledger().close("t.csv", kept=kept)


def test_rows_that_are_dropped_after_they_were_counted_are_refused() -> None:
    made = ledger()
    made.close("t.csv", kept=4)
    made.unused("t.csv", kind="late", rows=1)
    with pytest.raises(InputError, match="5 read, 2 dropped, 4 kept"):
        made.waterfall()


def test_more_rows_dropped_than_read_are_refused() -> None:
    made = ledger()
    made.unused("t.csv", kind="counted twice", rows=9)
    with pytest.raises(InputError, match="5 read, 10 dropped, -5 kept"):
        made.waterfall()
