"""The mapping file: which column of somebody's table is what, and what its words mean."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, field_validator, model_validator

from cxr_assets.cohorts.demographics import SEXES
from cxr_assets.cohorts.labels import FINDINGS
from cxr_assets.cohorts.race import harmonise_race
from cxr_assets.cohorts.rows import UNSAFE_PATH
from cxr_assets.cohorts.schema import SPLITS, VIEWS
from cxr_assets.errors import InputError, did_you_mean
from cxr_assets.warehouse.terms import STRICTNESS

OnUnknown = Literal["fail", "null", "other"]
IdKind = Literal["patient", "study", "report", "image"]
LabelSource = Literal[
    "nlp_report", "radiologist_image", "radiologist_report", "crowd_majority", "mesh", "image_level_class"
]
MISSING = ("", "na", "n/a", "nan", "null", "none", "<na>")
"""Words that mean nothing was written, whatever their case, in every column but reports."""
_LEFT_OUT = ("", "null", "~")
_CHOICE = ("on_unknown", "null")


def fold(word: str) -> str:
    """A word as it is compared: trimmed, one blank for many, case folded, ``1.0`` as ``1``."""
    plain = " ".join(word.split()).casefold()
    whole, point, zeros = plain.partition(".")
    return whole if point and zeros and not zeros.strip("0") and whole.lstrip("+-").isdigit() else plain


class Keyed(BaseModel):
    """Part of a mapping. A key that it does not have is refused with the one it may have been meant for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _has_known_keys_only(cls, tree: Any) -> Any:
        if not isinstance(tree, Mapping):
            return tree
        for key in tree:
            if key not in cls.model_fields:
                raise ValueError(
                    f"{key!r} is no key here.{did_you_mean(str(key), cls.model_fields)}"
                    f" Known: {', '.join(cls.model_fields)}"
                )
        # 'null' leaves a key out, but for on_unknown, where it is a choice.
        return {key: value for key, value in tree.items() if value not in _LEFT_OUT or (key, value) == _CHOICE}


def _many(value: Any) -> Any:
    return (value,) if isinstance(value, str | Mapping) else value


def _column(value: Any) -> Any:
    return {"column": value} if isinstance(value, str) else value


def _meanings(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    return {key: None if word in _LEFT_OUT else word for key, word in value.items()}


Words = Annotated[tuple[str, ...], BeforeValidator(_many)]
Meanings = Annotated[dict[str, str | None], BeforeValidator(_meanings)]


class ColumnMapping(Keyed):
    """One column of the table, and what its words mean. With a vocabulary, no other word is known."""

    column: str
    vocabulary: Meanings = {}
    missing: Words = ()
    parser: Literal["text", "whole", "name", "stem"] = Field(
        "text", description="whole: 7.0 is 7; name: the last part of a path; stem: that without its suffix"
    )
    on_unknown: OnUnknown | None = None

    @field_validator("vocabulary")
    @classmethod
    def _says_one_thing(cls, words: dict[str, str | None]) -> dict[str, str | None]:
        _unambiguous(words.items())
        return words


Mapped = Annotated[ColumnMapping, BeforeValidator(_column)]


class Columns(Keyed):
    """Canonical columns that the table has."""

    patient_id: Mapped | None = None
    study_id: Mapped | None = None
    exam_id: Mapped | None = None
    study_number: Mapped | None = None
    path: Mapped | None = None
    view: Mapped | None = None
    age_years: Mapped | None = None
    sex: Mapped | None = None
    race: Mapped | None = None
    ethnicity: Mapped | None = None
    split: Mapped | None = None
    report_findings: Mapped | None = None
    report_impression: Mapped | None = None
    report_indication: Mapped | None = None
    report_comparison: Mapped | None = None
    report_narrative: Mapped | None = None

    @model_validator(mode="after")
    def _vocabularies_end_in_known_words(self) -> Columns:
        closed: dict[str, tuple[str, ...]] = {"sex": SEXES, "view": VIEWS, "split": SPLITS}
        for name, given in self.given().items():
            for word, meaning in given.vocabulary.items():
                if name in closed and meaning is not None and meaning not in closed[name]:
                    raise ValueError(
                        f"{name}: {word!r} cannot mean {meaning!r}.{did_you_mean(meaning, closed[name])}"
                        f" Known: {', '.join(closed[name])}, null"
                    )
                if name in ("race", "ethnicity"):
                    text = (meaning or "").replace("_", " ")
                    try:
                        harmonise_race(text) if name == "race" else harmonise_race("", text)
                    except InputError as error:
                        raise ValueError(f"{name}: {word!r} cannot mean {meaning!r}: {error}") from error
        return self

    def given(self) -> dict[str, ColumnMapping]:
        """The canonical columns that are mapped."""
        return {name: value for name in type(self).model_fields if (value := getattr(self, name)) is not None}


class FindingColumn(Keyed):
    """A column of one finding's labels; the default words are those of the CheXpert tables. Blank is null."""

    column: str
    positive: Words = ("1",)
    negative: Words = ("0",)
    uncertain: Words = ("-1",)
    missing: Words = ()
    on_unknown: OnUnknown | None = None

    @model_validator(mode="after")
    def _words_say_one_thing(self) -> FindingColumn:
        _unambiguous((word, value) for value, words in self.lists().items() for word in words)
        return self

    def lists(self) -> dict[int | None, tuple[str, ...]]:
        """Label value to the words that mean it."""
        return {1: self.positive, 0: self.negative, -1: self.uncertain, None: self.missing}


class LabelColumn(Keyed):
    """One column that lists labels. A label may mean null: known, but no finding of the vocabulary."""

    column: str
    separator: str = "|"
    labels: Meanings = Field(min_length=1)
    absent: Literal["negative"] | None = Field(
        None, description="what a finding counts as that a row with labels does not list: negative, or null"
    )
    missing: Words = ()
    on_unknown: OnUnknown | None = None

    @field_validator("labels")
    @classmethod
    def _lead_to_findings(cls, labels: dict[str, str | None]) -> dict[str, str | None]:
        _unambiguous(labels.items())
        for meaning in labels.values():
            if meaning is not None:
                _finding(meaning)
        return labels


def _finding(name: str) -> str:
    if name not in FINDINGS:
        raise ValueError(f"{name!r} is no finding.{did_you_mean(name, FINDINGS)} Known: {', '.join(FINDINGS)}")
    return name


def _unambiguous(pairs: Any) -> None:
    seen: dict[str, Any] = {}
    for word, meaning in pairs:
        if seen.setdefault(fold(word), meaning) != meaning:
            raise ValueError(f"{word!r} means both {seen[fold(word)]!r} and {meaning!r} (case and blanks do not count)")


FindingColumns = dict[Annotated[str, BeforeValidator(_finding)], Annotated[FindingColumn, BeforeValidator(_column)]]
Findings = Annotated[
    Annotated[FindingColumns, Tag("columns")] | Annotated[LabelColumn, Tag("labels")],
    Discriminator(lambda tree: "labels" if _is_label_column(tree) else "columns"),
]


def _is_label_column(tree: Any) -> bool:
    return isinstance(tree, LabelColumn) or (isinstance(tree, Mapping) and ("labels" in tree or "column" in tree))


class TableFile(Keyed):
    """One file with rows, or one part of it."""

    file: str
    sheet: str | None = Field(None, description="sheet of a workbook; the first if not said")
    table: str | None = Field(None, description="table or view of a DuckDB file")
    query: str | None = Field(None, description="select on a DuckDB file; order its rows")
    separator: str | None = Field(None, description="one character, or 'tab'; found in the header if not said")
    encoding: str | None = Field(None, description="found if not said: UTF-8, UTF-16 with a mark, else Windows-1252")
    multiline: bool | None = Field(None, description="whether a quoted field may hold line ends; so with reports")

    @model_validator(mode="after")
    def _can_be_read(self) -> TableFile:
        _inside(self.file)
        if self.table and self.query:
            raise ValueError(f"{self.file}: table and query exclude each other")
        if self.separator not in (None, "tab") and (len(self.separator or "") != 1 or not self.separator.isascii()):
            raise ValueError(f"separator {self.separator!r} is not one ASCII character")
        try:
            "".encode(self.encoding or "utf-8")
        except LookupError:
            raise ValueError(f"encoding {self.encoding!r} is not known (utf-8, cp1252, latin-1, gb18030, …)") from None
        return self

    @property
    def source(self) -> str:
        """Name of the rows in ledgers: the file, and the part of it if one is named."""
        part = self.sheet or self.table or ("query" if self.query else None)
        return f"{self.file}#{part}" if part else self.file


def _inside(path: str) -> str:
    if re.search(UNSAFE_PATH, path):
        raise ValueError(f"{path!r} must be relative to the cohort's folder and stay in it")
    return path


def _file(value: Any) -> Any:
    return [{"file": one} if isinstance(one, str) else one for one in _many(value)]


class TableMapping(Keyed):
    """Everything a mapping file says."""

    title: str = "A table"
    terms: str = "unknown"
    terms_url: str = ""
    attribution: str = ""
    notes: Words = ()
    tables: Annotated[tuple[TableFile, ...], BeforeValidator(_file)] = ()
    dicom: bool = False
    roots: Words = (".",)
    patient_id_kind: IdKind | None = None
    label_source: LabelSource = "image_level_class"
    label_granularity: Literal["study", "image"] = "image"
    captions: Literal["labels", "impression"] = "labels"
    columns: Columns = Columns()
    findings: Findings = Field(default_factory=dict)
    on_unknown: OnUnknown = "fail"
    decimal_comma: bool = False
    missing: Words = MISSING

    @field_validator("terms")
    @classmethod
    def _are_known_terms(cls, tag: str) -> str:
        if tag not in STRICTNESS:
            raise ValueError(f"{tag!r} is no terms tag.{did_you_mean(tag, STRICTNESS)} Known: {', '.join(STRICTNESS)}")
        return tag

    @field_validator("roots")
    @classmethod
    def _stay_inside(cls, roots: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_inside(root) for root in roots)

    @model_validator(mode="after")
    def _hangs_together(self) -> TableMapping:
        columns = self.columns.given()
        if not self.tables and not self.dicom:
            raise ValueError("names neither tables nor 'dicom: true'; nothing could be read")
        if not self.tables and (columns or self.vocabulary):
            raise ValueError("maps columns, but names no tables that have them")
        sources = [table.source for table in self.tables]
        if repeated := [source for source in sources if sources.count(source) > 1]:
            raise ValueError(f"tables: {repeated[0]} is named twice")
        if "patient_id" not in columns and not self.dicom:
            needed = {"patient": "patient_id", "study": "exam_id", "report": "exam_id"}.get(self.id_kind)
            if needed is not None and needed not in columns:
                raise ValueError(f"patient_id_kind is {self.id_kind!r}, but columns has no {needed}")
        return self

    @property
    def id_kind(self) -> str:
        """What ``patient_id`` identifies: as said, else a patient where there is an id of one, else the image."""
        return self.patient_id_kind or ("patient" if self.columns.patient_id or self.dicom else "image")

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """Findings that the table has labels for, in canonical order."""
        if isinstance(self.findings, LabelColumn):
            found = {meaning for meaning in self.findings.labels.values() if meaning}
        else:
            found = set(self.findings)
        return tuple(finding for finding in FINDINGS if finding in found)
