from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import pytest

from cxr_assets.evaluation.leaderboard.films import Seen
from cxr_assets.evaluation.leaderboard.judges import Reading
from cxr_assets.evaluation.leaderboard.probes import Reader, fit_probe, stacked
from cxr_assets.evaluation.leaderboard.recoverability import NO_JUDGE, Asked, auroc, recoverability

ALL = [("all", "all")]


@dataclass(frozen=True)
class Told:
    """A judge whose readings are written into the films."""

    name: str = "told"
    age_from: str = "told, years"
    size: int | None = None

    def read(self, films: np.ndarray, features: Mapping[str, np.ndarray]) -> Reading:
        return Reading({})


def people(n: int, seed: int = 0) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    return pl.DataFrame(
        {
            "age_bin": "40-59",
            "sex": rng.choice(["female", "male"], n),
            "race": rng.choice(["black", "white", "asian"], n),
            "age_years": rng.integers(20, 90, n),
        }
    )


def showing(rows: pl.DataFrame, *, noise: float = 0.0) -> dict[str, np.ndarray]:
    """Features in which sex, race and age stand plainly."""
    columns = [(rows["sex"] == "female"), rows["race"] == "black", rows["race"] == "white", rows["age_years"] / 40]
    x = np.stack([np.asarray(c, dtype=np.float64) for c in columns], axis=1)
    return {"space": x + noise * np.random.default_rng(1).normal(size=x.shape)}


def asked(n: int, reading: Reading | None, labels: dict[str, np.ndarray], *, seed: int = 0) -> Asked:
    rows = people(n, seed)
    return Asked(Seen(rows, showing(rows), reading), labels)


def by_metric(rows: list[dict[str, Any]], method: str = "m") -> dict[tuple[str, str], dict[str, Any]]:
    return {(r["metric"], r["finding"]): r for r in rows if r["method"] == method and r["group"] == "all"}


def test_auroc_by_hand() -> None:
    truth, scores = np.array([0.0, 0.0, 1.0, 1.0]), np.array([0.1, 0.4, 0.35, 0.8])
    assert auroc(truth, scores, least=2).value == 0.75


def test_labels_that_do_not_count_are_left_out_of_an_auroc() -> None:
    truth, scores = np.array([0.0, 1.0, np.nan, np.nan]), np.array([0.1, 0.9, 1.0, 0.0])
    found = auroc(truth, scores, least=1)
    assert (found.value, found.n) == (1.0, 2)


@pytest.mark.parametrize("positives", [0, 4, 26, 30])
def test_an_auroc_needs_both_classes(positives: int) -> None:
    truth = np.arange(30) < positives
    found = auroc(truth.astype(np.float64), np.arange(30.0))
    assert (
        found.value is None
        and found.null_reason == f"{positives} positive and {30 - positives} negative films; 5 of each are needed"
    )


def test_a_judge_that_sees_all_recovers_all_and_one_that_guesses_recovers_nothing() -> None:
    rng = np.random.default_rng(2)
    rows, truth = people(400), (rng.random(400) < 0.4).astype(np.float64)
    sharp = Reading({"edema": truth}, (rows["sex"] == "female").to_numpy().astype(float), rows["age_years"].to_numpy())
    blind = Reading({"edema": rng.random(400)}, rng.random(400), np.full(400, 55.0))
    real = Asked(Seen(rows, showing(rows), sharp), {"edema": truth})
    methods = {"m": real, "b": Asked(Seen(rows, showing(rows), blind), {"edema": truth})}
    reader = Reader.fit(Told(), real.seen)
    found = recoverability(methods, real, reader, ALL, ["edema"], least=20)
    good, bad = by_metric(found), by_metric(found, "b")
    assert good["label_auroc", "edema"]["value"] == good["label_auroc", "all"]["value"] == 1.0
    assert (good["sex_accuracy", "all"]["value"], good["age_error", "all"]["value"]) == (1.0, 0.0)
    assert bad["label_auroc", "all"]["value"] == pytest.approx(0.5, abs=0.08)
    assert bad["sex_accuracy", "all"]["value"] == pytest.approx(0.5, abs=0.08)
    spread = np.abs(rows["age_years"].to_numpy() - 55.0).mean()
    assert bad["age_error", "all"]["value"] == pytest.approx(spread)
    assert bad["label_auroc", "all"]["ceiling"] == 1.0 and bad["age_error", "all"]["features"] == "told, years"


def test_the_mean_over_findings_leaves_out_no_finding_and_what_has_no_figure() -> None:
    truth = (np.arange(60) % 2).astype(np.float64)
    scores = {"edema": truth, "fibrosis": 1 - truth, "no_finding": 1 - truth, "hernia": truth}
    labels = {"edema": truth, "fibrosis": truth, "no_finding": truth, "hernia": np.zeros(60)}
    one = asked(60, Reading(scores), labels)
    reader = Reader.fit(Told(), one.seen)
    found = by_metric(recoverability({"m": one}, one, reader, ALL, list(labels), least=20))
    assert found["label_auroc", "all"]["value"] == 0.5, "of edema 1 and fibrosis 0 alone"
    assert found["label_auroc", "hernia"]["value"] is None and found["label_auroc", "hernia"]["null_reason"]


def test_without_a_judge_findings_have_a_reason_and_probes_read_the_rest() -> None:
    films = asked(200, None, {"edema": np.zeros(200)})
    reader = Reader.fit(None, asked(200, None, {}, seed=5).seen)
    found = by_metric(recoverability({"m": films}, films, reader, ALL, ["edema"], least=20))
    assert (found["label_auroc", "all"]["value"], found["label_auroc", "all"]["null_reason"]) == (None, NO_JUDGE)
    assert found["sex_accuracy", "all"]["value"] == found["race_accuracy", "all"]["value"] == 1.0
    assert found["age_error", "all"]["value"] < 10.0 and found["age_error", "all"]["features"] == "probe"


def test_groups_are_measured_on_their_own_films_and_small_ones_not_at_all() -> None:
    rows = people(100).with_columns(sex=pl.Series(["female"] * 90 + ["male"] * 10))
    seen = Seen(rows, showing(rows), Reading({}, np.r_[np.ones(45), np.zeros(45), np.zeros(10)]))
    films = Asked(seen, {})
    reader = Reader.fit(Told(), seen)
    found = recoverability({"m": films}, films, reader, [("sex", "female"), ("sex", "male")], [], least=20)
    shown = {(r["group"], r["metric"]): r for r in found}
    assert shown["female", "sex_accuracy"]["value"] == 0.5 and shown["female", "sex_accuracy"]["n"] == 90
    assert shown["female", "sex_auroc"]["value"] is None, "one sex alone has no AUROC"
    assert (shown["male", "sex_accuracy"]["value"], shown["male", "sex_accuracy"]["null_reason"]) == (
        None,
        "10 films; 20 are needed",
    )


def test_films_that_were_asked_for_no_sex_do_not_count() -> None:
    rows = people(60).with_columns(sex=pl.Series(["unknown"] * 20 + [None] * 10 + ["male"] * 30))
    seen = Seen(rows, showing(people(60)), Reading({}, np.zeros(60)))
    found = by_metric(
        recoverability({"m": Asked(seen, {})}, Asked(seen, {}), Reader.fit(Told(), seen), ALL, [], least=20)
    )
    assert (found["sex_accuracy", "all"]["n"], found["sex_accuracy", "all"]["value"]) == (30, 1.0)


def test_a_probe_leaves_small_and_unknown_groups_out_and_says_why_there_is_none() -> None:
    rows = people(60).with_columns(race=pl.Series(["black"] * 30 + ["white"] * 26 + ["asian"] * 4, dtype=pl.String))
    probe = fit_probe("race", Seen(rows, showing(rows)))
    assert list(probe.model.classes_) == ["black", "white"]
    alone = rows.with_columns(race=pl.lit("white"))
    none = fit_probe("race", Seen(alone, showing(rows)))
    assert none.read(showing(rows)).values is None and "fewer than two groups of race" in str(none.null_reason)
    nobody = rows.with_columns(age_years=pl.lit(None, pl.Float64))
    assert "0 real validate films with an age" in str(fit_probe("age_years", Seen(nobody, showing(rows))).null_reason)


def test_a_probe_learns_from_validation_films_and_not_from_those_it_reads() -> None:
    train, other = people(300, 1), people(300, 2)
    swapped = {"space": showing(other)["space"] * [-1, 1, 1, 1] + [1, 0, 0, 0]}  # sexes changed places
    read = fit_probe("sex", Seen(train, showing(train))).read(swapped)
    assert read.values is not None and ((read.values > 0.5) == (other["sex"] == "female").to_numpy()).mean() == 0.0


def test_all_spaces_are_read_side_by_side_in_name_order() -> None:
    both = stacked({"b": np.ones((2, 1)), "a": np.zeros((2, 2))})
    assert both.tolist() == [[0.0, 0.0, 1.0]] * 2
