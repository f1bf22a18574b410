"""Open-i (Indiana University): radiology reports as XML or as one table. Format and pitfalls: docs/cohorts/openi.md."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from cxr_assets.cohorts.base import CohortSpec, CuratedCohort, CurateSettings, patients_of
from cxr_assets.cohorts.labels import OPENI_FINDINGS, openi_values
from cxr_assets.cohorts.ledger import Ledger
from cxr_assets.cohorts.openi_images import find_images
from cxr_assets.cohorts.openi_reports import SECTIONS, Report, read_table, read_xml_folder
from cxr_assets.cohorts.schema import TABLES, conform
from cxr_assets.cohorts.splits import patient_split
from cxr_assets.errors import InputError

XML_FOLDER = "ecgen-radiology"
TABLE_NAME = "indiana_reports.csv"
DOCS = "docs/cohorts/openi.md"


class OpeniAdapter:
    """Curates the Indiana reports from the XML folder, or from the one-table form where that folder is not there."""

    def __init__(self, spec: CohortSpec) -> None:
        self.spec = spec

    def curate(self, root: Path, *, settings: CurateSettings) -> CuratedCohort:
        """Read reports, headings and, where they are at hand, the projections; see ``CohortAdapter.curate``."""
        ledger = Ledger(self.spec)
        if (root / XML_FOLDER).is_dir():
            source = XML_FOLDER
            reports = read_xml_folder(root, source, ledger)
        elif (root / TABLE_NAME).is_file():
            source = TABLE_NAME
            reports = read_table(root / source, source, ledger)
        else:
            raise InputError(
                f"cohort 'openi': {root} holds neither {XML_FOLDER}/ nor {TABLE_NAME}. Unpack NLMCXR_reports.tgz "
                f"there, or put the table there; see {DOCS}. Nothing was written."
            )
        images, image_sources = find_images(root, reports, ledger)
        studies = _studies(reports, images, settings, self.spec)
        ledger.close(source, kept=studies["exam_id"].n_unique())
        labels = {report.uid: openi_values(report.headings) for report in reports}
        values = pl.DataFrame(
            [{"study_id": study, **labels[uid]} for study, uid in studies.select("study_id", "exam_id").iter_rows()],
            schema={"study_id": pl.String, **dict.fromkeys(OPENI_FINDINGS, pl.Int8)},
        )
        origins = pl.DataFrame(
            [(report.uid, report.source_id, report.row) for report in reports],
            schema={"exam_id": pl.String, "source_id": pl.String, "row_number": pl.Int64},
            orient="row",
        )
        linked = studies.select("study_id", "exam_id").join(origins, on="exam_id", maintain_order="left")
        link_rows = [
            linked.select("study_id", "source_id", "row_number", role=pl.lit(role)) for role in ("report", "label")
        ]
        return CuratedCohort(
            spec=self.spec,
            studies=studies,
            patients=patients_of(studies),
            finding_values=values,
            boxes=TABLES["boxes"].empty(),
            reports=_reports(reports, studies),
            quarantine=ledger.quarantine(),
            sources=ledger.sources(),
            study_sources=pl.concat([*link_rows, image_sources]),
            waterfall=ledger.waterfall(),
        )


def _studies(reports: list[Report], images: pl.DataFrame, settings: CurateSettings, spec: CohortSpec) -> pl.DataFrame:
    """One row an image; a report without any is one row of its own, under the report's id."""
    order = pl.DataFrame(
        [(report.uid, report.source) for report in reports],
        schema={"exam_id": pl.String, "report_source": pl.String},
        orient="row",
    )
    rows = order.join(images, on="exam_id", how="left", maintain_order="left")
    lateral = pl.col("view_raw").str.strip_chars().str.to_lowercase() == "lateral"
    frame = rows.select(
        pl.lit(spec.name).alias("cohort"),
        pl.coalesce("study_id", "exam_id").alias("study_id"),
        pl.col("exam_id").alias("patient_id"),
        pl.lit("report").alias("patient_id_kind"),
        "exam_id",
        pl.when(lateral).then(pl.lit("LATERAL")).alias("view"),
        "view_raw",
        patient_split(rows["exam_id"], seed=settings.split_seed, shares=settings.shares),
        "source_path",
        pl.lit("mesh").alias("label_source"),
        pl.lit("study").alias("label_granularity"),
        "report_source",
        pl.lit(spec.terms).alias("terms"),
    )
    return conform(frame, "studies")


def _reports(reports: list[Report], studies: pl.DataFrame) -> pl.DataFrame:
    """Non-empty sections of each report, verbatim, once for every image of it."""
    rows = [
        (report.uid, section, report.sections[section])
        for report in reports
        for section in SECTIONS
        if report.sections.get(section, "").strip()
    ]
    sections = pl.DataFrame(rows, schema={"exam_id": pl.String, "section": pl.String, "text": pl.String}, orient="row")
    joined = studies.select("cohort", "study_id", "exam_id").join(sections, on="exam_id", maintain_order="left_right")
    return conform(joined.drop("exam_id"), "reports")
