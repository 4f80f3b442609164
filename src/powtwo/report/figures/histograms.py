"""Which codes are used: weights and outputs of each layer in steps of their scale."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from powtwo.report.figures.style import BLUE, FAINT, ORANGE, TEXT, canvas, project_style
from powtwo.report.results import Row, SchemeResult

TENSORS = {"weight": "weights", "output": "outputs"}


@project_style()
def histograms(scheme: SchemeResult) -> Figure:
    """Draw a histogram of each layer's float weights and outputs, and the limits of their codes.

    Counts stand on a logarithmic axis, since most values are near zero and the few at the limits
    are what one looks for.
    """
    rows = scheme.plots["histograms"]
    kinds = {row["layer"]: row["kind"] for row in scheme.plots["layers"]}
    figure = canvas(0.7 + 0.62 * len(kinds))
    grid = figure.subplots(len(kinds), len(TENSORS), squeeze=False)
    for line, (layer, kind) in zip(grid, kinds.items(), strict=True):
        for axes, tensor in zip(line, TENSORS, strict=True):
            _draw(axes, [row for row in rows if (row["layer"], row["tensor"]) == (layer, tensor)])
        line[0].set_ylabel(f"{layer} {kind}", rotation=0, ha="right", va="center")
    for axes, title in zip(grid[0], TENSORS.values(), strict=True):
        axes.set_title(title)
    figure.suptitle(f"Codes of {scheme.name}", x=0.01, ha="left", weight="bold", fontsize=10)
    figure.align_ylabels()
    return figure


def _draw(axes: Axes, bins: Sequence[Row]) -> None:
    """Draw one histogram; an output of int32 has none."""
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    if not bins:
        axes.set_xticks([])
        axes.text(0.5, 0.4, "int32: no codes", transform=axes.transAxes, ha="center")
        return
    edges = [row["low"] for row in bins] + [bins[-1]["high"]]
    counts = [row["count"] for row in bins]
    axes.stairs(counts, edges, fill=True, color=BLUE, alpha=0.75)
    limits = (bins[0]["code_low"], bins[0]["code_high"])
    for limit in limits:
        axes.axvline(limit, color=ORANGE, linewidth=1.2)
    axes.set_yscale("symlog", linthresh=1)
    axes.set_ylim(0, 2 * max(counts))
    axes.set_yticks([])
    axes.minorticks_off()
    axes.set_xlim(edges[0], edges[-1])
    ticks = sorted({*limits, 0})
    axes.set_xticks(ticks, [f"{tick:,}".replace("-", "−") for tick in ticks], fontsize=TEXT - 1)
    axes.tick_params(axis="x", length=2, color=FAINT)
