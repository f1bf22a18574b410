"""What the words of a table mean: a vocabulary applied to a column, and every word that it does not have."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import polars as pl

from cxr_assets.cohorts.ledger import Ledger
from cxr_assets.cohorts.table.mapping import OnUnknown, fold
from cxr_assets.errors import InputError

VIEWS: Mapping[str, str | None] = MappingProxyType(
    {
        **dict.fromkeys(("pa", "postero-anterior", "posteroanterior"), "PA"),
        **dict.fromkeys(("ap", "antero-posterior", "anteroposterior", "ap supine", "ap erect"), "AP"),
        **dict.fromkeys(("l", "ll", "rl", "lat", "lateral", "left lateral", "right lateral"), "LATERAL"),
        "frontal": None,
    }
)
"""Projections as most tables and DICOM files write them; ``frontal`` is known to be PA or AP, not which."""
SPLIT_WORDS: Mapping[str, str | None] = MappingProxyType(
    {
        **dict.fromkeys(("train", "training"), "train"),
        **dict.fromkeys(("validate", "valid", "val", "validation", "dev"), "validate"),
        **dict.fromkeys(("test", "testing"), "test"),
    }
)
_LISTED = 8


@dataclass
class Unknowns:
    """Words that no vocabulary has, by column, until all columns are read."""

    counts: dict[str, dict[str, int]] = field(default_factory=dict)

    def add(self, column: str, words: pl.Series) -> None:
        """Count the unknown words of a column."""
        if words.len():
            known = self.counts.setdefault(column, {})
            for word, rows in words.value_counts(sort=True, name="rows").iter_rows():
                known[word] = known.get(word, 0) + rows

    def refuse(self, *, cohort: str) -> None:
        """Raises InputError that lists every unknown word with its number of rows."""
        if not self.counts:
            return
        told = []
        for column, words in self.counts.items():
            first = sorted(words.items(), key=lambda item: (-item[1], item[0]))
            listed = ", ".join(f"{word!r} ({rows} rows)" for word, rows in first[:_LISTED])
            told.append(
                f"column {column!r}: {listed}" + (f" and {len(first) - _LISTED} more" if first[_LISTED:] else "")
            )
        raise InputError(
            f"cohort {cohort!r}: the mapping does not know these words. {'; '.join(told)}. Add them to the vocabulary"
            " of the column, to its missing words, or set on_unknown: null. Nothing was written."
        )


def is_missing(column: str, words: Iterable[str]) -> pl.Expr:
    """Whether a text is null or one of the words that mean nothing was written."""
    plain = pl.col(column).str.strip_chars().str.to_lowercase()
    return pl.col(column).is_null() | plain.is_in([fold(word) for word in ("", *words)])


def translated(
    rows: pl.DataFrame,
    column: str,
    vocabulary: Mapping[str, str | int | None],
    *,
    missing: Iterable[str],
    on_unknown: OnUnknown,
    other: str | None,
    title: str,
    unknowns: Unknowns,
    ledger: Ledger,
    dtype: type[pl.DataType] = pl.String,
) -> pl.Series:
    """What each text of a column means; every distinct text is looked up once.

    Args:
        vocabulary: folded word to meaning; null where the word is known to say nothing.
        missing: words that mean nothing was written; the vocabulary goes before them.
        on_unknown: ``fail`` collects the word in ``unknowns``; ``null`` and ``other`` note the row.
        other: what ``on_unknown: other`` makes of a word.
        title: the column's name in the table.
    """
    nothing = {fold(word) for word in ("", *missing)}
    meanings: dict[str, str | int | None] = {}
    strange = []
    for text in rows[column].drop_nulls().unique():
        word = fold(text)
        if word in vocabulary:
            meanings[text] = vocabulary[word]
        elif word in nothing:
            meanings[text] = None
        else:
            strange.append(text)
            meanings[text] = other if on_unknown == "other" else None
    if strange:
        odd = rows.filter(pl.col(column).is_in(strange))
        if on_unknown == "fail":
            unknowns.add(title, odd[column].str.strip_chars())
        else:
            became = other if on_unknown == "other" and other else "null"
            ledger.note(odd, source="", column=column, kind="unknown word", hint=f"not in the mapping; set to {became}")
    table = pl.DataFrame(
        {"text": list(meanings), "meaning": list(meanings.values())}, schema={"text": pl.String, "meaning": dtype}
    )
    joined = rows.select(pl.col(column).alias("text")).join(table, on="text", how="left", maintain_order="left")
    return joined["meaning"]
