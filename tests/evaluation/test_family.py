from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.stats import false_discovery_control

from cxr_assets.errors import InputError
from cxr_assets.evaluation.cells import lattice
from cxr_assets.evaluation.config import Hypothesis
from cxr_assets.evaluation.family import adjust, benjamini_hochberg, declared, holm, refuse_too_few, refuse_unknown
from cxr_assets.evaluation.scorecard_tables import GAPS
from tests.evaluation.simulate import laid_out, simulated

probabilities = st.lists(st.floats(0.001, 1.0), min_size=1, max_size=20)


def gap(attribute: str, p: float | None, **changed: Any) -> dict[str, Any]:
    row = {"finding": "all", "metric": "tpr", "gap_kind": "max_min", "weight_scheme": "none", "family": "exploratory"}
    return {**row, "attribute": attribute, "p_perm": p, **changed}


def adjusted(rows: list[dict[str, Any]], *attributes: str) -> pl.DataFrame:
    return adjust(pl.DataFrame(rows, schema=GAPS), [Hypothesis(attribute=a) for a in attributes])


def test_declared_gaps_are_adjusted_by_holm_and_the_others_by_the_false_discovery_rate() -> None:
    p = [0.01, 0.04, 0.03, 0.005]
    rows = [gap(f"a{i}", v) for i, v in enumerate(p)] + [gap(f"a{i}", v, metric="fpr") for i, v in enumerate(p)]
    found = adjusted(rows, "a0", "a1", "a2", "a3")
    assert found["p_adj"].to_list() == pytest.approx([0.03, 0.06, 0.06, 0.02, 0.02, 0.04, 0.04, 0.02])
    assert found["family"].to_list() == ["confirmatory"] * 4 + ["exploratory"] * 4
    assert found["reported"].to_list() == [True, False, False, True] + [False] * 4
    assert found["attribute"].to_list() == [r["attribute"] for r in rows], "rows stay in their order"


def test_a_gap_that_was_not_declared_is_never_reported() -> None:
    found = adjusted([gap("sex", 0.001), gap("race", 0.001)], "sex")
    assert found["reported"].to_list() == [True, False] and found["p_adj"].to_list() == [0.001, 0.001]
    assert not adjusted([gap("sex", 0.001)])["reported"].any()


@pytest.mark.parametrize(
    "changed",
    [{"gap_kind": "equalized_odds_max"}, {"weight_scheme": "matched"}, {"p_perm": None}],
    ids=["of another kind", "matched", "without a p"],
)
def test_gaps_that_are_not_tested_take_no_part(changed: dict[str, Any]) -> None:
    found = adjusted([gap("sex", 0.04), gap("sex", 0.04, **changed)], "sex")
    assert found["p_adj"].to_list() == [0.04, None] and found["reported"].to_list() == [True, False]
    assert found["family"].to_list() == ["confirmatory", "exploratory"]


def test_a_hypothesis_names_the_finding_and_the_metric_too() -> None:
    rows = [gap("sex", 0.02), gap("sex", 0.02, finding="edema"), gap("sex", 0.02, metric="auroc")]
    wanted = [Hypothesis(attribute="sex", finding="edema"), Hypothesis(attribute="sex", finding="edema")]
    found = adjust(pl.DataFrame(rows, schema=GAPS), wanted)
    assert found["family"].to_list() == ["exploratory", "confirmatory", "exploratory"]
    assert found["p_adj"][1] == 0.02, "declared twice is declared once"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("sex", ("sex", "all", "tpr")),
        (" sex * race ", ("race×sex", "all", "tpr")),
        ("sex×race:edema", ("race×sex", "edema", "tpr")),
        ("sex:edema:auroc", ("sex", "edema", "auroc")),
    ],
)
def test_a_hypothesis_is_read_from_a_line(text: str, parts: tuple[str, str, str]) -> None:
    found = Hypothesis.parse(text)
    assert (found.attribute, found.finding, found.metric) == parts


@pytest.mark.parametrize("text", ["", "sex*", "sex::auroc", "sex:edema:auroc:more"])
def test_half_a_hypothesis_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="attribute:finding:metric"):
        Hypothesis.parse(text)


def test_a_family_that_could_never_be_settled_is_refused() -> None:
    seven = [Hypothesis(attribute=f"a{i}") for i in range(7)]
    refuse_too_few(seven, [], 139)
    refuse_too_few(None, ["age_bin", "race", "sex"], 139)
    for family, attributes in ((seven, []), (None, ["age_bin", "race", "sex"])):
        with pytest.raises(InputError, match=r"family of 7 declared gaps.*at least 139"):
            refuse_too_few(family, attributes, 138)


def test_the_larger_the_family_the_less_is_reported() -> None:
    rows = [gap("sex", 0.02), gap("race", 0.5), gap("age", 0.5)]
    assert adjusted(rows, "sex", "race")["reported"][0] and not adjusted(rows, "sex", "race", "age")["reported"][0]


def test_no_gaps_leave_no_gaps() -> None:
    assert adjust(pl.DataFrame(schema=GAPS), []).schema == pl.Schema(GAPS)
    assert adjusted([], "sex").is_empty()


def test_by_default_the_pooled_tpr_gap_of_every_attribute_and_intersection_is_declared() -> None:
    films = laid_out(*simulated(patients=60))
    found = declared(lattice(films, ["sex", "race"]))
    assert [(h.finding, h.metric) for h in found] == [("all", "tpr")] * 3
    assert [h.attribute for h in found] == ["race", "sex", "race×sex"]


def test_a_hypothesis_with_a_field_that_nobody_knows_is_refused() -> None:
    with pytest.raises(ValidationError, match="groups"):
        Hypothesis(attribute="sex", groups=2)  # type: ignore[call-arg]


@given(probabilities)
def test_holm_is_its_definition(p: list[float]) -> None:
    ordered = np.sort(p)
    found = holm(ordered)
    for i in range(len(p)):
        expected = max(min(1.0, (len(p) - j) * ordered[j]) for j in range(i + 1))
        assert found[i] == pytest.approx(expected)
    assert (found >= ordered).all() and all(a <= b for a, b in pairwise(found))


@given(probabilities)
def test_the_false_discovery_rate_is_that_of_scipy_and_skips_what_is_undefined(p: list[float]) -> None:
    found = benjamini_hochberg(np.array([np.nan, *p, np.nan]))
    np.testing.assert_allclose(found[1:-1], false_discovery_control(p))
    assert np.isnan(found[[0, -1]]).all()


def test_a_gap_that_stands_under_two_names_is_counted_once() -> None:
    rows = [gap("sex", 0.01, metric="fpr"), gap("sex", 0.001, metric="fnr"), gap("sex", 0.02, metric="ppv")]
    rows += [gap("sex", 0.001, finding="no_finding", metric=m) for m in ("tpr", "fpr", "fnr")]
    found = adjusted([*rows, gap("sex", 0.03, finding="no_finding", metric="underdiagnosis")])
    expected = [0.03, None, 0.03, None, None, None, 0.03]
    assert [None if p is None else round(p, 9) for p in found["p_adj"]] == expected


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"attribute": "sex×race"}, r"no attribute 'sex×race'.*alphabetical"),
        ({"attribute": "sxe"}, r"no attribute 'sxe'.*Did you mean sex"),
        ({"attribute": "sex", "finding": "oedema"}, r"no finding 'oedema'.*Did you mean edema"),
    ],
)
def test_a_hypothesis_about_nothing_is_refused(wrong: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        refuse_unknown([Hypothesis(**wrong)], ["sex", "race"], ["edema"])
    refuse_unknown([Hypothesis(attribute="race×sex", finding="edema")], ["sex", "race"], ["edema"])
