"""Two-section radiology reports of phantom studies, in agreement with the labels rather than with the truth.

A finding that was left unlabelled is also left out of the text, so that planted under-labelling reaches
text-conditioned methods. Sides come from the draws that placed the sign, severity words from its true severity.
"""

from __future__ import annotations

import hashlib
import random

import polars as pl

from cxr_assets.cohorts.phantom.config import FINDINGS
from cxr_assets.cohorts.phantom.parameters import Array, Draws, severity_matrix, study_draws
from cxr_assets.cohorts.phantom.signs import consolidation_place, effusion_side, lesion_place

_AMOUNT = ("small", "moderate", "large")
_DEGREE = ("mild", "moderate", "severe")
_NODULE = ("small nodule", "moderate nodule", "large mass")

# {side} "right"/"left"/"bilateral", {zone} "upper"/"mid"/"lower", {amount}, {degree}, {nodule}: severity words.
_FINDING_PHRASES: dict[str, tuple[str, ...]] = {
    "cardiomegaly": (
        "There is {degree} cardiomegaly.",
        "The cardiac silhouette is wide, in keeping with {degree} cardiomegaly.",
        "{Degree} cardiomegaly, with a cardiothoracic ratio above one half.",
    ),
    "edema": (
        "{Degree} perihilar haze and septal lines indicate pulmonary edema.",
        "There is {degree} pulmonary edema in a bat-wing distribution.",
        "Vascular redistribution with indistinct hila, consistent with {degree} pulmonary edema.",
    ),
    "consolidation": (
        "{Degree} consolidation in the {side} {zone} zone, with air bronchograms.",
        "A fluffy area of {degree} consolidation projects over the {side} {zone} lung.",
        "There is {degree} {side} {zone} zone consolidation.",
    ),
    "atelectasis": (
        "{Degree} atelectasis at the {side} base with elevation of the hemidiaphragm.",
        "Plate-like opacity at the {side} base reflects {degree} atelectasis.",
        "There is {degree} {side} basal atelectasis with volume loss.",
    ),
    "pneumothorax": (
        "A {amount} {side} pneumothorax is present, with a visible pleural line.",
        "{Amount} {side} pneumothorax; no lung markings beyond the visceral pleura.",
        "There is a {amount} pneumothorax on the {side}.",
    ),
    "pleural_effusion": (
        "{Amount} {side} pleural effusion with a meniscus.",
        "There is {amount} {side} pleural effusion, blunting the costophrenic angle.",
        "Layering density at the base in keeping with {amount} {side} pleural effusion.",
    ),
    "lung_lesion": (
        "A {nodule} projects over the {side} {zone} zone.",
        "There is a rounded {nodule} in the {side} {zone} lung.",
        "{Nodule} in the {side} {zone} zone, well defined.",
    ),
    "fibrosis": (
        "{Degree} reticular markings at both bases, in keeping with fibrosis.",
        "There is {degree} bibasal fibrosis with reduced lung volumes.",
        "Peripheral reticulation reflects {degree} pulmonary fibrosis.",
    ),
}
_IMPRESSION_PHRASES: dict[str, tuple[str, ...]] = {
    "cardiomegaly": ("{Degree} cardiomegaly.",),
    "edema": ("{Degree} pulmonary edema.", "Pulmonary edema, {degree}."),
    "consolidation": ("{Side} {zone} zone consolidation, {degree}.", "{Degree} {side} {zone} consolidation."),
    "atelectasis": ("{Degree} {side} basal atelectasis.", "{Side} basal atelectasis, {degree}."),
    "pneumothorax": ("{Amount} {side} pneumothorax.", "{Side} pneumothorax, {amount}."),
    "pleural_effusion": ("{Amount} {side} pleural effusion.", "{Side} pleural effusion, {amount}."),
    "lung_lesion": ("{Nodule} in the {side} {zone} zone.", "{Side} {zone} zone {nodule}."),
    "fibrosis": ("{Degree} pulmonary fibrosis.", "Basal fibrosis, {degree}."),
}
# Every sentence here starts with a word of NEGATIVE_OPENINGS, which is how a reader of the text can tell them apart.
NEGATIVE_OPENINGS: tuple[str, ...] = ("No ", "Normal ", "Clear ")
_NEGATIVE_PHRASES: dict[str, tuple[str, ...]] = {
    "cardiomegaly": ("Normal heart size.", "No cardiomegaly."),
    "edema": ("No pulmonary edema.", "Normal pulmonary vascularity."),
    "consolidation": ("No focal consolidation.",),
    "atelectasis": ("No atelectasis.",),
    "pneumothorax": ("No pneumothorax.", "No pneumothorax is seen."),
    "pleural_effusion": ("No pleural effusion.", "Clear costophrenic angles."),
    "lung_lesion": ("No suspicious nodule.",),
    "fibrosis": ("No sign of fibrosis.",),
}
_NORMAL_IMPRESSIONS = (
    "No acute cardiopulmonary abnormality.",
    "Normal chest radiograph.",
    "No active disease in the chest.",
    "Clear lungs and normal heart.",
)
_REASONS = ("Shortness of breath", "Cough", "Chest pain", "Follow-up", "Preoperative evaluation", "Fever")
FINDING_TERMS: dict[str, tuple[str, ...]] = {
    finding: {"pleural_effusion": ("pleural effusion",), "lung_lesion": ("nodule", "mass")}.get(finding, (finding,))
    for finding in FINDINGS
}


def write_reports(studies: pl.DataFrame, truth: pl.DataFrame, *, seed: int) -> pl.DataFrame:
    """Write one report a study.

    Args:
        studies: rows with study_id, age_years, sex, view and one label column a finding.
        truth: long table with study_id, finding, present and severity.
        seed: of the cohort, the one that the images are drawn with.

    Returns:
        study_id, indication (the only place with demographics), findings, impression, and report (all three under their
        headings), in the order of ``studies``.
    """
    draws = study_draws(studies, seed)
    words = _places(draws, studies.height)
    severity = severity_matrix(studies, truth)
    rows = []
    for i, study in enumerate(studies.iter_rows(named=True)):
        rng = random.Random(hashlib.blake2b(f"{seed}/report/{study['study_id']}".encode(), digest_size=8).digest())
        labelled = [finding for finding in FINDINGS if study[finding] == 1]
        # A false label has no severity of its own; the text then speaks of the least one.
        slots = {f: _slots(words[f][i], float(severity[i, FINDINGS.index(f)])) for f in labelled}
        findings = _findings_section(rng, labelled, slots)
        impression = (
            " ".join(rng.choice(_IMPRESSION_PHRASES[f]).format(**slots[f]) for f in _by_weight(labelled, severity[i]))
            if labelled
            else rng.choice(_NORMAL_IMPRESSIONS)
        )
        indication = f"{rng.choice(_REASONS)}. {int(study['age_years'])}-year-old {study['sex']}. {study['view']} view."
        report = f"INDICATION: {indication}\nFINDINGS: {findings}\nIMPRESSION: {impression}"
        rows.append((study["study_id"], indication, findings, impression, report))
    names = ["study_id", "indication", "findings", "impression", "report"]
    return pl.DataFrame(rows, schema=dict.fromkeys(names, pl.String), orient="row")


def _by_weight(labelled: list[str], severity: Array) -> list[str]:
    """Gravest first, as an impression lists them."""
    return sorted(labelled, key=lambda finding: (-severity[FINDINGS.index(finding)], finding))


def _findings_section(rng: random.Random, labelled: list[str], slots: dict[str, dict[str, str]]) -> str:
    """Sentences on what is labelled, and on some of what is not."""
    sentences = [rng.choice(_FINDING_PHRASES[finding]).format(**slots[finding]) for finding in labelled]
    absent = [finding for finding in FINDINGS if finding not in labelled]
    told = sorted(rng.sample(absent, k=min(len(absent), rng.randint(2, 4))), key=FINDINGS.index)
    sentences += [rng.choice(_NEGATIVE_PHRASES[finding]) for finding in told]
    return " ".join(sentences)


def _places(draws: Draws, n: int) -> dict[str, list[tuple[str, str]]]:
    """Side and zone words of each finding, N pairs each; empty words where a finding has none."""
    side = {-1.0: "right", 1.0: "left", 0.0: "bilateral"}

    def sided(values: Array) -> list[tuple[str, str]]:
        return [(side[float(v)], "") for v in values]

    def placed(values: tuple[Array, Array]) -> list[tuple[str, str]]:
        zones = ["upper" if h < 0.42 else "mid" if h < 0.64 else "lower" for h in values[1]]
        return [(side[float(v)], zone) for v, zone in zip(values[0], zones, strict=True)]

    return dict.fromkeys(FINDINGS, [("", "")] * n) | {
        "pleural_effusion": sided(effusion_side(draws)),
        "pneumothorax": sided(draws.side("pneumothorax_side")),
        "atelectasis": sided(draws.side("atelectasis_side")),
        "consolidation": placed(consolidation_place(draws)),
        "lung_lesion": placed(lesion_place(draws)),
    }


def _slots(place: tuple[str, str], severity: float) -> dict[str, str]:
    """Words for the phrases' placeholders; severity in [0, 1] by thirds."""
    third = min(int(severity * 3.0), 2)
    words = {
        "side": place[0],
        "zone": place[1],
        "amount": _AMOUNT[third],
        "degree": _DEGREE[third],
        "nodule": _NODULE[third],
    }
    return words | {name.capitalize(): word.capitalize() for name, word in words.items()}
