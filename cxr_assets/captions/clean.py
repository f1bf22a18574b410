"""Whether captions are fit to be shown to a generator: within their budget, and without what names a person or a day."""

from __future__ import annotations

from typing import Any

import polars as pl

from cxr_assets.captions.budget import CLIP_TOKENS
from cxr_assets.captions.sections import PRIOR_REFERENCE

_MARKS = r"_{2,}|X{3,}|\[\*\*"
_DATES = r"\b\d{1,2}[/.-]\d{1,2}[/.-]\d{2,4}\b|\b(?:19|20|21)\d{2}-\d{2}-\d{2}\b|\b\d{1,2}:\d{2} ?(?:AM|PM|am|pm)\b"
_NAMES = r"\b(?:Dr|Drs|Mr|Mrs|Ms|Prof)\.? [A-Z][a-z]+|\bMD\b|\bM\.D\."


def clean_captions(captions: pl.DataFrame, fates: pl.DataFrame) -> tuple[bool, dict[str, Any]]:
    """[18] Captions hold no de-identification mark, date or name; shares of what was dropped, cut or fell back.

    Args:
        captions: ``caption``, ``source`` and ``tokens``.
        fates: ``fate`` of every study.

    Returns:
        Whether none is unclean, and the counts.
    """
    text = captions["caption"]
    unclean = {
        "with_marks": text.str.contains(_MARKS).sum(),
        "with_dates": text.str.contains(_DATES).sum(),
        "with_names": text.str.contains(_NAMES).sum(),
    }
    tokens = captions["tokens"].drop_nulls()
    over = int((tokens > CLIP_TOKENS).sum())
    shares = {f"fate_{fate}": count for fate, count in fates["fate"].value_counts(sort=True).iter_rows()}
    shares |= {f"from_{source}": count for source, count in captions["source"].value_counts(sort=True).iter_rows()}
    quantiles = {f"tokens_{q:.0%}": tokens.quantile(q) for q in (0.5, 0.95, 1.0)} if tokens.len() else {}
    told = {"speaks_of_an_earlier_film": text.str.contains(PRIOR_REFERENCE).sum(), "over_budget": over}
    return not any(unclean.values()) and over == 0, {**unclean, **told, **shares, **quantiles}
