"""The project in miniature that all tests here read or break."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.warehouse.miniature import write_project


@pytest.fixture(scope="session")
def shared_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project for tests that only read."""
    folder = tmp_path_factory.mktemp("project")
    write_project(folder)
    return folder


@pytest.fixture
def root(shared_root: Path, tmp_path: Path) -> Path:
    """A copy for tests that break it, under a name that has all the wrong characters."""
    return Path(shutil.copytree(shared_root, tmp_path / "it's a [root]*"))
