"""Report sections to caption bodies: de-identification marks out, list numbers out, the words untouched."""

from __future__ import annotations

import re
from dataclasses import dataclass

MOST_MARKS = 0.2
"""Share of words lost to de-identification above which what is left is not a caption."""
_MARK = re.compile(r"X{2,}|_{2,}")
_BRACKETED = re.compile(r"\[\*\*.*?\*\*\]", re.DOTALL)
_LIST_NUMBER = re.compile(r"(?:^|(?<=[\s.;:]))\d{1,2}[.)](?=\s|$)")
_END_PUNCTUATION = re.compile(r"[.,;:!?]+$")
PRIOR_REFERENCE = (
    r"(?i)\b(?:compared? (?:to|with)|in comparison (?:to|with)|as compared|since the (?:prior|previous)"
    r"|(?:previous|prior) (?:chest )?(?:exam|stud(?:y|ies)|film|radiograph))"
)
"""Words that speak of an earlier film: what changed since is nothing that one film can show."""


@dataclass(frozen=True)
class CaptionBody:
    """A caption body, or None with the reason why there is none. ``marks`` is the share of words that were lost.

    ``has_prior_reference`` is true where the section speaks of an earlier film.
    """

    text: str | None
    reason: str | None
    marks: float
    has_prior_reference: bool = False


def caption_body(section: str, *, most_marks: float = MOST_MARKS) -> CaptionBody:
    """The part of a report section that a caption can hold.

    A word that holds a mark (``XXXX``, ``___``, ``[**…**]``) goes as a whole, since what is left of it (``x-``) is no
    word; the punctuation after it stays. Numbers of list items go as well.

    Args:
        section: verbatim text of one section.
        most_marks: share of words with a mark above which the body is refused.
    """
    plain = _LIST_NUMBER.sub(" ", _BRACKETED.sub("XXXX", section))
    words = [word for word in plain.split() if re.search(r"\w", word)]
    marked = [bool(_MARK.search(word)) for word in words]
    share = sum(marked) / len(words) if words else 0.0
    if share > most_marks:
        return CaptionBody(None, f"de-identified: {share:.0%} of the words are marks", share)
    text = ""
    for word, lost in zip(words, marked, strict=True):
        if not lost:
            text += f" {word}"
        elif (ending := _END_PUNCTUATION.search(word)) and text and text[-1].isalnum():
            text += ending[0]
    text = text.strip()
    if not re.search(r"[A-Za-z]{2}", text):
        return CaptionBody(None, "empty section", share)
    return CaptionBody(text, None, share, re.search(PRIOR_REFERENCE, " ".join(section.split())) is not None)
