"""A cohort's project: its settings, store, keys, and how one asset partition is made or found to be current."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import polars as pl
from pydantic import BaseModel

from cxr_assets import keys
from cxr_assets.cohorts.base import CohortSpec, facts_of, long_findings
from cxr_assets.cohorts.choices import Choices, LabelPolicy, apply_choices, choice_tables, label_policy
from cxr_assets.cohorts.film_reader import filmed
from cxr_assets.cohorts.registry import adapter
from cxr_assets.errors import SettingsError, StorageError
from cxr_assets.progress import Progress
from cxr_assets.resolve import Resolved, resolve
from cxr_assets.settings import Settings
from cxr_assets.warehouse.manifest import Manifest, digest_json, partition_text
from cxr_assets.warehouse.runinfo import RunInfo
from cxr_assets.warehouse.store import PartitionWriter, Store
from cxr_assets.warehouse.terms import strictest

Keys = Mapping[str, str]


@dataclass(frozen=True)
class Parent:
    """An input partition and what it is to the thing that is made from it (an edge's relation)."""

    asset: str
    relation: str
    keys: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.asset}~{partition_text(self.keys)}"


@dataclass(frozen=True)
class Made:
    """One partition that is current now; ``fresh`` tells whether it was made just now or found."""

    manifest: Manifest
    fresh: bool


@dataclass(frozen=True)
class Project:
    """What every step needs to know. Cheap to open in any process."""

    resolved: Resolved
    store: Store
    progress: Progress

    @classmethod
    def open(
        cls,
        *,
        cohort: str | None = None,
        storage: Path | str | None = None,
        profile: str | None = None,
        overrides: Mapping[str, Any] | None = None,
        progress: Progress | None = None,
        run: RunInfo | None = None,
    ) -> Project:
        """Project of a data root; reads settings, touches nothing."""
        resolved = resolve(cohort=cohort, storage=storage, profile=profile, overrides=overrides)
        return cls(resolved, Store(resolved.root, run=run), progress or Progress())

    @property
    def settings(self) -> Settings:
        return self.resolved.settings

    @cached_property
    def spec(self) -> CohortSpec:
        """Facts of the cohort, its age bins and races as chosen."""
        s = self.settings
        return facts_of(adapter(self.resolved.cohort), s.cohort_root, s.curate).chosen(s.choices)

    @cached_property
    def grid(self) -> keys.Grid:
        """Strata of the cohort; ``findings`` in the settings narrows them. Raises SettingsError for one it has not."""
        wanted = self.settings.findings
        unknown = set(wanted or ()) - set(self.spec.findings)
        if unknown:
            raise SettingsError(
                f"findings: cohort {self.spec.name!r} has no {', '.join(sorted(unknown))}."
                f" It has {', '.join(self.spec.findings)}."
            )
        chosen = tuple(f for f in self.spec.findings if wanted is None or f in wanted)
        return keys.Grid(chosen, self.spec.ages, self.spec.sexes, self.spec.races)

    @property
    def caption_policy(self) -> Literal["labels", "impression"]:
        """What captions say: as configured, or as suits the cohort."""
        chosen = self.settings.captions.policy
        return self.spec.captions if chosen == "auto" else chosen

    @property
    def label_policy(self) -> LabelPolicy:
        """How labels train."""
        return label_policy(self.settings.choices.label_policy)

    def studies(self) -> pl.DataFrame:
        """Curated studies with ``age_bin`` and ``race`` as chosen."""
        return apply_choices(self.store.table("studies"), self.settings.choices)

    def filmed(self, split: str) -> pl.DataFrame:
        """Studies of one split that have a stored film of the views chosen, with ``age_bin`` and ``race``."""
        return filmed(self.studies(), split, self.settings.choices.views)

    def findings(self) -> pl.DataFrame:
        """One row a study and finding of the cohort's vocabulary, values as the source states them."""
        return long_findings(self.store.table("studies"), self.finding_values(), self.spec.findings)

    def finding_values(self) -> pl.DataFrame:
        """One row a study, one column a finding of the cohort's vocabulary, values as the source states them."""
        return self.store.table("finding_values").select("study_id", *self.spec.findings)

    @property
    def methods(self) -> list[str]:
        return list(self.settings.synthesis.methods)

    @cached_property
    def mixed_methods(self) -> list[str]:
        """Methods whose images are mixed into training sets: all but those that only the leaderboard compares.

        A board has many methods and seeds, and each would have nine arms, more than an edge of the graph may be wide.
        """
        board = set(self.settings.evaluation.leaderboard.methods or ())
        trained = {keys.Arm.parse(name).method for name in self.settings.arms}
        return [method for method in self.methods if method in trained or method not in board]

    @cached_property
    def arms(self) -> list[keys.Arm]:
        return keys.arms(self.mixed_methods)

    @cached_property
    def learners(self) -> list[keys.Learner]:
        chosen = self.settings.classification
        return [keys.Learner(b, s) for b in chosen.backbones for s in range(chosen.seeds)]

    def step(
        self,
        asset: str,
        keys: Keys | None = None,
        *,
        parents: Sequence[Parent],
        config: Any,
        code_version: str,
        extra_inputs: Mapping[str, str] | None = None,
    ) -> Step:
        """Describe how a partition would be made now.

        Args:
            parents: input partitions; each must exist.
            config: the settings this asset uses (pydantic models or plain values), so that others do not stale it.
            extra_inputs: digests of inputs that are no partition (a base model, a plan row).

        Raises:
            StorageError: a parent is missing; names the asset to make first.
        """
        inputs: dict[str, str] = dict(extra_inputs or {})
        terms = []
        for parent in parents:
            manifest = self.store.manifest(parent.asset, parent.keys)
            if manifest is None:
                raise StorageError(
                    f"{asset} {partition_text(keys or {})}: its input {parent.name} is missing under {self.store.root}."
                    f" Materialise {parent.asset} first."
                )
            inputs[parent.name] = manifest.digest
            terms.append(manifest.terms or "generated")
        return Step(
            self.store,
            asset,
            dict(keys or {}),
            list(parents),
            inputs,
            _plain(config),
            code_version,
            strictest(terms),
            self.settings.choices,
        )


def config_digest(config: Any) -> str:
    """Digest of settings as a manifest holds it."""
    return digest_json(_plain(config))


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, list | tuple) else value


@dataclass(frozen=True)
class Step:
    """One partition to be made, with everything that decides its content."""

    store: Store
    asset: str
    keys: dict[str, str]
    parents: list[Parent]
    inputs: dict[str, str]
    config: Any
    code_version: str
    terms: str
    choices: Choices

    @property
    def config_digest(self) -> str:
        """Digest of the settings, as the manifest holds it."""
        return config_digest(self.config)

    @property
    def identity(self) -> str:
        """Digest of inputs, settings and code: what a checkpoint of this step belongs to."""
        return digest_json([self.inputs, self.config_digest, self.code_version])

    def current(self) -> Made | None:
        """The partition if it stands as it would be made now, else None."""
        manifest = self.store.manifest(self.asset, self.keys)
        if manifest is None or not self.store.is_current(
            self.asset, self.keys, inputs=self.inputs, config_digest=self.config_digest, code_version=self.code_version
        ):
            return None
        return Made(manifest, fresh=False)

    def claim(self) -> Made | None:
        """As ``current``; but where it is to be made, no other process may begin to until this one is done or dead."""
        if made := self.current():
            return made
        self.store.claim(self.asset, self.keys)
        made = self.current()  # another process may have made it while this one waited
        if made:
            self.store.release(self.asset, self.keys)
        return made

    @contextlib.contextmanager
    def writing(self, *, terms: str | None = None) -> Iterator[PartitionWriter]:
        """Replace the partition; edges to the parents are written with it."""
        with self.store.writing(
            self.asset,
            self.keys,
            inputs=self.inputs,
            config_digest=self.config_digest,
            code_version=self.code_version,
            terms=terms or self.terms,
            config=self.config,
        ) as writer:
            for parent in self.parents:
                writer.edge(self.inputs[parent.name], parent.asset, parent.relation)
            yield writer
        self.store.put_reference(choice_tables(self.choices))

    def made(self) -> Made:
        """The partition just written."""
        self.store.release(self.asset, self.keys)
        manifest = self.store.manifest(self.asset, self.keys)
        if manifest is None:
            raise StorageError(f"{self.asset} {partition_text(self.keys)} was not written.")
        return Made(manifest, fresh=True)

    def work(self) -> Path:
        """Folder for this partition's checkpoints."""
        return self.store.work(self.asset, self.keys)
