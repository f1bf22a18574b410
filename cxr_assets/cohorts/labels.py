"""The finding vocabulary, and how each source's labels become it.

Values are 1 (positive), 0 (negative), -1 (uncertain) and null (not mentioned). Nothing here turns one into another:
a training recipe that reads null as 0 says so by name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

NO_FINDING = "no_finding"
SUPPORT_DEVICES = "support_devices"

DISPLAY_NAMES: Mapping[str, str] = MappingProxyType(
    {
        NO_FINDING: "No Finding",
        "enlarged_cardiomediastinum": "Enlarged Cardiomediastinum",
        "cardiomegaly": "Cardiomegaly",
        "lung_opacity": "Lung Opacity",
        "lung_lesion": "Lung Lesion",
        "edema": "Edema",
        "consolidation": "Consolidation",
        "pneumonia": "Pneumonia",
        "atelectasis": "Atelectasis",
        "pneumothorax": "Pneumothorax",
        "pleural_effusion": "Pleural Effusion",
        "pleural_other": "Pleural Other",
        "fracture": "Fracture",
        SUPPORT_DEVICES: "Support Devices",
        "emphysema": "Emphysema",
        "fibrosis": "Fibrosis",
        "hernia": "Hernia",
        "infiltration": "Infiltration",
    }
)
FINDINGS: tuple[str, ...] = tuple(DISPLAY_NAMES)
CANONICAL: tuple[str, ...] = FINDINGS[:14]
EXTRA: tuple[str, ...] = FINDINGS[14:]

LABEL_SOURCES = (
    "nlp_report",
    "radiologist_image",
    "radiologist_report",
    "crowd_majority",
    "mesh",
    "image_level_class",
    "generator",
)
"""Who or what made a label."""

NIH_LABELS: Mapping[str, str] = MappingProxyType(
    {
        "Atelectasis": "atelectasis",
        "Cardiomegaly": "cardiomegaly",
        "Consolidation": "consolidation",
        "Edema": "edema",
        "Effusion": "pleural_effusion",
        "Emphysema": "emphysema",
        "Fibrosis": "fibrosis",
        "Hernia": "hernia",
        "Infiltration": "infiltration",
        "Mass": "lung_lesion",
        "Nodule": "lung_lesion",
        "Pleural_Thickening": "pleural_other",
        "Pneumonia": "pneumonia",
        "Pneumothorax": "pneumothorax",
        "No Finding": NO_FINDING,
    }
)
NIH_BOX_LABELS: Mapping[str, str] = MappingProxyType({**NIH_LABELS, "Infiltrate": "infiltration"})
NIH_OPACITIES = frozenset({"infiltration", "consolidation", "lung_lesion", "atelectasis", "edema", "pneumonia"})
"""Findings whose presence makes the derived ``lung_opacity`` positive in ChestX-ray14, which has no such label."""
NIH_FINDINGS: tuple[str, ...] = tuple(
    finding for finding in FINDINGS if finding in set(NIH_LABELS.values()) | {"lung_opacity"}
)

OPENI_HEADINGS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "Cardiomegaly": ("cardiomegaly",),
        "Opacity": ("lung_opacity",),
        "Airspace Disease": ("lung_opacity",),
        "Infiltrate": ("lung_opacity",),
        "Nodule": ("lung_lesion",),
        "Mass": ("lung_lesion",),
        "Pulmonary Edema": ("edema",),
        "Consolidation": ("consolidation",),
        "Pneumonia": ("pneumonia",),
        "Pulmonary Atelectasis": ("atelectasis",),
        "Pneumothorax": ("pneumothorax",),
        "Hydropneumothorax": ("pneumothorax", "pleural_effusion"),
        "Pleural Effusion": ("pleural_effusion",),
        "Fractures, Bone": ("fracture",),
        "Catheters, Indwelling": (SUPPORT_DEVICES,),
        "Implanted Medical Device": (SUPPORT_DEVICES,),
        "Emphysema": ("emphysema",),
        "Bullous Emphysema": ("emphysema",),
        "Pulmonary Fibrosis": ("fibrosis",),
        "Hernia, Hiatal": ("hernia",),
    }
)
OPENI_QUALIFIED: Mapping[tuple[str, str], str] = MappingProxyType(
    {("Mediastinum", "enlarged"): "enlarged_cardiomediastinum", ("Thickening", "pleura"): "pleural_other"}
)
"""Headings that count only with one of their qualifiers."""
OPENI_OUTSIDE_LUNG = frozenset({"breast", "abdomen", "neck"})
"""Sites that keep a ``Nodule`` or ``Mass`` from being a lung lesion."""
OPENI_UNREADABLE = frozenset({"No Indexing", "Technical Quality of Image Unsatisfactory"})
"""Headings that say nothing about the patient, present or absent."""
OPENI_FINDINGS: tuple[str, ...] = tuple(finding for finding in FINDINGS if finding != "infiltration")


def nih_values(labels: Iterable[str]) -> dict[str, int]:
    """Finding values of one ChestX-ray14 row.

    A label that is not listed counts as 0, the published practice for this set: its miner reports presence only, so
    0 here means "not mentioned as present".

    Args:
        labels: source labels, all of them keys of ``NIH_LABELS``.

    Returns:
        1 or 0 for every finding of ``NIH_FINDINGS``, in canonical order.
    """
    present = {NIH_LABELS[label] for label in labels}
    if present & NIH_OPACITIES:
        present.add("lung_opacity")
    return {finding: int(finding in present) for finding in NIH_FINDINGS}


def openi_values(headings: Iterable[str]) -> dict[str, int | None]:
    """Finding values of one Open-i report from its manual ``major`` headings.

    ``normal`` alone makes No Finding 1 and every pathology 0; devices stay unmentioned, since a normal chest may hold
    one. Any other heading about the patient makes No Finding 0, names the findings it maps to as 1 and leaves the rest
    null. Headings about indexing or image quality say nothing.

    Args:
        headings: ``Heading/qualifier/…`` texts; headings hold commas and trailing blanks.

    Returns:
        1, 0 or None for every finding of ``OPENI_FINDINGS``, in canonical order.
    """
    present: set[str] = set()
    spoken: set[str] = set()
    for text in headings:
        head, *qualifiers = (part.strip() for part in text.split("/"))
        if not head or head in OPENI_UNREADABLE:
            continue
        spoken.add(head.lower())
        if not (head in {"Nodule", "Mass"} and OPENI_OUTSIDE_LUNG.intersection(qualifiers)):
            present.update(OPENI_HEADINGS.get(head, ()))
        present.update(
            finding
            for (name, qualifier), finding in OPENI_QUALIFIED.items()
            if name == head and qualifier in qualifiers
        )
    values: dict[str, int | None] = {finding: 1 if finding in present else None for finding in OPENI_FINDINGS}
    if spoken == {"normal"}:
        values = {finding: None if finding == SUPPORT_DEVICES else 0 for finding in OPENI_FINDINGS}
        values[NO_FINDING] = 1
    elif spoken:
        values[NO_FINDING] = 0
    return values
