"""Energy by layer: float against integer, and by kind of operation."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from powtwo.report.figures import style
from powtwo.report.figures.style import canvas, project_style
from powtwo.report.results import Row, SchemeResult

OPERATION_COLORS = {
    "multiply": style.BLUE,
    "accumulate": style.SKY,
    "zero_point": style.ORANGE,
    "requantize": style.PINK,
    "bias": style.GREEN,
    "spill": style.FAINT,
}

VISIBLE = 0.5  # percent of a bar; what is less cannot be seen


@project_style()
def by_layer(scheme: SchemeResult) -> Figure:
    """Draw the energy of each layer, float against integer, and what the integers spend it on.

    Layers differ by factors of thousands: their energies stand on a logarithmic axis, and the
    operations are shares of each layer's energy.
    """
    rows = scheme.plots["energy"]
    layers = sorted({row["layer"] for row in rows})
    figure = canvas(2.5 + 0.46 * len(layers))
    upper, lower = figure.subplots(2, 1)
    _compare(upper, rows, layers)
    title = f"Energy of each layer: FP32 and {scheme.name}"
    style.legend_above(upper, textwrap.fill(title, style.LINE), 2)
    _stack_operations(lower, rows, layers)
    title = f"What {scheme.name} spends it on"
    style.legend_above(lower, textwrap.fill(title, style.LINE), 3)
    for axes in (upper, lower):
        axes.set_yticks(range(len(layers)), [scheme.layer_names[layer] for layer in layers])
        axes.set_ylim(len(layers) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
    return figure


def _compare(axes: Axes, rows: Sequence[Row], layers: Sequence[int]) -> None:
    """Draw two points for each layer, and write their values in columns beside them."""
    places = range(len(layers))
    of_float, of_integers = (
        [_microjoules(rows, layer, arithmetic=arithmetic) for layer in layers]
        for arithmetic in ("float", "integer")
    )
    axes.hlines(places, of_integers, of_float, color=style.FAINT, linewidth=1)
    axes.plot(of_float, places, "s", color=style.ORANGE, markersize=5, label="FP32")
    axes.plot(of_integers, places, "o", color=style.BLUE, markersize=5, label="integer")
    _write_column(axes, 48, ["FP32", *(f"{value:,.4f}" for value in of_float)])
    _write_column(axes, 90, ["integer", *(f"{value:,.4f}" for value in of_integers)])
    axes.set_xscale("log")
    axes.set_xlabel("µJ of one image, logarithmic")
    axes.grid(axis="x", color=style.FAINT, alpha=0.2)
    ticks = decades([value for value in (*of_float, *of_integers) if value] or [1.0])
    axes.set_xlim(ticks[0], ticks[-1])
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter("{x:g}")


def decades(values: Sequence[float]) -> list[float]:
    """Return two to five powers of ten, evenly apart, between which all values lie."""
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    step = max(1, math.ceil((high - low) / 4))
    count = max(1, math.ceil((high - low) / step))
    return [10.0 ** (high - step * back) for back in range(count, -1, -1)]


def _write_column(axes: Axes, right: float, texts: Sequence[str]) -> None:
    """Write a head and a text for each row, which end `right` points from the axes."""
    for row, text in enumerate(texts, start=-1):
        axes.annotate(
            text, (1, row), (right, 0), ("axes fraction", "data"), "offset points",
            ha="right", va="center", fontsize=style.TEXT - 1,
        )  # fmt: skip


def _stack_operations(axes: Axes, rows: Sequence[Row], layers: Sequence[int]) -> None:
    """Draw a bar for each layer, in pieces by kind of operation that are 100 together."""
    starts = [0.0] * len(layers)
    sums = [_microjoules(rows, layer, arithmetic="integer") for layer in layers]
    kinds = {row["kind"] for row in rows if row["arithmetic"] == "integer"}
    for kind, color in OPERATION_COLORS.items():
        if kind not in kinds:
            continue
        parts = [_microjoules(rows, layer, arithmetic="integer", kind=kind) for layer in layers]
        widths = [
            100 * part / whole if whole else 0.0 for part, whole in zip(parts, sums, strict=True)
        ]
        seen = max(widths, default=0.0) >= VISIBLE
        label = kind.replace("_", " ") + ("" if seen else f" (<{VISIBLE:g}%)")
        axes.barh(range(len(layers)), widths, 0.7, starts, color=color, label=label)
        starts = [start + width for start, width in zip(starts, widths, strict=True)]
    axes.set_xlim(0, 100)
    axes.set_xlabel("share of the layer's energy (%)")


def _microjoules(rows: Sequence[Row], layer: int, **keys: str) -> float:
    wanted = {"layer": layer, **keys}.items()
    return sum(float(row["energy_pj"]) for row in rows if wanted <= row.items()) / 1e6
