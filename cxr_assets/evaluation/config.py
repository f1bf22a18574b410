"""What may be configured of the evaluation; plain models that import nothing heavy."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Hypothesis(BaseModel):
    """One max–min gap that is tested as declared beforehand; every other gap is exploratory."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    attribute: str = Field(description="an attribute, or attributes in alphabetical order joined by ×")
    finding: str = Field("all", description="a finding, or 'all' for the pathologies pooled")
    metric: str = "tpr"
