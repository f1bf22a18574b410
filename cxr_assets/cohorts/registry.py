"""Cohorts by name. An adapter is imported when it is asked for, so that one cohort's needs burden no other."""

from __future__ import annotations

from importlib import import_module

from cxr_assets.cohorts.base import CohortAdapter
from cxr_assets.errors import SettingsError

_ADAPTERS = {
    "phantom": ("cxr_assets.cohorts.phantom.adapter", "PhantomAdapter"),
    "nih": ("cxr_assets.cohorts.nih", "NihAdapter"),
    "openi": ("cxr_assets.cohorts.openi", "OpeniAdapter"),
}


def names() -> tuple[str, ...]:
    """Cohorts that have an adapter."""
    return tuple(_ADAPTERS)


def adapter(name: str) -> CohortAdapter:
    """The adapter of a cohort. Raises SettingsError for a name that has none."""
    if name not in _ADAPTERS:
        raise SettingsError(f"cohort {name!r} has no adapter. Choose one of {', '.join(_ADAPTERS)}.")
    module, attribute = _ADAPTERS[name]
    made: CohortAdapter = getattr(import_module(module), attribute)()
    return made
