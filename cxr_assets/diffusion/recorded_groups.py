"""Groups that films can be weighed by: those of the attributes that a cohort records."""

from __future__ import annotations

import numpy as np
import torch

from cxr_assets.captions.wording import ATTRIBUTES
from cxr_assets.diffusion.conditioners.schema import DemographicBatch, DemographicSchema
from cxr_assets.diffusion.weighing import Groups
from cxr_assets.errors import InputError


def groups_of(people: DemographicBatch, schema: DemographicSchema) -> tuple[Groups, np.ndarray]:
    """Groups to weigh films by, and each film's.

    An attribute that no film says is none: it would leave every film without a cell. Where none is said, all stay.

    Returns:
        The groups, and their indices, int64, shape ``(films, attributes)``; -1 is unknown.
    """
    words = {"age": schema.age_labels, "sex": schema.sexes, "race": schema.races}
    indices = torch.stack([people.age_bin, people.sex, people.race], dim=1)
    said = people.known.any(dim=0)
    said = said if said.any() else ~said
    kept = [name for name, there in zip(ATTRIBUTES, said.tolist(), strict=True) if there]
    return Groups({name: words[name] for name in kept}), torch.where(people.known, indices, -1)[:, said].numpy()


def who_is_weighed(kind: str, groups: Groups, indices: np.ndarray) -> str:
    """What a training says of its weighing; nothing where it has none.

    Args:
        kind: of the weighing.
        indices: each film's groups, int64, shape ``(films, attributes)``; -1 is unknown.

    Raises:
        InputError: no film says all attributes, and films are to be weighed by them.
    """
    known, films = int(groups.cell_counts(indices).sum()), len(indices)
    names = ", ".join(groups.names)
    if kind == "uniform":
        return ""
    if not known:
        raise InputError(
            f"films are to be weighed by {kind}, and none of {films} training films says its {names}. Choose a method"
            " without a weighing, or choices under which these are known."
        )
    rest = "" if known == films else f"; {films - known} films do not say them all, and weigh one"
    return f"adapter: {films} films weighed by {kind} over {names}{rest}"
