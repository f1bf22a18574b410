from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from cxr_assets.evaluation.contrasts import CONTRASTS, NI_MARGIN, contrast_arms
from cxr_assets.evaluation.family import benjamini_hochberg
from cxr_assets.evaluation.scorecard_tables import REPLICATES
from tests.evaluation.simulate import WORST, card_of, simulated

RNG = np.random.default_rng(0)


def replicates(arm: str, values: np.ndarray, *, metric: str = "tpr", quantity: str = "max_min") -> pl.DataFrame:
    return pl.DataFrame(
        {
            "arm": arm,
            "finding": "all",
            "attribute": "sex",
            "group": "all",
            "metric": metric,
            "quantity": quantity,
            "replicate": np.arange(len(values)),
            "value": values,
        },
        schema=REPLICATES,
    )


def only(frame: pl.DataFrame) -> dict[str, object]:
    assert frame.height == 1 and frame.schema == pl.Schema(CONTRASTS)
    return frame.row(0, named=True)


def test_contrasts_are_taken_replicate_by_replicate() -> None:
    base = RNG.normal(0.3, 0.2, 501)
    row = only(contrast_arms([replicates("real.r000", base), replicates("m.r010", base - 0.05)], "real.r000"))
    assert (
        row["delta"] == pytest.approx(-0.05)
        and row["ci_lo"] == pytest.approx(-0.05)
        and row["ci_hi"] == pytest.approx(-0.05)
    )
    assert (row["arm_a"], row["arm_b"]) == ("m.r010", "real.r000")
    assert row["value_a"] == pytest.approx(base[0] - 0.05) and row["p"] == pytest.approx(1 / 501)


def test_replicates_are_matched_by_number_not_by_row() -> None:
    base = RNG.normal(0.3, 0.2, 501)
    both = pl.concat([replicates("m.r010", base - 0.05), replicates("real.r000", base)])
    row = only(contrast_arms([both.sample(fraction=1, shuffle=True, seed=1)], "real.r000"))
    assert row["ci_hi"] == pytest.approx(-0.05) and row["value_b"] == base[0]


def test_p_is_two_sided_and_never_zero() -> None:
    values = np.concatenate([[0.1], np.linspace(-0.1, 0.9, 1000)])
    row = only(contrast_arms([replicates("b", np.zeros(1001)), replicates("a", values)], "b"))
    assert row["p"] == pytest.approx(0.2, abs=0.002)
    same = only(contrast_arms([replicates("b", values), replicates("a", values)], "b"))
    assert same["p"] == 1.0 and same["delta"] == 0.0


@pytest.mark.parametrize(("shift", "passes"), [(0.0, True), (-0.005, True), (-0.02, False)])
def test_non_inferiority_is_asked_of_the_overall_auroc_alone(shift: float, passes: bool) -> None:
    base = RNG.normal(0.85, 0.02, 501)
    arms = [replicates(a, v, metric="auroc", quantity="overall") for a, v in (("b", base), ("a", base + shift))]
    row = only(contrast_arms(arms, "b"))
    assert row["ni_pass"] is passes and row["ni_margin"] == NI_MARGIN
    assert only(contrast_arms([replicates("b", base), replicates("a", base)], "b"))["ni_pass"] is None


def test_an_undefined_contrast_is_null_throughout() -> None:
    gone = np.full(101, np.nan)
    row = only(contrast_arms([replicates("b", np.zeros(101)), replicates("a", gone)], "b"))
    assert (row["delta"], row["ci_lo"], row["p"], row["p_adj"]) == (None, None, None, None)


def test_the_baseline_alone_has_no_contrast() -> None:
    empty = contrast_arms([replicates("b", np.zeros(11))], "b")
    assert empty.is_empty() and empty.schema == pl.Schema(CONTRASTS)


def test_benjamini_and_hochberg_on_known_values() -> None:
    p = np.array([0.01, 0.04, 0.03, 0.005, np.nan])
    np.testing.assert_allclose(benjamini_hochberg(p), [0.02, 0.04, 0.04, 0.02, np.nan])
    assert np.isnan(benjamini_hochberg(np.array([np.nan]))).all() and len(benjamini_hochberg(np.array([]))) == 0


def test_an_arm_that_closes_the_planted_gap_is_seen_to_do_so() -> None:
    worse, better = (card_of(*simulated(missed=m), arm=a) for m, a in ((0.5, "real.r000"), (0.0, "m.r025")))
    frame = contrast_arms([worse.replicates, better.replicates], "real.r000")
    row = frame.row(by_predicate=(pl.col("group") == WORST) & (pl.col("quantity") == "group_vs_rest"), named=True)
    assert row["delta"] > 0.2 and row["ci_lo"] > 0 and row["p_adj"] <= 0.05
    gap = frame.row(
        by_predicate=(pl.col("attribute") == "race×sex")
        & (pl.col("quantity") == "max_min")
        & (pl.col("metric") == "tpr"),
        named=True,
    )
    assert gap["ci_hi"] < 0


def test_arms_share_their_draws_so_that_equal_predictions_differ_in_nothing() -> None:
    one, two = (card_of(*simulated(patients=200), arm=a) for a in ("real.r000", "m.r010"))
    frame = contrast_arms([one.replicates, two.replicates], "real.r000")
    assert (
        frame.height > 5 and (frame["delta"] == 0).all() and (frame["ci_lo"] == 0).all() and (frame["ci_hi"] == 0).all()
    )
