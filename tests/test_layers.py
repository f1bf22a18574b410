"""The library knows nothing of Dagster, and its arrows run one way."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_import_contracts_hold() -> None:
    lint = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([lint], cwd=Path(__file__).parents[1], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_importing_the_library_loads_no_dagster() -> None:
    code = "import sys, cxr_assets.cli, cxr_assets.project, cxr_assets.describe; sys.exit('dagster' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
