"""VinDr-CXR: what several readers said of each film, counted, and their boxes merged."""

from __future__ import annotations

from pathlib import Path

import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from cxr_assets.cohorts.base import CohortSpec, CuratedCohort, CurateSettings, cohort_options, patients_of
from cxr_assets.cohorts.label_maps import VINDR_FINDINGS, VINDR_LABELS
from cxr_assets.cohorts.ledger import Ledger
from cxr_assets.cohorts.rows import first_file, with_named_films
from cxr_assets.cohorts.schema import TABLES, conform
from cxr_assets.cohorts.splits import assign_splits
from cxr_assets.cohorts.vindr.boxes import merge_boxes
from cxr_assets.cohorts.vindr.challenge import CHALLENGE_TABLES, read_challenge
from cxr_assets.cohorts.vindr.physionet import LABEL_TABLES, read_physionet
from cxr_assets.cohorts.vindr.readings import CONSENSUS, Readings
from cxr_assets.errors import InputError

FILM_FOLDERS = ("train", "test", "images", ".")
FILM_SUFFIXES = (".dicom", ".dcm", ".png", ".jpg", ".jpeg")


class VindrOptions(BaseModel):
    """What is particular to VinDr-CXR."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    vote: int = Field(
        default=2, ge=1, le=3, description="readers of three who make a finding positive; fewer: uncertain"
    )


class VindrAdapter:
    """Curates either distribution; the tables of PhysioNet go first where both are there."""

    def __init__(self, spec: CohortSpec) -> None:
        self.spec = spec

    def curate(self, root: Path, *, settings: CurateSettings) -> CuratedCohort:
        """Read labels and boxes; see ``CohortAdapter.curate``."""
        spec = self.spec
        options = cohort_options(settings, VindrOptions, cohort=spec.name)
        ledger = Ledger(spec)
        places = [first_file(root, names) for names in (*LABEL_TABLES.values(), CHALLENGE_TABLES)]
        if not any(places):
            raise InputError(
                f"cohort 'vindr': {root} holds neither annotations/image_labels_train.csv nor train.csv;"
                " see docs/cohorts/vindr.md. Nothing was written."
            )
        read = read_physionet(root, ledger) if any(places[:-1]) else read_challenge(root, ledger)
        image = pl.col("image")
        rows = read.films.with_columns(image.alias("study_id"), image.alias("patient_id"))
        _note_few_readers(read, ledger, vote=options.vote)
        rows = _with_films(rows, root, ledger, look=not settings.tables_only)
        tested = "test" in set(rows["split_native"])
        carve = ("validate",) if tested else ("validate", "test")
        rows, _ = assign_splits(rows, published={"train": "train", "test": "test"}, settings=settings, carve=carve)
        values = _values(read, vote=options.vote)
        studies = _studies(rows, spec)
        boxes = merge_boxes(read.boxes).with_columns(pl.lit(spec.name).alias("cohort"))
        return CuratedCohort(
            spec=spec,
            studies=studies,
            patients=patients_of(studies),
            finding_values=values,
            boxes=conform(boxes, "boxes"),
            reports=TABLES["reports"].empty(),
            quarantine=ledger.quarantine(),
            sources=ledger.sources(),
            study_sources=conform(read.links, "study_sources"),
            waterfall=ledger.waterfall(),
        )


def _with_films(rows: pl.DataFrame, root: Path, ledger: Ledger, *, look: bool) -> pl.DataFrame:
    found = [
        with_named_films(
            part,
            root,
            FILM_FOLDERS,
            source=str(source),
            ledger=ledger,
            suffixes=FILM_SUFFIXES,
            look=look,
        )
        for (source,), part in rows.group_by("source", maintain_order=True)
    ]
    return pl.concat(found) if found else rows.with_columns(pl.lit(None, pl.String).alias("source_path"))


def _values(read: Readings, *, vote: int) -> pl.DataFrame:
    """Finding values of every film: 1 from ``vote`` readers on (from the consensus alone), -1 for fewer, 0 for none.

    A finding that the film's table has no label for is null.
    """
    needed = pl.when(pl.col("reader") == CONSENSUS).then(1).otherwise(vote)
    counted = (
        read.votes.with_columns(
            pl.col("label").replace_strict(_MAPPED, return_dtype=pl.List(pl.String)).alias("finding")
        )
        .explode("finding", empty_as_null=True)
        .drop_nulls("finding")
        .group_by("image", "finding")
        .agg(pl.col("reader").n_unique().alias("readers"), needed.min().alias("needed"))
        .select(
            "image",
            "finding",
            pl.when(pl.col("readers") >= pl.col("needed")).then(1).otherwise(-1).cast(pl.Int8).alias("value"),
        )
    )
    wide = counted.pivot(on="finding", on_columns=list(VINDR_FINDINGS), index="image", values="value")
    asked = {finding: any(finding in VINDR_LABELS[label] for label in read.labels) for finding in VINDR_FINDINGS}
    films = read.films.select("image").join(wide, on="image", how="left", maintain_order="left")
    return films.select(
        pl.col("image").alias("study_id"),
        *(
            pl.col(finding).fill_null(0).cast(pl.Int8) if asked[finding] else pl.lit(None, pl.Int8).alias(finding)
            for finding in VINDR_FINDINGS
        ),
    )


_MAPPED = {label: list(findings) for label, findings in VINDR_LABELS.items()}


def _note_few_readers(read: Readings, ledger: Ledger, *, vote: int) -> None:
    few = read.films.filter((pl.col("readers") < vote) & ~pl.col("agreed"))
    for (source,), part in few.group_by("source", maintain_order=True):
        ledger.note(
            part,
            source=str(source),
            column="image",
            kind="fewer readers than votes",
            hint=f"{vote} must agree on a positive finding; this film has none",
        )


def _studies(rows: pl.DataFrame, spec: CohortSpec) -> pl.DataFrame:
    frame = rows.select(
        "study_id",
        "patient_id",
        "split_native",
        "split",
        "source_path",
        cohort=pl.lit(spec.name),
        patient_id_kind=pl.lit("image"),
        label_source=pl.lit("radiologist_image"),
        label_granularity=pl.lit("image"),
        terms=pl.lit(spec.terms),
    )
    return conform(frame.sort("study_id"), "studies")
