"""What may be configured of the evaluation; plain models that import nothing heavy."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Hypothesis(BaseModel):
    """One max–min gap that is tested as declared beforehand; every other gap is exploratory."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    attribute: str = Field(description="an attribute, or attributes in alphabetical order joined by ×")
    finding: str = Field("all", description="a finding, or 'all' for the pathologies pooled")
    metric: str = "tpr"

    @classmethod
    def parse(cls, text: str) -> Hypothesis:
        """From ``attribute``, ``attribute:finding`` or ``attribute:finding:metric``; ``sex*race`` is an intersection too."""
        attribute, *more = (part.strip() for part in text.split(":"))
        names = sorted(name.strip() for name in attribute.replace("*", "×").split("×"))
        if len(more) > 2 or not all([*names, *more]):
            raise ValueError(f"{text!r}: write attribute, attribute:finding or attribute:finding:metric")
        return cls(attribute="×".join(names), **dict(zip(("finding", "metric"), more, strict=False)))
