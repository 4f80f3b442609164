"""Accuracy against energy, and the front of schemes that no other beats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator

from powtwo.report.columns import FP32
from powtwo.report.figures import names, style
from powtwo.report.figures.names import Name, Point
from powtwo.report.figures.style import canvas, project_style
from powtwo.report.results import Row

RING: Mapping[str, Any] = {
    "linestyle": "", "marker": "o", "markersize": 11, "markerfacecolor": "none",
    "markeredgecolor": style.BLUE, "markeredgewidth": 1.4,
}  # fmt: skip
TICKS = [step * 10**power for power in range(-3, 6) for step in (1, 2, 5)]  # µJ


@project_style()
def accuracy_and_energy(schemes: Mapping[str, Row], best: str, fp32: Point) -> Figure:
    """Draw accuracy with its 95% interval against energy on a logarithmic axis, FP32 among them.

    A dominated scheme whose name finds no room beside it has none.

    Args:
        schemes: `energy_uj` in µJ, `accuracy`, `accuracy_low`, `accuracy_high` as fractions.
        best: the selected scheme, which gets a ring.
        fp32: energy in µJ and accuracy in % of the float network.
    """
    below = far_below(schemes, fp32[1])
    inside = [row for name, row in schemes.items() if name not in below]
    figure = canvas(3.1 + 0.12 * max(0, len(schemes) - 5))
    axes = figure.subplots()
    axes.set_title("Test accuracy (%) with 95% intervals")
    axes.set_xlabel("arithmetic energy of one image (µJ, logarithmic)")
    axes.grid(color=style.FAINT, alpha=0.2)
    _frame(axes, inside, [row["energy_uj"] for row in schemes.values()], fp32)
    measured = {name: (row["energy_uj"], 100 * row["accuracy"]) for name, row in schemes.items()}
    front = pareto_front(list(measured.values()))
    on_front = {name for name, point in measured.items() if point in front}
    bottom = axes.get_ylim()[0]
    points = {name: (x, bottom if name in below else y) for name, (x, y) in measured.items()}
    for name, row in schemes.items():
        color = style.BLUE if name in on_front else style.FAINT
        _draw(axes, row, points[name], color, below=name in below)
    axes.plot(*fp32, "s", markersize=6, color=style.ORANGE)
    axes.plot(*points[best], clip_on=False, **RING)
    _explain(figure, below=bool(below))
    figure.draw_without_rendering()  # fixes the layout, by which labels are placed
    figure.set_layout_engine("none")
    texts = {name: f"{name}: {measured[name][1]:.1f}" for name in below}
    written = [
        Name(texts.get(name, name), point, weight="bold" if name == best else "normal",
             needed=name in {*on_front, best})
        for name, point in points.items()
    ]  # fmt: skip
    names.write(axes, [*written, Name(FP32, fp32, style.ORANGE)], list(map(_interval, inside)))
    return figure


def far_below(schemes: Mapping[str, Row], float_accuracy: float) -> set[str]:
    """Name the few schemes so inaccurate that most of an axis down to them would be empty.

    They lie below a gap of more than half the axis, and are fewer than what lies above it.
    """
    accuracies = {name: 100 * row["accuracy"] for name, row in schemes.items()}
    ordered = sorted([*accuracies.values(), float_accuracy])
    gap, edge = max((high - low, low) for low, high in pairwise(ordered))
    lowest, highest = _extent(list(schemes.values()), float_accuracy)
    below = {name for name, accuracy in accuracies.items() if accuracy <= edge}
    few = 2 * sum(accuracy <= edge for accuracy in ordered) < len(ordered)
    return below if few and gap > (highest - lowest) / 2 else set()


def _draw(axes: Axes, row: Row, point: Point, color: str, *, below: bool) -> None:
    """Draw a scheme, or a triangle where it lies below the axis."""
    if not below:
        axes.plot(*zip(*_interval(row), strict=True), color=color, linewidth=1, alpha=0.35,
                  zorder=1.5)  # fmt: skip
    axes.plot(*point, "v" if below else "o", markersize=5, color=color, clip_on=False)


def _interval(row: Row) -> tuple[Point, Point]:
    """Return the ends of the interval of a scheme's accuracy."""
    low, high = (100 * row[key] for key in ("accuracy_low", "accuracy_high"))
    return (row["energy_uj"], low), (row["energy_uj"], high)


def _explain(figure: Figure, *, below: bool) -> None:
    """Write below the axes what the markers mean."""
    keys = [
        Line2D([], [], label="selected", **RING),
        Line2D([], [], linestyle="", marker="o", markersize=5, color=style.BLUE,
               label="Pareto-optimal"),
        Line2D([], [], linestyle="", marker="o", markersize=5, color=style.FAINT,
               label="dominated"),
    ]  # fmt: skip
    if below:
        keys.append(Line2D([], [], linestyle="", marker="v", markersize=5, color=style.FAINT,
                           label="below the axis"))  # fmt: skip
    figure.legend(handles=keys, loc="outside lower left", ncols=2 if below else 3, **style.LEGEND)


def pareto_front(points: Sequence[Point]) -> list[Point]:
    """Return the points that no other beats in one coordinate and equals in the other."""
    return [
        (x, y)
        for x, y in sorted(set(points))
        if not any(a <= x and b >= y and (a, b) != (x, y) for a, b in points)
    ]


def _extent(schemes: Sequence[Row], float_accuracy: float) -> Point:
    """Return the lowest and the highest accuracy in %, intervals included."""
    low = min(float_accuracy, *(100 * scheme["accuracy_low"] for scheme in schemes))
    return low, max(float_accuracy, *(100 * scheme["accuracy_high"] for scheme in schemes))


def _frame(axes: Axes, schemes: Sequence[Row], energies: Sequence[float], fp32: Point) -> None:
    """Leave room around the intervals, so that equal schemes do not look far apart."""
    low, high = _extent(schemes, fp32[1])
    first, last = min(fp32[0], *energies) / 2.2, max(fp32[0], *energies) * 1.5
    axes.set_xscale("log")
    axes.set_xlim(first, last)
    ticks = [tick for tick in TICKS if first < tick < last]
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticklabels([f"{tick:g}" for tick in ticks])
    room = max(0.3, 0.06 * (high - low))
    axes.set_ylim(low - room, min(high + room, 100.5))
