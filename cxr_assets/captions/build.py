"""Captions of a cohort, with the fate of every study: used, truncated or dropped, and why.

An age that the source has cut off at the top (``topcoded`` in ``age_flags``) is written as 90 years, for 90 and more: the
figure that stands in its place (90, 91) is nobody's age.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import polars as pl

from cxr_assets.captions.budget import CLIP_TOKENS, FittedCaption, Tokenizer, count_tokens, fit_caption
from cxr_assets.captions.sections import caption_body
from cxr_assets.captions.templates import PromptTemplate
from cxr_assets.captions.wording import ATTRIBUTES
from cxr_assets.cohorts.labels import FINDINGS, NO_FINDING, SUPPORT_DEVICES
from cxr_assets.errors import SettingsError

Policy = Literal["labels", "impression"]

CAPTIONS = pl.Schema(
    {
        "cohort": pl.String,
        "study_id": pl.String,
        "caption": pl.String,
        "policy": pl.String,
        "source": pl.String,
        "tokens": pl.Int64,
        "truncated": pl.Boolean,
    }
)
"""``source`` is where the body came from: labels, impression, findings, or demographics where the header is all."""
FATES = pl.Schema({"study_id": pl.String, "fate": pl.String, "reason": pl.String})
TOP_AGE = 90.0
"""Age that a caption gives to everybody whose age is cut off at the top."""
HAS_PRIOR_REFERENCE = "has_prior_reference: speaks of an earlier film"
"""Reason beside the fate of a study whose section of the report does; part of the reason, after any others."""
_STAND_INS = ("narrative", "last_paragraph")
"""Sections that only some sources have; their absence is no reason."""
_SECTION_ORDER = ("impression", "findings", *_STAND_INS)


@dataclass(frozen=True)
class BuiltCaptions:
    """Captions, one row a study that has one, and fates, one row a study."""

    captions: pl.DataFrame
    fates: pl.DataFrame


@dataclass(frozen=True)
class _Draft:
    """A caption before it is measured: header, body pieces and how they join; or the reason for none."""

    header: str
    pieces: tuple[str, ...] = ()
    source: str = ""
    reason: str | None = None
    dropped: bool = False


def build_captions(
    studies: pl.DataFrame,
    values: pl.DataFrame,
    reports: pl.DataFrame,
    *,
    policy: Policy = "labels",
    attributes: Sequence[str] = ATTRIBUTES,
    tokenizer: Tokenizer | None = None,
    template: PromptTemplate | None = None,
    limit: int = CLIP_TOKENS,
) -> BuiltCaptions:
    """One caption a study.

    ``labels``: the findings with value 1, in canonical order, after the header. A study without a positive finding is
    "no finding" only where that is known: No Finding is 1, or it is not labelled and every other finding is 0. Where
    something outside the vocabulary is present (No Finding is 0) or labels are missing or uncertain, the caption is
    the header alone: saying "no finding" there would teach the generator that an unlabelled film is a normal one.

    ``impression``: the impression, else the findings section, with de-identification marks out; a study whose sections
    are empty or mostly marks is dropped. Where the section speaks of an earlier film the reason of the fate says so; the
    text is not changed.

    Args:
        studies: studies table of one cohort; ``age_flags`` may be absent.
        values: ``study_id`` and one column for each finding of the cohort's vocabulary.
        reports: reports table; may be empty for ``labels``.
        policy: what the body is made of.
        attributes: of age, sex and race, those that the header says.
        tokenizer: measures captions; None leaves ``tokens`` null and truncates nothing.
        template: how header and findings are worded.
        limit: most tokens, start and end included.
    """
    if policy not in ("labels", "impression"):
        raise SettingsError(f"caption policy {policy!r} does not exist. Choose labels or impression.")
    template = template or PromptTemplate()
    people = studies.select("cohort", "study_id", _told_age(studies), "sex", "race").rows()
    headers = {
        study: template.header(
            **{name: value for name, value in zip(ATTRIBUTES, person, strict=True) if name in attributes}
        )
        for _, study, *person in people
    }
    if policy == "labels":
        named = [finding for finding in values.columns if finding != "study_id"]
        labels = {study: dict(zip(named, row, strict=True)) for study, *row in values.select("study_id", *named).rows()}
        drafts = {study: _label_draft(header, labels.get(study, {})) for study, header in headers.items()}
    else:
        sections: dict[str, dict[str, str]] = {}
        for study, section, text in reports.select("study_id", "section", "text").iter_rows():
            sections.setdefault(study, {})[section] = text
        drafts = {study: _report_draft(header, sections.get(study, {})) for study, header in headers.items()}
    fitted = _fit(drafts, template, policy=policy, tokenizer=tokenizer, limit=limit)
    cohort_of = {study: cohort for cohort, study, *_ in people}
    captions = [
        (cohort_of[study], study, caption.text, policy, drafts[study].source, caption.tokens, caption.truncated)
        for study, caption in fitted.items()
    ]
    fates = [(study, *_fate(draft, fitted.get(study), limit)) for study, draft in drafts.items()]
    return BuiltCaptions(
        captions=pl.DataFrame(captions, schema=CAPTIONS, orient="row"),
        fates=pl.DataFrame(fates, schema=FATES, orient="row"),
    )


def _told_age(studies: pl.DataFrame) -> pl.Expr:
    """``age_years`` as captions give it."""
    age = pl.col("age_years")
    if "age_flags" not in studies.columns:
        return age
    topcoded = pl.col("age_flags").str.split("|").list.contains("topcoded")
    return pl.when(topcoded & age.is_not_null()).then(pl.lit(TOP_AGE)).otherwise(age).alias("age_years")


def _label_draft(header: str, values: Mapping[str, int | None]) -> _Draft:
    positive = [finding for finding in FINDINGS if values.get(finding) == 1]
    pathology = [finding for finding in positive if finding not in (NO_FINDING, SUPPORT_DEVICES)]
    if NO_FINDING in positive and pathology:
        positive.remove(NO_FINDING)
        return _Draft(header, tuple(positive), "labels", "No Finding stood with a finding; the finding was kept")
    if positive:
        return _Draft(header, tuple(positive), "labels")
    others = [value for finding, value in values.items() if finding != NO_FINDING]
    if values.get(NO_FINDING) is None and others and all(value == 0 for value in others):
        return _Draft(header, (NO_FINDING,), "labels", "every finding is negative")
    return _Draft(header, (), "demographics", "no positive finding and not known to be normal: header alone")


def _report_draft(header: str, sections: Mapping[str, str]) -> _Draft:
    reasons = []
    for section in _SECTION_ORDER:
        if section not in sections:
            if section not in _STAND_INS:
                reasons.append(f"no {section}")
            continue
        body = caption_body(sections[section])
        if body.text is not None:
            reasons += [HAS_PRIOR_REFERENCE] if body.has_prior_reference else []
            return _Draft(header, tuple(body.text.split()), section, "; ".join(reasons) or None)
        reasons.append(f"{section}: {body.reason}")
    return _Draft(header, reason="; ".join(reasons), dropped=True)


def _fit(
    drafts: Mapping[str, _Draft], template: PromptTemplate, *, policy: Policy, tokenizer: Tokenizer | None, limit: int
) -> dict[str, FittedCaption]:
    """Fitted caption of every draft that is not dropped. Each distinct text is measured once, all in batches."""

    def compose(draft: _Draft, pieces: Sequence[str]) -> str:
        if not pieces:
            return draft.header
        if policy == "labels":
            return f"{draft.header}, {template.body(pieces)}"
        return f"{draft.header}. {' '.join(pieces)}"

    texts = {study: compose(draft, draft.pieces) for study, draft in drafts.items() if not draft.dropped}
    if tokenizer is None:
        return {study: FittedCaption(text, None, truncated=False) for study, text in texts.items()}
    distinct = sorted(set(texts.values()))
    tokens = dict(zip(distinct, count_tokens(distinct, tokenizer), strict=True))
    fitted = {}
    for study, text in texts.items():
        draft = drafts[study]
        if tokens[text] <= limit:
            fitted[study] = FittedCaption(text, tokens[text], truncated=False)
        else:
            fitted[study] = fit_caption(draft.pieces, partial(compose, draft), tokenizer=tokenizer, limit=limit)
    return fitted


def _fate(draft: _Draft, caption: FittedCaption | None, limit: int) -> tuple[str, str | None]:
    if caption is None:
        return "dropped", draft.reason
    if caption.truncated:
        cut = f"longer than {limit} tokens"
        return "truncated", f"{cut}; {draft.reason}" if draft.reason else cut
    return "used", draft.reason
