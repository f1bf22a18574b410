"""Films into the content-addressed store: in parallel, resumable, one bad film never stopping the rest."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import polars as pl

from cxr_assets.cohorts.base import CuratedCohort
from cxr_assets.cohorts.boxes import FilmSquare, place_boxes
from cxr_assets.cohorts.film_decode import RECIPE, Fit, Placement
from cxr_assets.cohorts.film_worker import FilmResult, FilmWorker, StoredFilm, run, start
from cxr_assets.cohorts.likeness import alike
from cxr_assets.cohorts.schema import TABLES, conform
from cxr_assets.errors import SettingsError, StorageError
from cxr_assets.warehouse import Store

Progress = Callable[[str], None]
"""Takes one line of text now and then."""

_BATCH = 1024
_CHUNK = 8
_INDEX = {
    "source_id": pl.String,
    "size": pl.Int64,
    "fit": pl.String,
    "recipe": pl.String,
    "digest": pl.String,
    "bytes": pl.Int64,
    "phash": pl.String,
    "received_as": pl.String,
    "source_width": pl.Int64,
    "source_height": pl.Int64,
    "scale_x": pl.Float64,
    "scale_y": pl.Float64,
    "offset_x": pl.Float64,
    "offset_y": pl.Float64,
}
_PLACEMENT = tuple(Placement.__dataclass_fields__)
_PLACED = {
    "study_id": pl.String,
    "image_digest": pl.String,
    "phash": pl.String,
    "received_as": pl.String,
    **{n: _INDEX[n] for n in _PLACEMENT},
}
_FILES = {"study_id": pl.String, "path": pl.String, "source_id": pl.String, "bytes": pl.Int64}


@dataclass(frozen=True)
class FilmImport:
    """What an import of films gave.

    Attributes:
        studies: the studies, with image columns filled where a film was stored and null elsewhere.
        placements: per stored study ``phash, received_as, source_width, source_height, scale_x, scale_y, offset_x, offset_y``.
        quarantine: films that could not be stored, with the reason; their studies are kept without one.
        files: per film read ``study_id, path, source_id, bytes``.
    """

    studies: pl.DataFrame
    placements: pl.DataFrame
    quarantine: pl.DataFrame
    files: pl.DataFrame


def import_films(
    studies: pl.DataFrame,
    cohort_root: Path,
    store: Store,
    *,
    size: int,
    fit: Fit = "pad",
    workers: int = 1,
    progress: Progress | None = None,
) -> FilmImport:
    """Decode the films of ``studies`` into ``images/<cohort>/<aa>/<digest>.png``.

    A film is read again on each call, and decoded only if the store does not hold it at this size and fit: an import
    that was killed goes on where it stopped. Memory does not grow with the number of films but for one small row each.

    Args:
        studies: studies of one cohort; rows without ``source_path`` pass through.
        cohort_root: folder that ``source_path`` is relative to. Paths and links that leave it are refused.
        store: data root that the films go to.
        size: side of the stored square in pixels.
        fit: ``pad`` shows the whole film on black, ``crop`` fills the square.
        workers: processes that decode; 1 decodes in this one.
        progress: told how many films are done.

    Raises:
        StorageError: if the data root cannot be written or workers die; what was stored stays and is found next time.
    """
    if size < 8 or workers < 1 or fit not in ("pad", "crop"):
        raise SettingsError(
            f"films: size {size}, workers {workers}, fit {fit!r}; expected size >= 8, workers >= 1, pad or crop."
        )
    if studies["cohort"].n_unique() > 1:
        raise SettingsError("films: studies of several cohorts in one call; import one cohort at a time.")
    if studies.is_empty():
        return _gathered(studies, [_Batch.of([], "")], "", size)
    cohort = str(studies["cohort"][0])
    folder = store.path(Path("images") / cohort)
    index_file = Path("work") / "films" / f"{cohort}.parquet"
    with store.locked("films", {"cohort": cohort}):
        index = _Index.load(store, index_file, size=size, fit=fit)
        worker = FilmWorker(cohort_root.resolve(), folder, size, fit, index.known)
        tasks = list(studies.filter(pl.col("source_path").is_not_null()).select("study_id", "source_path").iter_rows())
        done = [_Batch.of([], cohort)]
        try:
            for hidden in folder.glob("*/.*.tmp"):
                hidden.unlink(missing_ok=True)
            for batch in _results(worker, tasks, workers=workers):
                done.append(_Batch.of(batch, cohort))
                index.add(batch)
                store.put_frame(index_file, index.frame)
                if progress:
                    progress(f"films of {cohort}: {sum(part.films for part in done)} of {len(tasks)}")
        except OSError as error:
            raise StorageError(
                f"cannot write films under {folder}: {error.strerror or error}. Run again to go on."
            ) from error
    return _gathered(studies, done, f"images/{cohort}", size)


def add_films(
    curated: CuratedCohort,
    cohort_root: Path,
    store: Store,
    *,
    size: int,
    fit: Fit = "pad",
    workers: int = 1,
    progress: Progress | None = None,
) -> CuratedCohort:
    """A curated cohort with its films stored, its boxes in stored pixels, and each film in its sources.

    See ``import_films`` for the arguments.
    """
    done = import_films(curated.studies, cohort_root, store, size=size, fit=fit, workers=workers, progress=progress)
    square = FilmSquare(size=size, frame=curated.spec.box_frame)
    boxes, lost = place_boxes(curated.boxes, done.placements, square)
    spec = curated.spec
    kept = done.files.join(done.placements.select("study_id"), on="study_id", how="semi")["path"].implode()
    sources = done.files.unique(subset="path", maintain_order=True).select(
        "source_id",
        "path",
        "bytes",
        cohort=pl.lit(spec.name),
        rows_read=pl.lit(1),
        rows_kept=pl.col("path").is_in(kept).cast(pl.Int64),
        terms=pl.lit(spec.terms),
        terms_url=pl.lit(spec.terms_url),
        release=pl.lit("film"),
    )
    linked = done.files.select("study_id", "source_id", row_number=pl.lit(None, pl.Int64), role=pl.lit("image"))
    kinds = done.quarantine["reason"].str.split(":").list.first()
    flow = _flow(spec.name, "films", done.placements.height, kinds)
    if curated.boxes.height:
        flow = pl.concat(
            [flow, _flow(spec.name, "boxes on films", boxes.height, lost["reason"].str.split(":").list.first())]
        )
    return replace(
        curated,
        studies=done.studies,
        boxes=boxes,
        quarantine=pl.concat([curated.quarantine, done.quarantine, lost]),
        sources=pl.concat([curated.sources, conform(sources, "sources")]),
        study_sources=pl.concat([curated.study_sources, conform(linked, "study_sources")]),
        films=done.placements.select(pl.lit(spec.name).alias("cohort"), pl.all()),
        near_duplicates=alike(done.placements),
        waterfall=pl.concat([curated.waterfall, flow]),
    )


class _Index:
    """Which source bytes are stored as which film, over all sizes and fits that were ever imported."""

    def __init__(self, frame: pl.DataFrame, *, size: int, fit: Fit) -> None:
        self.frame, self.size, self.fit = frame, size, fit
        here = (pl.col("size") == size) & (pl.col("fit") == fit) & (pl.col("recipe") == RECIPE)
        self.known = {
            row["source_id"]: StoredFilm(
                row["digest"],
                row["bytes"],
                Placement(**{name: row[name] for name in _PLACEMENT}),
                row["phash"],
                row["received_as"],
            )
            for row in frame.filter(here).iter_rows(named=True)
        }

    @classmethod
    def load(cls, store: Store, path: Path, *, size: int, fit: Fit) -> _Index:
        """Read the index; one that is missing or broken counts as empty, since films can be decoded again."""
        try:
            frame = pl.read_parquet(store.path(path)).select(list(_INDEX)).cast(pl.Schema(_INDEX))
        except (OSError, pl.exceptions.PolarsError):
            frame = pl.DataFrame(schema=_INDEX)
        return cls(frame, size=size, fit=fit)

    def add(self, results: Sequence[FilmResult]) -> None:
        """Take in what a batch stored."""
        made = {"size": self.size, "fit": self.fit, "recipe": RECIPE}
        rows = [
            {
                "source_id": r.source_id,
                **made,
                "digest": r.stored.digest,
                "bytes": r.stored.bytes,
                "phash": r.stored.phash,
                "received_as": r.stored.received_as,
                **asdict(r.stored.placement),
            }
            for r in results
            if r.stored
        ]
        merged = pl.concat([self.frame, pl.DataFrame(rows, schema=_INDEX)])
        self.frame = merged.unique(subset=["source_id", "size", "fit", "recipe"], keep="last", maintain_order=True)


def _results(worker: FilmWorker, tasks: Sequence[tuple[str, str]], *, workers: int) -> Iterator[list[FilmResult]]:
    """Results in the order of the tasks, a batch at a time."""
    batches = (tasks[first : first + _BATCH] for first in range(0, len(tasks), _BATCH))
    if workers == 1 or len(tasks) <= 2 * _CHUNK or multiprocessing.current_process().daemon:
        yield from ([worker(task) for task in batch] for batch in batches)
        return
    context = multiprocessing.get_context("spawn")
    try:
        with ProcessPoolExecutor(workers, mp_context=context, initializer=start, initargs=(worker,)) as pool:
            for batch in batches:
                yield list(pool.map(run, batch, chunksize=_CHUNK))
    except BrokenProcessPool as error:
        raise StorageError(
            f"a film worker died ({error}); short of memory? Run again with fewer workers: what was stored is kept."
        ) from error


@dataclass(frozen=True)
class _Batch:
    """What became of some films, as frames: a million results as objects would fill the memory."""

    films: int
    placements: pl.DataFrame
    faults: pl.DataFrame
    files: pl.DataFrame

    @classmethod
    def of(cls, results: Sequence[FilmResult], cohort: str) -> _Batch:
        placements = [
            {
                "study_id": r.study_id,
                "image_digest": r.stored.digest,
                "phash": r.stored.phash,
                "received_as": r.stored.received_as,
                **asdict(r.stored.placement),
            }
            for r in results
            if r.stored
        ]
        faults = [(cohort, r.path, None, "source_path", r.study_id, r.fault) for r in results if r.fault]
        files = [(r.study_id, r.path, r.source_id, r.source_bytes) for r in results if r.source_id]
        return cls(
            len(results),
            pl.DataFrame(placements, schema=_PLACED),
            pl.DataFrame(faults, schema=TABLES["quarantine"].schema, orient="row"),
            pl.DataFrame(files, schema=_FILES, orient="row"),
        )


def _gathered(studies: pl.DataFrame, parts: Sequence[_Batch], folder: str, size: int) -> FilmImport:
    """Tables of an import from its batches."""
    placements = pl.concat(part.placements for part in parts)
    digest = pl.col("image_digest")
    images = placements.select(
        "study_id",
        digest,
        pl.format(f"{folder}/{{}}/{{}}.png", digest.str.head(2), digest).alias("image_file"),
        pl.lit(size, pl.Int64).alias("width"),
        pl.lit(size, pl.Int64).alias("height"),
    )
    bare = studies.drop("image_digest", "image_file", "width", "height", strict=False)
    return FilmImport(
        studies=conform(bare.join(images, on="study_id", how="left", maintain_order="left"), "studies"),
        placements=placements.drop("image_digest"),
        quarantine=pl.concat(part.faults for part in parts),
        files=pl.concat(part.files for part in parts),
    )


def _flow(cohort: str, source: str, kept: int, dropped: pl.Series) -> pl.DataFrame:
    """Waterfall rows of one step that kept some and dropped others by kind."""
    kinds = dropped.value_counts(sort=True, name="rows").iter_rows()
    steps = [("read", kept + dropped.len()), *((f"dropped: {kind}", rows) for kind, rows in kinds), ("kept", kept)]
    return pl.DataFrame([(cohort, source, *step) for step in steps], schema=TABLES["waterfall"].schema, orient="row")
