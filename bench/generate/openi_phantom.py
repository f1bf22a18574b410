"""Phantom films and reports in the layout of Open-i: nobody's data, the true shapes.

    python bench/generate/openi_phantom.py OUT [--studies 1200]

Writes ``ecgen-radiology/<n>.xml`` with INDICATION, FINDINGS and IMPRESSION, de-identified as the source is (ages and names are
``XXXX``), manual headings, and ``NLMCXR_png/CXR<n>_IM-0001-3001.png``. Use it with ``cxr run --cohort openi --root OUT``.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from xml.sax.saxutils import escape

from PIL import Image

from cxr_assets.cohorts.phantom.config import FINDINGS, PhantomConfig
from cxr_assets.cohorts.phantom.population import sample_population
from cxr_assets.cohorts.phantom.render import render
from cxr_assets.cohorts.phantom.reports import write_reports

HEADINGS = {
    "cardiomegaly": "Cardiomegaly/mild",
    "edema": "Pulmonary Edema",
    "consolidation": "Consolidation",
    "atelectasis": "Pulmonary Atelectasis/base",
    "pneumothorax": "Pneumothorax/right",
    "pleural_effusion": "Pleural Effusion/left",
    "lung_lesion": "Nodule/lung",
    "fibrosis": "Pulmonary Fibrosis",
}
_CHUNK = 200
_AGE = re.compile(r"\d+-year-old")


def xml_of(number: int, sections: dict[str, str], headings: list[str]) -> str:
    """One report as Open-i writes it."""
    texts = "".join(
        f'<AbstractText Label="{name.upper()}">{escape(text)}</AbstractText>' for name, text in sections.items()
    )
    major = "".join(f"<major>{escape(heading)}</major>" for heading in headings)
    return (
        f'<?xml version="1.0" encoding="utf-8"?>\n<eCitation><uId id="CXR{number}"/><MedlineCitation><Article><Abstract>{texts}'
        f"</Abstract></Article></MedlineCitation><MeSH>{major}</MeSH>"
        f'<parentImage id="CXR{number}_IM-0001-3001"/></eCitation>\n'
    )


def write(out: Path, *, studies: int, size: int, seed: int) -> None:
    """Write the folder."""
    config = PhantomConfig(studies=studies, size=size, seed=seed)
    population = sample_population(config)
    reports = write_reports(population.studies, population.truth, seed=seed)
    films, texts = out / "NLMCXR_png", out / "ecgen-radiology"
    for folder in (films, texts):
        folder.mkdir(parents=True, exist_ok=True)
    for start in range(0, population.studies.height, _CHUNK):
        part = population.studies[start : start + _CHUNK]
        truth = population.truth.join(part.select("study_id"), on="study_id", how="semi")
        for number, film in enumerate(render(part, truth, size=size, seed=seed).images, start=start + 1):
            Image.fromarray(film).save(films / f"CXR{number}_IM-0001-3001.png")
    rows = zip(population.studies.iter_rows(named=True), reports.iter_rows(named=True), strict=True)
    for number, (study, report) in enumerate(rows, start=1):
        indication = _AGE.sub("XXXX-year-old", report["indication"])
        sections = {
            "comparison": "None.",
            "indication": indication,
            "findings": report["findings"],
            "impression": report["impression"],
        }
        headings = [HEADINGS[finding] for finding in FINDINGS if study[finding] == 1] or ["normal"]
        (texts / f"{number}.xml").write_text(xml_of(number, sections, headings), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--studies", type=int, default=1200)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    write(chosen.out, studies=chosen.studies, size=chosen.size, seed=chosen.seed)
    print(f"{chosen.studies} studies in {chosen.out}")


if __name__ == "__main__":
    main()
