"""The split lists of ChestX-ray14: the official two, and the three of the CheXNet re-implementation."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from cxr_assets.cohorts.base import CurateSettings
from cxr_assets.cohorts.delimited import ROW, decode, read_bytes
from cxr_assets.cohorts.ledger import Ledger
from cxr_assets.cohorts.schema import conform
from cxr_assets.cohorts.splits import assign_splits

LISTS = {"train_val_list.txt": "train_val", "train_list.txt": "train", "val_list.txt": "val", "test_list.txt": "test"}
"""File name to the split it publishes, in its words."""
_SPLIT_OF = {"train_val": "train", "train": "train", "val": "validate", "test": "test"}
_LINE = re.compile(r"(\d{8}_\d{3}\.(?:png|jpe?g))((?:[ \t]+[01]){14})?", re.ASCII)
_SCHEMA = {
    "image": pl.String,
    "split_native": pl.String,
    "source_id": pl.String,
    "list": pl.String,
    "list_row": pl.Int64,
}


@dataclass(frozen=True)
class SplitLists:
    """Every listed film with its list, and the names of the splits that are published."""

    entries: pl.DataFrame
    published: frozenset[str]

    def study_sources(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Which list, and which line of it, put each study in its split."""
        listed = rows.select("image", "study_id").join(self.entries, on="image")
        linked = listed.select("study_id", "source_id", row_number=pl.col("list_row"), role=pl.lit("split"))
        return conform(linked, "study_sources")


def read_lists(root: Path, ledger: Ledger) -> SplitLists:
    """Read the lists that are there; a line is a film's name, alone or followed by 14 zeros and ones."""
    found: list[pl.DataFrame] = [pl.DataFrame(schema=_SCHEMA)]
    published: set[str] = set()
    for name, native in LISTS.items():
        path = root / name
        if not path.is_file():
            continue
        data = read_bytes(path, cohort=ledger.spec.name)
        lines = [(number, line.strip()) for number, line in enumerate(re.split(r"\r\n|\n|\r", decode(data)), start=1)]
        table = pl.DataFrame(
            [pair for pair in lines if pair[1]], schema={ROW: pl.Int64, "line": pl.String}, orient="row"
        )
        digest = hashlib.sha256(data).hexdigest()
        ledger.open(name, rows=table.height)
        ledger.file(name, digest=digest, size=len(data), release=f"{native} list")
        matches = [_LINE.fullmatch(line) for line in table["line"]]
        images = pl.Series("image", [match[1] if match else None for match in matches], dtype=pl.String)
        table = ledger.sift(
            table.with_columns(images),
            pl.col("image").is_null(),
            source=name,
            column="line",
            kind="malformed line",
            hint="expected a film's name, alone or followed by 14 zeros and ones",
        )
        table = ledger.sift(
            table,
            ~pl.col("image").is_first_distinct(),
            source=name,
            column="image",
            kind="duplicate line",
            hint="the film is on the list already",
        )
        found.append(
            table.select(
                "image",
                pl.lit(native).alias("split_native"),
                pl.lit(digest).alias("source_id"),
                pl.lit(name).alias("list"),
                pl.col(ROW).alias("list_row"),
            )
        )
        published.add(native)
    return SplitLists(pl.concat(found), frozenset(published))


def assign(
    rows: pl.DataFrame, lists: SplitLists, *, settings: CurateSettings, source: str, ledger: Ledger
) -> pl.DataFrame:
    """Add ``split_native`` and ``split`` to rows with ``image`` and ``patient_id``; a patient is in one split only.

    What is published is kept: test stays test, ``val`` becomes validate, and where no validation list exists a share of
    the remaining patients is carved out. Where only one of the two official lists is there, films that are not on it
    belong to the other. For the rest see ``assign_splits``.
    """
    for name in sorted(set(lists.entries["list"])):
        listed = lists.entries.filter(pl.col("list") == name)
        ledger.unused(name, kind="not in the table", rows=listed.join(rows, on="image", how="anti").height)
    twice = lists.entries.filter(pl.col("image").is_duplicated())["image"].unique().to_list()
    ledger.note(
        rows.filter(pl.col("image").is_in(twice)),
        source=source,
        column="image",
        kind="on two split lists",
        hint="the most guarded list counts",
    )
    first = lists.entries.unique(subset="image", keep="last", maintain_order=True)
    rows = rows.join(first.select("image", "split_native"), on="image", how="left", maintain_order="left")
    other = {frozenset({"test"}): "train_val", frozenset({"train_val"}): "test"}.get(lists.published)
    as_listed = rows["split_native"]
    if other:
        rows = rows.with_columns(pl.col("split_native").fill_null(other))
    if lists.published:
        ledger.note(
            rows.filter(pl.col("split_native").is_null()),
            source=source,
            column="image",
            kind="not on a split list",
            hint="the film follows its patient, or is dealt out by a hash of the patient",
        )
    carve = () if "val" in lists.published else ("validate",)
    rows, divided = assign_splits(rows, published=_SPLIT_OF, settings=settings, carve=carve)
    ledger.note(
        divided,
        source=source,
        column="image",
        kind="patient in two splits",
        hint="the lists divide this patient; all films went to the most guarded split",
    )
    return rows.with_columns(as_listed)
