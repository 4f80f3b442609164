"""Which codes are used: weights and outputs of each layer in steps of their scale."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from powtwo.report.figures.style import (
    BLUE,
    FAINT,
    LEGEND,
    LINE,
    ORANGE,
    TEXT,
    canvas,
    project_style,
)
from powtwo.report.results import Row, SchemeResult

TENSORS = {"weight": "weights", "output": "outputs"}


@project_style()
def histograms(scheme: SchemeResult) -> Figure:
    """Draw a histogram of each layer's float weights and outputs, and the limits of their codes.

    Counts stand on a logarithmic axis, since most values are near zero and the few at the limits
    are what one looks for.
    """
    rows = scheme.plots["histograms"]
    names = {row["layer"]: scheme.layer_names[row["layer"]] for row in scheme.plots["layers"]}
    figure = canvas(0.9 + 0.62 * len(names))
    grid = figure.subplots(len(names), len(TENSORS), squeeze=False)
    for line, (layer, name) in zip(grid, names.items(), strict=True):
        for axes, tensor in zip(line, TENSORS, strict=True):
            _draw(axes, [row for row in rows if (row["layer"], row["tensor"]) == (layer, tensor)])
        line[0].set_ylabel(name, rotation=0, ha="right", va="center")
    for axes, title in zip(grid[0], TENSORS.values(), strict=True):
        axes.set_title(title)
    title = (
        f"Weights and outputs of {scheme.name} before rounding, in units of their scale; the first "
        "and the last bar hold all beyond"
    )
    figure.suptitle(textwrap.fill(title, LINE), x=0.01, ha="left", weight="bold", fontsize=10)
    keys = [Patch(color=BLUE, alpha=0.75, label="how many (logarithmic)"),
            Line2D([], [], color=ORANGE, label="lowest and highest code")]  # fmt: skip
    figure.legend(handles=keys, loc="outside lower left", ncols=2, **LEGEND)
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
