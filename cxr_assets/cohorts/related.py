"""Cohorts that hold the same patients or films (ChestX-ray14, RSNA, SIIM): proving that no split leaks, and sharing splits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from cxr_assets.cohorts.base import CuratedCohort, patients_of
from cxr_assets.cohorts.likeness import alike
from cxr_assets.cohorts.registry import cohort_spec, names
from cxr_assets.errors import InputError

_COLUMNS = {
    "study_id": pl.String,
    "patient_id": pl.String,
    "namespace": pl.String,
    "split": pl.String,
    "phash": pl.String,
}
_GUARD = {"train": 0, "validate": 1, "test": 2}


@dataclass(frozen=True)
class Related:
    """Studies of other data roots.

    Attributes:
        studies: ``study_id`` (with the number of its root before it), ``patient_id``, ``namespace`` (whose patient ids these
            are; null where they are none), ``split``, ``phash`` (null without a film).
        unread: roots that hold no curated studies.
    """

    studies: pl.DataFrame
    unread: tuple[str, ...] = ()

    @property
    def films(self) -> pl.DataFrame:
        """Those with a stored film."""
        return self.studies.filter(pl.col("phash").is_not_null())


def read_related(roots: Sequence[Path]) -> Related:
    """Studies of some data roots, as they stand now."""
    frames, unread = [pl.DataFrame(schema=_COLUMNS)], []
    for number, root in enumerate(roots):
        part = root / "tables" / "studies" / "part-0.parquet"
        if not part.is_file():
            unread.append(str(root))
            continue
        columns = ["study_id", "cohort", "patient_id", "patient_id_kind", "split"]
        studies = pl.read_parquet(part, columns=columns, hive_partitioning=False, glob=False)
        films = root / "tables" / "films" / "part-0.parquet"
        hashes = pl.DataFrame(schema={"study_id": pl.String, "phash": pl.String})
        if films.is_file():
            hashes = pl.read_parquet(films, columns=["study_id", "phash"], hive_partitioning=False, glob=False)
        rows = with_namespace(studies).join(hashes, on="study_id", how="left")
        named = pl.concat_str(pl.lit(f"{number}:"), "study_id").alias("study_id")
        frames.append(rows.with_columns(named).select(list(_COLUMNS)))
    return Related(pl.concat(frames), tuple(unread))


def with_namespace(studies: pl.DataFrame) -> pl.DataFrame:
    """Add ``namespace``: whose patient ids these are, null where they are no patients or nobody else uses them."""
    spaces = {name: cohort_spec(name).patient_namespace for name in studies["cohort"].unique() if name in names()}
    space = pl.col("cohort").replace_strict(spaces, default=None, return_dtype=pl.String)
    return studies.with_columns(pl.when(pl.col("patient_id_kind") == "patient").then(space).alias("namespace"))


def in_other_splits(studies: pl.DataFrame, films: pl.DataFrame, related: Related) -> pl.DataFrame:
    """Our studies whose patient, or whose very film, a related cohort has in another split.

    Args:
        studies: studies of one cohort.
        films: its ``films``.

    Returns:
        ``study_id``, ``patient_id``, ``split``, ``other_split`` and ``by`` (patient or film).
    """
    pairs = _matches(studies, films, related)
    here = studies.select("study_id", "patient_id", "split")
    return pairs.join(here, on="study_id").filter(pl.col("split") != pl.col("other_split"))


def comparable(studies: pl.DataFrame, films: pl.DataFrame, related: Related) -> bool:
    """Whether anything can be compared at all: films on both sides, or patient ids of one kind."""
    ours = set(with_namespace(studies)["namespace"].drop_nulls().unique())
    theirs = set(related.studies["namespace"].drop_nulls().unique())
    return bool(ours & theirs) or bool(films.height and related.films.height)


def follow_splits(cohort: CuratedCohort, roots: Sequence[Path]) -> tuple[CuratedCohort, int]:
    """Give patients that other data roots hold as well the split that they have there; the most guarded one counts.

    Returns:
        The cohort, and the number of its studies whose split changed.

    Raises:
        InputError: a root holds no curated studies, or nothing can be compared.
    """
    related = read_related(roots)
    if related.unread:
        raise InputError(
            f"curate.follow_splits_of: {', '.join(related.unread)} holds no curated studies. Curate it first."
        )
    if not comparable(cohort.studies, cohort.films, related):
        raise InputError(
            "curate.follow_splits_of: neither patient ids nor films can be compared with those of"
            f" {', '.join(map(str, roots))}. Curate both with their films, or leave the setting out."
        )
    matched = _matches(cohort.studies, cohort.films, related).join(
        cohort.studies.select("study_id", "patient_id"), on="study_id"
    )
    guard = pl.col("other_split").replace_strict(_GUARD, return_dtype=pl.Int8)
    told = matched.group_by("patient_id").agg(guard.max().alias("_guard"))
    words = {number: split for split, number in _GUARD.items()}
    there = pl.col("_guard").replace_strict(words, default=None, return_dtype=pl.String)
    studies = (
        cohort.studies.join(told, on="patient_id", how="left", maintain_order="left")
        .with_columns(pl.coalesce(there, "split").alias("split"))
        .drop("_guard")
    )
    changed = int((studies["split"] != cohort.studies["split"]).sum())
    return replace(cohort, studies=studies, patients=patients_of(studies)), changed


def _matches(studies: pl.DataFrame, films: pl.DataFrame, related: Related) -> pl.DataFrame:
    """``study_id``, ``other_split``, ``by``: our studies that a related cohort holds as well."""
    ours = with_namespace(studies).select("study_id", "patient_id", "namespace").drop_nulls()
    theirs = related.studies.select("patient_id", "namespace", other_split="split").drop_nulls().unique()
    people = ours.join(theirs, on=["patient_id", "namespace"]).select(
        "study_id", "other_split", pl.lit("patient").alias("by")
    )
    pairs = alike(films.select("study_id", "phash"), related.films.select("study_id", "phash"))
    splits = related.films.select(study_b="study_id", other_split="split")
    pictures = pairs.rename({"study_a": "study_id"}).join(splits, on="study_b")
    return pl.concat([people, pictures.select("study_id", "other_split", pl.lit("film").alias("by"))])
