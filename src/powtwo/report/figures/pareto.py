"""Accuracy against energy, and the front of schemes that no other beats."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from powtwo.report.figures import style
from powtwo.report.figures.style import canvas, project_style
from powtwo.report.results import Results, SchemeResult

Point = tuple[float, float]  # energy in µJ, accuracy in %


@project_style()
def accuracy_and_energy(results: Results) -> Figure:
    """Draw accuracy with its 95 % interval against energy, and the Pareto front."""
    schemes = results.schemes
    points = [(scheme["energy_uj"], 100 * scheme["accuracy"]) for scheme in schemes]
    height = max(3.4, 1.4 + 0.19 * len(points))
    figure = canvas(height)
    axes = figure.subplots()
    axes.set_title("Accuracy on test images (%), with 95 % intervals")
    axes.set_xlabel("arithmetic energy of one image (µJ)")
    axes.grid(color=style.FAINT, alpha=0.25)
    _draw_schemes(axes, schemes, points)
    float_accuracy = 100 * results.float_accuracy
    _frame(axes, schemes, float_accuracy)
    axes.axhline(float_accuracy, color=style.ORANGE, linestyle="--", linewidth=1.2)
    axes.annotate(
        f"float, {schemes[0].metrics['energy']['float_uj']:.0f} µJ", (0, float_accuracy), (3, 3),
        xycoords=("axes fraction", "data"), textcoords="offset points", color=style.ORANGE,
    )  # fmt: skip
    _label(axes, [scheme.name for scheme in schemes], points, 13 / (height * 72 - 60))
    return figure


def _draw_schemes(axes: Axes, schemes: Sequence[SchemeResult], points: Sequence[Point]) -> None:
    front = pareto_front(points)
    axes.step(*zip(*front, strict=True), where="post", color=style.BLUE, alpha=0.4, zorder=1)
    for scheme, (x, y) in zip(schemes, points, strict=True):
        color = style.BLUE if (x, y) in front else style.FAINT
        low, high = 100 * scheme["accuracy_low"], 100 * scheme["accuracy_high"]
        axes.plot([x, x], [low, high], color=color, linewidth=1, alpha=0.6, zorder=1.5)
        axes.plot(x, y, "o", markersize=6, color=color)


def pareto_front(points: Sequence[Point]) -> list[Point]:
    """Return the points that no other beats in one coordinate and equals in the other."""
    return [
        (x, y)
        for x, y in sorted(set(points))
        if not any(a <= x and b >= y and (a, b) != (x, y) for a, b in points)
    ]


def _frame(axes: Axes, schemes: Sequence[SchemeResult], float_accuracy: float) -> None:
    """Leave room around the intervals, so that equal schemes do not look far apart."""
    low = min(float_accuracy, *(100 * scheme["accuracy_low"] for scheme in schemes))
    high = max(float_accuracy, *(100 * scheme["accuracy_high"] for scheme in schemes))
    axes.set_xlim(0, 1.15 * max(scheme["energy_uj"] for scheme in schemes))
    room = max(0.3, 0.08 * (high - low))
    axes.set_ylim(low - room, min(high + room, 100.2))


def _label(axes: Axes, names: Sequence[str], points: Sequence[Point], gap: float) -> None:
    """Write each name right of the axes, a thin line leading from its point."""
    low, high = axes.get_ylim()
    heights = style.space_labels([(y - low) / (high - low) for _, y in points], gap)
    for name, point, height in zip(names, points, heights, strict=True):
        axes.annotate(
            name, point, (1.02, height), textcoords="axes fraction", va="center", color=style.INK,
            arrowprops={"arrowstyle": "-", "color": style.FAINT, "linewidth": 0.7, "shrinkA": 2,
                        "relpos": (0, 0.5)},
        )  # fmt: skip
