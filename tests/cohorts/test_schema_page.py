from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner

from cxr_assets.cli import app
from cxr_assets.cohorts.schema import TABLES
from cxr_assets.cohorts.schema_page import schema_page


def test_the_page_is_what_the_code_says() -> None:
    page = Path(__file__).parents[2] / "docs" / "schema.md"
    assert page.read_text(encoding="utf-8") == schema_page(), "write it anew: cxr config schema > docs/schema.md"


def test_every_column_of_every_table_is_on_the_page() -> None:
    printed = CliRunner().invoke(app, ["config", "schema"]).stdout
    for table in TABLES.values():
        assert f"## {table.name}\n" in printed
        assert all(f"| `{column.name}` |" in printed for column in table.columns)
