"""Who is making things: the process, its code and its machine."""

from __future__ import annotations

import os
import subprocess
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import cxr_assets


@cache
def git_commit() -> str:
    """Commit of the checkout that the package runs from, empty outside a checkout."""
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


@dataclass(frozen=True)
class RunInfo:
    """One process that makes partitions (a Dagster run or a command)."""

    run_id: str
    kind: str = "cli"
    started_at: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    parent_run_id: str = ""
    retry_number: int = 0
    package_version: str = cxr_assets.__version__

    @classmethod
    def current(cls) -> RunInfo:
        """The run named by ``CXR_RUN_ID``, else a new one of this process."""
        return cls(run_id=os.environ.get("CXR_RUN_ID") or f"cli-{uuid.uuid4()}")
