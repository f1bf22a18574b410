"""Plots of scorecards."""

from __future__ import annotations

import polars as pl

from cxr_assets.plots import figure_png

_COLOURS = ("#4c566a", "#2a7fb8", "#c0392b", "#3a9d5d", "#b8860b", "#7b5ea7")


def forest_of_groups(estimates: pl.DataFrame, *, metric: str, finding: str = "all", most: int = 30) -> bytes:
    """Estimate and 95 % interval of every eligible group of one or two attributes, lowest first; PNG."""
    from matplotlib.figure import Figure

    rows = (
        estimates.filter(
            (pl.col("metric") == metric)
            & (pl.col("finding") == finding)
            & pl.col("eligible")
            & pl.col("ci_lo").is_not_null()
            & (pl.col("attribute").str.count_matches("×") < 2)
        )
        .sort("estimate")
        .head(most)
    )
    figure = Figure(figsize=(6, 0.6 + 0.22 * max(rows.height, 3)), dpi=90, layout="constrained")
    axes = figure.add_subplot()
    if rows.is_empty():
        axes.text(0.5, 0.5, "no eligible group", ha="center", va="center")
        axes.set_axis_off()
        return figure_png(figure)
    at = range(rows.height)
    error = [(rows["estimate"] - rows["ci_lo"]).to_list(), (rows["ci_hi"] - rows["estimate"]).to_list()]
    axes.errorbar(rows["estimate"], at, xerr=error, fmt="o", markersize=3, linewidth=1, color="#2a5d8a")
    axes.set_yticks(list(at), [f"{g} (n⁺ {n})" for g, n in zip(rows["group"], rows["n_pos"], strict=True)], fontsize=7)
    overall = estimates.filter(
        (pl.col("attribute") == "all") & (pl.col("metric") == metric) & (pl.col("finding") == finding)
    )
    if overall.height and overall["estimate"][0] is not None:
        axes.axvline(overall["estimate"][0], color="grey", linestyle=":", linewidth=1)
    axes.set_xlabel(f"{metric.upper()} with 95 % interval; dotted: all films", fontsize=8)
    axes.tick_params(axis="x", labelsize=7)
    axes.grid(axis="x", alpha=0.3)
    return figure_png(figure)


def gap_by_arm(gaps: pl.DataFrame, *, attribute: str, group: str) -> bytes:
    """One group's distance to all others in every arm, with 95 % intervals: before and after; PNG.

    Args:
        gaps: rows of fairness_gaps of all arms.
    """
    from matplotlib.figure import Figure

    rows = gaps.filter(
        (pl.col("gap_kind") == "group_vs_rest") & (pl.col("attribute") == attribute) & (pl.col("worst_group") == group)
    ).sort("arm", descending=True)
    figure = Figure(figsize=(6, 0.8 + 0.32 * max(rows.height, 2)), dpi=90, layout="constrained")
    axes = figure.add_subplot()
    for at, row in enumerate(rows.iter_rows(named=True)):
        if row["ci_lo"] is not None:
            colour = _COLOURS[0] if row["arm"].startswith("real") else _COLOURS[1]
            axes.plot([row["ci_lo"], row["ci_hi"]], [at, at], color=colour, linewidth=2)
            axes.plot(row["observed"], at, "o", color=colour, markersize=5)
    axes.set_yticks(range(rows.height), rows["arm"].to_list(), fontsize=8)
    axes.axvline(0, color="grey", linewidth=1)
    axes.set_xlabel(f"TPR of {group} less that of all others (95 % interval)", fontsize=8)
    axes.tick_params(axis="x", labelsize=7)
    axes.grid(axis="x", alpha=0.3)
    return figure_png(figure)
