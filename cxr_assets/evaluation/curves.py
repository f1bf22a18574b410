"""Plots of calibration by group, and of fairness against accuracy."""

from __future__ import annotations

import numpy as np
import polars as pl

from cxr_assets.evaluation.figures import COLOURS
from cxr_assets.plots import figure_png

_CHI_SQUARE_2 = 5.991  # 95 % of a chi-square with two degrees of freedom


def reliability_curves(reliability: pl.DataFrame, *, attribute: str, least: int = 20) -> bytes:
    """Share of positives beside the mean score of each bin, a panel a finding, a line a group; PNG.

    Bins of fewer than ``least`` films are left out: they wander, and they could tell of a person.
    """
    from matplotlib.figure import Figure

    rows = reliability.filter((pl.col("attribute") == attribute) & (pl.col("n") >= least))
    findings = rows["finding"].unique(maintain_order=True).to_list()
    across = min(max(len(findings), 1), 4)
    down = -(-max(len(findings), 1) // across)
    figure = Figure(figsize=(2.3 * across, 2.3 * down + 0.4), dpi=90, layout="constrained")
    panels = figure.subplots(down, across, squeeze=False, sharex=True, sharey=True).ravel()
    groups = sorted(reliability.filter(pl.col("attribute") == attribute)["group"].unique())  # colours that stay
    for panel, finding in zip(panels, findings, strict=False):
        panel.plot([0, 1], [0, 1], color="grey", linestyle=":", linewidth=1)
        for number, group in enumerate(groups):
            line = rows.filter((pl.col("finding") == finding) & (pl.col("group") == group)).sort("bin")
            colour = COLOURS[number % len(COLOURS)]
            panel.plot(line["mean_score"], line["share_positive"], "o-", markersize=2.5, linewidth=1, color=colour)
            panel.fill_between(line["mean_score"], line["lo"], line["hi"], color=colour, alpha=0.12, linewidth=0)
        panel.set_title(finding, fontsize=8)
        panel.tick_params(labelsize=6)
    for panel in panels[len(findings) :]:
        panel.set_axis_off()
    handles = [panels[0].plot([], [], color=COLOURS[i % len(COLOURS)], label=g)[0] for i, g in enumerate(groups)]
    if handles:
        figure.legend(handles=handles, loc="outside upper center", ncols=6, fontsize=7, frameon=False)
    figure.supxlabel("mean score (across) and share positive (up)", fontsize=8)
    return figure_png(figure)


def gap_against_auroc(replicates: pl.DataFrame, gaps: pl.DataFrame, *, attribute: str) -> bytes:
    """Arms by overall AUROC and by their pooled TPR gap beyond chance, with joint 95 % ellipses; PNG.

    Up and to the left is better; an arm that is only to the left has paid for fairness with accuracy.

    Args:
        replicates: of all arms; ``gaps`` give the gap that chance alone leaves, which is taken off.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Ellipse

    figure = Figure(figsize=(5.2, 4.0), dpi=90, layout="constrained")
    axes = figure.add_subplot()
    pooled = replicates.filter(pl.col("finding") == "all")
    pooled_gap = (pl.col("finding") == "all") & (pl.col("metric") == "tpr") & (pl.col("attribute") == attribute)
    nulls = gaps.filter(pooled_gap & (pl.col("gap_kind") == "max_min") & pl.col("primary"))
    chance = dict(nulls.select("arm", "null_mean").drop_nulls().iter_rows())
    for number, arm in enumerate(sorted(pooled["arm"].unique())):
        own = pooled.filter(pl.col("arm") == arm).sort("replicate")
        overall = (pl.col("metric") == "auroc") & (pl.col("quantity") == "overall")
        auroc = own.filter(overall)["value"].to_numpy()
        gap = own.filter(pooled_gap & (pl.col("quantity") == "max_min"))["value"].to_numpy()
        if arm not in chance or len(auroc) != len(gap) or not len(gap):
            continue
        points = np.stack([gap - chance[arm], auroc])
        colour = COLOURS[number % len(COLOURS)]
        axes.plot(*points[:, 0], "o", color=colour, label=arm)
        drawn = points[:, 1:][:, np.isfinite(points[:, 1:]).all(axis=0)]
        if drawn.shape[1] > 2:
            values, vectors = np.linalg.eigh(np.cov(drawn))
            wide, high = 2 * np.sqrt(_CHI_SQUARE_2 * np.maximum(values, 0))
            turn = float(np.degrees(np.arctan2(vectors[1, 0], vectors[0, 0])))
            centre = tuple(drawn.mean(axis=1))
            axes.add_patch(Ellipse(centre, wide, high, angle=turn, fill=False, color=colour, alpha=0.6))
    axes.set_xlabel(f"TPR gap by {attribute} beyond chance (less is fairer)", fontsize=8)
    axes.set_ylabel("AUROC, mean over findings", fontsize=8)
    axes.tick_params(labelsize=7)
    axes.grid(alpha=0.3)
    if axes.lines:
        axes.legend(fontsize=7)
    else:
        axes.text(0.5, 0.5, "no arm with an eligible gap", ha="center", transform=axes.transAxes)
    return figure_png(figure)
