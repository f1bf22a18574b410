from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxr_assets.errors import InputError
from cxr_assets.keys import MIXES, REAL_ONLY, Arm, Grid, Learner, MethodRun, Stratum, arms, contiguous_ranges, slug

slugs = st.text("abz019_-", min_size=1, max_size=8)
GRID = Grid(("edema", "fibrosis", "no_finding"), ("00-39", "80-up"), ("female", "male"), ("black", "white"))


@given(slugs, slugs, slugs, slugs)
def test_a_stratum_reads_back_from_its_key(finding: str, age: str, sex: str, race: str) -> None:
    stratum = Stratum(finding, age, sex, race)
    assert Stratum.parse(str(stratum)) == stratum
    assert str(stratum) == f"{finding}.{stratum.cell}"


@given(slugs.filter(lambda name: name != "real"), st.sampled_from(MIXES))
def test_an_arm_reads_back_from_its_key(method: str, mix: str) -> None:
    assert Arm.parse(f"{method}.{mix}") == Arm(method, mix)
    assert str(Arm(method, mix)) == f"{method}.{mix}"


@given(slugs, st.integers(1, 9999))
def test_a_method_reads_back_with_its_seed(preset: str, seed: int) -> None:
    run = MethodRun(preset, seed)
    assert MethodRun.parse(str(run)) == run


@given(slugs)
def test_a_method_without_a_seed_is_seed_zero(name: str) -> None:
    if not name.rpartition("-s")[2].isdigit():
        assert MethodRun.parse(name) == MethodRun(name, 0) and str(MethodRun(name, 0)) == name


@pytest.mark.parametrize("name", ["hcn-s0", "hcn-s01", "hcn-s12345"])
def test_a_method_and_seed_have_one_name(name: str) -> None:
    with pytest.raises(InputError, match="seed 0 has no ending"):
        MethodRun.parse(name)


@given(slugs, st.integers(0, 9999))
def test_a_learner_reads_back_from_its_key(backbone: str, seed: int) -> None:
    assert Learner.parse(str(Learner(backbone, seed))) == Learner(backbone, seed)


@pytest.mark.parametrize(
    "text", ["", "Edema", "pleural effusion", "a/b", "..", "a.b", "a=b", "é", "edema\n", "٣", "a'b"]
)
def test_only_slugs_become_part_of_a_key(text: str) -> None:
    with pytest.raises(InputError, match="not a slug"):
        slug(text)


@pytest.mark.parametrize(
    "text", ["edema", "edema.00-39.female", "edema.00-39.female.black.extra", "edema..female.black"]
)
def test_a_stratum_has_four_parts(text: str) -> None:
    with pytest.raises(InputError):
        Stratum.parse(text)


@pytest.mark.parametrize("text", ["real.r010", "lora.r000", "lora.r020", "lora", "lora.r010.s0"])
def test_an_arm_that_nobody_mixes_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        Arm.parse(text)


@pytest.mark.parametrize("text", ["cnn", "cnn.0", "cnn.s", "cnn.s-1", "cnn.s00", "cnn.s01", "cnn.s10000", "cnn.s1.5"])
def test_a_learner_has_one_spelling(text: str) -> None:
    with pytest.raises(InputError):
        Learner.parse(text)


def test_the_mix_tells_ratio_and_aim() -> None:
    assert [Arm("lora", mix).ratio for mix in ("r010", "e025", "r050", "e100", "only")] == [0.1, 0.25, 0.5, 1.0, 1.0]
    assert [mix for mix in MIXES if Arm("lora", mix).targeted] == ["r010", "r025", "r050", "r100"]
    assert Arm.parse("real.r000").is_real and Arm.parse("real.r000").ratio == 0.0


def test_real_data_is_one_arm_and_every_method_has_every_mix() -> None:
    made = arms(["a", "b"])
    assert made[0] == Arm("real", REAL_ONLY)
    assert len(made) == len(set(made)) == 1 + 2 * len(MIXES)
    assert all(Arm.parse(str(arm)) == arm for arm in made)


def test_strata_of_a_finding_lie_side_by_side_in_the_order_of_the_grid() -> None:
    order = list(GRID)
    assert len(order) == len(set(order)) == len(GRID) == 3 * GRID.cells
    for number, finding in enumerate(GRID.findings):
        assert order[number * GRID.cells : (number + 1) * GRID.cells] == GRID.of_finding(finding)
    assert [str(s) for s in order[:3]] == [
        "edema.00-39.female.black",
        "edema.00-39.female.white",
        "edema.00-39.male.black",
    ]


def test_a_grid_refuses_what_would_not_be_a_key() -> None:
    with pytest.raises(InputError, match="not a slug"):
        Grid(("Edema",), ("00-39",), ("female",), ("black",))
    with pytest.raises(InputError, match="none of edema"):
        GRID.of_finding("hernia")


@given(st.sets(st.integers(0, 39)), st.integers(1, 9), st.randoms())
def test_ranges_hold_every_wanted_key_once_and_no_other(wanted: set[int], size: int, random: object) -> None:
    order = [f"k{i:02d}" for i in range(40)]
    keys = [order[i] for i in wanted]
    random.shuffle(keys)  # type: ignore[attr-defined]
    ranges = contiguous_ranges(order, keys, size)
    held = [order[order.index(first) : order.index(last) + 1] for first, last in ranges]
    assert [key for run in held for key in run] == sorted(keys)
    assert all(1 <= len(run) <= size for run in held)


def test_ranges_are_as_few_as_can_be() -> None:
    order = [str(i) for i in range(10)]
    assert contiguous_ranges(order, order, 4) == [("0", "3"), ("4", "7"), ("8", "9")]
    assert contiguous_ranges(order, ["9", "0", "1", "5"], 4) == [("0", "1"), ("5", "5"), ("9", "9")]
    with pytest.raises(InputError, match="at least 1"):
        contiguous_ranges(order, order, 0)
