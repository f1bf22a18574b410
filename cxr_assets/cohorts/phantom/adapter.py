"""The phantom as a cohort like any other: curated tables, films and masks in the store, truth beside them."""

from __future__ import annotations

import hashlib
import io
import multiprocessing
import secrets
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from PIL import Image

from cxr_assets.cohorts.base import CohortSpec, CuratedCohort, CurateSettings, patients_of
from cxr_assets.cohorts.phantom.boxes import boxes_from_masks
from cxr_assets.cohorts.phantom.config import FINDINGS, PhantomConfig
from cxr_assets.cohorts.phantom.population import Population, sample_population
from cxr_assets.cohorts.phantom.render import render
from cxr_assets.cohorts.phantom.reports import write_reports
from cxr_assets.cohorts.registry import cohort_spec
from cxr_assets.cohorts.schema import TABLES
from cxr_assets.errors import SettingsError
from cxr_assets.progress import Progress
from cxr_assets.warehouse import Store
from cxr_assets.warehouse.manifest import digest_json
from cxr_assets.workers import keep_to_one_core

CHUNK = 200
SPEC = cohort_spec("phantom")


@dataclass(frozen=True)
class PhantomCohort:
    """The curated cohort with what only a phantom can have: the truth behind its labels, and what was planted."""

    curated: CuratedCohort
    truth: pl.DataFrame
    planted: pl.DataFrame
    masks: pl.DataFrame


class PhantomAdapter:
    """Draws instead of reading; ``root`` plays no part."""

    def __init__(self, spec: CohortSpec = SPEC, config: PhantomConfig | None = None) -> None:
        self.spec = spec
        self.config = config or PhantomConfig()

    def curate(self, root: Path, *, settings: CurateSettings) -> CuratedCohort:
        """Tables without films (see :func:`draw_cohort`)."""
        del root, settings
        return curated_tables(self.config, sample_population(self.config))


def refuse_age_scheme(name: str) -> None:
    """Raises SettingsError for age bins that the phantom is not drawn in."""
    if name != "demo4":
        raise SettingsError(f"the phantom is drawn in age scheme 'demo4', not {name!r}.")


def curated_tables(config: PhantomConfig, population: Population) -> CuratedCohort:
    """The canonical tables of a sampled population."""
    drawn = population.studies
    is_test = pl.col("split") == "test"
    studies = drawn.select(
        pl.lit("phantom").alias("cohort"),
        "study_id",
        "patient_id",
        pl.lit("patient").alias("patient_id_kind"),
        pl.col("study_number").cast(pl.Int64),
        "view",
        pl.col("view").alias("view_raw"),
        "split",
        pl.col("split").alias("split_native"),
        "age_years",
        pl.col("age_years").cast(pl.String).alias("age_raw"),
        pl.lit("drawn").alias("age_source"),
        "sex",
        pl.col("sex").alias("sex_raw"),
        pl.col("race").alias("race5"),
        pl.when(pl.col("race") != "hispanic").then("race").alias("race_only"),
        pl.col("race").alias("race_raw"),
        pl.when(is_test).then(pl.lit("radiologist_image")).otherwise(pl.lit("nlp_report")).alias("label_source"),
        pl.lit("image").alias("label_granularity"),
        pl.lit("phantom").alias("report_source"),
        pl.lit(SPEC.terms).alias("terms"),
    )
    studies = studies.with_columns(
        pl.lit(None, dtype=t).alias(n) for n, t in TABLES["studies"].schema.items() if n not in studies.columns
    )
    values = drawn.select("study_id", *(pl.col(f).cast(pl.Int8) for f in SPEC.findings))
    texts = write_reports(drawn, population.truth, seed=config.seed)
    reports = (
        texts.unpivot(
            on=["findings", "impression", "indication"], index="study_id", variable_name="section", value_name="text"
        )
        .select(pl.lit("phantom").alias("cohort"), "study_id", "section", "text")
        .sort("study_id", "section")
    )
    source = digest_json(config.model_dump(mode="json"))
    sources = pl.DataFrame(
        [
            {
                "source_id": source,
                "cohort": "phantom",
                "path": "phantom-config.json",
                "bytes": 0,
                "rows_read": drawn.height,
                "rows_kept": drawn.height,
                "terms": SPEC.terms,
                "terms_url": SPEC.terms_url,
                "release": f"seed {config.seed}",
            }
        ]
    )
    links = drawn.select(
        "study_id",
        pl.lit(source).alias("source_id"),
        pl.int_range(pl.len(), dtype=pl.Int64).alias("row_number"),
        pl.lit("image").alias("role"),
    )
    flow = pl.DataFrame(
        {
            "cohort": ["phantom"] * 2,
            "source": ["phantom-config.json"] * 2,
            "step": ["read", "kept"],
            "rows": [drawn.height] * 2,
        }
    )
    empty = {name: TABLES[name].empty() for name in ("boxes", "quarantine")}
    return CuratedCohort(
        spec=SPEC,
        studies=studies,
        patients=patients_of(studies),
        finding_values=values,
        reports=reports,
        sources=sources,
        study_sources=links,
        waterfall=flow,
        **empty,
    )


def draw_cohort(config: PhantomConfig, store: Store, *, workers: int, progress: Progress) -> PhantomCohort:
    """Sample, draw and store the whole cohort; films that an earlier call stored are not drawn again."""
    from dataclasses import replace

    population = sample_population(config)
    curated = curated_tables(config, population)
    index, boxes = draw_films(config, population, store, workers=workers, progress=progress)
    films = index.select(
        "study_id", "image_digest", "image_file", width=pl.lit(config.size), height=pl.lit(config.size)
    )
    studies = curated.studies.drop("image_digest", "image_file", "width", "height").join(
        films, on="study_id", how="left"
    )
    boxes = boxes.select(
        pl.lit("phantom").alias("cohort"),
        "study_id",
        "finding",
        pl.col("x", "y").cast(pl.Float64),
        pl.col("w").cast(pl.Float64).alias("width"),
        pl.col("h").cast(pl.Float64).alias("height"),
        pl.lit("phantom").alias("source"),
    )
    return PhantomCohort(
        replace(curated, studies=studies, boxes=boxes),
        population.truth,
        population.planted,
        index.select("study_id", "mask_file", "lung_pixels"),
    )


def draw_films(
    config: PhantomConfig, population: Population, store: Store, *, workers: int, progress: Progress
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Films and masks of a population into the store, in chunks whose index is kept, so that a stopped run goes on.

    Returns:
        One row a study (image_digest, image_file, mask_file, lung_pixels), and the boxes of all findings.
    """
    folder = store.work("studies") / f"phantom-{digest_json(config.model_dump(mode='json'))[:16]}"
    folder.mkdir(parents=True, exist_ok=True)
    chunks = list(range(0, population.studies.height, CHUNK))
    jobs = [
        (
            _Chunk(store.root, folder / f"{start:07d}", config),
            population.studies[start : start + CHUNK],
            population.truth.filter(
                pl.col("study_id").is_in(population.studies["study_id"][start : start + CHUNK].implode())
            ),
        )
        for start in chunks
        if not _is_whole(store, folder / f"{start:07d}")
    ]
    total = population.studies.height
    with progress.task("draw phantom films", total, total - sum(job[1].height for job in jobs)) as advance:
        for drawn in _run(jobs, workers):
            advance(drawn)
    read = [pl.read_parquet([folder / f"{s:07d}.{part}.parquet" for s in chunks]) for part in ("films", "boxes")]
    return read[0], read[1]


def _is_whole(store: Store, chunk: Path) -> bool:
    """Whether a chunk was drawn to its end and its films and masks are still there."""
    if not chunk.with_suffix(".boxes.parquet").exists():
        return False
    films = pl.read_parquet(chunk.with_suffix(".films.parquet"), columns=["image_file", "mask_file"])
    return all(store.path(file).exists() for row in films.iter_rows() for file in row)


def _run(jobs: list[tuple[_Chunk, pl.DataFrame, pl.DataFrame]], workers: int) -> Iterator[int]:
    if workers < 2 or len(jobs) < 3 or multiprocessing.current_process().daemon:
        yield from (chunk.draw(studies, truth) for chunk, studies, truth in jobs)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=keep_to_one_core) as pool:
        yield from pool.map(_draw, jobs)


def _draw(job: tuple[_Chunk, pl.DataFrame, pl.DataFrame]) -> int:
    return job[0].draw(job[1], job[2])


@dataclass(frozen=True)
class _Chunk:
    root: Path
    index: Path
    config: PhantomConfig

    def draw(self, studies: pl.DataFrame, truth: pl.DataFrame) -> int:
        config = self.config
        store = Store(self.root)
        drawn = render(studies, truth, size=config.size, seed=config.seed, gains=config.contrast_gain)
        bits = np.stack([drawn.masks[f] for f in FINDINGS], axis=-1)
        masks = np.packbits(bits, axis=-1, bitorder="little")[..., 0]
        rows = []
        for study, film, mask, lungs in zip(studies["study_id"], drawn.images, masks, drawn.lungs, strict=True):
            digest, file = _put(store, "images/phantom", film)
            _, mask_file = _put(store, "images/phantom-masks", mask)
            rows.append(
                {
                    "study_id": study,
                    "image_digest": digest,
                    "image_file": file,
                    "mask_file": mask_file,
                    "lung_pixels": int(lungs.sum()),
                }
            )
        pl.DataFrame(rows).write_parquet(self.index.with_suffix(".films.parquet"))
        # The boxes come last and by rename: their presence says that the chunk is whole.
        hidden = self.index.with_name(f".{self.index.name}.tmp")
        boxes_from_masks(studies["study_id"].to_list(), drawn.masks).write_parquet(hidden)
        hidden.replace(self.index.with_suffix(".boxes.parquet"))
        return studies.height


def _put(store: Store, folder: str, pixels: np.ndarray) -> tuple[str, str]:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=3)
    digest = hashlib.sha256(buffer.getvalue()).hexdigest()
    file = f"{folder}/{digest[:2]}/{digest}.png"
    if not store.path(file).exists():
        hidden = store.path(f"{folder}/{digest[:2]}/.{digest}.{secrets.token_hex(4)}.tmp")
        hidden.parent.mkdir(parents=True, exist_ok=True)
        hidden.write_bytes(buffer.getvalue())
        hidden.replace(store.path(file))
    return digest, file


def unpack_masks(mask: np.ndarray) -> dict[str, np.ndarray]:
    """Bit-packed masks, uint8 ``(h, w)``, as bool ``(h, w)`` of each finding (bit *i* is finding *i*)."""
    return {finding: (mask >> bit & 1).astype(bool) for bit, finding in enumerate(FINDINGS)}
