"""Who and what a plan asks for. Each composer makes the same requests from the same studies, whatever their order.

A composer gives an endless sequence of which a plan is the beginning, and an image's name hangs on composer, stratum and
index alone: a larger budget keeps every image of a smaller one.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl

from cxr_assets.cohorts.choices import Views
from cxr_assets.cohorts.film_reader import filmed
from cxr_assets.cohorts.labels import NO_FINDING
from cxr_assets.errors import InputError
from cxr_assets.keys import Grid, Stratum
from cxr_assets.settings import SynthesisSettings
from cxr_assets.synthesis.label_counts import cofinding_probabilities, label_sets, real_counts
from cxr_assets.synthesis.requests import ImageRequest, age_range, drawn_age, known, prompt_id_of
from cxr_assets.synthesis.shares import GOLDEN, even_fill, spread_order, water_fill
from cxr_assets.training import derive_seed

Cell = tuple[str, str, str]
"""Age bin, sex and race."""


@dataclass(frozen=True)
class Body:
    """What a training study shows, and of whom."""

    study_id: str
    cell: Cell
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Training:
    """What composers see of a cohort; of its studies they take the training ones alone.

    Attributes:
        studies: with ``age_bin`` and ``race`` as chosen.
        findings: one row a study and finding, over the cohort's whole vocabulary.
        views: films that count for the budget and may be a source.
    """

    grid: Grid
    studies: pl.DataFrame
    findings: pl.DataFrame
    views: Views = "all"

    @cached_property
    def films(self) -> pl.DataFrame:
        """Training studies that have a film."""
        return filmed(self.studies, "train", self.views)

    @cached_property
    def bodies(self) -> list[Body]:
        """Training studies of which it is known what they show, by study."""
        rows = label_sets(self.grid, self.films, self.findings).iter_rows()
        return [Body(study, (age, sex, race), tuple(labels.split("|"))) for study, age, sex, race, labels in rows]

    @cached_property
    def cells(self) -> list[Cell]:
        """Demographic cells in grid order."""
        return [(s.age, s.sex, s.race) for s in self.grid.of_finding(self.grid.findings[0])]

    def shuffled(self, seed: int) -> list[Body]:
        """Bodies in an order that hangs on the seed and their names alone."""
        return sorted(self.bodies, key=lambda body: (derive_seed("body", seed, body.study_id), body.study_id))

    def with_labels(self) -> dict[tuple[str, ...], list[Body]]:
        """Bodies of each label set, sets and bodies sorted."""
        found: dict[tuple[str, ...], list[Body]] = defaultdict(list)
        for body in self.bodies:
            found[body.labels].append(body)
        return dict(sorted(found.items()))


@dataclass(frozen=True)
class Draft:
    """An image to be planned, before it has a number in its stratum.

    Attributes:
        seed_id: what it shares its noise with; None for noise of its own.
        anonymous: True to ask for no age, sex or race; the cell then only says in which stratum it is counted.
    """

    cell: Cell
    labels: tuple[str, ...]
    source: str | None = None
    seed_id: str | None = None
    anonymous: bool = False


Composer = Callable[[Training, SynthesisSettings, int], Iterable[Draft]]


def compose(training: Training, settings: SynthesisSettings) -> list[ImageRequest]:
    """All requests of the configured composer, strata in grid order and each by index.

    ``targeted`` plans what the largest targeted or even mix needs and ``per_stratum`` for every stratum. All others plan
    ``max_ratio`` images for each training film, and at most so many where they go by whole cells.

    Raises:
        InputError: a composer other than ``targeted`` has nothing to plan.
    """
    budget = round(settings.max_ratio * training.films.height)
    if settings.composer == "targeted":
        return targeted(training, settings, budget)
    requests = numbered(COMPOSERS[settings.composer](training, settings, budget), settings.composer, settings.seed)
    if not requests:
        raise InputError(
            f"synthesis.composer {settings.composer} plans no image from {len(training.bodies)} training studies with"
            f" known labels, {len(training.cells)} demographic cells and a budget of {budget} images. Raise"
            " synthesis.max_ratio or choose another composer."
        )
    place = {stratum: number for number, stratum in enumerate(training.grid)}
    return sorted(requests, key=lambda request: (place[request.stratum], request.index))


def numbered(drafts: Iterable[Draft], composer: str, seed: int) -> list[ImageRequest]:
    """Drafts as requests, numbered within the stratum of their first label as they come."""
    seen: Counter[Stratum] = Counter()
    requests = []
    for draft in drafts:
        stratum = Stratum(draft.labels[0], *draft.cell)
        name = prompt_id_of(composer, stratum, seen[stratum])
        seed_id = draft.seed_id or name
        age, sex, race = (None, None, None) if draft.anonymous else _person(stratum, seed, seed_id)
        requests.append(
            ImageRequest(
                name, stratum, seen[stratum], draft.labels, age, sex, race, seed, seed_id, composer, draft.source
            )
        )
        seen[stratum] += 1
    return requests


def _person(stratum: Stratum, seed: int, seed_id: str) -> tuple[int | None, str | None, str | None]:
    return drawn_age(stratum.age, seed, seed_id), known(stratum.sex), known(stratum.race)


def natural(training: Training, settings: SynthesisSettings, budget: int) -> Iterator[Draft]:
    """The training films once more: each study's people and labels, every study once before any twice."""
    order = training.shuffled(settings.seed)
    for turn in range(budget if order else 0):
        body = order[turn % len(order)]
        yield Draft(body.cell, body.labels, body.study_id)


def label_only(training: Training, settings: SynthesisSettings, budget: int) -> Iterator[Draft]:
    """As ``natural``, but no age, sex or race is asked for.

    An image is counted in the cell of the study that its labels are from: strata are as full as in the training data.
    """
    for draft in natural(training, settings, budget):
        yield Draft(draft.cell, draft.labels, draft.source, anonymous=True)


def balanced(training: Training, settings: SynthesisSettings, budget: int) -> Iterator[Draft]:
    """As many images of every cell, and each finding as often in every cell (generation.md §7.5).

    Label sets follow their shares among all training studies, so no cell copies its own under-labelling. One sequence
    of sets serves every cell, each time from another study that shows the set.
    """
    sets = list(training.with_labels().items())
    shares = np.cumsum([len(bodies) for _, bodies in sets]) / max(len(training.bodies), 1)
    start = derive_seed("balanced", settings.seed) / 2**63
    for turn in range(budget // len(training.cells) if sets else 0):
        at = min(int(np.searchsorted(shares, (start + turn * GOLDEN) % 1.0, side="right")), len(sets) - 1)
        labels, bodies = sets[at]
        for cell in training.cells:
            pick = derive_seed("source", settings.seed, turn, *cell) % len(bodies)
            yield Draft(cell, labels, bodies[pick].study_id)


def counterfactual(training: Training, settings: SynthesisSettings, budget: int) -> Iterator[Draft]:
    """A study's labels and one noise in every cell: what differs between its images is whom they were asked to be."""
    order = training.shuffled(settings.seed)
    for turn in range(budget // len(training.cells) if order else 0):
        lap, place = divmod(turn, len(order))
        body = order[place]
        for cell in training.cells:
            yield Draft(cell, body.labels, body.study_id, seed_id=f"counterfactual.{body.study_id}.{lap}")


def all_label_combinations(training: Training, settings: SynthesisSettings, budget: int) -> Iterator[Draft]:
    """Every label set that ``min_support`` training studies show, evenly, in every cell."""
    supported = [s for s, bodies in training.with_labels().items() if len(bodies) >= settings.min_support]
    pairs = [(labels, cell) for labels in supported for cell in training.cells]
    order = [pairs[i] for i in spread_order(len(pairs))]
    for turn in range(budget if order else 0):
        labels, cell = order[turn % len(order)]
        yield Draft(cell, labels)


COMPOSERS: Mapping[str, Composer] = {
    "natural": natural,
    "balanced": balanced,
    "counterfactual": counterfactual,
    "label_only": label_only,
    "all_label_combinations": all_label_combinations,
}
"""Those that give drafts; ``targeted`` fills strata one by one instead."""


def targeted(training: Training, settings: SynthesisSettings, budget: int) -> list[ImageRequest]:
    """Most where real positives are fewest, as many everywhere as an even mix needs; co-findings by their shares."""
    grid, studies, findings = training.grid, training.studies, training.findings
    real = real_counts(grid, studies, findings)["real"].to_numpy()
    planned = np.maximum(np.maximum(water_fill(real, budget), even_fill(len(real), budget)), settings.per_stratum)
    shares = cofinding_probabilities(grid, studies, findings)
    return [
        request
        for stratum, n in zip(grid, planned.tolist(), strict=True)
        for request in requests_of(stratum, n, shares, seed=settings.seed)
    ]


def requests_of(stratum: Stratum, planned: int, cofindings: pl.DataFrame, *, seed: int) -> list[ImageRequest]:
    """All images of a stratum that ``targeted`` plans, in index order."""
    rows = cofindings.filter(pl.col("finding") == stratum.finding)
    others = dict(zip(rows["other"], rows["probability"], strict=True))
    return [image_request(stratum, i, others, seed=seed) for i in range(planned)]


def image_request(stratum: Stratum, index: int, others: Mapping[str, float], *, seed: int) -> ImageRequest:
    """What image ``index`` of a stratum shows; hangs on plan seed, stratum, index and ``others`` alone.

    Args:
        others: probability of each other finding beside the stratum's own.
    """
    rng = np.random.default_rng(derive_seed("request", seed, stratum, index))
    draws = rng.random(len(others))
    beside = (
        []
        if stratum.finding == NO_FINDING
        else [f for f, u in zip(sorted(others), draws, strict=True) if u < others[f] and f != NO_FINDING]
    )
    age = known(stratum.age)
    years = None
    if age is not None:
        low, high = age_range(age)
        years = int(rng.integers(low, high + 1))
    name = prompt_id_of("targeted", stratum, index)
    labels = (stratum.finding, *beside)
    return ImageRequest(
        name, stratum, index, labels, years, known(stratum.sex), known(stratum.race), seed, name, "targeted"
    )
