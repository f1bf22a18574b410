"""What a method's captions and prompts say; plain pydantic, so that reading a configuration loads no torch."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Attribute = Literal["age", "sex", "race"]
ATTRIBUTES: tuple[str, ...] = ("age", "sex", "race")
"""Demographic attributes, in the column order of every mask over them."""


class Wording(BaseModel):
    """Which attributes stand in the text, and what its body is.

    What a conditioner carries is left out besides: the network is to learn it from the token, not from a word.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    trained_with: tuple[Attribute, ...] = Field(
        ("age", "sex", "race"), description="attributes in the captions of real films"
    )
    asked_with: tuple[Attribute, ...] | None = Field(
        None, description="attributes in the prompts of synthetic films; null: those it was trained with"
    )
    body: Literal["cohort", "labels", "impression"] = Field(
        "cohort", description="labels or the report's impression; cohort: as the cohort's captions are"
    )

    def in_captions(self, carried: tuple[str, ...]) -> tuple[Attribute, ...]:
        """Attributes to write into training captions, without those that are carried elsewhere."""
        return tuple(name for name in self.trained_with if name not in carried)

    def in_prompts(self, carried: tuple[str, ...]) -> tuple[Attribute, ...]:
        """Attributes to write into prompts, without those that are carried elsewhere."""
        asked = self.trained_with if self.asked_with is None else self.asked_with
        return tuple(name for name in asked if name not in carried)
