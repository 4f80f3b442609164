"""Energy by layer: float against integer, and by kind of operation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from powtwo.report.figures import style
from powtwo.report.figures.style import canvas, project_style
from powtwo.report.results import Row, SchemeResult

OPERATION_COLORS = {
    "multiply": style.BLUE,
    "accumulate": style.SKY,
    "zero_point": style.ORANGE,
    "requantize": style.PINK,
    "bias": style.GREEN,
}


@project_style()
def by_layer(scheme: SchemeResult) -> Figure:
    """Draw the energy of each layer: float against integer, then the integers by operation."""
    rows = scheme.plots["energy"]
    layers = dict[int, str]((row["layer"], row["layer_kind"]) for row in rows)
    positions = np.arange(len(layers))
    figure = canvas(1.6 + 0.56 * len(layers))
    upper, lower = figure.subplots(2, 1)
    for arithmetic, color, offset in (("float", style.FAINT, -0.2), ("integer", style.BLUE, 0.2)):
        widths = [_microjoules(rows, layer, arithmetic=arithmetic) for layer in layers]
        upper.barh(positions + offset, widths, 0.36, color=color, label=arithmetic)
        _write_values(upper, widths, offset)
    upper.set_title(f"Energy, float and {scheme.name} (µJ)")
    _stack_operations(lower, rows, list(layers))
    lower.set_title(f"Energy of {scheme.name} by operation (µJ)")
    for axes in (upper, lower):
        axes.set_yticks(positions, [f"{layer} {kind}" for layer, kind in layers.items()])
        axes.invert_yaxis()
        axes.legend(frameon=False, loc="lower right", fontsize=style.TEXT - 1)
        axes.margins(x=0.22)
        axes.tick_params(axis="y", length=0)
        axes.xaxis.set_major_locator(MaxNLocator(5))
    return figure


def _stack_operations(axes: Axes, rows: Sequence[Row], layers: Sequence[int]) -> None:
    """Draw a bar for each layer, its integer energy in pieces by kind of operation."""
    starts = [0.0] * len(layers)
    for kind, color in OPERATION_COLORS.items():
        widths = [_microjoules(rows, layer, arithmetic="integer", kind=kind) for layer in layers]
        label = kind.replace("_", " ")
        axes.barh(range(len(layers)), widths, 0.7, starts, color=color, label=label)
        starts = [start + width for start, width in zip(starts, widths, strict=True)]
    _write_values(axes, starts)


def _write_values(axes: Axes, widths: Sequence[float], offset: float = 0) -> None:
    """Write the value at the end of each bar, three digits of it."""
    for row, width in enumerate(widths):
        axes.annotate(
            f"{width:.3g}", (width, row + offset), (4, 0), textcoords="offset points",
            va="center", fontsize=style.TEXT - 1,
        )  # fmt: skip


def _microjoules(rows: Sequence[Row], layer: int, **keys: str) -> float:
    wanted = {"layer": layer, **keys}.items()
    return sum(float(row["energy_pj"]) for row in rows if wanted <= row.items()) / 1e6
