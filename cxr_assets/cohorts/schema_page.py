"""The canonical schema as a page: ``docs/schema.md`` is what this prints."""

from __future__ import annotations

from cxr_assets.cohorts.schema import TABLES, Column

_INTRODUCTION = """# The tables that every cohort ends in

One row of `studies` is one image of one patient (or one report where its image is not at hand). Ids are text. Labels keep
their four values: 1 positive, 0 negative, -1 uncertain, null not mentioned; what a source has no label for is null, never 0.
What the source wrote stands in the columns that end in `_raw`, byte for byte; beside it what it was read as, how that was
decided, and what is odd about it. Null is unknown: counted, never imputed, never merged into a group. `age_bin` and `race`
are no columns: they are [choices](choices.md) that the views make. A frame that does not fit is refused by table, column,
row and value.

This page is printed by `cxr config schema`.
"""


def schema_page() -> str:
    """Markdown of all curated tables with their columns, types, meanings and vocabularies."""
    parts = [_INTRODUCTION]
    for table in TABLES.values():
        key = f" Key: {', '.join(f'`{name}`' for name in table.key)}." if table.key else ""
        rows = "\n".join(_row(column) for column in table.columns)
        parts.append(
            f"## {table.name}\nOne row: {table.grain}.{key}\n\n| column | type | meaning |\n|---|---|---|\n{rows}\n"
        )
    return "\n".join(parts)


def _row(column: Column) -> str:
    optional = ", may be null" if column.nullable else ""
    words = f" ({', '.join(f'`{word}`' for word in column.allowed)})" if column.allowed else ""
    return f"| `{column.name}` | {column.dtype}{optional} | {column.meaning.replace('|', chr(92) + '|')}{words} |"
