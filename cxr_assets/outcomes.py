"""What a check found."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Outcome:
    """Result of one check. ``blocking`` failures stop what comes after; the others warn."""

    name: str
    passed: bool
    facts: dict[str, Any] = field(default_factory=dict)
    blocking: bool = False
