"""The picture that compares schemes: accuracy against energy."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from powtwo.report.figures import BLUE, FAINT, INK, ORANGE, canvas, spread, style
from powtwo.report.results import Results, SchemeResult


def schemes(results: Results) -> Figure:
    """Draw accuracy with its 95 % interval against energy, and the front that no scheme beats.

    A scheme whose operations the energy table has no price for has no place and is left out.
    """
    found = [scheme for scheme in results.schemes if scheme.priced]
    points = [(scheme["energy_uj"], 100 * scheme["accuracy"]) for scheme in found]
    with style():
        height = max(3.4, 1.4 + 0.19 * len(points))
        figure = canvas(height)
        axes = figure.subplots()
        axes.set_title("Accuracy on test images (%), with 95 % intervals")
        axes.set_xlabel("arithmetic energy of one image (µJ)")
        axes.grid(color=FAINT, alpha=0.25)
        if not found:
            axes.text(0.5, 0.5, "no scheme has a price", transform=axes.transAxes, ha="center")
            return figure
        front = _front(points)
        axes.step(*zip(*front, strict=True), where="post", color=BLUE, alpha=0.4, zorder=1)
        for scheme, (x, y) in zip(found, points, strict=True):
            color = BLUE if (x, y) in front else FAINT
            low, high = 100 * scheme["accuracy_low"], 100 * scheme["accuracy_high"]
            axes.plot([x, x], [low, high], color=color, linewidth=1, alpha=0.6, zorder=1.5)
            axes.plot(x, y, "o", markersize=6, color=color)
        _frame(axes, found, 100 * results.float_accuracy)
        cost = found[0].energy["float_uj"]
        axes.axhline(100 * results.float_accuracy, color=ORANGE, linestyle="--", linewidth=1.2)
        axes.annotate(
            f"float, {cost:.0f} µJ", (0, 100 * results.float_accuracy), (3, 3),
            xycoords=("axes fraction", "data"), textcoords="offset points", color=ORANGE,
        )  # fmt: skip
        _label(axes, [scheme.name for scheme in found], points, 13 / (height * 72 - 60))
    return figure


def _front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the points that none other beats in one thing and equals in the other."""
    return [
        (x, y)
        for x, y in sorted(set(points))
        if not any(a <= x and b >= y and (a, b) != (x, y) for a, b in points)
    ]


def _frame(axes: Axes, found: Sequence[SchemeResult], reference: float) -> None:
    """Leave room around the intervals, so that equal schemes do not look far apart."""
    low = min(reference, *(100 * scheme["accuracy_low"] for scheme in found))
    high = max(reference, *(100 * scheme["accuracy_high"] for scheme in found))
    axes.set_xlim(0, 1.15 * max(scheme["energy_uj"] for scheme in found))
    room = max(0.3, 0.08 * (high - low))
    axes.set_ylim(low - room, min(high + room, 100.2))


def _label(
    axes: Axes, names: Sequence[str], points: Sequence[tuple[float, float]], gap: float
) -> None:
    """Write each name right of the axes, a thin line leading from its point."""
    low, high = axes.get_ylim()
    heights = spread([(y - low) / (high - low) for _, y in points], gap)
    for name, point, height in zip(names, points, heights, strict=True):
        axes.annotate(
            name, point, (1.02, height), textcoords="axes fraction", va="center", color=INK,
            arrowprops={"arrowstyle": "-", "color": FAINT, "linewidth": 0.7, "shrinkA": 2,
                        "relpos": (0, 0.5)},
        )  # fmt: skip
