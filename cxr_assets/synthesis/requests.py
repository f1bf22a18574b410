"""What one synthetic image is asked to be: a row of the plan, and the seed of each attempt at it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import polars as pl

from cxr_assets.captions.templates import FINDING_WORDS, RACE_WORDS, PromptTemplate
from cxr_assets.cohorts.demographics import SEXES, UNKNOWN
from cxr_assets.diffusion.config import MethodPreset
from cxr_assets.diffusion.sampling import Ask
from cxr_assets.errors import InputError
from cxr_assets.keys import Stratum
from cxr_assets.training import derive_seed
from cxr_assets.warehouse.manifest import digest_json

REQUESTS = {
    "prompt_id": pl.String,
    "stratum": pl.String,
    "finding": pl.String,
    "age": pl.String,
    "sex": pl.String,
    "race": pl.String,
    "index": pl.Int64,
    "k": pl.Int64,
    "age_years": pl.Int64,
    "labels": pl.String,
    "seed": pl.Int64,
    "run": pl.Int64,
    "seed_id": pl.String,
    "composer": pl.String,
    "template_version": pl.String,
    "source_study": pl.String,
}
"""``stratum`` is the partition that an image is drawn in; ``age``, ``sex`` and ``race`` are what it is asked to be."""


def image_seed(run: int, prompt_id: str, k: int) -> int:
    """Seed of attempt ``k`` at an image, in [0, 2⁶³): hangs on no order, batch or machine (generation.md §7.5)."""
    digest = hashlib.sha256(f"{run}:{prompt_id}:{k}".encode()).digest()
    return int.from_bytes(digest[:8], "big") & (2**63 - 1)


def prompt_id_of(composer: str, stratum: Stratum, index: int) -> str:
    """Name of a planned image; a larger plan of the same composer has the same one."""
    return f"{composer}.{stratum}.{index}"


def partition_rows(n: int, workers: int, worker: int) -> list[int]:
    """Rows of ``n`` that one of several workers takes: ``worker``, ``worker + workers``, … (generation.md §7.5).

    Raises:
        InputError: for a worker that is none of ``0 … workers - 1``.
    """
    if not 0 <= worker < workers:
        raise InputError(f"worker {worker} is none of 0 to {workers - 1}: give a number below that of the workers.")
    return list(range(worker, n, workers))


@lru_cache(maxsize=1)
def template_version() -> str:
    """What prompts are worded with, 8 hex digits: other words for anything give another version."""
    template = PromptTemplate()
    texts = [template.body([finding]) for finding in FINDING_WORDS]
    texts += [template.header(age=40, sex=sex, race=race) for sex in (*SEXES, None) for race in (*RACE_WORDS, None)]
    return digest_json([*texts, template.render(list(FINDING_WORDS))])[:8]


@dataclass(frozen=True)
class ImageRequest:
    """One planned image of a stratum, at attempt ``k``.

    Attributes:
        labels: findings that it is asked to show, its stratum's first.
        age_years: age asked for; None asks for none, and so do ``sex`` and ``race``.
        run: seed of the plan.
        seed_id: what its noise is drawn by. Its own name, or one that counterfactuals of a study share.
        source_study: the real study that it was composed from, None where there is none.
    """

    prompt_id: str
    stratum: Stratum
    index: int
    labels: tuple[str, ...]
    age_years: int | None
    sex: str | None
    race: str | None
    run: int
    seed_id: str
    composer: str
    source_study: str | None = None
    k: int = 0

    @property
    def seed(self) -> int:
        """Seed of this attempt."""
        return image_seed(self.run, self.seed_id, self.k)

    @property
    def person(self) -> dict[str, Any]:
        """Age, sex and race as a prompt or a conditioner takes them; None is unknown."""
        return {"age": self.age_years, "sex": self.sex, "race": self.race}

    @property
    def asked(self) -> dict[str, str]:
        """Age bin, sex and race asked for, ``unknown`` where the request says nothing."""
        age = UNKNOWN if self.age_years is None else self.stratum.age
        return {"age": age, "sex": self.sex or UNKNOWN, "race": self.race or UNKNOWN}

    def attempt(self, k: int) -> ImageRequest:
        """The same request with the seed of attempt ``k``."""
        return replace(self, k=k)

    def prompt(self, preset: MethodPreset, impressions: Mapping[str, str] | None = None) -> str:
        """The words of one method for it.

        Args:
            impressions: text by study, for methods whose body is the report's impression; a request that was composed from
                none of these studies (see ``worded_after``) names its findings.
        """
        impression = (impressions or {}).get(self.source_study or "")
        return preset.prompt(self.labels, **self.person, impression=impression)

    def ask(self, preset: MethodPreset, impressions: Mapping[str, str] | None = None) -> Ask:
        """What a method's generator is asked for; arguments as of ``prompt``."""
        return Ask(self.prompt(preset, impressions), self.seed, **self.person)


def worded_after(request: ImageRequest, speakers: Mapping[frozenset[str], Sequence[str]]) -> ImageRequest:
    """The request with a study of the same labels as its source, whose impression can be asked for in the report's words.

    Which one hangs on the seed of the plan and the request's name. Where no study shows just these labels, it stays as it is.

    Args:
        speakers: studies that have an impression, by what they show; in an order that stays.
    """
    among = speakers.get(frozenset(request.labels), ())
    if not among or request.source_study in among:
        return request
    return replace(request, source_study=among[derive_seed("speaker", request.run, request.prompt_id) % len(among)])


def age_range(bin_slug: str) -> tuple[int, int]:
    """Whole years of an age bin such as ``40-59`` or ``80-up``, both ends included, 95 at most.

    A bin that is mostly of adults begins at 18; one of children only keeps its own.
    """
    low, _, high = bin_slug.partition("-")
    last = 95 if high == "up" else int(high)
    return (max(int(low), 18) if last >= 20 else int(low)), last


def drawn_age(bin_slug: str, run: int, seed_id: str) -> int | None:
    """An age in whole years, uniform within a bin and the same for the same seed; None for an unknown one."""
    if bin_slug == UNKNOWN:
        return None
    low, high = age_range(bin_slug)
    # In integers: as a float the largest draw would round up to 1 and leave the bin.
    return low + ((high - low + 1) * derive_seed("age", run, seed_id) >> 63)


def known(value: str) -> str | None:
    """A slug, or None for ``unknown``."""
    return None if value == UNKNOWN else value


def request_rows(requests: Iterable[ImageRequest]) -> pl.DataFrame:
    """Requests as rows of ``synthesis_requests``, in the given order."""
    rows = [
        {
            "prompt_id": r.prompt_id,
            "stratum": str(r.stratum),
            "finding": r.stratum.finding,
            **r.asked,
            "index": r.index,
            "k": r.k,
            "age_years": r.age_years,
            "labels": "|".join(r.labels),
            "seed": r.seed,
            "run": r.run,
            "seed_id": r.seed_id,
            "composer": r.composer,
            "template_version": template_version(),
            "source_study": r.source_study,
        }
        for r in requests
    ]
    return pl.DataFrame(rows, schema=REQUESTS)


def requests_in(rows: pl.DataFrame) -> list[ImageRequest]:
    """The requests of some rows of ``synthesis_requests``, by index."""
    return [
        ImageRequest(
            prompt_id=row["prompt_id"],
            stratum=Stratum.parse(row["stratum"]),
            index=row["index"],
            labels=tuple(row["labels"].split("|")),
            age_years=row["age_years"],
            sex=known(row["sex"]),
            race=known(row["race"]),
            run=row["run"],
            seed_id=row["seed_id"],
            composer=row["composer"],
            source_study=row["source_study"],
            k=row["k"],
        )
        for row in rows.sort("stratum", "index").iter_rows(named=True)
    ]
