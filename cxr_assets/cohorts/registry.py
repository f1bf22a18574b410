"""Cohorts by name: one preset (``presets/cohorts/<name>.yaml``) and one adapter each.

An adapter is imported when it is asked for, so that one cohort's needs burden no other. Adding a cohort is a preset, a
module with its adapter, and their test.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import polars as pl
import yaml
from pydantic import ValidationError

from cxr_assets.cohorts.base import CohortAdapter, CohortSpec
from cxr_assets.cohorts.demographics import SEXES, UNKNOWN, age_scheme
from cxr_assets.cohorts.labels import FINDINGS
from cxr_assets.cohorts.race import RACE_AXES
from cxr_assets.errors import SettingsError, did_you_mean

PRESETS = Path(__file__).parent.parent / "presets" / "cohorts"
_FIRST = "phantom"


def names() -> tuple[str, ...]:
    """Cohorts that have a preset, the phantom first."""
    return tuple(sorted((path.stem for path in PRESETS.glob("*.yaml")), key=lambda name: (name != _FIRST, name)))


def cohort_spec(name: str) -> CohortSpec:
    """Facts of a cohort from its preset. Raises SettingsError for a name that has none."""
    return _preset(name)[0]


def adapter(name: str) -> CohortAdapter:
    """The adapter of a cohort. Raises SettingsError for a name that has none."""
    spec, place = _preset(name)
    module, _, attribute = place.partition(":")
    made: CohortAdapter = getattr(import_module(module), attribute)(spec)
    return made


def listing() -> pl.DataFrame:
    """One row a cohort: ``name, title, findings, recorded, terms, page``.

    ``recorded`` lists which of age, sex and race its preset has; ``page`` is the file that describes the cohort.
    """
    rows = []
    for spec in map(cohort_spec, names()):
        spans = {"age": spec.ages, "sex": spec.sexes, "race": spec.races}
        recorded = [name for name, values in spans.items() if values != (UNKNOWN,)]
        page = f"docs/{spec.name}.md" if spec.name == _FIRST else f"docs/cohorts/{spec.name}.md"
        rows.append((spec.name, spec.title, list(spec.findings), recorded, spec.terms, page))
    text, texts = pl.String(), pl.List(pl.String)
    schema = dict(name=text, title=text, findings=texts, recorded=texts, terms=text, page=text)
    return pl.DataFrame(rows, schema=schema, orient="row")


@cache
def _preset(name: str) -> tuple[CohortSpec, str]:
    if name not in names():
        raise SettingsError(
            f"cohort {name!r} has no adapter.{did_you_mean(name, names())} Known: {', '.join(names())}."
        )
    path = PRESETS / f"{name}.yaml"
    tree: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    place = str(tree.pop("adapter"))
    recorded = set(tree.pop("recorded", ()))
    if "age" in recorded:
        tree["ages"] = age_scheme("demo4").labels
    if "sex" in recorded:
        tree["sexes"] = SEXES
    if "race" in recorded:
        tree.setdefault("races", RACE_AXES["race5"])
    if list(tree["findings"]) != [finding for finding in FINDINGS if finding in tree["findings"]]:
        raise SettingsError(f"{path}: findings are not of the vocabulary, in its order: {', '.join(FINDINGS)}.")
    try:
        return CohortSpec.model_validate({"name": name, **tree}), place
    except ValidationError as error:
        raise SettingsError(f"{path}: {error}") from error
