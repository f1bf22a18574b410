"""The table of the VinBigData challenge: one row a film, reader and box; rows without a box say No finding."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from cxr_assets.cohorts.delimited import ROW, read_delimited
from cxr_assets.cohorts.label_maps import VINDR_KAGGLE
from cxr_assets.cohorts.ledger import Ledger, relative
from cxr_assets.cohorts.rows import find_columns, need_file
from cxr_assets.cohorts.vindr.readings import BOX_SCHEMA, EDGES, Readings, box_finding, link, sound_boxes, sound_images
from cxr_assets.errors import InputError

CHALLENGE_TABLES = ("train.csv", "vinbigdata-train.csv")
_COLUMNS = {
    "image": "image_id",
    "label": "class_name",
    "class_id": "class_id",
    "reader": "rad_id",
    **{edge: edge for edge in EDGES},
}


def read_challenge(root: Path, ledger: Ledger) -> Readings:
    """Read the table; the test films of the challenge have no published labels."""
    cohort = ledger.spec.name
    table = read_delimited(need_file(root, CHALLENGE_TABLES, cohort=cohort), cohort=cohort)
    source = relative(table.path, root)
    short = find_columns(table, _COLUMNS, cohort=cohort)
    if not table.read:
        raise InputError(f"cohort 'vindr': {source} holds a header and no rows. Fetch it again. Nothing was written.")
    rows = ledger.table(source, table, release="challenge", short=short).with_columns(pl.exclude(ROW).str.strip_chars())
    rows = sound_images(rows, source, ledger)
    rows = _sound_labels(rows, source, ledger)
    found = pl.col("label") != "no finding"
    blank = pl.all_horizontal(pl.col(edge).is_in(["", "nan", "NaN"]) for edge in EDGES)
    ledger.note(
        rows.filter(~found & ~blank),
        source=source,
        column="x_min",
        kind="box without finding",
        hint="No finding has no box; the box is not used",
    )
    rows = sound_boxes(rows, source, ledger, needed=found)
    rows = ledger.sift(
        rows,
        ~found & found.any().over("image", "reader"),
        source=source,
        column="label",
        kind="label contradiction",
        hint="this reader marked a finding on the film too",
    )
    films = rows.group_by("image", maintain_order=True).agg(
        pl.col(ROW).first(), pl.col("reader").n_unique().cast(pl.Int64).alias("readers")
    )
    drawn = rows.filter(found).with_columns(box_finding())
    boxed = drawn.drop_nulls("finding")
    # A row is a reading and a box: as a reading of 'something is there' it is kept, as a box it may have no finding.
    boxes = f"{source} (boxes)"
    ledger.open(boxes, rows=drawn.height)
    ledger.unused(boxes, kind="class outside the vocabulary", rows=drawn.height - boxed.height)
    return Readings(
        films=films.with_columns(source=pl.lit(source), split_native=pl.lit("train"), agreed=pl.lit(False)),
        votes=rows.select("image", "reader", "label").unique(maintain_order=True),
        labels=frozenset(VINDR_KAGGLE),
        boxes=boxed.rename({"image": "study_id"}).select(*BOX_SCHEMA),
        links=pl.concat([link(rows, table.digest, "label"), link(boxed, table.digest, "box")]),
    )


def _sound_labels(rows: pl.DataFrame, source: str, ledger: Ledger) -> pl.DataFrame:
    label = pl.col("label").str.to_lowercase()
    numbers = {name: str(number) for number, name in enumerate(VINDR_KAGGLE)}
    number = label.replace_strict(numbers, default=None, return_dtype=pl.String)
    for bad, column, kind, hint in (
        (~label.is_in(list(VINDR_KAGGLE)), "label", "unknown label", "expected one of the 15 classes"),
        (number != pl.col("class_id"), "class_id", "class mismatch", "the number is not that of the class's name"),
    ):
        rows = ledger.sift(rows, bad, source=source, column=column, kind=kind, hint=hint)
    return rows.with_columns(label)
