from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from cxr_assets.cohorts.demographics import AGE_SCHEMES
from cxr_assets.errors import InputError, SettingsError
from cxr_assets.evaluation.leaderboard.judges import (
    ClassifierJudge,
    OracleJudge,
    Reading,
    XrvJudge,
    bin_middles,
    choose_judge,
    judge_learner,
)
from cxr_assets.evaluation.oracle import Oracle
from cxr_assets.project import Project
from tests.helpers import noise_films, write_table


def test_an_open_bin_is_as_wide_as_the_one_before() -> None:
    assert bin_middles(["00-39", "40-59", "60-79", "80-up"]).tolist() == [20.0, 50.0, 70.0, 90.0]
    assert bin_middles(["18-up"]).tolist() == [69.0]


@given(st.sampled_from(sorted(AGE_SCHEMES)))
def test_the_middles_of_every_scheme_lie_in_their_bins(name: str) -> None:
    scheme = AGE_SCHEMES[name]
    middles = bin_middles(scheme.labels)
    assert (middles >= scheme.edges).all() and (middles[:-1] < scheme.edges[1:]).all()


@pytest.mark.parametrize("label", ["old", "40", "40-", "-40", "40-old"])
def test_what_is_no_age_bin_is_refused(label: str) -> None:
    with pytest.raises(InputError, match="no age bin"):
        bin_middles([label])


def test_the_oracle_says_findings_sex_and_a_mean_age_of_its_bins() -> None:
    oracle = Oracle.untrained(("edema", "fibrosis"), ("00-39", "40-59", "60-up"), 32)
    films = noise_films(5, 32)
    read, seen = OracleJudge(oracle).read(films, {}), oracle.judge(films)
    assert set(read.findings) == {"edema", "fibrosis"} and read.female is not None and read.age_years is not None
    np.testing.assert_array_equal(read.findings["fibrosis"], seen.findings[:, 1])
    np.testing.assert_allclose(read.age_years, seen.age @ np.array([20.0, 50.0, 70.0]), rtol=1e-5)


def test_readings_are_joined_in_order() -> None:
    parts = [Reading({"edema": np.array([float(i)])}, np.array([0.1 * i])) for i in range(3)]
    joined = Reading.join(parts)
    assert joined.findings["edema"].tolist() == [0.0, 1.0, 2.0]
    assert joined.female is not None and len(joined.female) == 3 and joined.age_years is None


def test_the_oracle_judges_a_phantom_unless_another_is_named(board: Callable[..., Project]) -> None:
    chosen = choose_judge(board())
    assert chosen.name == "oracle" and chosen.digest and not chosen.parents
    assert isinstance(chosen.open(board()), OracleJudge) and judge_learner(board()) is None


def test_a_name_that_is_no_judge_is_refused(board: Callable[..., Project]) -> None:
    with pytest.raises(SettingsError, match="'friend' is none of auto, oracle, classifier"):
        choose_judge(board(evaluation__leaderboard__judge="friend"))


def test_the_classifier_is_an_input_once_it_is_trained_and_nobody_judges_before(board: Callable[..., Project]) -> None:
    project = board(evaluation__leaderboard__judge="classifier")
    before = choose_judge(project)
    assert before.parents == () and before.open(project) is None
    learner = judge_learner(project)
    assert learner == project.learners[0]
    keys = {"arm": "real.r000", "learner": str(learner)}
    write_table(project, "classifier", keys)
    assert [(p.asset, p.keys) for p in choose_judge(project).parents] == [("classifier", keys)]


def test_a_classifier_reads_the_findings_it_was_trained_on() -> None:
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(32 * 32, 2))
    films = noise_films(4, 32)
    read = ClassifierJudge(network, ("edema", "fibrosis"), "classifier small_cnn.s0", 32).read(films, {})
    tensor = torch.from_numpy(films)[:, None].float() / 127.5 - 1
    expected = network(tensor).sigmoid().detach().numpy()
    np.testing.assert_allclose(read.findings["fibrosis"], expected[:, 1], rtol=1e-5)
    assert read.female is None and read.age_years is None


def test_xrv_names_are_ours_and_its_head_reads_the_features_at_hand(tmp_path: Path) -> None:
    from torchxrayvision.models import DenseNet

    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = DenseNet(num_classes=18, in_channels=1)
    save_file(network.state_dict(), tmp_path / "xrv.safetensors")
    judge = XrvJudge.load(f"xrv:{tmp_path / 'xrv.safetensors'}")
    assert {"pleural_effusion", "lung_lesion", "enlarged_cardiomediastinum", "edema"} < set(judge.findings)
    features = np.random.default_rng(0).normal(size=(3, 1024))
    read = judge.read(noise_films(3, 32), {judge.name: features})
    expected = network.classifier(torch.from_numpy(features).float()).sigmoid().detach().numpy()
    np.testing.assert_allclose(read.findings["atelectasis"], expected[:, 0], rtol=1e-5)


def test_an_xrv_head_of_other_outputs_is_refused(tmp_path: Path) -> None:
    from torchxrayvision.models import DenseNet

    save_file(DenseNet(num_classes=7, in_channels=1).state_dict(), tmp_path / "xrv.safetensors")
    with pytest.raises(SettingsError, match="7 outputs; a judge needs the 18"):
        XrvJudge.load(f"xrv:{tmp_path / 'xrv.safetensors'}")
