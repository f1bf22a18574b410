"""The tiny base model and project that several folders read; what changes them works on a copy."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from cxr_assets.project import Project


@pytest.fixture(autouse=True)
def environment_as_it_was() -> Iterator[None]:
    """Commands name their cohort and data root in the environment; the next test of the same worker must not see it."""
    before = dict(os.environ)
    yield
    if dict(os.environ) != before:
        os.environ.clear()
        os.environ.update(before)


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a saved tiny base model."""
    from cxr_assets.diffusion.bundle import save_bundle
    from tests.helpers import tiny_bundle

    folder = tmp_path_factory.mktemp("base") / "model"
    save_bundle(tiny_bundle(), folder)
    return folder


@pytest.fixture(scope="session")
def ready_root(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Path:
    """Data root with everything up to the adapter and the plan; read only."""
    from tests.helpers import make_ready, tiny_project

    root = tmp_path_factory.mktemp("root")
    make_ready(tiny_project(root, tiny_base))
    return root


@pytest.fixture
def ready(ready_root: Path, tiny_base: Path, tmp_path: Path) -> Callable[..., Project]:
    """Opens a project on a copy of the ready data root, with settings changed on request."""
    from tests.helpers import tiny_project

    def open_copy(name: str = "copy", **overrides: Any) -> Project:
        if not (tmp_path / name).exists():
            shutil.copytree(ready_root, tmp_path / name)
        return tiny_project(tmp_path / name, tiny_base, **overrides)

    return open_copy
