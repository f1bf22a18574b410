"""RSNA Pneumonia 2018: opacities that radiologists boxed on films of ChestX-ray14, under other names."""

from __future__ import annotations

from pathlib import Path

import polars as pl
from pydantic import BaseModel, ConfigDict

from cxr_assets.cohorts.base import CohortSpec, CuratedCohort, CurateSettings, cohort_options, patients_of
from cxr_assets.cohorts.delimited import ROW
from cxr_assets.cohorts.ledger import Ledger
from cxr_assets.cohorts.rows import with_age, with_named_films, with_sex
from cxr_assets.cohorts.rsna.companions import join_classes, join_headers, join_patients
from cxr_assets.cohorts.rsna.targets import read_targets
from cxr_assets.cohorts.schema import TABLES, conform
from cxr_assets.cohorts.splits import assign_splits

FILM_FOLDERS = ("stage_2_train_images", "images", ".")
FILM_SUFFIXES = (".dcm", ".png", ".jpg", ".jpeg")


class RsnaOptions(BaseModel):
    """RSNA has no options of its own."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class RsnaAdapter:
    """Curates the labelled films of the challenge's second stage."""

    def __init__(self, spec: CohortSpec) -> None:
        self.spec = spec

    def curate(self, root: Path, *, settings: CurateSettings) -> CuratedCohort:
        """Read targets, classes, headers and the map to ChestX-ray14; see ``CohortAdapter.curate``."""
        spec = self.spec
        cohort_options(settings, RsnaOptions, cohort=spec.name)
        ledger = Ledger(spec)
        targets = read_targets(root, ledger)
        rows, class_links = join_classes(targets.films, root, targets.source, ledger)
        rows, header_links, headers = join_headers(rows, root, targets.source, ledger)
        rows, patient_links = join_patients(rows, root, targets.source, ledger)
        rows = _with_demographics(rows, headers, ledger)
        rows = with_named_films(
            rows,
            root,
            FILM_FOLDERS,
            source=targets.source,
            ledger=ledger,
            suffixes=FILM_SUFFIXES,
            look=not settings.tables_only,
        )
        unlisted = rows.with_columns(pl.lit(None, pl.String).alias("split_native"))
        rows, _ = assign_splits(unlisted, published={}, settings=settings)
        studies = _studies(rows, spec)
        labelled = targets.links.filter(pl.col("role") == "label")
        ledger.close(targets.source, kept=labelled.join(studies, on="study_id", how="semi").height)
        return CuratedCohort(
            spec=spec,
            studies=studies,
            patients=patients_of(studies),
            finding_values=rows.select(study_id="image", no_finding="normal", lung_opacity="target"),
            boxes=targets.boxes,
            reports=TABLES["reports"].empty(),
            quarantine=ledger.quarantine(),
            sources=ledger.sources(),
            study_sources=pl.concat([targets.links, class_links, header_links, patient_links]),
            waterfall=ledger.waterfall(),
        )


def _with_demographics(rows: pl.DataFrame, headers: str | None, ledger: Ledger) -> pl.DataFrame:
    """Age, sex and view; films without a header row have none, and no complaint beside the one that says so."""
    if headers is None:
        nulls = {"age_years": pl.Float64, "age_flags": pl.String, "known_sex": pl.String, "known_view": pl.String}
        return rows.with_columns(pl.lit(None, dtype).alias(name) for name, dtype in nulls.items())
    has_header = pl.col("header_row").is_not_null()
    described, bare = rows.filter(has_header), rows.filter(~has_header)
    described = described.rename(
        {ROW: "label_row", "header_row": ROW}
    )  # complaints name the line of the headers' table
    described = with_age(described, source=headers, ledger=ledger)
    mapped = rows.height > 0 and bool((rows["patient_id_kind"] == "patient").any())
    described = with_sex(described, source=headers, ledger=ledger, patient="patient_id" if mapped else None)
    view = pl.col("view").str.strip_chars().str.to_uppercase()
    described = described.with_columns(pl.when(view.is_in(["PA", "AP"])).then(view).alias("known_view"))
    ledger.note(
        described.filter(pl.col("known_view").is_null()),
        source=headers,
        column="view",
        kind="unknown view",
        hint="expected PA or AP; set to null",
    )
    return pl.concat([described.rename({ROW: "header_row", "label_row": ROW}), bare], how="diagonal")


def _studies(rows: pl.DataFrame, spec: CohortSpec) -> pl.DataFrame:
    frame = rows.select(
        "patient_id",
        "patient_id_kind",
        "split",
        "age_years",
        "age_flags",
        "source_path",
        cohort=pl.lit(spec.name),
        study_id="image",
        view="known_view",
        view_raw="view",
        age_raw="age",
        age_source=pl.when(pl.col("age_years").is_not_null()).then(pl.lit("as reported")),
        sex="known_sex",
        sex_raw="sex",
        label_source=pl.lit("radiologist_image"),
        label_granularity=pl.lit("image"),
        terms=pl.lit(spec.terms),
    )
    return conform(frame.sort("patient_id", "study_id"), "studies")
