"""Label maps of PadChest, VinDr-CXR and RSNA: whole labels after trimming and lower-casing, never parts of them.

"pseudonodule" holds nodule, "pericardial effusion" holds effusion and "abnormal foreign body" holds normal. A label that
maps to nothing still says that a film is not without finding.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from cxr_assets.cohorts.labels import FINDINGS, NO_FINDING, SUPPORT_DEVICES

_PADCHEST: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "enlarged_cardiomediastinum": ("mediastinal enlargement", "superior mediastinal enlargement"),
        "cardiomegaly": ("cardiomegaly",),
        "lung_opacity": (
            "infiltrates",
            "increased density",
            "alveolar pattern",
            "interstitial pattern",
            "ground glass pattern",
        ),
        "lung_lesion": ("nodule", "multiple nodules", "pulmonary mass", "mass"),
        "edema": ("pulmonary edema",),
        "consolidation": ("consolidation", "air bronchogram"),
        "pneumonia": ("pneumonia", "atypical pneumonia"),
        "atelectasis": (
            "atelectasis",
            "atelectasis basal",
            "lobar atelectasis",
            "round atelectasis",
            "segmental atelectasis",
            "total atelectasis",
        ),
        "pneumothorax": ("pneumothorax", "hydropneumothorax"),
        "pleural_effusion": (
            "pleural effusion",
            "loculated pleural effusion",
            "loculated fissural effusion",
            "hydropneumothorax",
        ),
        "pleural_other": (
            "pleural thickening",
            "apical pleural thickening",
            "calcified pleural thickening",
            "pleural plaques",
            "calcified pleural plaques",
            "pleural mass",
        ),
        "fracture": ("fracture", "clavicle fracture", "humeral fracture", "rib fracture", "vertebral fracture"),
        SUPPORT_DEVICES: (
            "artificial aortic heart valve",
            "artificial heart valve",
            "artificial mitral heart valve",
            "catheter",
            "central venous catheter",
            "central venous catheter via jugular vein",
            "central venous catheter via subclavian vein",
            "central venous catheter via umbilical vein",
            "chest drain tube",
            "dai",
            "double j stent",
            "dual chamber device",
            "electrical device",
            "endotracheal tube",
            "gastrostomy tube",
            "nephrostomy tube",
            "nsg tube",
            "pacemaker",
            "reservoir central venous catheter",
            "single chamber device",
            "tracheostomy tube",
            "ventriculoperitoneal drain tube",
        ),
        "emphysema": ("emphysema",),
        "fibrosis": ("pulmonary fibrosis",),
        "hernia": ("hiatal hernia",),
    }
)
PADCHEST_FINDINGS: tuple[str, ...] = tuple(finding for finding in FINDINGS if finding in {NO_FINDING, *_PADCHEST})
PADCHEST_NORMAL = "normal"
PADCHEST_SILENT = frozenset({"exclude", "suboptimal study", "unchanged"})
"""Labels that say nothing of the patient, present or absent: an earlier film may have been normal or not."""
PADCHEST_LAMINAR = "laminar atelectasis"
PADCHEST_CALLUS = "callus rib fracture"
_PADCHEST_OTHERS = """
abnormal foreign body, abscess, adenopathy, air fluid level, air trapping, aortic aneurysm, aortic atheromatosis,
aortic button enlargement, aortic elongation, aortic endoprosthesis, asbestosis signs, ascendent aortic elongation,
axial hyperostosis, azygoesophageal recess shift, azygos lobe, blastic bone lesion, bone cement, bone metastasis,
breast mass, bronchiectasis, bronchovascular markings, bullas, calcified adenopathy, calcified densities,
calcified fibroadenoma, calcified granuloma, calcified mediastinal adenopathy, callus rib fracture, cavitation,
central vascular redistribution, cervical rib, chilaiditi sign, chronic changes, copd signs,
costochondral junction hypertrophy, costophrenic angle blunting, cyst, descendent aortic elongation, dextrocardia,
diaphragmatic eventration, empyema, end on vessel, endoprosthesis, esophagic dilatation, external foreign body,
fibrotic band, fissure thickening, flattened diaphragm, goiter, granuloma, gynecomastia, heart insufficiency,
heart valve calcified, hemidiaphragm elevation, hilar congestion, hilar enlargement, humeral prosthesis,
hyperinflated lung, hypoexpansion, hypoexpansion basal, kerley lines, kyphosis, laminar atelectasis,
lepidic adenocarcinoma, lipomatosis, lung metastasis, lung vascular paucity, lymphangitis carcinomatosa,
lytic bone lesion, major fissure thickening, mammary prosthesis, mastectomy, mediastinal mass, mediastinal shift,
mediastinic lipomatosis, metal, miliary opacities, minor fissure thickening, nipple shadow,
non axial articular degenerative changes, obesity, osteopenia, osteoporosis, osteosynthesis material,
pectum carinatum, pectum excavatum, pericardial effusion, pneumomediastinum, pneumoperitoneo,
post radiotherapy changes, prosthesis, pseudonodule, pulmonary artery enlargement, pulmonary artery hypertension,
pulmonary hypertension, pulmonary venous hypertension, respiratory distress, reticular interstitial pattern,
reticulonodular interstitial pattern, right sided aortic arch, sclerotic bone lesion, scoliosis, soft tissue mass,
sternoclavicular junction hypertrophy, sternotomy, subacromial space narrowing, subcutaneous emphysema,
supra aortic elongation, surgery, surgery breast, surgery heart, surgery humeral, surgery lung, surgery neck,
suture material, thoracic cage deformation, tracheal shift, tuberculosis, tuberculosis sequelae,
vascular hilar enlargement, vascular redistribution, vertebral anterior compression, vertebral compression,
vertebral degenerative changes, volume loss
"""
PADCHEST_UNMAPPED = frozenset(label.strip() for label in _PADCHEST_OTHERS.split(","))
"""Labels of the published tree that are no finding of ours; two of them are, by option."""
PADCHEST_LABELS = (
    frozenset(label for labels in _PADCHEST.values() for label in labels)
    | PADCHEST_UNMAPPED
    | PADCHEST_SILENT
    | {PADCHEST_NORMAL}
)
"""The 193 labels of the published tree."""


def padchest_map(*, laminar: bool, callus: bool) -> dict[str, tuple[str, ...]]:
    """Finding to the labels that make it positive.

    Args:
        laminar: whether laminar (plate-like) atelectasis is atelectasis.
        callus: whether a healed rib fracture is a fracture.
    """
    chosen = dict(_PADCHEST)
    if laminar:
        chosen["atelectasis"] = (*chosen["atelectasis"], PADCHEST_LAMINAR)
    if callus:
        chosen["fracture"] = (*chosen["fracture"], PADCHEST_CALLUS)
    return chosen


VINDR_LABELS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "aortic enlargement": (),
        "atelectasis": ("atelectasis",),
        "calcification": (),
        "cardiomegaly": ("cardiomegaly",),
        "consolidation": ("consolidation",),
        "ild": ("lung_opacity",),
        "infiltration": ("infiltration", "lung_opacity"),
        "lung opacity": ("lung_opacity",),
        "nodule/mass": ("lung_lesion",),
        "other lesion": (),
        "pleural effusion": ("pleural_effusion",),
        "pleural thickening": ("pleural_other",),
        "pneumothorax": ("pneumothorax",),
        "pulmonary fibrosis": ("fibrosis",),
        "no finding": (NO_FINDING,),
        "clavicle fracture": ("fracture",),
        "edema": ("edema",),
        "emphysema": ("emphysema",),
        "enlarged pa": (),
        "lung cavity": (),
        "lung cyst": (),
        "mediastinal shift": (),
        "rib fracture": ("fracture",),
        "copd": (),
        "lung tumor": (),
        "pneumonia": ("pneumonia",),
        "tuberculosis": (),
        "other disease": (),
        "other diseases": (),
    }
)
"""Every label of either distribution to our findings; the first is the finding of its boxes."""
VINDR_KAGGLE: tuple[str, ...] = tuple(VINDR_LABELS)[:15]
"""The classes of the challenge, in the order of ``class_id``; the other labels are in the PhysioNet tables only."""
VINDR_FINDINGS: tuple[str, ...] = tuple(
    finding for finding in FINDINGS if any(finding in mapped for mapped in VINDR_LABELS.values())
)

RSNA_CLASSES: Mapping[str, int | None] = MappingProxyType(
    {"normal": 1, "lung opacity": 0, "no lung opacity / not normal": None}
)
"""Detailed class to the value of No Finding. The third class may hold any finding but an opacity, or an odd variant."""
RSNA_FINDINGS: tuple[str, ...] = (NO_FINDING, "lung_opacity")
