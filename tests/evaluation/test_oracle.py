from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from cxr_assets.errors import InputError
from cxr_assets.evaluation.oracle import Judgement, Oracle, recoverability, train_oracle
from cxr_assets.synthesis.quality_report import asked_for
from tests.helpers import QUIET, noise_films

AGES = ("00-39", "40-59", "60-79", "80-up")
NAMES = ("edema", "fibrosis")


def judgement() -> Judgement:
    return Judgement(
        NAMES,
        findings=np.array([[0.9, 0.5], [0.2, 0.5], [0.4, 0.5], [0.3, 0.5]]),
        female=np.array([0.9, 0.6, 0.7, 0.1]),
        age=np.eye(4)[[0, 1, 1, 3]],
    )


def figures(asked: pl.DataFrame) -> dict[tuple[str, str], float | None]:
    frame = recoverability(judgement(), asked, AGES)
    return {(r["quantity"], r["metric"]): r["value"] for r in frame.iter_rows(named=True)}


def test_what_the_oracle_recovers_is_counted_by_hand() -> None:
    asked = pl.DataFrame(
        {
            "edema": [1, 1, 0, 0],
            "fibrosis": [1, 0, 1, 0],
            "sex": ["female", "female", "male", "male"],
            "age_bin": ["00-39", "40-59", "60-79", "00-39"],
        }
    )
    assert figures(asked) == pytest.approx(
        {
            ("edema", "auroc"): 0.5,
            ("fibrosis", "auroc"): 0.5,
            ("sex", "accuracy"): 0.75,
            ("age_bin", "exact_agreement"): 0.5,
            ("age_bin", "within_one_bin"): 0.75,
        }
    )


def test_a_finding_that_all_films_were_asked_for_has_no_auroc() -> None:
    asked = pl.DataFrame({"edema": [1, 1, 1, 1], "sex": ["male"] * 4, "age_bin": ["80-up"] * 4})
    made = figures(asked)
    assert made[("edema", "auroc")] is None and ("fibrosis", "auroc") not in made


def test_a_prompt_is_read_back_as_what_was_asked() -> None:
    images = pl.DataFrame(
        {"sex": ["male", "female"], "age": ["00-39", "80-up"], "labels": ["edema|hernia", "no_finding"]}
    )
    asked = asked_for(images, NAMES)
    assert asked.to_dict(as_series=False) == {
        "sex": ["male", "female"],
        "age_bin": ["00-39", "80-up"],
        "edema": [1, 0],
        "fibrosis": [0, 0],
    }


def test_an_oracle_saves_and_loads(tmp_path: Path) -> None:
    films = noise_films(24, size=32)
    bright = (films.mean(axis=(1, 2)) > films.mean()).astype(int)
    oracle = train_oracle(
        films,
        np.stack([bright, 1 - bright], axis=1),
        bright,
        bright,
        findings=NAMES,
        ages=AGES[:2],
        steps=6,
        batch=8,
        progress=QUIET,
    )
    oracle.save(tmp_path)
    before, after = oracle.judge(films), Oracle.load(tmp_path).judge(films)
    np.testing.assert_allclose(after.findings, before.findings, atol=0.02)
    np.testing.assert_allclose(after.age.sum(axis=1), 1.0, atol=1e-5)
    assert after.names == NAMES and after.female.shape == (24,)
    assert Oracle.load(tmp_path).judge(films[:0]).findings.shape == (0, 2)
    larger = films.repeat(2, axis=1).repeat(2, axis=2)
    np.testing.assert_allclose(Oracle.load(tmp_path).judge(larger).findings, after.findings, atol=0.1)


def test_a_folder_without_an_oracle_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="pretrain-phantom"):
        Oracle.load(tmp_path)
