"""The scorecard of anybody's predictions: one table in, the same tables out whatever its form, and a page that holds."""

from __future__ import annotations

import gzip
import html.parser
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from cxr_assets.classification.thresholds import fit_threshold
from cxr_assets.cli import app
from cxr_assets.errors import InputError, StorageError
from cxr_assets.evaluation import score_report
from cxr_assets.evaluation.contrasts import CONTRASTS
from cxr_assets.evaluation.score_any import Scored, score, write_scored
from tests.evaluation.simulate import SMALL, WORST, simulated

FILES = {
    *(f"{name}.parquet" for name in ("fairness_estimates", "fairness_gaps", "fairness_contrasts", "thresholds")),
    *("report.html", "report.md", "scorecard.json"),
}
ODD = "b/../../c|<script>alert(1)</script>&$x$"
FEW: dict[str, Any] = {"replicates": 40, "permutations": 99, "eligibility": SMALL}


def received() -> pl.DataFrame:
    """Predictions of one model in the long form, black women's positives missed; the first hundred patients validate."""
    predictions, people = simulated(patients=400, missed=0.6, learners=("s0",), prevalence=0.45)
    predictions = predictions.filter(pl.col("finding") != "no_finding")
    split = pl.when(pl.col("patient_id") < "p0100").then(pl.lit("val")).otherwise(pl.lit("test"))
    return predictions.drop("learner").join(people, on="study_id").with_columns(split=split)


def noisy(table: pl.DataFrame, model: str) -> pl.DataFrame:
    """The same films scored by a worse model."""
    noise = np.random.default_rng(9).uniform(0, 1, table.height)
    return table.with_columns(score=0.7 * pl.col("score") + 0.3 * noise, model=pl.lit(model))


@pytest.fixture(scope="module")
def table() -> pl.DataFrame:
    return pl.concat([received().with_columns(model=pl.lit("a")), noisy(received(), ODD)])


@pytest.fixture(scope="module")
def scored(table: pl.DataFrame) -> Scored:
    return score(table, **FEW)


@pytest.fixture(scope="module")
def written(scored: Scored, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scored(scored, tmp_path_factory.mktemp("out") / "card")


def same(first: Scored, second: Scored) -> None:
    for name, frame in first.tables().items():
        assert frame.equals(second.tables()[name]), name


class Page(html.parser.HTMLParser):
    """Tags, addresses and text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.sources: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        self.text += data


# What is found


def test_the_planted_disparity_is_found_in_anybody_s_predictions(scored: Scored) -> None:
    row = scored.gaps.row(
        by_predicate=(pl.col("arm") == "a")
        & (pl.col("family") == "confirmatory")
        & (pl.col("attribute") == "race×sex")
        & pl.col("p_perm").is_not_null(),
        named=True,
    )
    assert row["worst_group"] == WORST and row["reported"]
    assert any(
        WORST in sentence and sentence.startswith("a: TPR differs by race×sex")
        for sentence in score_report.lead(scored)
    )


def test_thresholds_are_fitted_on_validate_rows_by_every_rule(table: pl.DataFrame, scored: Scored) -> None:
    own = table.filter((pl.col("model") == "a") & (pl.col("finding") == "edema") & (pl.col("split") == "val"))
    for rule in ("f1", "youden", "sensitivity90"):
        expected = fit_threshold(own["score"].to_numpy(), own["truth"].to_numpy(), rule)
        row = scored.thresholds.row(
            by_predicate=(pl.col("model") == "a") & (pl.col("finding") == "edema") & (pl.col("rule") == rule),
            named=True,
        )
        assert row["threshold"] == expected and len(row["fitted_on"]) == 64 and row["null_reason"] is None
    triage = scored.estimates.filter((pl.col("threshold_id") == "sensitivity90") & (pl.col("metric") == "tpr"))
    assert triage.height and not triage["primary"].any()


def test_rates_are_those_of_the_test_rows_at_the_fitted_threshold(table: pl.DataFrame, scored: Scored) -> None:
    own = table.filter((pl.col("model") == "a") & (pl.col("finding") == "edema") & (pl.col("split") == "test"))
    cut = scored.thresholds.filter(model="a", finding="edema", rule="f1")["threshold"].item()
    row = scored.estimates.filter(
        arm="a", finding="edema", attribute="all", metric="tpr", threshold_id="f1", weight_scheme="none"
    ).row(0, named=True)
    assert row["estimate"] == pytest.approx(own.filter(truth=1).select((pl.col("score") >= cut).mean()).item())
    assert row["n_pos"] == own["truth"].sum() and row["n_patients"] == own["patient_id"].n_unique()


def test_a_worse_model_is_held_against_the_baseline(scored: Scored) -> None:
    row = scored.contrasts.filter(finding="all", quantity="overall", metric="auroc").row(0, named=True)
    assert (row["arm_a"], row["arm_b"]) == (ODD, "a") and row["ci_hi"] < 0 and row["ni_pass"] is False


def test_the_baseline_may_be_chosen(table: pl.DataFrame) -> None:
    again = score(table, baseline=ODD, **FEW)
    assert set(again.contrasts["arm_a"]) == {"a"}
    with pytest.raises(InputError, match=r"baseline 'aa' is no model of the test rows\. Did you mean a"):
        score(table, baseline="aa", **FEW)


def test_models_of_different_films_are_scored_but_not_compared() -> None:
    short = noisy(received(), "b").filter(pl.col("study_id") != "s00399")
    card = score(pl.concat([received().with_columns(model=pl.lit("a")), short]), **FEW)
    assert set(card.estimates["arm"]) == {"a", "b"}
    assert card.contrasts.is_empty() and dict(card.contrasts.schema) == CONTRASTS
    assert any("'b' is not held against 'a': 2 pairs" in note for note in card.facts["notes"])


def test_seeds_are_learners_of_one_model_and_films_that_one_of_them_lacks_are_told() -> None:
    first = received().with_columns(seed=pl.lit("1"))
    second = first.with_columns(seed=pl.lit("2"), score=pl.col("score") * 0.9)
    card = score(pl.concat([first, second.filter(pl.col("study_id") != "s00399")]), **FEW)
    assert set(card.thresholds["seed"]) == {"1", "2"} and card.facts["seeds"] == {"model": ["1", "2"]}
    assert any("2 pairs of study and finding are not scored by every seed" in note for note in card.facts["notes"])


# Operating points


def test_without_thresholds_ranking_is_scored_and_the_rest_says_why(tmp_path: Path) -> None:
    card = score(received().filter(split="test").drop("split"), **FEW)
    rates = card.estimates.filter(pl.col("metric").is_in(["tpr", "fpr"]))
    assert rates.height and rates["estimate"].null_count() == rates.height
    assert "no_threshold" in set(rates["null_reason"]) and set(card.thresholds["null_reason"]) == {"no_validate_rows"}
    ranked = card.estimates.filter(attribute="sex", group="female", metric="auroc", finding="edema")
    assert ranked["estimate"].item() is not None
    page = Page((write_scored(card, tmp_path / "card") / "report.html").read_text())
    assert "No threshold for any finding" in page.text and "no threshold" in page.text and page.sources


def test_thresholds_may_be_given_by_hand() -> None:
    card = score(received(), thresholds={"edema": 0.4}, **FEW)
    rows = {r["finding"]: r for r in card.thresholds.iter_rows(named=True)}
    assert (rows["edema"]["rule"], rows["edema"]["threshold"], rows["edema"]["fitted_on"]) == ("given", 0.4, None)
    assert rows["fibrosis"]["null_reason"] == "not_given"
    assert any("validate rows were not used" in note for note in card.facts["notes"])
    assert any("fibrosis of model" in note for note in card.facts["notes"])
    everywhere = score(received(), thresholds=0.5, **FEW)
    assert set(everywhere.thresholds["threshold"]) == {0.5}


@pytest.mark.parametrize(
    ("given", "told"),
    [({"oedema": 0.4}, "no such finding. Did you mean edema"), ({"edema": 4.0}, "lies in"), (float("nan"), "lies in")],
)
def test_thresholds_that_cannot_be_used_are_refused(given: Any, told: str) -> None:
    with pytest.raises(InputError, match="--threshold") as raised:
        score(received(), thresholds=given, **FEW)
    assert told in str(raised.value)


def test_a_finding_of_one_class_on_validate_rows_has_no_threshold_and_no_sentinel() -> None:
    healthy = pl.when((pl.col("split") == "val") & (pl.col("finding") == "edema")).then(0).otherwise("truth")
    card = score(received().with_columns(truth=healthy), **FEW)
    row = card.thresholds.filter(finding="edema", rule="f1").row(0, named=True)
    assert row["threshold"] is None and row["null_reason"] == "one_class"
    assert card.thresholds.filter(finding="fibrosis")["threshold"].null_count() == 0


def test_unknown_rules_and_nonsense_counts_are_refused() -> None:
    with pytest.raises(InputError, match=r"rule 'youdn' is unknown\. Did you mean youden"):
        score(received(), rules=("youdn",))
    with pytest.raises(InputError, match="no rule"):
        score(received(), rules=())
    with pytest.raises(InputError, match="at least 1"):
        score(received(), replicates=0)


# The same whatever the form


def test_order_and_library_change_not_a_byte(table: pl.DataFrame, written: Path, tmp_path: Path) -> None:
    shuffled = table.sample(fraction=1, shuffle=True, seed=1).select(reversed(table.columns))
    again = write_scored(score(shuffled.to_pandas(), **FEW), tmp_path / "again")
    for name in FILES:
        assert (again / name).read_bytes() == (written / name).read_bytes(), name


def test_a_wide_table_gives_the_tables_of_the_long_one(table: pl.DataFrame, scored: Scored) -> None:
    wide = table.pivot(on="finding", values=["score", "truth"])
    mapping = {"score_columns": "score_{finding}", "truth_columns": "truth_{finding}"}
    same(score(wide.to_pandas(), mapping=mapping, **FEW), scored)


def test_attributes_of_a_second_table_give_the_same_tables(table: pl.DataFrame, scored: Scored) -> None:
    who = table.select("study_id", Sex="sex", Race="race").unique()
    mapping = {"columns": {"sex": "Sex", "race": "Race"}}
    same(score(table.drop("sex", "race"), attributes_table=who, mapping=mapping, **FEW), scored)


def test_where_patients_are_not_known_intervals_are_named_so() -> None:
    card = score(received().drop("patient_id"), patient_id_kind="image", **FEW)
    named = card.estimates.filter(metric="tpr")["ci_method"].unique().to_list()
    assert named and all(name.startswith("image") for name in named)
    assert any("patients are not known" in item for item in score_report.sections(card)[-2].items)


# What is written


def test_the_folder_holds_every_table_and_two_pages(written: Path, scored: Scored, table: pl.DataFrame) -> None:
    assert {path.name for path in written.iterdir()} == FILES
    for name, frame in scored.tables().items():
        assert pl.read_parquet(written / f"{name}.parquet").equals(frame)
    facts = json.loads((written / "scorecard.json").read_text())
    assert set(facts["files"]) == FILES - {"scorecard.json"} and facts["models"] == ["a", ODD]
    assert facts["rows"]["received"] == table.height and facts["settings"]["replicates"] == FEW["replicates"]


def test_names_of_models_cannot_reach_into_the_pages_or_the_disk(written: Path) -> None:
    page = Page((written / "report.html").read_text())
    assert "script" not in page.tags and ODD in page.text
    assert page.sources and all(source.startswith("data:image/png;base64,") for source in page.sources)
    markdown = (written / "report.md").read_text()
    assert "<script" not in markdown and "b/../../c\\|&lt;script&gt;" in markdown
    assert [path.name for path in written.parent.iterdir()] == ["card"]


def test_every_row_of_a_markdown_table_has_as_many_cells_as_its_head(written: Path) -> None:
    width, tables = 0, 0
    for line in (written / "report.md").read_text().splitlines():
        if not line.startswith("|"):
            width = 0
            continue
        cells = line.replace("\\|", "").count("|")
        tables += not width
        width = width or cells
        assert cells == width, line
    assert tables >= 7


def test_the_page_says_who_how_well_and_what_may_not_be_concluded(written: Path) -> None:
    page = Page((written / "report.html").read_text())
    for title in (
        "What was scored",
        "How well each model does",
        "By group",
        "Who is served worst",
        "Gaps between groups",
        "Groups side by side",
        "Models against each other",
        "Thresholds",
        "What may not be concluded",
        "How to cite these figures",
    ):
        assert title in page.text, title
    assert "B = 40" in page.text and "300 test studies of 300 patients" in page.text and WORST in page.text


def test_small_groups_are_listed_and_not_judged(tmp_path: Path) -> None:
    rare = pl.when(pl.col("study_id").is_in(["s00150", "s00151", "s00152"])).then(pl.lit("other")).otherwise("race")
    formula = {"white": "$white^{"}  # a picture must not take it for mathematics
    card = score(received().with_columns(race=rare).with_columns(pl.col("race").replace(formula)), **FEW)
    assert not card.estimates.filter(attribute="race", group="other")["eligible"].any()
    text = Page((write_scored(card, tmp_path / "card") / "report.html").read_text()).text
    assert "Groups too small to judge" in text and "< 5" in text


def test_a_former_scorecard_is_replaced_and_anything_else_is_left_alone(scored: Scored, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    assert {path.name for path in write_scored(scored, empty).iterdir()} == FILES
    assert {path.name for path in write_scored(scored, empty).iterdir()} == FILES
    (empty / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"something else than a former scorecard: .*notes.txt"):
        write_scored(scored, empty)
    assert (empty / "notes.txt").read_text() == "mine"
    other = tmp_path / "other"
    other.mkdir()
    (other / "scorecard.json").write_text('{"kind": "something"}')
    with pytest.raises(InputError, match="something else"):
        write_scored(scored, other)
    with pytest.raises(InputError, match="something else"):
        write_scored(scored, other / "scorecard.json")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "other"]


def test_a_failure_leaves_the_former_scorecard_and_nothing_else(
    scored: Scored, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = write_scored(scored, tmp_path / "card")
    before = (target / "report.html").read_bytes()

    def full(*arguments: object) -> dict[str, str]:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(score_report, "pages", full)
    with pytest.raises(StorageError, match="No space left"):
        write_scored(scored, target)
    assert (target / "report.html").read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["card"]


def test_a_scorecard_that_cannot_take_its_place_gives_it_back(
    scored: Scored, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, move = write_scored(scored, tmp_path / "card"), Path.replace

    def refused(path: Path, to: Path) -> Path:
        if path.suffix == ".tmp":
            raise OSError(13, "Permission denied")
        return move(path, to)

    monkeypatch.setattr(Path, "replace", refused)
    with pytest.raises(StorageError, match="Permission denied"):
        write_scored(scored, target)
    assert {p.name for p in target.iterdir()} == FILES and [p.name for p in tmp_path.iterdir()] == ["card"]


# The command


def invoke(*arguments: object) -> Any:
    few = ["--replicates", 40, "--permutations", 99, "--min-positives", 20, "--min-negatives", 20, "--min-patients", 15]
    return CliRunner().invoke(app, ["score", *map(str, [*arguments, *few, "--suppress-below", 10])])


def test_the_command_writes_what_the_function_returns(table: pl.DataFrame, scored: Scored, tmp_path: Path) -> None:
    text = table.rename({"patient_id": "MRN"}).write_csv()
    (tmp_path / "preds.csv.gz").write_bytes(gzip.compress(b"\xef\xbb\xbf" + text.encode()))
    done = invoke(tmp_path / "preds.csv.gz", "--out", tmp_path / "card", "--map", "patient_id=MRN")
    assert done.exit_code == 0, done.output
    assert "found      a: TPR differs by" in done.output and str(tmp_path / "card" / "report.html") in done.output
    for name, frame in scored.tables().items():
        assert pl.read_parquet(tmp_path / "card" / f"{name}.parquet").equals(frame)
    facts = json.loads((tmp_path / "card" / "scorecard.json").read_text())
    assert facts["inputs"][0]["file"] == "preds.csv.gz" and len(facts["inputs"][0]["sha256"]) == 64
    assert str(tmp_path) not in (tmp_path / "card" / "scorecard.json").read_text()


def test_the_command_reads_a_wide_table_with_a_mapping_and_attributes_from_a_file(tmp_path: Path) -> None:
    table = received()
    wide = table.drop("sex", "race").pivot(on="finding", values=["score", "truth"])
    wide.write_parquet(tmp_path / "wide.parquet")
    table.select("patient_id", "sex", "race").unique().write_csv(tmp_path / "people.tsv", separator="\t")
    (tmp_path / "map.yaml").write_text("score_columns: score_{finding}\ntruth_columns: truth_{finding}\n")
    done = invoke(
        *(tmp_path / "wide.parquet", "--out", tmp_path / "card", "--mapping", tmp_path / "map.yaml"),
        *("--attributes-from", tmp_path / "people.tsv", "--attributes", "sex", "--threshold", "edema=0.4"),
        *("--threshold", "fibrosis=0.5"),
    )
    assert done.exit_code == 0, done.output
    facts = json.loads((tmp_path / "card" / "scorecard.json").read_text())
    assert facts["attributes"] == ["sex"] and facts["rules"] == ["given"]
    assert [i["file"] for i in facts["inputs"]] == ["wide.parquet", "people.tsv"]


def test_wrong_use_of_the_command_is_told_before_anything_is_read(tmp_path: Path) -> None:
    for wrong in (("--map", "patient_id"), ("--threshold", "edema=high"), ("--threshold", "high")):
        done = invoke(tmp_path / "absent.csv", "--out", tmp_path / "card", *wrong)
        assert done.exit_code == 2, (wrong, done.output)
    shutil.copy(__file__, tmp_path / "mine.py")
    done = invoke(tmp_path / "absent.csv", "--out", tmp_path)
    assert done.exit_code == 1 and "something else than a former scorecard" in str(done.exception)
    done = invoke(tmp_path / "absent.csv", "--out", tmp_path / "card")
    assert done.exit_code == 1 and isinstance(done.exception, InputError)
    assert not (tmp_path / "card").exists()


def test_the_help_teaches_the_columns() -> None:
    done = CliRunner().invoke(app, ["score", "--help"], env={"COLUMNS": "200"})
    assert done.exit_code == 0
    for word in ("patient_id", "study_id", "truth", "--patient-id-kind", "--attributes-from", "--threshold"):
        assert word in done.output, word
