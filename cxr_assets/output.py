"""Frames for people and for machines."""

from __future__ import annotations

import sys

import polars as pl

from cxr_assets.errors import InputError


def print_frame(frame: pl.DataFrame, format: str = "table") -> None:
    """Print a frame to stdout as ``table``, ``csv``, ``json`` or (bytes) ``parquet``."""
    if format == "table":
        from rich.console import Console
        from rich.table import Table

        table = Table(box=None, header_style="bold", pad_edge=False)
        for name, dtype in frame.schema.items():
            table.add_column(name, justify="right" if dtype.is_numeric() else "left", overflow="fold")
        for row in frame.iter_rows():
            table.add_row(*(_cell(v) for v in row))
        # Into a file or a pipe a table is as wide as its rows: only a terminal has an edge to fold at.
        Console(width=None if sys.stdout.isatty() else 1000).print(table)
    elif format == "csv":
        sys.stdout.write(frame.write_csv())
    elif format == "json":
        sys.stdout.write(frame.write_json() + "\n")
    elif format == "parquet":
        frame.write_parquet(sys.stdout.buffer)
    else:
        raise InputError(f"format {format!r} is none of table, csv, json, parquet.")


def _cell(value: object) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
