"""The tables of PhysioNet: labels wide, one row a film and reader (train) or a film (test); boxes in tables of their own."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from cxr_assets.cohorts.delimited import ROW, read_delimited
from cxr_assets.cohorts.label_maps import VINDR_LABELS
from cxr_assets.cohorts.labels import NO_FINDING
from cxr_assets.cohorts.ledger import Ledger, relative
from cxr_assets.cohorts.rows import find_columns, first_file
from cxr_assets.cohorts.schema import TABLES
from cxr_assets.cohorts.vindr.readings import (
    BOX_SCHEMA,
    CONSENSUS,
    EDGES,
    Readings,
    box_finding,
    link,
    sound_boxes,
    sound_images,
)
from cxr_assets.errors import InputError

LABEL_TABLES = {
    split: (f"annotations/image_labels_{split}.csv", f"image_labels_{split}.csv") for split in ("test", "train")
}
_BOX_TABLES = {split: (f"annotations/annotations_{split}.csv", f"annotations_{split}.csv") for split in LABEL_TABLES}
_NEEDED = tuple(label for label, findings in VINDR_LABELS.items() if findings)
_NORMAL = "no finding"


def read_physionet(root: Path, ledger: Ledger) -> Readings:
    """Read the label tables that are there, and the boxes of their films. A film in both belongs to the test set."""
    parts: list[Readings] = []
    for split, names in LABEL_TABLES.items():
        if (path := first_file(root, names)) is not None:
            taken = pl.concat([TABLES["studies"].empty()["study_id"], *(part.films["image"] for part in parts)])
            parts.append(_read_split(root, path, split, ledger, taken=taken))
    return Readings(
        films=pl.concat(part.films for part in parts),
        votes=pl.concat(part.votes for part in parts),
        labels=frozenset(_NEEDED),
        boxes=pl.concat(part.boxes for part in parts),
        links=pl.concat(part.links for part in parts),
    )


def _read_split(root: Path, path: Path, split: str, ledger: Ledger, *, taken: pl.Series) -> Readings:
    cohort = ledger.spec.name
    table = read_delimited(path, cohort=cohort)
    source = relative(path, root)
    who = {"reader": "rad_id"} if split == "train" else {}
    rest = {label: label for label in VINDR_LABELS if label not in _NEEDED}
    wanted = {"image": "image_id", **who, **{label: label for label in _NEEDED}}
    short = find_columns(table, wanted, optional=rest, cohort=cohort)
    if not table.read:
        raise InputError(f"cohort 'vindr': {source} holds a header and no rows. Fetch it again. Nothing was written.")
    rows = ledger.table(source, table, release=f"PhysioNet {split}", short=short)
    rows = rows.with_columns(pl.exclude(ROW).str.strip_chars())
    rows = sound_images(rows, source, ledger)
    labels = [name for name in short if name in VINDR_LABELS]
    for label in labels:
        bad = ~pl.col(label).is_in(["0", "1"])
        rows = ledger.sift(rows, bad, source=source, column=label, kind="malformed label", hint="expected 0 or 1")
    seen = [pl.col(label) == "1" for label in labels if label != _NORMAL]
    reader = pl.col("reader") if who else pl.lit(CONSENSUS)
    rows = rows.with_columns(reader.alias("reader"))
    for bad, column, kind, hint in (
        ((pl.col(_NORMAL) == "1") & pl.any_horizontal(seen), _NORMAL, "label contradiction", "stands with a finding"),
        (~pl.struct("image", "reader").is_first_distinct(), "image", "duplicate reading", "the first is kept"),
        (pl.col("image").is_in(taken.implode()), "image", "in both tables", "the film belongs to the test set"),
    ):
        rows = ledger.sift(rows, bad, source=source, column=column, kind=kind, hint=hint)
    films = rows.group_by("image", maintain_order=True).agg(
        pl.col(ROW).first(), pl.len().cast(pl.Int64).alias("readers")
    )
    films = films.with_columns(source=pl.lit(source), split_native=pl.lit(split), agreed=pl.lit(not who))
    votes = rows.unpivot(on=labels, index=["image", "reader"], variable_name="label", value_name="seen")
    votes = votes.filter(pl.col("seen") == "1").drop("seen")
    boxes, links = _read_boxes(root, split, films, votes, ledger)
    links = pl.concat([link(rows, table.digest, "label"), links])
    return Readings(films, votes, frozenset(_NEEDED), boxes, links)


def _read_boxes(
    root: Path, split: str, films: pl.DataFrame, votes: pl.DataFrame, ledger: Ledger
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Boxes of one split, and their rows of ``study_sources``; both empty where their table is not there."""
    cohort = ledger.spec.name
    path = first_file(root, _BOX_TABLES[split])
    if path is None:
        return pl.DataFrame(schema=BOX_SCHEMA), TABLES["study_sources"].empty()
    table = read_delimited(path, cohort=cohort)
    source = relative(path, root)
    who = {"reader": "rad_id"} if split == "train" else {}
    wanted = {"image": "image_id", **who, "label": "class_name", **{edge: edge for edge in EDGES}}
    short = find_columns(table, wanted, cohort=cohort)
    rows = ledger.table(source, table, release=f"PhysioNet {split} boxes", short=short)
    rows = sound_images(rows.with_columns(pl.exclude(ROW).str.strip_chars()), source, ledger)
    label = pl.col("label").str.to_lowercase()
    for bad, column, kind, hint in (
        (~label.is_in(list(VINDR_LABELS)), "label", "unknown label", "expected a label of the label table"),
        (
            ~pl.col("image").is_in(films["image"].implode()),
            "image",
            "no such study",
            "the label table has no usable row for this film",
        ),
    ):
        rows = ledger.sift(rows, bad, source=source, column=column, kind=kind, hint=hint)
    rows = rows.with_columns(label, pl.col("reader") if who else pl.lit(CONSENSUS).alias("reader"))
    rows = rows.with_columns(box_finding())
    for unused, kind in (
        (pl.col("finding").eq_missing(NO_FINDING), "no finding, no box"),
        (pl.col("finding").is_null(), "label outside the vocabulary"),
    ):
        ledger.unused(source, kind=kind, rows=rows.filter(unused).height)
        rows = rows.filter(~unused)
    rows = sound_boxes(rows, source, ledger, needed=pl.lit(True))
    ledger.note(
        rows.join(votes, on=["image", "reader", "label"], how="anti"),
        source=source,
        column="label",
        kind="box without label",
        hint="not among this reader's labels of the film; kept",
    )
    return rows.rename({"image": "study_id"}).select(*BOX_SCHEMA), link(rows, table.digest, "box")
