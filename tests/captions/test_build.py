from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from transformers import CLIPTokenizer

from cxr_assets.captions import PromptTemplate, build_captions
from cxr_assets.captions.budget import count_tokens, fit_caption
from cxr_assets.captions.build import HAS_PRIOR_REFERENCE
from cxr_assets.cohorts.choices import Choices, apply_choices
from cxr_assets.cohorts.schema import TABLES
from cxr_assets.errors import InputError, SettingsError

STUDIES = pl.DataFrame(
    {
        "cohort": ["c"] * 2,
        "study_id": ["a", "b"],
        "age_years": [63.5, None],
        "sex": ["female", None],
        "race": ["black", None],
    }
)
NO_REPORTS = TABLES["reports"].empty()


def findings(**values: dict[str, int | None]) -> pl.DataFrame:
    names = {name: pl.Int8 for named in values.values() for name in named}
    rows = [{"study_id": study, **named} for study, named in values.items()]
    return pl.DataFrame(rows, schema={"study_id": pl.String, **names})


def reports(**sections: dict[str, str]) -> pl.DataFrame:
    rows = [(study, name, text) for study, named in sections.items() for name, text in named.items()]
    return pl.DataFrame(rows, schema=["study_id", "section", "text"], orient="row")


@pytest.mark.parametrize(
    ("values", "body", "source"),
    [
        ({"pleural_effusion": 1, "edema": 1, "fracture": 0, "hernia": -1}, ", edema and pleural effusion", "labels"),
        ({"no_finding": 1, "edema": 0}, ", no finding", "labels"),
        ({"no_finding": 1, "support_devices": 1}, ", no finding and support devices", "labels"),
        ({"no_finding": 1, "edema": 1}, ", edema", "labels"),
        ({"no_finding": None, "edema": 0, "hernia": 0}, ", no finding", "labels"),
        ({"no_finding": 0, "edema": 0}, "", "demographics"),
        ({"no_finding": None, "edema": None}, "", "demographics"),
        ({"no_finding": None, "edema": -1, "hernia": 0}, "", "demographics"),
        ({}, "", "demographics"),
    ],
)
def test_labels_say_only_what_is_known(values: dict[str, int | None], body: str, source: str) -> None:
    built = build_captions(STUDIES, findings(a=values, b=values), NO_REPORTS)
    assert built.captions["caption"].to_list() == [f"chest x-ray, 63 year old black female{body}", f"chest x-ray{body}"]
    assert set(built.captions["source"]) == {source}
    assert built.fates["fate"].to_list() == ["used", "used"]
    assert all(PromptTemplate().parse(caption) for caption in built.captions["caption"])


def test_the_impression_comes_before_the_findings_section() -> None:
    texts = reports(
        a={"findings": "Heart is large.", "impression": "Edema."},
        b={"findings": "Heart is large.", "impression": "XXXX."},
    )
    built = build_captions(STUDIES, findings(), texts, policy="impression")
    assert built.captions.select("caption", "source").rows() == [
        ("chest x-ray, 63 year old black female. Edema.", "impression"),
        ("chest x-ray. Heart is large.", "findings"),
    ]
    assert built.fates["reason"].to_list() == [None, "impression: de-identified: 100% of the words are marks"]


@pytest.mark.parametrize("flags", ["topcoded", "topcoded|before_anchor", "x|topcoded"])
@pytest.mark.parametrize("age", [90.0, 91.0])
def test_an_age_that_is_cut_off_at_the_top_is_written_as_90(flags: str, age: float) -> None:
    studies = STUDIES.with_columns(age_years=pl.Series([age, 63.0]), age_flags=pl.Series([flags, "not_topcoded"]))
    built = build_captions(studies, findings(a={"edema": 1}, b={"edema": 1}), NO_REPORTS)
    assert built.captions["caption"].to_list() == [
        "chest x-ray, 90 year old black female, edema",
        "chest x-ray, 63 year old patient, edema",
    ]


def test_an_age_that_is_cut_off_and_null_stays_unsaid() -> None:
    studies = STUDIES.with_columns(age_years=pl.lit(None, pl.Float64), age_flags=pl.lit("topcoded"))
    built = build_captions(studies, findings(a={"edema": 1}), NO_REPORTS)
    assert built.captions["caption"][0] == "chest x-ray, black female, edema"


def test_a_section_that_speaks_of_an_earlier_film_says_so_beside_its_fate() -> None:
    texts = reports(
        a={"impression": "In comparison with the\nstudy of ___, edema has worsened."},
        b={"findings": "Compared with the prior film, no change.", "impression": "Edema."},
    )
    built = build_captions(STUDIES, findings(), texts, policy="impression")
    assert built.fates.rows() == [("a", "used", HAS_PRIOR_REFERENCE), ("b", "used", None)]
    only = build_captions(
        STUDIES, findings(), reports(b={"findings": "Since the prior film, worse."}), policy="impression"
    )
    assert only.fates.row(1) == ("b", "used", f"no impression; {HAS_PRIOR_REFERENCE}")
    assert built.captions["caption"][0].endswith("study of, edema has worsened.")


def test_every_study_has_one_fate() -> None:
    built = build_captions(STUDIES, findings(), reports(a={"impression": "Edema."}), policy="impression")
    assert built.captions["study_id"].to_list() == ["a"]
    assert built.fates.rows() == [("a", "used", None), ("b", "dropped", "no impression; no findings")]


def test_the_body_gives_way_and_the_header_stays(tokenizer: CLIPTokenizer) -> None:
    text = "Heart size is normal and the lungs are clear of any consolidation, effusion or pneumothorax today."
    built = build_captions(
        STUDIES,
        findings(),
        reports(a={"impression": text}, b={"impression": "Edema."}),
        policy="impression",
        tokenizer=tokenizer,
    )
    caption, short = built.captions.rows(named=True)
    assert (
        caption["caption"]
        == "chest x-ray, 63 year old black female. Heart size is normal and the lungs are clear of any"
    )
    assert caption["truncated"] and caption["tokens"] <= 77
    assert not short["truncated"] and short["tokens"] == len("chestx-ray.Edema.") + 2
    assert built.fates["fate"].to_list() == ["truncated", "used"]


def test_a_finding_is_cut_whole(tokenizer: CLIPTokenizer) -> None:
    many = {"enlarged_cardiomediastinum": 1, "cardiomegaly": 1, "consolidation": 1, "pneumothorax": 1}
    caption = build_captions(STUDIES, findings(a=many), NO_REPORTS, tokenizer=tokenizer).captions.row(0, named=True)
    assert PromptTemplate().parse(caption["caption"]).findings == ("enlarged_cardiomediastinum", "cardiomegaly")


@pytest.mark.parametrize("limit", range(24, 60))
def test_the_longest_caption_that_fits_is_taken(tokenizer: CLIPTokenizer, limit: int) -> None:
    words = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
    compose = " ".join
    fitted = fit_caption(words, compose, tokenizer=tokenizer, limit=limit)
    sizes = count_tokens([compose(words[:kept]) for kept in range(len(words) + 1)], tokenizer)
    best = max(kept for kept, size in enumerate(sizes) if size <= limit)
    assert (fitted.text, fitted.tokens, fitted.truncated) == (compose(words[:best]), sizes[best], best < len(words))


def test_a_header_that_does_not_fit_is_refused(tokenizer: CLIPTokenizer) -> None:
    with pytest.raises(InputError, match="Shorten the template"):
        build_captions(STUDIES, findings(), NO_REPORTS, tokenizer=tokenizer, limit=20)


def test_an_unknown_policy_is_refused() -> None:
    with pytest.raises(SettingsError, match="labels or impression"):
        build_captions(STUDIES, findings(), NO_REPORTS, policy="poetry")


def test_without_a_tokenizer_nothing_is_measured() -> None:
    captions = build_captions(STUDIES, findings(), NO_REPORTS).captions
    assert captions["tokens"].to_list() == [None, None] and not captions["truncated"].any()


def test_real_reports_become_captions_without_marks(shared_data: Path, tokenizer: CLIPTokenizer) -> None:
    from cxr_assets.cohorts.base import CurateSettings
    from cxr_assets.cohorts.registry import adapter

    cohort = adapter("openi").curate(shared_data / "openi", settings=CurateSettings())
    studies = apply_choices(cohort.studies, Choices())
    built = build_captions(studies, cohort.finding_values, cohort.reports, policy="impression", tokenizer=tokenizer)
    assert built.fates.height == cohort.studies.height
    assert built.captions.height == built.fates.filter(pl.col("fate") != "dropped").height > 750
    assert not built.captions["caption"].str.contains("XX|__").any()
    assert built.captions["tokens"].max() <= 77
