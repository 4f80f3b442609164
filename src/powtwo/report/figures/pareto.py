"""Accuracy against energy, and the front of schemes that no other beats."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from matplotlib.ticker import FixedLocator, NullLocator

from powtwo.report.figures import labels, style
from powtwo.report.figures.style import canvas, project_style
from powtwo.report.results import Row

Point = tuple[float, float]  # energy in µJ, accuracy in %

FP32 = "FP32"
SAME = 3  # points of 1/72 inch: markers so near each other share a label
TICKS = [step * 10**power for power in range(-3, 6) for step in (1, 2, 5)]  # µJ


@project_style()
def accuracy_and_energy(schemes: Mapping[str, Row], best: str, fp32: Point) -> Figure:
    """Draw accuracy with its 95 % interval against energy on a logarithmic axis, FP32 among them.

    Blue: no other scheme is better in one and at least as good in the other.

    Args:
        schemes: `energy_uj` in µJ, `accuracy`, `accuracy_low`, `accuracy_high` as fractions.
        best: the selected scheme, which gets a ring.
        fp32: energy and accuracy of the float network.
    """
    points = {name: (row["energy_uj"], 100 * row["accuracy"]) for name, row in schemes.items()}
    figure = canvas(2.9 + 0.12 * max(0, len(points) - 5))
    axes = figure.subplots()
    axes.set_title("Test accuracy (%) with 95 % intervals")
    axes.set_xlabel("arithmetic energy of one image (µJ, logarithmic)")
    axes.grid(color=style.FAINT, alpha=0.2)
    _frame(axes, list(schemes.values()), fp32)
    axes.plot(*fp32, "s", markersize=6, color=style.ORANGE)
    front = pareto_front(list(points.values()))
    for name, row in schemes.items():
        _draw(axes, row, points[name], on_front=points[name] in front)
    axes.plot(*points[best], "o", markersize=11, markerfacecolor="none",
              markeredgecolor=style.BLUE, markeredgewidth=1.4)  # fmt: skip
    figure.draw_without_rendering()  # fixes the layout, by which labels are placed
    figure.set_layout_engine("none")
    _label(axes, {**points, FP32: fp32}, best, list(schemes.values()))
    return figure


def _draw(axes: Axes, row: Row, point: Point, *, on_front: bool) -> None:
    x, y = point
    color = style.BLUE if on_front else style.FAINT
    ends = [100 * row["accuracy_low"], 100 * row["accuracy_high"]]
    axes.plot([x, x], ends, color=color, linewidth=1, alpha=0.35, zorder=1.5)
    axes.plot(x, y, "o", markersize=5, color=color)


def pareto_front(points: Sequence[Point]) -> list[Point]:
    """Return the points that no other beats in one coordinate and equals in the other."""
    return [
        (x, y)
        for x, y in sorted(set(points))
        if not any(a <= x and b >= y and (a, b) != (x, y) for a, b in points)
    ]


def _frame(axes: Axes, schemes: Sequence[Row], fp32: Point) -> None:
    """Leave room around the intervals, so that equal schemes do not look far apart."""
    low = min(fp32[1], *(100 * scheme["accuracy_low"] for scheme in schemes))
    high = max(fp32[1], *(100 * scheme["accuracy_high"] for scheme in schemes))
    energies = [fp32[0], *(scheme["energy_uj"] for scheme in schemes)]
    first, last = min(energies) / 1.5, max(energies) * 1.5
    axes.set_xscale("log")
    axes.set_xlim(first, last)
    ticks = [tick for tick in TICKS if first < tick < last]
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticklabels([f"{tick:g}" for tick in ticks])
    room = max(0.3, 0.06 * (high - low))
    axes.set_ylim(low - room, min(high + room, 100.5))


def _label(axes: Axes, points: Mapping[str, Point], best: str, schemes: Sequence[Row]) -> None:
    """Write the names beside the points; those of one point stand in one label."""
    at = {name: _position(axes, point) for name, point in points.items()}
    groups = _group(at)
    texts = [_write(axes, names, bold=best in names) for names in groups]
    obstacles = [labels.Box(x - 4, y - 4, x + 4, y + 4) for x, y in at.values()]
    for scheme in schemes:
        ends = [100 * scheme["accuracy_low"], 100 * scheme["accuracy_high"]]
        (x, low), (_, high) = (_position(axes, (scheme["energy_uj"], end)) for end in ends)
        obstacles.append(labels.Box(x - 1, low, x + 1, high))
    to_points = 72 / axes.figure.dpi
    extents = [text.get_window_extent() for text in texts]
    places = labels.place(
        [at[names[0]] for names in groups],
        [(extent.width * to_points + 4, extent.height * to_points) for extent in extents],
        (axes.bbox.width * to_points, axes.bbox.height * to_points),
        obstacles,
    )
    for text, place in zip(texts, places, strict=True):
        text.set_position((place.box.left + 2, place.box.bottom))
        if place.distance > labels.CLOSE:
            axes.annotate(
                "", place.start, place.end, "axes points", "axes points",
                arrowprops={"arrowstyle": "-", "color": style.FAINT, "linewidth": 0.7,
                            "shrinkA": 1, "shrinkB": 4},
            )  # fmt: skip


def _position(axes: Axes, point: Point) -> Point:
    """Return where a point lies, in points of 1/72 inch from the lower left corner of the axes."""
    x, y = (axes.transData.transform(point) - axes.bbox.p0) * 72 / axes.figure.dpi
    return float(x), float(y)


def _group(at: Mapping[str, Point]) -> list[list[str]]:
    """List the names of markers that lie on one another, in order."""
    groups: list[list[str]] = []
    for name, (x, y) in at.items():
        for names in groups:
            other_x, other_y = at[names[0]]
            if math.hypot(x - other_x, y - other_y) < SAME:
                names.append(name)
                break
        else:
            groups.append([name])
    return groups


def _write(axes: Axes, names: Sequence[str], *, bold: bool) -> Annotation:
    color = style.ORANGE if FP32 in names else style.INK
    weight = "bold" if bold else "normal"
    return axes.annotate("\n".join(names), (0, 0), xycoords="axes points", color=color,
                         weight=weight, linespacing=1.1)  # fmt: skip
