"""Accuracy against energy, and the front of schemes that no other beats."""

from __future__ import annotations

import textwrap
from collections import defaultdict
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
CHIP: Mapping[str, Any] = {
    "linestyle": "", "marker": "D", "markersize": 5, "markerfacecolor": style.PAPER,
    "markeredgecolor": style.QUIET,
}  # fmt: skip
FEW = 8  # points; so many are all named
LABEL = 24  # characters of a line
TICKS = [step * 10**power for power in range(-3, 6) for step in (1, 2, 5)]  # µJ


@project_style()
def accuracy_and_energy(
    schemes: Mapping[str, Row],
    best: str,
    fp32: Row,
    systems: Mapping[str, Row] | None = None,
    title: str = "Test accuracy (%) with 95% intervals",
) -> Figure:
    """Draw accuracy with its interval against energy on a logarithmic axis, FP32 among them.

    Schemes whose figures are shown alike are one point. Among many points, a dominated one whose
    name finds no room beside it has none.

    Args:
        schemes: `energy_uj` in µJ, `accuracy`, `accuracy_low`, `accuracy_high` as fractions.
        best: the selected scheme, which gets a ring.
        fp32: the same of the float network.
        systems: the same of published chips, drawn apart; they are on no front.
        title: of the picture, which says what the intervals are.
    """
    chips = systems or {}
    points = {**schemes, **chips}
    below = far_below(points, fp32)
    inside = [row for name, row in points.items() if name not in below] + [fp32]
    figure = canvas(3.1 + 0.12 * max(0, len(points) - 5))
    axes = figure.subplots()
    axes.set_title(title)
    axes.grid(color=style.FAINT, alpha=0.2)
    _frame(axes, inside, [row["energy_uj"] for row in (*points.values(), fp32)])
    groups = _alike(schemes)
    front = pareto_front(list(groups))
    bottom = axes.get_ylim()[0]
    written = []
    for shown, alike in groups.items():
        row, lies_below = schemes[alike[0]], alike[0] in below
        point = row["energy_uj"], bottom if lies_below else 100 * row["accuracy"]
        color = style.BLUE if shown in front else style.FAINT
        _draw(axes, row, point, color, "v" if lies_below else "o")
        if best in alike:
            axes.plot(*point, clip_on=False, **RING)
        text = " = ".join(alike) + (f": {shown[1]:.2f}" if lies_below else "")
        text = textwrap.fill(text, LABEL, break_long_words=False, break_on_hyphens=False)
        needed = len(groups) <= FEW or shown in front or best in alike
        written.append(Name(text, point, style.INK, "bold" if best in alike else "normal", needed))
    point = fp32["energy_uj"], 100 * fp32["accuracy"]
    _draw(axes, fp32, point, style.ORANGE, "s")
    written.append(Name(FP32, point, style.ORANGE))
    for name, row in chips.items():
        accuracy, lies_below = 100 * row["accuracy"], name in below
        point = row["energy_uj"], bottom if lies_below else accuracy
        axes.plot(*point, clip_on=False, **CHIP)
        text = f"{name}: {accuracy:g}" if lies_below else name
        written.append(Name(text, point, style.QUIET))
    _explain(figure, below=bool(below - chips.keys()), chips=bool(chips))
    figure.draw_without_rendering()  # fixes the layout, by which labels are placed
    figure.set_layout_engine("none")
    names.write(axes, written, list(map(_interval, inside)))
    return figure


def _alike(schemes: Mapping[str, Row]) -> dict[Point, list[str]]:
    """Map energy in µJ and accuracy in %, as tables show them, to the schemes that have them."""
    groups = defaultdict(list)
    for name, row in schemes.items():
        groups[round(row["energy_uj"], 3), round(100 * row["accuracy"], 2)].append(name)
    return groups


def far_below(schemes: Mapping[str, Row], fp32: Row) -> set[str]:
    """Name the few schemes so inaccurate that most of an axis down to them would be empty.

    They lie below a gap of more than half the axis, and are fewer than what lies above it.
    """
    accuracies = {name: 100 * row["accuracy"] for name, row in schemes.items()}
    ordered = sorted([*accuracies.values(), 100 * fp32["accuracy"]])
    gap, edge = max((high - low, low) for low, high in pairwise(ordered))
    lowest, highest = _extent([*schemes.values(), fp32])
    below = {name for name, accuracy in accuracies.items() if accuracy <= edge}
    few = 2 * sum(accuracy <= edge for accuracy in ordered) < len(ordered)
    return below if few and gap > (highest - lowest) / 2 else set()


def _draw(axes: Axes, row: Row, point: Point, color: str, marker: str) -> None:
    """Draw a point and its interval, none of a triangle, which lies below the axis."""
    if marker != "v":
        axes.plot(*zip(*_interval(row), strict=True), color=style.FAINT, linewidth=1, zorder=1.5)
    axes.plot(*point, marker, markersize=5, color=color, clip_on=False)


def _interval(row: Row) -> tuple[Point, Point]:
    """Return the ends of the interval of a scheme's accuracy."""
    low, high = (100 * row[key] for key in ("accuracy_low", "accuracy_high"))
    return (row["energy_uj"], low), (row["energy_uj"], high)


def _explain(figure: Figure, *, below: bool, chips: bool) -> None:
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
    if chips:
        keys.append(Line2D([], [], label="chips on CIFAR-10, whole systems", **CHIP))
    columns = 2 if below or chips else 3
    figure.legend(handles=keys, loc="outside lower left", ncols=columns, **style.LEGEND)


def pareto_front(points: Sequence[Point]) -> list[Point]:
    """Return the points that no other beats in one coordinate and equals in the other."""
    return [
        (x, y)
        for x, y in sorted(set(points))
        if not any(a <= x and b >= y and (a, b) != (x, y) for a, b in points)
    ]


def _extent(rows: Sequence[Row]) -> Point:
    """Return the lowest and the highest accuracy in %, intervals included."""
    lows, highs = ([100 * row[f"accuracy_{end}"] for row in rows] for end in ("low", "high"))
    return min(lows), max(highs)


def _frame(axes: Axes, rows: Sequence[Row], energies: Sequence[float]) -> None:
    """Leave room around the intervals, so that equal schemes do not look far apart."""
    low, high = _extent(rows)
    energy_axis(axes, energies)
    room = max(0.3, 0.06 * (high - low))
    axes.set_ylim(low - room, min(high + room, 100.5))


def energy_axis(axes: Axes, energies: Sequence[float]) -> None:
    """Make the horizontal axis one of energies in µJ, logarithmic, with room at both ends."""
    first, last = min(energies) / 2.2, max(energies) * 1.5
    axes.set_xscale("log")
    axes.set_xlim(first, last)
    axes.set_xlabel("arithmetic energy of one image (µJ, logarithmic)")
    ticks = [tick for tick in TICKS if first < tick < last]
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticklabels([f"{tick:g}" for tick in ticks])
