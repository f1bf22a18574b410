"""Tags of DICOM films: who, how old, which projection, as little of it as is needed, and nothing that names a person."""

from __future__ import annotations

import hmac
import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

from cxr_assets.cohorts.race import RACE_TEXTS

MODALITIES = ("CR", "DX", "RG")
SECONDARY = ("SC", "OT")
BODY_PARTS = ("CHEST", "THORAX", "")
_TAGS = [
    "Modality",
    "BodyPartExamined",
    "BurnedInAnnotation",
    "NumberOfFrames",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "Rows",
    "Columns",
    "PatientID",
    "PatientAge",
    "PatientBirthDate",
    "PatientSex",
    "EthnicGroup",
    "ViewPosition",
    "ViewCodeSequence",
    "StudyDate",
    "AcquisitionDate",
    "ContentDate",
    "SeriesDate",
    "StudyInstanceUID",
    "SOPInstanceUID",
    "LossyImageCompression",
]
_DATES = ("StudyDate", "AcquisitionDate", "ContentDate", "SeriesDate")
_VIEW_CODES: Mapping[str, str] = MappingProxyType(
    {
        "R-10206": "AP",
        "399348003": "AP",
        "R-10214": "PA",
        "R-40888": "PA",
        "272479007": "PA",
        "R-10236": "LL",
        "399173006": "LL",
        "R-10232": "RL",
        "399198007": "RL",
        "R-102CD": "LATERAL",
        "399067008": "LATERAL",
    }
)
"""SNOMED codes of projections, in both spellings that files use."""
_LONGEST = 16
"""Characters that an EthnicGroup may have: longer texts come cut off."""


class UnusableTags(Exception):
    """A file that is no chest film to be used; the text is ``kind: detail``."""


@dataclass(frozen=True)
class FilmTags:
    """Tags of one film. Texts are as written; ids are hashes; a date is never kept.

    Attributes:
        age: PatientAge, else the years between birth and study as a number, else empty; ``age_source`` says which.
        race: EthnicGroup; ``race_full`` is the known text that it is the beginning of, where it was cut off.
        is_lossy: whether the pixels went through lossy compression.
    """

    patient: str
    exam: str
    image: str
    age: str
    age_source: str
    sex: str
    race: str
    race_full: str
    view: str
    is_lossy: bool


def read_tags(path: Path, *, salt: str, allow_secondary_capture: bool = False) -> FilmTags:
    """Tags of a DICOM file, its pixels left unread.

    Args:
        salt: secret of the site that ids are hashed with.
        allow_secondary_capture: whether modalities SC and OT are films as well.

    Raises:
        UnusableTags: for a file that is no DICOM, no single grey picture of a chest, or that has text burned in.
    """
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError

    from cxr_assets.cohorts.film_dicom import refusal

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tags = dcmread(path, stop_before_pixels=True, specific_tags=_TAGS)
            allowed = (*MODALITIES, *(SECONDARY if allow_secondary_capture else ()))
            modality, part = _text(tags, "Modality").upper(), _text(tags, "BodyPartExamined").upper()
            if modality not in allowed:
                raise UnusableTags(f"other modality: {modality or 'none'}, expected {', '.join(allowed)}")
            if part not in BODY_PARTS:
                raise UnusableTags(f"other body part: {part}, expected CHEST, THORAX or none")
            if fault := refusal(tags):
                raise UnusableTags(fault)
            return _of(tags, salt)
    except UnusableTags:
        raise
    except InvalidDicomError as error:
        raise UnusableTags("not DICOM: no DICM mark after the first 128 bytes") from error
    except OSError as error:
        raise UnusableTags(f"unreadable file: {error.strerror or type(error).__name__}") from error
    except Exception as error:  # a hostile file may raise anything from inside its reader
        raise UnusableTags(f"damaged tags: {type(error).__name__}: {error}") from error


def hashed(kind: str, value: str, salt: str) -> str:
    """A pseudonym of 20 hex digits that only the holder of the salt can make; the empty text stays empty."""
    return hmac.new(salt.encode(), f"{kind}:{value}".encode(), "sha256").hexdigest()[:20] if value else ""


def _of(tags: Any, salt: str) -> FilmTags:
    age, age_source = _text(tags, "PatientAge"), "PatientAge"
    if not age and (years := _years(tags)) is not None:
        age, age_source = f"{years:.4f}", "birth date and study date"
    race = _text(tags, "EthnicGroup")
    syntax = getattr(getattr(tags, "file_meta", None), "TransferSyntaxUID", "")
    return FilmTags(
        patient=hashed("patient", _text(tags, "PatientID"), salt),
        exam=hashed("exam", _text(tags, "StudyInstanceUID"), salt),
        image=hashed("image", _text(tags, "SOPInstanceUID"), salt),
        age=age,
        age_source=age_source if age else "",
        sex=_text(tags, "PatientSex"),
        race=race,
        race_full=uncut(race),
        view=_view(tags),
        is_lossy=_text(tags, "LossyImageCompression") == "01" or syntax in _lossy_syntaxes(),
    )


def uncut(race: str) -> str:
    """The known text that a cut-off EthnicGroup is the beginning of, if there is one only; else the text itself."""
    text = " ".join(race.upper().split())
    if text in RACE_TEXTS or len(race) < _LONGEST - 1:
        return race
    whole = [known for known in RACE_TEXTS if len(known) > _LONGEST and known[:_LONGEST].strip() == text]
    return whole[0] if len(whole) == 1 else race


def _text(tags: Any, keyword: str) -> str:
    value = tags.get(keyword)
    if value is None:
        return ""
    many = value if isinstance(value, list | tuple) or hasattr(value, "insert") else [value]
    return "\\".join(str(one) for one in many).replace("\x00", "").strip()


def _years(tags: Any) -> float | None:
    """Years from birth to the first date that is there, null where either is not a date."""
    born = _date(_text(tags, "PatientBirthDate"))
    seen = next((day for name in _DATES if (day := _date(_text(tags, name)))), None)
    return None if born is None or seen is None else math.floor((seen - born).days / 365.25 * 1e4) / 1e4


def _date(text: str) -> date | None:
    try:
        return datetime.strptime(text.replace(".", "").replace("-", "")[:8], "%Y%m%d").date()
    except ValueError:
        return None


def _view(tags: Any) -> str:
    """ViewPosition, else what the first view code says, else empty."""
    position = _text(tags, "ViewPosition")
    codes = tags.get("ViewCodeSequence")
    if position or not codes:
        return position
    return _VIEW_CODES.get(_text(codes[0], "CodeValue")) or _text(codes[0], "CodeMeaning")


def _lossy_syntaxes() -> tuple[str, ...]:
    from pydicom import uid

    return (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEGLSNearLossless)
