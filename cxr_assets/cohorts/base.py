"""What a cohort is: its facts, its curated tables, and the one method an adapter must have."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar, get_args, runtime_checkable

import polars as pl
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator

from cxr_assets.cohorts.choices import Choices
from cxr_assets.cohorts.demographics import RACES, SEXES, UNKNOWN, age_scheme
from cxr_assets.cohorts.labels import FINDINGS
from cxr_assets.cohorts.race import ETHNICITIES, RACE_AXES
from cxr_assets.cohorts.schema import TABLES, conform
from cxr_assets.errors import SettingsError, did_you_mean


class CurateSettings(BaseModel):
    """Choices of curation that change the tables."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
    tables_only: bool = Field(default=False, description="read tables and reports alone; look for no film")
    options: dict[str, Any] = Field(
        default_factory=dict, description="the cohort's own options (docs/cohorts/<cohort>.md lists them)"
    )
    follow_splits_of: list[Path] = Field(
        default_factory=list,
        description="data roots whose patients keep their splits here: cohorts that share films with this one",
    )
    split_seed: int = Field(default=0, description="seed of the patient split where none is published")
    validate_share: float = Field(
        default=0.1, ge=0, lt=1, description="share of patients for choosing epochs and thresholds"
    )
    test_share: float = Field(default=0.2, ge=0, lt=1, description="share of patients for the final figures")

    @property
    def shares(self) -> dict[str, float]:
        """Share of patients by split, those that are guarded most first."""
        return {
            "test": self.test_share,
            "validate": self.validate_share,
            "train": 1 - self.validate_share - self.test_share,
        }

    @field_validator("options")
    @classmethod
    def _no_secret_in_clear(cls, options: dict[str, Any]) -> dict[str, Any]:
        """Settings are kept beside the data and in its run table: what is secret may only be pointed at."""
        for name, value in options.items():
            if name.endswith(("salt", "secret", "password")) and not str(value).startswith(("env:", "file:")):
                raise ValueError(f"{name} is secret: write env:NAME or file:PATH. Nothing was kept.")
        return options

    @model_validator(mode="after")
    def _shares_leave_training_data(self) -> CurateSettings:
        if self.validate_share + self.test_share >= 1:
            raise ValueError("validate_share + test_share must stay below 1, or no patient is left to train on")
        return self


class Expected(BaseModel):
    """Counts that a whole copy of a release must have, from its documents or counted in the file itself.

    They are compared where the label table holds ``when_rows`` rows; a slice of a data set is not a fault.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    release: str
    when_rows: int = Field(description="rows of the label table that mark a whole copy")
    tolerance: float = Field(default=0.001, description="largest relative difference")
    studies: int
    patients: int | None = None
    sex: dict[str, int] = Field(default_factory=dict)
    view: dict[str, int] = Field(default_factory=dict)
    positive: dict[str, int] = Field(default_factory=dict)
    negative: dict[str, int] = Field(default_factory=dict)
    uncertain: dict[str, int] = Field(default_factory=dict)


class CohortSpec(BaseModel):
    """Facts of a cohort that hold before any row is read. ``ages``, ``sexes`` and ``races`` span its strata."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    title: str
    findings: tuple[str, ...] = Field(description="findings the cohort has labels for, in canonical order")
    ages: tuple[str, ...] = (UNKNOWN,)
    sexes: tuple[str, ...] = (UNKNOWN,)
    races: tuple[str, ...] = (UNKNOWN,)
    terms: str
    terms_url: str
    attribution: str
    patient_id_kind: str = "patient"
    patient_namespace: str | None = Field(
        default=None, description="data sets that say the same here use the same patient ids"
    )
    box_frame: tuple[int, int] | None = Field(
        default=None,
        description="width and height of the image that the source's boxes are drawn on; None: the film itself",
    )
    captions: Literal["labels", "impression"] = Field("labels", description="what its captions say by default")
    notes: tuple[str, ...] = ()
    expected: tuple[Expected, ...] = ()

    def chosen(self, choices: Choices) -> CohortSpec:
        """The same cohort with its age bins and races as chosen; one without ages or races stays without."""
        ages = self.ages if self.ages == (UNKNOWN,) else age_scheme(choices.age_scheme).labels
        races = self.races if self.races == (UNKNOWN,) else RACE_AXES[choices.race_axis]
        return self.model_copy(update={"ages": ages, "races": tuple(race for race in races if race in self.races)})


@dataclass(frozen=True)
class CuratedCohort:
    """The curated tables of one cohort, each checked against ``schema``.

    Before films are imported, images are null and boxes are in pixels of ``spec.box_frame`` (of the film as received
    where that is None). ``films.add_films`` fills in the images and moves the boxes to stored pixels.
    """

    spec: CohortSpec
    studies: pl.DataFrame
    patients: pl.DataFrame
    finding_values: pl.DataFrame
    boxes: pl.DataFrame
    reports: pl.DataFrame
    quarantine: pl.DataFrame
    sources: pl.DataFrame
    study_sources: pl.DataFrame
    waterfall: pl.DataFrame
    films: pl.DataFrame = field(default_factory=TABLES["films"].empty)
    near_duplicates: pl.DataFrame = field(default_factory=TABLES["near_duplicates"].empty)

    def __post_init__(self) -> None:
        for part in fields(self):
            if part.name in TABLES:
                object.__setattr__(self, part.name, conform(getattr(self, part.name), part.name))

    @property
    def cohort_findings(self) -> pl.DataFrame:
        """The vocabulary table."""
        return vocabulary(self.spec)

    @property
    def findings(self) -> pl.DataFrame:
        """The long findings table; see ``long_findings``."""
        return long_findings(self.studies, self.finding_values, self.spec.findings)

    def tables(self) -> dict[str, pl.DataFrame]:
        """Every table by name."""
        return {name: getattr(self, name) for name in TABLES}


class CohortAdapter(Protocol):
    """Reads one data set as its owners publish it. It is made from its spec: ``Adapter(spec)``."""

    spec: CohortSpec

    def curate(self, root: Path, *, settings: CurateSettings) -> CuratedCohort:
        """Read the tables under ``root``; decode no pixel, write nothing.

        Args:
            root: the cohort's folder as received.
            settings: age scheme and split.

        Returns:
            Tables with ``source_path`` set to films that are there and lie inside ``root``.

        Raises:
            InputError: where a whole file cannot be used. A bad row goes to the quarantine instead.
        """
        ...


@runtime_checkable
class Describes(Protocol):
    """An adapter whose facts hang on files of the data set (a mapping), not on its preset alone."""

    def described(self, root: Path, settings: CurateSettings) -> CohortSpec:
        """The facts of the cohort in ``root``. Raises InputError or SettingsError where they cannot be read."""
        ...


def facts_of(adapter: CohortAdapter, root: Path | None, settings: CurateSettings) -> CohortSpec:
    """The facts of a cohort: as its folder describes it, else as its preset does."""
    return adapter.described(root, settings) if root is not None and isinstance(adapter, Describes) else adapter.spec


Options = TypeVar("Options", bound=BaseModel)


def cohort_options(settings: CurateSettings, model: type[Options], *, cohort: str) -> Options:
    """The cohort's own options as its model. Raises SettingsError for one that it does not have, or a wrong value.

    What is given for a secret (an option of type ``SecretStr``) is in no message.
    """
    for given in settings.options:
        if given not in model.model_fields:
            known = ", ".join(model.model_fields) or "none"
            raise SettingsError(
                f"curate.options.{given}: cohort {cohort!r} has no such option."
                f"{did_you_mean(given, model.model_fields)} It has: {known}."
            )
    try:
        return model.model_validate(settings.options)
    except ValidationError as error:
        told = []
        for fault in error.errors():
            place = ".".join(map(str, fault["loc"]))
            given = f" (given {fault['input']!r})" if place and not _is_secret(model, str(fault["loc"][0])) else ""
            told.append(f"{place}: {fault['msg'].removeprefix('Value error, ')}{given}")
        # Without its cause, which shows what was given.
        raise SettingsError(f"curate.options of cohort {cohort!r}: {'; '.join(told)}") from None


def _is_secret(model: type[BaseModel], option: str) -> bool:
    kind = model.model_fields[option].annotation
    return SecretStr in (kind, *get_args(kind))


def vocabulary(spec: CohortSpec) -> pl.DataFrame:
    """The ``cohort_findings`` table of a cohort."""
    ordered = [finding for finding in FINDINGS if finding in spec.findings]
    rows = [(spec.name, finding, position) for position, finding in enumerate(ordered)]
    return pl.DataFrame(rows, schema=TABLES["cohort_findings"].schema, orient="row")


def patients_of(studies: pl.DataFrame) -> pl.DataFrame:
    """The patients table of a studies table: demographics where a patient's known values agree, else null."""

    def agreed(name: str) -> pl.Expr:
        lowest = pl.col(name).min()
        return pl.when(lowest == pl.col(name).max()).then(lowest).alias(name)

    first = [pl.col(name).first() for name in ("cohort", "patient_id_kind", "split")]
    stated = ("sex", "race5", "race_only", "ethnicity")
    # Categories compare by number, so that a million rows are grouped without comparing texts.
    coded = studies.select("patient_id", "cohort", "patient_id_kind", "split", *stated).with_columns(
        pl.col(*stated).cast(pl.Enum(list(dict.fromkeys([*SEXES, *RACES, *ETHNICITIES]))))
    )
    grouped = coded.group_by("patient_id").agg(*first, pl.len().alias("studies"), *(agreed(name) for name in stated))
    return conform(grouped.with_columns(pl.col(*stated).cast(pl.String)).sort("patient_id"), "patients")


def long_findings(studies: pl.DataFrame, values: pl.DataFrame, findings: tuple[str, ...]) -> pl.DataFrame:
    """One row a study and finding: ``cohort, study_id, patient_id, finding, value, label_source``.

    Args:
        studies: studies table.
        values: ``finding_values`` of those studies, in any order.
        findings: the findings wanted; their order is the order within a study.
    """
    keys = ["cohort", "study_id", "patient_id", "label_source"]
    order = pl.DataFrame({"finding": findings}, schema={"finding": pl.String}).with_row_index("finding_order")
    return (
        studies.select(keys)
        .with_row_index("study_order")
        .join(values.select("study_id", *findings), on="study_id", how="left", validate="1:1")
        .unpivot(on=list(findings), index=["study_order", *keys], variable_name="finding", value_name="value")
        .join(order, on="finding")
        .sort("study_order", "finding_order")
        .select("cohort", "study_id", "patient_id", "finding", pl.col("value").cast(pl.Int8), "label_source")
    )
