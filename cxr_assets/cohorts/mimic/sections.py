"""Sections of a MIMIC-CXR report: free text under headings in capitals, or under none."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

_SECTIONS: Mapping[str, str] = MappingProxyType(
    {
        "FINDINGS": "findings",
        "FINDING": "findings",
        "IMPRESSION": "impression",
        "IMPRESSIONS": "impression",
        "CONCLUSION": "impression",
        "CONCLUSIONS": "impression",
        "FINDINGS AND IMPRESSION": "impression",
        "FINDINGS/IMPRESSION": "impression",
        "INDICATION": "indication",
        "HISTORY": "indication",
        "CLINICAL HISTORY": "indication",
        "CLINICAL INFORMATION": "indication",
        "REASON FOR EXAM": "indication",
        "REASON FOR EXAMINATION": "indication",
        "COMPARISON": "comparison",
        "COMPARISONS": "comparison",
    }
)
_ONE_PARAGRAPH = frozenset(
    {name for name, section in _SECTIONS.items() if section in ("indication", "comparison")}
    | {"EXAM", "EXAMINATION", "EXAMINATIONS", "STUDY", "PROCEDURE", "TECHNIQUE", "TYPE OF EXAMINATION"}
)
"""Headings that stand before the reading and hold one paragraph: what follows it is under no heading."""
_HEADING = re.compile(
    r"^[^\S\n]*(?:(?P<name>[A-Z][A-Z ()/,&-]{2,48}):"
    r"|(?P<bare>ADDENDUM|WET READ|NOTIFICATION|RECOMMENDATIONS?(?:\(S\))?|FINAL REPORT)\b)",
    re.MULTILINE,
)
"""A name with its colon, or one of those that end a section even without."""
_PARAGRAPH = re.compile(r"\n[^\S\n]*\n")


def sections_of(text: str) -> dict[str, str]:
    """Named sections of one report, whitespace folded; the last of a name counts.

    Where neither findings nor an impression is named, the last paragraph under no heading stands as ``last_paragraph``.
    Preliminary readings, addenda, notifications, recommendations and whatever else has a name that is not known here
    end a section and are not kept, to the last of their paragraphs. A paragraph before the last indication, comparison
    or technique, or without a small letter, is a title.
    """
    text = re.sub(r"\r\n?", "\n", text)
    marks = list(_HEADING.finditer(text))
    found: dict[str, str] = {}
    loose = _paragraphs(text[: marks[0].start()] if marks else text)
    for mark, after in zip(marks, [*marks[1:], None], strict=False):
        name = " ".join((mark["name"] or "").split())
        body = text[mark.end() : after.start() if after else None]
        if (section := _SECTIONS.get(name)) and body.strip():
            found[section] = body
        if mark["bare"] == "FINAL REPORT":
            loose += _paragraphs(body)
        elif name in _ONE_PARAGRAPH:
            loose = _paragraphs(body)[1:]
    loose = [part for part in loose if re.search("[a-z]", part)]
    if loose and not {"findings", "impression"} & found.keys():
        found = {section: _paragraphs(body)[0] for section, body in found.items()} | {"last_paragraph": loose[-1]}
    return {section: " ".join(body.split()) for section, body in found.items()}


def _paragraphs(text: str) -> list[str]:
    return [part for part in _PARAGRAPH.split(text) if part.strip()]
